"""The bench runs from end to end, every row and every peer. No figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest import about, bench, curves, nginx
from loadtest.processes import CIPHER
from loadtest.rows import ALL_PEERS, ROWS
from tests.certificates import make_ca
from tests.real.missing import Missing

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


def test_every_row_and_every_peer_is_measured(tmp_path: Path) -> None:
    about.facts(ALL_PEERS)  # raises Missing, where a peer is not to be had
    ended = bench.main(["--short", "--into", str(tmp_path / "results")])
    made = json.loads((tmp_path / "results" / "bench.json").read_text())
    assert not made["failures"]  # before the exit code, which does not say what failed
    assert ended == 0
    seen: set[str] = set()
    spent: dict[str, float] = {}
    for row in ROWS:
        peers = made["rows"][row.name]["peers"]
        assert {"nginx", "gateway"} <= set(peers)
        seen |= set(peers)
        for peer, cells in peers.items():
            assert cells["0"]["count"] > 0
            spent[peer] = spent.get(peer, 0.0) + cells["0"]["cpu"]
    assert seen == set(ALL_PEERS)
    assert spent["direct"] == 0.0
    assert spent["nginx"] > 0.0  # one window alone may be shorter than the clock's tick
    assert spent["gateway"] > 0.0
    page = (tmp_path / "results" / "bench.md").read_text()
    assert str(tmp_path) not in page
    assert CIPHER in page
    assert (tmp_path / "results" / "bench-cpu.svg").exists()
    assert (tmp_path / "results" / "bench-latency.svg").exists()
    assert all(row.title in page for row in ROWS if row.name != "memory")  # which has a table of its own, by peer
    assert "## Memory" in page


def test_points_of_every_curve_are_measured(tmp_path: Path) -> None:
    """Two points each, a round. No figure is judged here either."""
    ended = curves.main(["--short", "--rounds", "1", "--seconds", "0.3", "--into", str(tmp_path)])
    made = json.loads((tmp_path / "curves.json").read_text())
    assert not [line for found in made["curves"].values() for each in found.values() for line in each["failures"]]
    assert ended == 0
    for curve in curves.CURVES:
        costs = made["curves"][curve.name]["1"]["costs"]
        assert set(costs) == {str(point) for point in curve.points[:2]}
        assert all(cost >= 0 for each in costs.values() for cost in each)
        assert (tmp_path / f"curve-{curve.name}.svg").exists()
    assert str(tmp_path) not in (tmp_path / "curves.md").read_text()


def test_a_machine_without_nginx_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("loadtest.nginx.shutil.which", lambda *_, **__: None)
    with pytest.raises(Missing, match="apt-get install nginx libnginx-mod-stream"):
        nginx.nginx(tmp_path, 1, 2, "127.0.0.1:1", make_ca(tmp_path / "ca").server())

"""The load test runs from end to end. No figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest import first
from loadtest.processes import CIPHER, Nginx
from tests.certificates import make_ca
from tests.real.missing import Missing

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def test_both_proxies_carry_every_workload(tmp_path: Path) -> None:
    (tmp_path / "nginx").mkdir()
    Nginx(tmp_path / "nginx", 1, "127.0.0.1:1", make_ca(tmp_path / "ca").server("nginx"))  # raises Missing where it is
    assert first.main(["--quick", "--seconds", "1", "--output", str(tmp_path / "results")]) == 0
    made = json.loads((tmp_path / "results" / "first.json").read_text())
    assert set(made["work"]) == {job.name for job in first.JOBS}
    for pairs in made["work"].values():
        for side in ("nginx", "gateway"):
            assert pairs[0][side]["octets"] > 0
            assert pairs[0][side]["cpu_seconds"] > 0
    assert made["settings"]["cipher"] == CIPHER
    page = (tmp_path / "results" / "first.md").read_text()
    assert str(tmp_path) not in page
    assert all(job.name in page for job in first.JOBS)


def test_a_machine_without_nginx_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("loadtest.processes.shutil.which", lambda *_, **__: None)
    with pytest.raises(Missing, match="apt-get install nginx libnginx-mod-stream"):
        Nginx(tmp_path, 1, "127.0.0.1:1", (tmp_path / "a", tmp_path / "b"))

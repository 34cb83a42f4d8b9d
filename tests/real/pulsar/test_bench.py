"""The bench beside Apache's proxy runs from end to end. No figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path

from loadtest.pulsar.__main__ import main
from loadtest.pulsar.rows import PEERS

ROWS = ("produce-batched", "consume-singly", "latency-p99", "memory-idle")
"""One of each kind of work."""


def test_every_kind_of_work_is_measured(tmp_path: Path) -> None:
    chosen = ["--rows", ",".join(ROWS), "--pairs", "1", "--seconds", "0.5"]
    assert main(["--short", "--into", str(tmp_path), *chosen]) == 0
    made = json.loads((tmp_path / "pulsar.json").read_text())
    assert not made["failures"]
    for row in ROWS:
        for peer in PEERS:
            assert made["cells"][row][peer]["0"] > 0, (row, peer)
    page = (tmp_path / "pulsar.md").read_text()
    assert str(tmp_path) not in page
    assert page.count("≥ 1.00") == len(ROWS)

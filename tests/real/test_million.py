"""The million-record run, small: a fault of each kind, and whatever was acknowledged is there once. See loadtest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.million import __main__ as million
from tests.real.site import DIRECT

pytestmark = [
    pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: the gateway is what falls out (unset it)"),
    pytest.mark.timeout(600),
]


def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(tmp_path: Path) -> None:
    told = ["--records", "30000", "--rate", "3000", "--seconds", "0.5", "--minutes", "8", "--output", str(tmp_path)]
    assert million.main(told) == 0
    made = json.loads((tmp_path / "million.json").read_text())
    assert made["findings"] == []
    assert all(times >= 1 for times in made["faults"].values()), made["faults"]
    assert made["states"]["acknowledged"] >= 30000
    assert made["read_at_the_end"] == made["read_from_the_brokers"] >= 30000
    assert made["read_by_the_group"] >= 30000
    assert str(tmp_path) not in (tmp_path / "million.md").read_text()

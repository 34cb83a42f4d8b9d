"""The hostile run from end to end with a small crowd: no known client meets an error. No figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest.hostile import __main__ as hostile
from loadtest.hostile.peers import MANNERS

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_known_clients_meet_no_error_among_strangers(tmp_path: Path) -> None:
    assert hostile.main(["--short", "--into", str(tmp_path)]) == 0
    made = json.loads((tmp_path / "hostile.json").read_text())
    assert made["last"] | {"errors": {}} == made["last"], "every connection was there at the end"
    assert set(made["came"]) == {manner.__name__ for manner, _, _ in MANNERS}
    assert {"made-room", "unauthenticated-max", "not-tls", "http-on-tls-port"} <= set(made["counted"])
    page = (tmp_path / "hostile.md").read_text()
    assert "lost connections: none" in page
    assert str(tmp_path) not in page

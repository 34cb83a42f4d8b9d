"""docs/audit.md tells of every event there is, with a line that is one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

from gateway.core.audit import Event

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")


def test_every_event_is_told_of_with_a_line_of_its_own() -> None:
    sections = re.findall(r"^## `([a-z-]+)`\n.*?```json\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL)
    assert sorted(name for name, _ in sections) == sorted(get_args(Event))
    assert [json.loads(line)["event"] for _, line in sections] == [name for name, _ in sections]

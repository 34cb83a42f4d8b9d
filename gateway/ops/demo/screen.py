"""What the demo writes to the terminal: plain text that fits 100 columns, with colours where a person reads it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

COLUMNS_MAX, COLUMNS_MIN = 100, 60
_CODES = {"bold": "1", "good": "32", "bad": "31", "name": "36"}
_TOLD: Mapping[str, tuple[str, ...]] = {
    "authenticated": ("mechanism", "claims"),
    "allowed": ("requests", "bytes"),
    "denied": ("api", "reason", "rule", "why", "decision"),
    "refused": ("address", "mechanism", "reason", "detail"),
    "throttled": ("seconds",),
}
"""Event -> the fields of its audit line that are shown, after who did what on which resource."""


class Screen:
    """Headings, facts, audit lines and verdicts. Colours on a terminal only, and never where NO_COLOR is set."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._colours = self._out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._columns = max(COLUMNS_MIN, min(COLUMNS_MAX, shutil.get_terminal_size((COLUMNS_MAX, 24)).columns))

    def line(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)

    def heading(self, text: str) -> None:
        self.line()
        self.line(self._paint("bold", text))

    def fact(self, name: str, text: str) -> None:
        """One named fact, wrapped between words beside its name."""
        self._named(name, self._wrapped(text.split(), " "))

    def audit(self, text: str) -> None:
        """The fields of the gateway's own line that tell the story; broken between fields only."""
        event, *fields = told(json.loads(text))
        first, *others = self._wrapped([event, *fields], "  ")
        painted = self._paint("bold", event) + first.removeprefix(event)
        self._named("audit", [painted, *others])

    def verdict(self, good: bool, text: str, seconds: float) -> None:
        word = self._paint("good", "ok") + " " * 8 if good else self._paint("bad", "FAILED") + " " * 4
        self._named("", self._wrapped(f"{text} ({seconds:.1f} s)".split(), " "), word)

    def _named(self, name: str, lines: list[str], painted: str = "") -> None:
        self.line(f"  {painted or self._paint('name', f'{name:<10}')} {lines[0]}")
        for more in lines[1:]:
            self.line(f"  {'':<10} {more}")

    def _wrapped(self, words: Iterable[str], between: str) -> list[str]:
        """Lines of whole words; a word that is longer than a line has one to itself."""
        lines = [""]
        for word in words:
            longer = f"{lines[-1]}{between}{word}" if lines[-1] else word
            if len(longer) <= self._columns - 13 or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(word)
        return lines

    def _paint(self, what: str, text: str) -> str:
        return f"\x1b[{_CODES[what]}m{text}\x1b[0m" if self._colours else text


def told(line: Mapping[str, Any]) -> list[str]:
    """An audit line's event, who, what on which resource, and why; `why` is left out where it is the rule's id."""
    fields = [str(line["event"])]
    if "principal" in line:
        fields.append(str(line["principal"]))
    if "resource" in line:
        fields.append(f"{line.get('operation', '')} {line.get('kind', '')}:{line['resource']}".strip())
    for name in _TOLD.get(line["event"], ("reason", "detail")):
        value = line.get(name)
        if value is not None and (name != "why" or value != line.get("rule")):
            fields.append(f"{name}={_short(value)}")
    return fields


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{_short(each)}" for name, each in value.items())
    return "|".join(map(str, value)) if isinstance(value, list) else str(value)

"""What the demo writes to the terminal: plain text, with colours where a person reads it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "good": "32", "bad": "31", "name": "36"}


class Screen:
    """Headings, facts, audit lines and verdicts. Colours on a terminal only, and never where NO_COLOR is set."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._colours = self._out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self._columns = max(60, min(140, shutil.get_terminal_size((110, 24)).columns))

    def line(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)

    def heading(self, text: str) -> None:
        self.line()
        self.line(self._paint("bold", text))

    def fact(self, name: str, text: str) -> None:
        """One named fact, wrapped beside its name."""
        lines = textwrap.wrap(text, self._columns - 13, break_long_words=False, break_on_hyphens=False) or [""]
        self.line(f"  {self._paint('name', f'{name:<10}')} {lines[0]}")
        for more in lines[1:]:
            self.line(f"  {'':<10} {more}")

    def audit(self, text: str) -> None:
        """The gateway's own line, whole and unchanged but for line breaks."""
        lines = textwrap.wrap(text, self._columns - 13, break_on_hyphens=False)
        self.line(f"  {self._paint('name', 'audit'.ljust(10))} {self._paint('dim', lines[0])}")
        for more in lines[1:]:
            self.line(f"  {'':<10} {self._paint('dim', more)}")

    def verdict(self, good: bool, text: str) -> None:
        self.line(f"  {self._paint('good', 'ok') if good else self._paint('bad', 'FAILED')}{'':<9}{text}")

    def _paint(self, what: str, text: str) -> str:
        return f"\x1b[{_CODES[what]}m{text}\x1b[0m" if self._colours else text

"""When a process that has ended is started again, and when that is given up: decisions, no processes."""

from __future__ import annotations

import signal
from collections.abc import Sequence

PAUSES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before it is started again: at once, then later and later."""
STEADY_SECONDS = 30.0
"""Who has served for so long starts anew with the pauses."""
STARTS_MAX = 8
"""Failed starts in a row after which the whole gateway ends."""


FAILED = 1
"""A process's exit code when it ended by a fault of its own."""


class Mending:
    """One process's."""

    def __init__(self, pauses: Sequence[float] = PAUSES) -> None:
        self._pauses = pauses
        self._in_a_row = 0
        self.failed_starts = 0
        """In a row: it ended before it served."""

    def ended(self, *, served: bool, seconds: float) -> float | None:
        """It has ended after so many seconds: how long until it is started again, None if it is not any more."""
        if served:
            self.failed_starts = 0
            if seconds >= STEADY_SECONDS:
                self._in_a_row = 0
        else:
            self.failed_starts += 1
            if self.failed_starts >= STARTS_MAX:
                return None
        pause = self._pauses[min(self._in_a_row, len(self._pauses) - 1)]
        self._in_a_row += 1
        return pause


def exit_words(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"

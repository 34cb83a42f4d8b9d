"""Time is handed in. Two clocks, never mixed: `monotonic` for deadlines, `wall` for what tokens and files say."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds from an arbitrary point; never goes back."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

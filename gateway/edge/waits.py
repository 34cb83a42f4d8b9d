"""Waits of the same length that begin one after the other: one timer for all of them.

Thousands of connections that have not said who they are have a deadline each, and nearly all of them are over before
it. As their lengths are equal they are due in the order in which they began, so a dict and one timer are enough: to
begin a wait and to end it costs an entry, and no timer of the loop.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

TIMER_SECONDS_MIN = 0.01


class Waiting(Protocol):
    """Who is told. Hashable by identity."""

    def late(self) -> None:
        """Its wait is over; it was ended before this is called."""


class Waits:
    """All waits of one length. As many as there are connections without an identity, at most."""

    __slots__ = ("_dues", "_loop", "_seconds", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._dues: dict[Waiting, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._dues)

    def begin(self, one: Waiting) -> None:
        self._dues[one] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self, one: Waiting) -> None:
        """Doing so for one that does not wait does nothing."""
        self._dues.pop(one, None)

    def _look(self) -> None:
        now = self._loop.time()
        late: list[Waiting] = []
        next_due = 0.0
        for one, due in self._dues.items():
            if due > now:
                next_due = due
                break
            late.append(one)
        self._timer = self._loop.call_later(max(next_due - now, TIMER_SECONDS_MIN), self._look) if next_due else None
        for one in late:
            if self._dues.pop(one, None) is not None:  # one that was late before it may have ended it
                one.late()

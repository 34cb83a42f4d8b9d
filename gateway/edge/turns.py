"""Handshakes take turns: in each turn of the loop a bounded share goes to them, the rest to open connections.

One full handshake costs the processor as much as hundreds of small requests. When thousands come at once, each step
of theirs waits here for its turn, and between two turns the loop serves whoever has something to read or write.
Nobody overtakes. As many wait as there are unauthenticated connections, at most. Used by edge.arrival.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from gateway.core.clock import Clock

TURN_SECONDS = 0.002
"""Of one turn of the loop; a step that was begun is finished, which with a large RSA key takes about as long again."""


class Turns:
    """One per process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        self._loop = loop
        self._clock = clock
        self._waiting: deque[Callable[[], None]] = deque()
        self._called = False

    def ask(self, step: Callable[[], None]) -> None:
        """`step` is called once, soon. It has to look whether its connection has ended meanwhile."""
        self._waiting.append(step)
        if not self._called:
            self._called = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        end = self._clock.monotonic() + TURN_SECONDS
        try:
            while self._waiting:
                self._waiting.popleft()()
                if self._clock.monotonic() >= end:
                    break
        finally:
            self._called = bool(self._waiting)
            if self._called:
                self._loop.call_soon(self._turn)

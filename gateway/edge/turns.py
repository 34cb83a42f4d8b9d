"""Turns: in each turn of the loop a bounded share goes to handshakes, another to long messages, the rest to all else.

One full handshake costs the processor as much as hundreds of small requests. When thousands come at once, each step
of theirs waits here for its turn, and between two turns the loop serves whoever has something to read or write.
Nobody overtakes. As many wait as there are unauthenticated connections, at most. Used by edge.arrival.

A message that is decided in slices (core.slices) waits likewise for each of them, among its own kind; used by the pump.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

TURN_SECONDS = 0.002
"""Of the processor, in one turn of the loop; a step that was begun is finished, which with a large RSA key takes about
as long again. Time by the clock would say nothing on a busy machine: there each step would have a turn for itself."""


class Turns:
    """One for the handshakes of a process, one for its long messages."""

    def __init__(self, loop: asyncio.AbstractEventLoop, spent: Callable[[], float] = time.thread_time) -> None:
        """`spent`: the processor's time that this thread has had, in seconds."""
        self._loop = loop
        self._spent = spent
        self._waiting: deque[Callable[[], None]] = deque()
        self._called = False

    def ask(self, step: Callable[[], None]) -> None:
        """`step` is called once, soon. It has to look whether its connection has ended meanwhile."""
        self._waiting.append(step)
        if not self._called:
            self._called = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        end = self._spent() + TURN_SECONDS
        try:
            while self._waiting:
                self._waiting.popleft()()
                if self._spent() >= end:
                    break
        finally:
            self._called = bool(self._waiting)
            if self._called:
                self._loop.call_soon(self._turn)

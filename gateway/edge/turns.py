"""Turns: in each turn of the loop a bounded share goes to handshakes, another to long messages, the rest to all else.

One full handshake costs the processor as much as hundreds of small requests. A step of one goes on at once while this
turn of the loop has time left for them; when thousands come at once, each further step waits here for its turn, and
between two turns the loop serves whoever has something to read or write. Nobody overtakes. As many wait as there are
unauthenticated connections, at most. `HandshakeTurns`, used by edge.arrival.

A message that is decided in slices (core.slices) waits likewise for each of them. `Turns`, used by the pump.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

TURN_SECONDS = 0.002
"""Of the processor, in one turn of the loop; a step that was begun is finished, which with a large RSA key takes about
as long again. Time by the clock would say nothing on a busy machine: there each step would have a turn for itself."""


class Turns:
    """One for the long messages of a process."""

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


class Stepping(Protocol):
    """Who takes turns with its handshake."""

    def turn(self) -> None:
        """Take one step, if it has not ended meanwhile."""

    def pause(self) -> None:
        """Its turn comes later: until then nothing is to be watched for it."""


class HandshakeTurns:
    """One for the handshakes of a process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, spent: Callable[[], float] = time.thread_time) -> None:
        """`spent`: the processor's time that this thread has had, in seconds."""
        self._loop = loop
        self._spent = spent
        self._waiting: deque[Stepping] = deque()
        self._counting = False
        """This turn of the loop had a step already, or somebody waits."""
        self._end: float | None = None
        """None: the second step of this turn will set it. To ask for the processor's time is a system call, and most
        turns have one step."""

    def take(self, one: Stepping) -> None:
        """One step now, or in its turn."""
        if not self._counting:
            self._counting = True
            self._end = None
            self._loop.call_soon(self._turn)
        elif self._waiting or self._is_over():
            one.pause()
            self._waiting.append(one)
            return
        one.turn()

    def _is_over(self) -> bool:
        now = self._spent()
        if self._end is None:
            self._end = now + TURN_SECONDS
        return now >= self._end

    def _turn(self) -> None:
        """The loop's next turn has begun. Those that waited go first."""
        waiting = self._waiting
        self._counting = bool(waiting)
        if not waiting:
            return
        self._loop.call_soon(self._turn)
        self._end = self._spent() + TURN_SECONDS
        while waiting:
            waiting.popleft().turn()
            if self._spent() >= self._end:
                break

"""Takes everybody's looks at files together: one timer of the loop, one thread, and no word to the loop if all is as it
was.

Looks of the same interval are due at the same moments, whenever they were begun. A look that does not come back, since
its file system hangs, holds up neither the loop nor the others: at the next moment another thread goes on with what
waits behind it, it is not begun twice, and the log says so. Where no thread can be started, each next moment tries
again. All watches of a loop share its looks, as they would share the loop's executor, so there is nothing to hand
around. Used by edge.watch and edge.key_files.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

THREADS_MAX = 16
"""So many looks may hang before nothing is looked at any more; a gateway has a few, and one for each backend."""
TOGETHER_SECONDS = 0.005
"""What is due so soon after another is taken with it."""
OUT_SECONDS = 30.0
"""A look that is not done after so long is told, once, and once more when it is."""
TOLD_AGAIN_SECONDS = 60.0
"""How often it is told that no thread can be started, for as long as none can."""

log = logging.getLogger("gateway.looks")


@dataclass(eq=False, frozen=True, slots=True)
class Look:
    """`differs` is called on a thread and may block. If it says yes, or raises, `tell` is called on the loop, once.
    `files`: at what it looks, in words for the log."""

    differs: Callable[[], bool]
    tell: Callable[[], None]
    files: Callable[[], str]


class Looks:
    """Of one loop, in which all but `_work` is called. As many as there are watches."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._first = loop.time()
        self._polls: dict[Look, float] = {}
        self._dues: dict[Look, float] = {}
        self._todo: deque[Look] = deque()
        """Due, and on no thread yet."""
        self._begun: dict[Look, float] = {}
        """Due, or on a thread, since when."""
        self._late: set[Look] = set()
        """Of those, the ones of which that was told."""
        self._called = False
        """A thread was, and none has come yet: with all of them hanging none will."""
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None
        self._threads = _threads()
        self._told_at = -math.inf
        """That no thread could be started."""

    def begin(self, look: Look, poll: float) -> None:
        """Take this look within `poll` seconds and every so often from then on, until it differs or is ended."""
        self._polls[look] = poll
        self._dues[look] = self._next(poll)
        self._arm()

    def hasten(self, look: Look) -> None:
        """Take it now as well. Doing so for one that is not looked at, or that is under way, does nothing."""
        if look in self._dues:
            self._dues[look] = self._loop.time()
            self._arm()

    def end(self, look: Look) -> None:
        """Doing so for one that is not looked at does nothing."""
        self._dues.pop(look, None)
        self._polls.pop(look, None)
        self._arm()
        if not self._polls and _of_loops.get(self._loop) is self:
            del _of_loops[self._loop]
            self._threads.shutdown(wait=False)

    def _next(self, poll: float) -> float:
        return self._first + (math.floor((self._loop.time() + TOGETHER_SECONDS - self._first) / poll) + 1) * poll

    def _arm(self) -> None:
        at = min(self._dues.values(), default=None)
        if at == self._armed_for:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = at
        self._timer = self._loop.call_at(at, self._due) if at is not None else None

    def _due(self) -> None:
        self._timer = self._armed_for = None
        now = self._loop.time()
        for look, due in self._dues.items():
            if due <= now + TOGETHER_SECONDS:
                self._dues[look] = self._next(self._polls[look])
                if look not in self._begun:
                    self._begun[look] = now
                    self._todo.append(look)
                elif look not in self._late and now - self._begun.get(look, now) >= OUT_SECONDS:
                    self._late.add(look)
                    log.warning("a look at %s is not done after %g s", look.files(), OUT_SECONDS)
        self._arm()
        hanging = len(self._begun) - len(self._todo)
        if self._todo and not self._called and hanging < THREADS_MAX:
            self._call(now)

    def _call(self, now: float) -> None:
        """Have a thread come for what is due; if none can be started, the next moment tries again."""
        self._called = True
        try:
            self._threads.submit(self._work)
        except RuntimeError as error:
            self._called = False
            # What no thread was started for stays in the executor's queue, which would grow with each try.
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = _threads()
            if now - self._told_at >= TOLD_AGAIN_SECONDS:
                self._told_at = now
                log.warning("files cannot be looked at now, it is tried again: %s", error)

    def _work(self) -> None:
        """On a thread: take what is due, until nothing is left, or until one hangs."""
        self._called = False
        while True:
            try:
                look = self._todo.popleft()
            except IndexError:
                return
            try:
                differs = look.differs()
            except Exception:  # whoever is told looks by himself, and says what is wrong
                differs = True
            del self._begun[look]
            if look in self._late:
                self._late.discard(look)
                log.info("a look at %s is done after all", look.files())
            if differs:
                with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                    self._loop.call_soon_threadsafe(self._tell, look)

    def _tell(self, look: Look) -> None:
        if self._dues.pop(look, None) is not None:  # else it was ended meanwhile
            self._arm()
            look.tell()


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS_MAX, "looks at files")


_of_loops: dict[asyncio.AbstractEventLoop, Looks] = {}
"""Those that look at something."""


def looks() -> Looks:
    """Of the running loop."""
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = Looks(loop)
    return found

"""Long decisions made in slices, so that no message holds the loop of all connections for long.

What decides is written as if it were done at once, and goes through every list that may be long by `paced`. Run as a
`Walk` it stops there when its slice is over, in the middle of whatever it is doing, and goes on from there when it is
called again. Everywhere else `paced` gives back what it was given, and nothing is spent on it: a message that is short
never meets a walk. A walk is a greenlet, a call stack of its own that is put aside while others have their turn
(docs/decisions/0021-slices.md has why). It reads a clock that it was given, and only every `ELEMENTS` elements.

`Walks` bounds how many are under way in the process, and for one principal, since each holds a message in pieces. As
long as any is, Python's garbage collector does not look at everything there is: with a million objects of a message
that would take half a second at a time. What a walk makes has no cycles, and is let go of without the collector.

Without the greenlet library a walk is done in its first slice: slower for others, decided the same.

Called by protocol sessions, whose `busy` (core.session.Sliced) tells the pump that a turn is wanted.
"""

from __future__ import annotations

import gc
import heapq
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from functools import partial
from mmap import mmap
from typing import Any, Generic, TypeVar, cast

from gateway.core.clock import Clock
from gateway.core.identity import Principal

try:
    from greenlet import GreenletExit, getcurrent, greenlet
except ImportError:  # where the library has no build for this machine
    greenlet = None

T = TypeVar("T")
T_part = TypeVar("T_part", bytes, bytearray, memoryview)

SLICE_SECONDS = 0.002
"""What one slice may take; the elements between two looks at the clock come on top."""
ELEMENTS = 16
"""Elements between two looks at the clock; a denied one takes up to 50 microseconds."""
LOOKS = 16
"""What a slice may take where there is no clock: so many times `ELEMENTS`."""
AT_ONCE_OCTETS = 768
"""Shorter messages (without their records) are decided at once: at three octets for an element they hold too few."""
WALKS_MAX = 8
"""Under way at one time in the process; the others wait with nothing but their octets."""
WALKS_OF_PRINCIPAL_MAX = 2
"""Of them, one principal's."""
SORTED_AT_ONCE = 1_000
JOINED_AT_ONCE = 4_096
OCTETS_AT_ONCE = 512 * 1024
"""Octets that are copied between two looks at the clock: a fifth of a millisecond's work, or a whole one's where memory
is new and the machine busy."""
NEVER_IN_FULL = 1 << 30
"""As the collector's third threshold."""


class Walks:
    """The places for walks in one process. Every listener's sessions share them."""

    def __init__(self) -> None:
        self._by_principal: dict[Principal, int] = {}
        self._taken = 0
        self._thresholds = gc.get_threshold()
        self.seconds = SLICE_SECONDS
        self.elements = ELEMENTS
        self.octets = AT_ONCE_OCTETS

    def begin(self, principal: Principal, clock: Clock, work: Callable[[], T]) -> Walk[T] | None:
        """A walk that has not done anything yet; None if there is no place for it now."""
        mine = self._by_principal.get(principal, 0)
        if self._taken >= WALKS_MAX or mine >= WALKS_OF_PRINCIPAL_MAX:
            return None
        if not self._taken:
            self._thresholds = gc.get_threshold()
            gc.set_threshold(*self._thresholds[:2], NEVER_IN_FULL)
        self._taken += 1
        self._by_principal[principal] = mine + 1
        return Walk(work, clock, self.seconds, self.elements, partial(self._left, principal))

    def _left(self, principal: Principal) -> None:
        """A walk is over; called by it."""
        self._taken -= 1
        if not self._taken:
            gc.set_threshold(*self._thresholds)
        self._by_principal[principal] -= 1
        if not self._by_principal[principal]:
            del self._by_principal[principal]

    @property
    def taken(self) -> int:
        return self._taken


class Walk(Generic[T]):
    """One decision on its way. `go_on` until it says True; then `outcome` is there, or what was raised is raised."""

    __slots__ = ("_clock", "_elements", "_leave", "_left", "_over", "_seconds", "_stack", "_until", "_work", "outcome",
                 "spent")  # fmt: skip

    outcome: T

    def __init__(
        self, work: Callable[[], T], clock: Clock, seconds: float, elements: int, leave: Callable[[], None]
    ) -> None:
        """`leave` is called once, when it is over, however it ended."""
        self._work = work
        self._clock = clock
        self._seconds = seconds
        self._elements = elements
        self._leave = leave
        self._stack = _stack(self)
        self._left = 0
        self._until = 0.0
        self._over = False
        self.spent = 0.0
        """Seconds of all its slices."""

    def go_on(self) -> bool:
        """Do one slice. True if it was the last. Raises what the decision raises."""
        began = self._clock.monotonic()
        self._until = began + self._seconds
        self._left = self._elements
        done = True
        try:
            if self._stack is None:
                self.outcome = self._work()
            else:
                self._stack.parent = getcurrent()
                self._stack.switch()
                done = self._stack.dead
        finally:
            self.spent += self._clock.monotonic() - began
            if done:
                self._end()
        return done

    def stop(self) -> None:
        """Give it up, wherever it is. Nothing of it has had an effect."""
        if self._stack is not None and not self._stack.dead:
            self._stack.throw(GreenletExit)
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._leave()

    def run(self) -> None:
        """On the walk's own stack."""
        self.outcome = self._work()

    def each(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, with a stop between two of them where the slice is over."""
        for item in items:
            self._left -= 1
            if self._left < 0:
                self.breathe()
            yield item

    def breathe(self) -> None:
        """Stop here if the slice is over."""
        self._left = self._elements
        if self._clock.monotonic() >= self._until:
            self._stack.parent.switch()


def _stack(walk: Walk[Any]) -> Any:
    """A call stack for the walk, by which `paced` finds it; None without the library."""
    if greenlet is None:
        return None
    stack = greenlet(walk.run)
    stack.walk = walk
    return stack


def _walk() -> Walk[Any] | None:
    """The walk that this is called in."""
    if greenlet is None:
        return None
    walk: Walk[Any] | None = getattr(getcurrent(), "walk", None)
    return walk


class _Looks:
    """A clock for those who have none: each look at it takes one of its seconds."""

    def __init__(self) -> None:
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.looks

    def wall(self) -> float:
        return self.looks


class _Turn:
    """Awaited, it lets every other task of the loop have its turn."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def in_slices(work: Callable[[], T]) -> T:
    """A coroutine's long work, with turns for others in between."""
    walk = Walk(work, _Looks(), LOOKS, ELEMENTS, _nothing)
    try:
        while not walk.go_on():
            await _Turn()
    except BaseException:
        walk.stop()
        raise
    return walk.outcome


def _nothing() -> None:
    """Nobody counts it."""


def walking() -> bool:
    """Whether what calls this is being done in slices."""
    return _walk() is not None


def paced(items: Iterable[T]) -> Iterable[T]:
    """The items; in a walk, with a stop between two of them where a slice is over."""
    walk = _walk()
    return items if walk is None else walk.each(items)


def ordered(items: Collection[str]) -> list[str]:
    """`sorted`, in slices."""
    walk = _walk()
    if walk is None or len(items) <= SORTED_AT_ONCE:
        return sorted(items)
    some = list(items)
    runs = []
    for at in range(0, len(some), SORTED_AT_ONCE):
        runs.append(sorted(some[at : at + SORTED_AT_ONCE]))
        walk.breathe()
    return list(walk.each(heapq.merge(*runs)))


def breathe() -> None:
    """In a walk, stop here if its slice is over: after what took long without a list to go through."""
    walk = _walk()
    if walk is not None:
        walk.breathe()


class Copied:
    """A message's octets of one's own, for a walk: what is shown to a session lies elsewhere the next time.

    Copied some at a time, before the walk begins, and where there are many into mapped memory, which is not written
    over with zeros first.
    """

    __slots__ = ("_done", "_room", "view")

    def __init__(self, size: int) -> None:
        self._room = memoryview(mmap(-1, size) if size > OCTETS_AT_ONCE else bytearray(size))
        self._done = 0
        self.view = self._room.toreadonly()

    def go_on(self, shown: memoryview) -> bool:
        """Copy some more. True if all is there, and there is time left in this turn."""
        at = self._done
        self._done = stop = min(at + OCTETS_AT_ONCE, len(self._room))
        self._room[at:stop] = shown[at:stop]
        return stop == len(self._room) and at in (0, stop)


def copied(octets: bytes | bytearray | memoryview) -> bytes | mmap:
    """The octets as something that text is quickly taken out of; in slices."""
    walk = _walk()
    if isinstance(octets, bytes) or walk is None or len(octets) <= OCTETS_AT_ONCE:
        return bytes(octets)
    made = mmap(-1, len(octets))
    for at in range(0, len(octets), OCTETS_AT_ONCE):
        stop = min(at + OCTETS_AT_ONCE, len(octets))
        made[at:stop] = octets[at:stop]
        walk.breathe()
    return made


def gathered(parts: list[T_part]) -> Sequence[T_part | bytes]:
    """The parts as fewer ones of middling size, in slices; the list is used up. Outside of a walk they stay."""
    walk = _walk()
    if walk is None:
        return parts
    runs: list[bytes] = []
    while parts:
        some = parts[-JOINED_AT_ONCE:]
        del parts[-JOINED_AT_ONCE:]
        joined: list[bytes] = []
        run: list[T_part] = []
        octets = 0
        for part in some:
            if octets + len(part) > OCTETS_AT_ONCE and run:
                joined.append(b"".join(run))
                run, octets = [], 0
                walk.breathe()
            if len(part) > OCTETS_AT_ONCE:
                for at in range(0, len(part), OCTETS_AT_ONCE):
                    joined.append(bytes(part[at : at + OCTETS_AT_ONCE]))
                    walk.breathe()
            else:
                run.append(part)
                octets += len(part)
        if run:
            joined.append(b"".join(run))
        runs += reversed(joined)
        walk.breathe()
    runs.reverse()
    return runs


def together(
    first: bytes, parts: Sequence[bytes | bytearray | memoryview]
) -> bytes | tuple[bytes | bytearray | memoryview, ...]:
    """A message's parts behind `first`, as one where they are small: large ones are not copied once more."""
    if sum(map(len, parts)) > OCTETS_AT_ONCE:
        return (first, *parts)
    return b"".join((first, *parts))


def let_go(value: object) -> None:
    """Take a decoded message apart, in slices: to let go of a million objects at once holds the loop, too.

    Nothing may use it afterwards.
    """
    walk = _walk()
    if walk is not None:
        _take_apart(value, walk)


def emptied(own: list[Any] | set[Any] | dict[Any, Any]) -> None:
    """Empty a collection that nobody else has, in slices, for the same reason."""
    walk = _walk()
    if walk is not None:
        take: Callable[[], object] = own.popitem if isinstance(own, dict) else own.pop
        for _ in walk.each(range(len(own))):
            take()


def _take_apart(value: object, walk: Walk[Any]) -> None:
    if isinstance(value, dict):
        for member in value.values():
            if isinstance(member, list | dict):
                _take_apart(member, walk)
    elif isinstance(value, list):
        members = cast(list[object], value)
        if not members or not isinstance(members[0], dict):
            return  # another message may have the same list, and it is quickly freed
        for _ in walk.each(range(len(members))):
            member = members.pop()
            if isinstance(member, dict | list):
                _take_apart(member, walk)

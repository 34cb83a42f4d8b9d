"""Looks at files: taken together, apart from the loop, and one that hangs holds up nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.edge import looks as module
from gateway.edge.looks import Look, Looks, looks
from tests.edge import until

POLL = 0.01


class Seen:
    """A look that differs when it is said to."""

    def __init__(self) -> None:
        self.looks = 0
        self.threads: set[int] = set()
        self.told = 0
        self.differs = False
        self.look = Look(self._look, self._tell)

    def _look(self) -> bool:
        self.looks += 1
        self.threads.add(threading.get_ident())
        return self.differs

    def _tell(self) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.told += 1


class Hanging(Seen):
    """One whose file system does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def _look(self) -> bool:
        super()._look()
        self.let_go.wait(60)
        return False


async def looked(*seen: Seen, times: int = 3) -> None:
    enough = [each.looks + times for each in seen]
    await until(lambda: all(each.looks >= least for each, least in zip(seen, enough, strict=True)))


async def test_looks_go_on_until_one_differs_which_is_told_once() -> None:
    one, other = Seen(), Seen()
    for each in (one, other):
        looks().begin(each.look, POLL)
    await looked(one, other)
    assert not one.told
    assert threading.get_ident() not in one.threads
    one.differs = True
    await until(lambda: one.told)
    at = one.looks
    await looked(other, times=10)
    assert one.told <= 1, "once"
    assert one.looks <= at + 1, "but for one that was under way"
    looks().begin(one.look, POLL)
    await until(lambda: one.told == 2)
    for each in (one, other):
        looks().end(each.look)


async def test_what_is_ended_is_not_looked_at_and_not_told() -> None:
    one, other = Seen(), Seen()
    for each in (one, other):
        looks().begin(each.look, POLL)
    await looked(one, other)
    one.differs = True
    looks().end(one.look)
    looks().end(one.look)
    at = one.looks
    await looked(other, times=10)
    assert not one.told
    assert one.looks <= at + 1, "but for one that was under way"
    looks().end(other.look)


class Timers:
    """A loop whose time is told, and that only writes down for when it is asked to call."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.at: list[float] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Any:
        del call
        self.at.append(when)
        return SimpleNamespace(cancel=lambda: None)


def test_looks_of_one_interval_are_taken_at_the_same_moment() -> None:
    """Whenever they were begun: that is what leaves the loop alone for the rest of the time."""
    timers = Timers()
    taken = Looks(cast("asyncio.AbstractEventLoop", timers))
    for late in (0.1, 0.3, 0.5, 0.9):
        timers.now = 1000.0 + late
        taken.begin(Seen().look, 1.0)
    assert timers.at == [1001.0]
    taken.begin(Seen().look, 0.25)
    assert timers.at == [1001.0], "what is due just before it is taken with it"
    timers.now = 1001.2
    taken.begin(Seen().look, 5.0)
    taken.begin(Seen().look, 1.0)
    assert len(timers.at) == 1, "a timer that is set comes first"


async def test_one_that_hangs_holds_up_no_other_and_is_not_begun_again() -> None:
    hanging, other = Hanging(), Seen()
    looks().begin(hanging.look, POLL)
    looks().begin(other.look, POLL)
    await until(lambda: hanging.looks)
    await looked(other, times=10)
    assert hanging.looks == 1
    hanging.let_go.set()
    await looked(hanging)
    for each in (hanging, other):
        looks().end(each.look)


async def test_no_more_threads_are_begun_than_may_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THREADS_MAX", 2)
    several = [Hanging() for _ in range(3)]
    for each in several:
        looks().begin(each.look, POLL)
    await until(lambda: sum(each.looks for each in several) == 2)
    for _ in range(10):
        looks()._due()
    assert sum(each.looks for each in several) == 2
    assert looks()._threads._work_queue.qsize() <= 1, "no round is put behind those that hang"
    for each in several:
        each.let_go.set()
    await looked(*several)
    for each in several:
        looks().end(each.look)


async def test_a_look_that_fails_is_told() -> None:
    """Whoever is told looks by himself, and says what is wrong."""
    told = asyncio.Event()

    def failing() -> bool:
        raise RuntimeError("a bug")

    look = Look(failing, told.set)
    looks().begin(look, POLL)
    async with asyncio.timeout(60):
        await told.wait()
    looks().end(look)


async def test_nothing_is_kept_of_a_loop_that_looks_at_nothing() -> None:
    one = Seen()
    looks().begin(one.look, POLL)
    assert asyncio.get_running_loop() in module._of_loops
    looks().end(one.look)
    assert asyncio.get_running_loop() not in module._of_loops

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
        self.look = Look(self._look, self._tell, lambda: type(self).__name__)

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


@pytest.mark.parametrize("hangs", [False, True], ids=["the first thread", "another one beside one that hangs"])
async def test_where_no_thread_can_be_started_the_next_moment_tries_again(
    hangs: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hanging, one = Hanging(), Seen()
    if hangs:
        looks().begin(hanging.look, POLL)
        await until(lambda: hanging.looks)
    start = threading.Thread.start
    refused: list[int] = []
    """How much was put there for the threads then."""

    def refuses(thread: threading.Thread) -> None:
        if thread.name.startswith("looks at files") and len(refused) < 3:
            refused.append(looks()._threads._work_queue.qsize())
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuses)
    looks().begin(one.look, POLL)
    await looked(one)
    assert refused == [1, 1, 1], "nothing is left over of those that could not be started"
    assert caplog.text.count("files cannot be looked at now") == 1
    assert "can't start new thread" in caplog.text
    hanging.let_go.set()
    for each in (one, hanging):
        looks().end(each.look)


async def test_one_that_hangs_is_told_once_and_that_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    timers, hanging, other = Timers(), Hanging(), Seen()
    taken = Looks(cast("asyncio.AbstractEventLoop", timers))
    for each in (other, hanging):
        taken.begin(each.look, 1.0)

    async def at(now: float) -> str:
        timers.now = now
        times = other.looks + 1
        taken._due()
        await until(lambda: other.looks == times and other.look not in taken._begun)
        return caplog.text

    timers.now = 1001.0
    taken._due()
    await until(lambda: hanging.looks)
    assert not await at(1001.0 + module.OUT_SECONDS - 1.0)
    assert (await at(1001.0 + module.OUT_SECONDS)).count("a look at Hanging is not done after 30 s") == 1
    assert (await at(1002.0 + module.OUT_SECONDS)).count("a look at Hanging") == 1
    hanging.let_go.set()
    await until(lambda: "a look at Hanging is done after all" in caplog.text)
    hanging.let_go.clear()
    await until(lambda: hanging.look not in taken._begun)
    await at(1003.0 + module.OUT_SECONDS)
    await until(lambda: hanging.looks == 2)
    assert (await at(1003.0 + 2 * module.OUT_SECONDS)).count("is not done") == 2, "of another time it is told again"
    hanging.let_go.set()
    await until(lambda: not taken._begun)
    assert "Seen" not in caplog.text
    taken._threads.shutdown()


async def test_a_look_is_taken_at_once_if_it_is_wished_and_goes_on_as_before() -> None:
    timers, one, other = Timers(), Seen(), Seen()
    taken = Looks(cast("asyncio.AbstractEventLoop", timers))
    for each in (one, other):
        taken.begin(each.look, 5.0)
    timers.now = 1001.0
    taken.hasten(one.look)
    taken.hasten(Seen().look)
    assert timers.at == [1005.0, 1001.0]
    taken._due()
    await until(lambda: one.looks)
    assert timers.at[2:] == [1005.0]
    assert not other.looks
    taken._threads.shutdown()


async def test_a_look_that_fails_is_told() -> None:
    """Whoever is told looks by himself, and says what is wrong."""
    told = asyncio.Event()

    def failing() -> bool:
        raise RuntimeError("a bug")

    look = Look(failing, told.set, str)
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

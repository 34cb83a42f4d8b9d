"""The control driver: its schedule, its retries, and what sessions ask, against a fake control object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.core.audit import AuditEvent
from gateway.core.exchange import ExchangeFailed
from gateway.core.meters import Meters
from gateway.core.session import Ask, Fact, Unavailable
from gateway.core.settings import Backend
from gateway.edge import control as module
from gateway.edge.clock import SystemClock
from gateway.edge.control import ControlDriver
from gateway.kafka.control import KafkaControl
from tests.edge import nobody_dialled, until
from tests.scenarios.kafka_world import GONE, World


@dataclass(frozen=True, slots=True)
class WhichTopics(Ask):
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class MakeTopics(Ask):
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Names(Fact):
    by: str


class FakeControl:
    def __init__(self) -> None:
        self.refreshes = 0
        self.refresh_wanted = False
        self.told: Callable[[], None] = lambda: None
        self.broken: Exception | None = None
        self.asked: list[tuple[str, Ask]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.closed = False

    def when_wanted(self, call: Callable[[], None]) -> None:
        self.told = call

    def want(self) -> None:
        self.refresh_wanted = True
        self.told()

    async def refresh(self, dial: Any) -> None:
        self.refreshes += 1
        self.refresh_wanted = False
        if self.broken is not None:
            raise self.broken

    async def answer(self, ask: Any, dial: Any) -> Fact:
        method = "topic_facts" if isinstance(ask, WhichTopics) else "create_topics"
        self.asked.append((method, ask))
        await self.go_on.wait()
        if self.broken is not None:
            raise self.broken
        return Names(method)

    def close(self) -> None:
        self.closed = True


@dataclass
class House:
    control: FakeControl
    driver: ControlDriver
    events: list[AuditEvent]


@asynccontextmanager
async def driven(prepare: Callable[[FakeControl], None] = lambda control: None, **more: Any) -> AsyncIterator[House]:
    control = FakeControl()
    prepare(control)
    events: list[AuditEvent] = []
    settings = Backend(name="back", bootstrap=("localhost:1",), **more)
    driver = ControlDriver(control, settings, nobody_dialled, events.append, SystemClock(), Meters())
    await driver.start()
    try:
        yield House(control, driver, events)
    finally:
        await driver.close()


async def test_it_refreshes_at_once_and_on_schedule() -> None:
    async with driven(metadata_refresh=0.05) as house:
        await until(lambda: house.control.refreshes >= 3)
        assert [event.fields["state"] for event in house.events] == ["reached"]


async def test_it_refreshes_when_a_session_saw_something_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ON_DEMAND_SECONDS_MIN", 0.01)
    async with driven(metadata_refresh=1000.0) as house:
        await until(lambda: house.control.refreshes == 1)
        house.control.want()
        await until(lambda: house.control.refreshes == 2)


async def test_wishes_do_not_hurry_a_backend_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ON_DEMAND_SECONDS_MIN", 0.0)
    monkeypatch.setattr(module, "PAUSE_SECONDS_MIN", 1000.0)
    async with driven(lambda control: setattr(control, "broken", ExchangeFailed("no")), metadata_refresh=0.01) as house:
        await until(lambda: house.events)
        for _ in range(10):
            house.control.want()
            await asyncio.sleep(0)
        assert house.control.refreshes == 1


async def test_another_configuration_does_not_wait_for_the_schedule() -> None:
    async with driven(metadata_refresh=1000.0) as house:
        await until(lambda: house.control.refreshes == 1)
        house.driver.use(Backend(name="back", bootstrap=("localhost:1",), metadata_refresh=1000.0), None)
        await until(lambda: house.control.refreshes == 2)


@pytest.mark.parametrize("error", [ExchangeFailed("no broker could be reached"), ValueError("ours")])
async def test_a_failure_is_tried_again_and_told_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS_MIN", 0.01)
    async with driven(lambda control: setattr(control, "broken", error), metadata_refresh=0.02) as house:
        await until(lambda: house.control.refreshes >= 3)
        assert house.driver.last_error_words() != ""
        house.control.broken = None
        await until(lambda: len(house.events) == 2)
        assert house.driver.last_error_words() == ""
        house.control.broken = error
        await until(lambda: len(house.events) == 3)
    assert [event.fields["state"] for event in house.events] == ["unreachable", "reached", "unreachable"]
    assert all(event.event == "upstream" and event.fields["backend"] == "back" for event in house.events)


async def test_equal_asks_share_a_flight() -> None:
    async with driven() as house:
        house.control.go_on.clear()
        ask = WhichTopics(frozenset({"a"}))
        asking = [asyncio.create_task(house.driver.answer(WhichTopics(frozenset({"a"})))) for _ in range(5)]
        other = asyncio.create_task(house.driver.answer(MakeTopics(frozenset({"a"}))))
        await until(lambda: len(house.control.asked) == 2)
        asking[0].cancel()  # one asker's end is not the others'
        house.control.go_on.set()
        assert [await each for each in asking[1:]] == [Names("topic_facts")] * 4
        assert await other == Names("create_topics")
        assert house.control.asked == [("topic_facts", ask), ("create_topics", MakeTopics(frozenset({"a"})))]
        assert await house.driver.answer(ask) == Names("topic_facts")
        assert len(house.control.asked) == 3


async def test_few_fly_at_once_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 4)
    async with driven() as house:
        house.control.go_on.clear()
        asks = [MakeTopics(frozenset({str(number)})) for number in range(13)]
        asking = [asyncio.create_task(house.driver.answer(ask)) for ask in asks]
        assert await asking[12] == Unavailable(asks[12])
        assert len(house.control.asked) == module.FLIGHTS_MAX
        house.control.go_on.set()
        assert [await each for each in asking[:12]] == [Names("create_topics")] * 12


@pytest.mark.parametrize("error", [ExchangeFailed("lost"), ValueError("ours"), TimeoutError()])
async def test_what_cannot_be_answered_is_unavailable(error: Exception) -> None:
    async with driven() as house:
        house.control.broken = error
        ask = WhichTopics(frozenset({"a"}))
        assert await house.driver.answer(ask) == Unavailable(ask)


async def test_what_is_not_answered_in_time_is_unavailable() -> None:
    async with driven(dial_timeout=0.05, request_timeout=0.05) as house:
        house.control.go_on.clear()
        ask = WhichTopics(frozenset({"a"}))
        assert await house.driver.answer(ask) == Unavailable(ask)


async def test_closing_ends_the_flights() -> None:
    async with driven() as house:
        house.control.go_on.clear()
        ask = WhichTopics(frozenset({"a"}))
        asking = asyncio.create_task(house.driver.answer(ask))
        await until(lambda: house.control.asked)
        await house.driver.close()
        assert await asking == Unavailable(ask)
        assert house.control.closed


async def test_a_session_that_lost_its_broker_has_it_looked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: a Kafka session, the backend's state, its control object, the driver."""
    monkeypatch.setattr(module, "ON_DEMAND_SECONDS_MIN", 0.01)
    world = World()
    world.login()
    refreshes = 0

    async def learn(control: KafkaControl, broker: object) -> None:
        nonlocal refreshes
        refreshes += 1
        if refreshes == 2:
            world.state.want_refresh()  # another one is lost while this refresh is under way

    async def any_broker(control: KafkaControl, dial: object) -> Any:
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(KafkaControl, "_any_broker", any_broker)
    monkeypatch.setattr(KafkaControl, "_learn_cluster", learn)
    monkeypatch.setattr(KafkaControl, "_learn_brokers", lambda control, dial: asyncio.sleep(0))
    settings = Backend(name="main", bootstrap=("localhost:1",), metadata_refresh=1000.0)
    control = KafkaControl(world.state, settings)
    events: list[AuditEvent] = []
    driver = ControlDriver(control, settings, nobody_dialled, events.append, SystemClock(), Meters())
    await driver.start()
    try:
        await until(lambda: refreshes == 1)
        world.session.upstream_lost(GONE, "reset")
        await until(lambda: refreshes == 3)
        assert not control.refresh_wanted
    finally:
        await driver.close()

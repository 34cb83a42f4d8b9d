"""When Metadata is asked for again, expect the answer that a first time would give, for everybody it is shared with."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.settings import Limits
from gateway.kafka import authorize, remembered
from gateway.kafka.remembered import METADATA
from tests.scenarios.kafka_world import (
    ALL_TOPICS,
    TOPIC_A,
    TOPIC_B,
    TablePolicy,
    World,
    body_of,
    request,
    response,
)

TOPICS = {"a": TOPIC_A, "b": TOPIC_B}


def asked(number: int, *names: str, version: int = 12, **fields: Any) -> bytes:
    topics = [{"name": name} for name in names] if names else None
    return request(METADATA, version, number, {"topics": topics, "allowAutoTopicCreation": False, **fields})


def told(number: int, *names: str, version: int = 12, brokers: tuple[int, ...] = (1, 2), **fields: Any) -> bytes:
    topics = [{"name": name, "topicId": TOPICS[name], "partitions": []} for name in names]
    nodes = [{"nodeId": node, "host": f"broker{node}.internal", "port": 19092} for node in brokers]
    return response(METADATA, version, number, {"brokers": nodes, "topics": topics, "controllerId": 1, **fields})


def logged_in(**settings: Any) -> World:
    world = World(**settings)
    world.login()
    return world


def beside(world: World, name: str = "alice") -> World:
    """Another connection through the same gateway."""
    other = World(quotas=world.quotas)
    other.joins(world, name)
    return other


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which APIs the engine was asked about."""
    asked_about: list[int] = []
    planned = authorize.plan

    def counting(*args: Any) -> Any:
        asked_about.append(args[0])
        return planned(*args)

    monkeypatch.setattr(authorize, "plan", counting)
    return asked_about


def exchange(world: World, number: int, *, asks: tuple[str, ...] = (), tells: tuple[str, ...] = ("a", "b")) -> Any:
    """Ask, have the broker answer, and give the client's form of it."""
    sent = world.send(asked(number, *asks)).up
    assert sent[8:12] == number.to_bytes(4, "big")
    seen = world.reply(told(number, *tells))
    assert b"internal" not in seen.down
    (frame,) = seen.answers
    assert frame[:4] == number.to_bytes(4, "big")
    return body_of(METADATA, 12, frame)


@pytest.mark.parametrize("asks", [(), ("a",)])
def test_the_second_time_is_as_the_first(plans: list[int], asks: tuple[str, ...]) -> None:
    world = logged_in()
    first = exchange(world, 5, asks=asks)
    assert [topic["name"] for topic in first["topics"]] == ["a"]
    assert [node["host"] for node in first["brokers"]] == ["gw.test", "gw.test"]
    assert exchange(world, 6, asks=asks) == first
    assert exchange(beside(world), 7, asks=asks) == first
    assert exchange(beside(world, "bob"), 8, asks=asks) == first  # the same rights
    assert plans == [METADATA]
    sums = [event.fields["requests"] for event in world.tally.drain(0.0) if event.fields["resource"] == "a"]
    assert sums == ([3, 1] if asks else [])


def test_another_answer_is_looked_at(plans: list[int]) -> None:
    world = logged_in()
    assert [topic["name"] for topic in exchange(world, 5)["topics"]] == ["a"]
    assert exchange(world, 6, tells=("b",))["topics"] == []
    assert [topic["name"] for topic in exchange(world, 7)["topics"]] == ["a"]
    assert plans == [METADATA]


def test_a_new_policy_begins_anew() -> None:
    world = logged_in()
    exchange(world, 5)
    world.policies.current = TablePolicy((*ALL_TOPICS, ("topic", "Describe", "b")))
    assert [topic["name"] for topic in exchange(world, 6)["topics"]] == ["a", "b"]


def test_a_policy_between_request_and_answer() -> None:
    world = logged_in()
    exchange(world, 5)
    world.send(asked(6))
    world.policies.current = TablePolicy((("group", "Read", "*"),))
    (frame,) = world.reply(told(6, "a", "b")).answers
    assert body_of(METADATA, 12, frame)["topics"] == []
    world.policies.current = TablePolicy(ALL_TOPICS)
    assert [topic["name"] for topic in exchange(world, 7)["topics"]] == ["a"]


def test_topics_that_come_and_go(plans: list[int]) -> None:
    """Whether a topic exists decides what becomes of a request: it is decided anew after every change."""
    world = logged_in()
    exchange(world, 5)
    world.state.topics.learn("c", b"c" * 16)
    exchange(world, 6)
    world.state.topics.replace([("a", TOPIC_A), ("b", TOPIC_B), ("c", b"c" * 16)])  # nothing new
    exchange(world, 7)
    world.state.topics.forget([b"c" * 16])
    exchange(world, 8)
    assert plans == [METADATA] * 3


def test_what_the_audit_is_told_is_decided_each_time(plans: list[int]) -> None:
    world = logged_in()
    for number in (5, 6):
        answer = exchange(world, number, asks=("a", "b"), tells=("a",))
        assert {topic["name"]: topic["errorCode"] for topic in answer["topics"]} == {"a": 0, "b": 29}
    assert plans == [METADATA] * 2


def test_a_broker_out_of_reach_is_looked_at_each_time() -> None:
    world = logged_in()
    for number in (5, 6):
        world.send(asked(number))
        (frame,) = world.reply(told(number, "a", brokers=(1, 999_999))).answers
        assert len(body_of(METADATA, 12, frame)["brokers"]) == 1
    (one,) = world.state.metadata._asked.values()
    assert not one.answers


def test_throttled_it_is_told_so() -> None:
    world = logged_in()
    exchange(world, 5)
    world.send(asked(6))
    world.session._queue.places[-1].throttle_ms = 70  # type: ignore[union-attr]
    (frame,) = world.reply(told(6, "a")).answers
    assert body_of(METADATA, 12, frame)["throttleTimeMs"] == 70


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "OCTETS_MAX", 5000)
    world = logged_in(limits=Limits())
    memory = world.state.metadata
    for number in range(40):
        body = asked(number, *("a" * (number + 1),), version=9)
        world.send(body)
        world.reply(told(number, version=9))
        assert memory.octets <= 5000
        assert memory.octets == sum(each.octets for each in memory._asked.values())
    assert len(memory) < 40


def test_larger_requests_are_not_remembered(monkeypatch: pytest.MonkeyPatch, plans: list[int]) -> None:
    monkeypatch.setattr(remembered, "REQUEST_OCTETS_MAX", len(asked(5)) - 4 - 14 - 1)
    world = logged_in()
    exchange(world, 5)
    exchange(world, 6, asks=("a",))
    exchange(world, 7, asks=("a",))
    assert plans == [METADATA] * 3


def test_both_forms_of_an_old_request(plans: list[int]) -> None:
    """v3 is asked at v4, which can say that nothing is to be created; the client's version is answered."""
    world = logged_in()
    frames = []
    for number in (5, 6):
        seen = world.send(request(METADATA, 3, number, {"topics": [{"name": "a"}]}))
        assert seen.up[4:8] == b"\0\3\0\4"
        (frame,) = world.reply(told(number, "a", version=4)).answers
        frames.append(frame)
    assert frames[0][4:] == frames[1][4:]
    assert body_of(METADATA, 3, frames[1])["topics"][0]["name"] == "a"
    assert plans == [METADATA]


def test_a_listener_that_is_configured_anew_is_told_of_at_once() -> None:
    """By the same policy: what was made for the addresses of before is not used again, nor where it was expected."""
    world = logged_in()
    for number in (5, 6):
        world.send(asked(number, "a"))
        assert _host(world, number) == "gw.test"
    world.send(asked(7, "a"))
    world.context.listener = world.context.listener.model_copy(update={"advertised": "new.test"})
    assert _host(world, 7) == "new.test"
    world.send(asked(8, "a"))
    assert _host(world, 8) == "new.test"


def _host(world: World, number: int) -> str:
    (answer,) = world.reply(told(number, "a", brokers=(1,))).answers
    (broker,) = body_of(METADATA, 12, answer)["brokers"]
    return str(broker["host"])

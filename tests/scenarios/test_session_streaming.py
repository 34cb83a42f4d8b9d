"""When a large Fetch answer comes in parts, expect that: it goes on as it comes, and nothing leaves that may not."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.identity import Identity
from gateway.core.rights import Quota
from gateway.core.session_reasons import UPSTREAM_PROTOCOL
from gateway.kafka import codec, hot, reasons
from gateway.kafka.short_way import STREAMED_FRONT
from tests.forms import FORMS
from tests.property.short_ways import PUMP, SESSION, ShortWorld
from tests.scenarios.kafka_world import (
    ALL_TOPICS,
    PLENTY,
    TOPIC_A,
    TOPIC_B,
    TablePolicy,
    TableRights,
    World,
    beaten,
    body_of,
    fetch,
    heartbeat,
    response,
    versions,
)

BOTH_READ = (*ALL_TOPICS, ("topic", "Read", "b"))
LARGE = bytes(100_000)
WAYS = pytest.mark.parametrize("way", [SESSION, PUMP])
FORM = pytest.mark.parametrize("form", FORMS)


def world_of(form: hot.Form, way: str, **settings: Any) -> ShortWorld:
    world = ShortWorld(way, form.short_way, **{"allowed": BOTH_READ, **settings})
    world.login()
    world.send(fetch(3, TOPIC_A, TOPIC_B, version=16))
    world.reply(answer(3))
    return world


def topic(topic_id: bytes, records: bytes = b"", error: int = 0) -> dict[str, Any]:
    return {"topicId": topic_id, "partitions": [{"partitionIndex": 0, "errorCode": error, "records": records}]}


def answer(correlation_id: int, *topics: dict[str, Any], **fields: Any) -> bytes:
    return response(1, 16, correlation_id, {"sessionId": 77, "responses": list(topics), **fields})


@FORM
@WAYS
def test_it_goes_on_as_it_comes(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, LARGE), topic(TOPIC_B, LARGE))
    down = b""
    for at in range(0, len(whole), 4096):
        down += world.reply(whole[at : at + 4096]).down
        assert len(whole[: at + 4096]) - len(down) < 64 + 4096 * (at < STREAMED_FRONT)
    assert down == whole
    assert world.session.idle
    sums = {event.fields["resource"]: event.fields["bytes"] for event in world.tally.drain(0.0)}
    assert sums == {"a": len(LARGE), "b": len(LARGE)}
    world.send(fetch(5, TOPIC_A, version=16))
    assert world.reply(answer(5)).down == answer(5)


@FORM
@WAYS
def test_octet_by_octet(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, LARGE))
    assert world.reply(whole, chunk=1).down == whole


@FORM
@WAYS
def test_addresses_at_the_end_never_leave(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16), fetch(5, TOPIC_A, version=16))
    endpoints = [{"nodeId": 2, "host": "broker2.internal", "port": 19093, "rack": None}]
    whole = answer(4, topic(TOPIC_A, LARGE), topic(TOPIC_B, error=6), nodeEndpoints=endpoints)
    down = world.reply(whole, answer(5), chunk=1000).down
    assert b"internal" not in down
    assert len(down) == len(whole) + len(answer(5))
    body = body_of(1, 16, down[4 : len(whole)])
    assert codec.drop_unknown(body)
    assert body == codec.decode_response(1, 16, whole[9:]) | {"nodeEndpoints": []}
    # at once whole, they are rewritten instead
    world.send(fetch(6, TOPIC_A, version=16))
    (again,) = world.reply(answer(6, topic(TOPIC_A, LARGE), nodeEndpoints=endpoints)).answers
    assert [each["host"] for each in body_of(1, 16, again)["nodeEndpoints"]] == ["gw.test"]


@FORM
@WAYS
def test_a_right_withdrawn_before_it(form: hot.Form, way: str) -> None:
    """The session's topics are known: the answer is collected whole, and told as the broker would."""
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    world.policies.current = TablePolicy(ALL_TOPICS)
    whole = answer(4, topic(TOPIC_A, LARGE), topic(TOPIC_B, b"secret" * 9))
    seen = world.reply(whole, chunk=4096)
    body = body_of(1, 16, seen.answers[0])
    assert body["sessionId"] == 0
    assert [each["partitions"][0]["errorCode"] for each in body["responses"]] == [0, 29]
    assert b"secret" not in seen.down
    assert world.ended is None


@FORM
@WAYS
def test_a_right_withdrawn_in_the_middle_of_it(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, LARGE), topic(TOPIC_B, b"secret" * 9))
    down = world.reply(whole[:50_000]).down
    assert down
    world.policies.current = TablePolicy(ALL_TOPICS)
    seen = world.reply(whole[50_000:])
    assert b"secret" not in seen.down
    assert world.ended is not None
    assert (world.ended.reason, world.ended.detail) == (reasons.FETCHED_TOPIC_WITHDRAWN, "b")
    assert [line.fields["resource"] for line in world.lines("denied")] == ["b"]


@FORM
@WAYS
def test_a_binding_that_ends_in_the_middle_of_it_and_changes_nothing(form: hot.Form, way: str) -> None:
    """The rights are taken anew; what they still allow goes on at once, though nothing else happens."""
    world = world_of(form, way)
    rights = TableRights(frozenset(BOTH_READ), PLENTY, "r2")
    rights.valid_until = world.clock.wall() + 50
    world.policies.current = EndingPolicy(rights)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, LARGE), topic(TOPIC_B, LARGE))
    down = world.reply(whole[:50_000]).down
    world.advance(60)
    assert down + world.reply(whole[50_000:]).down == whole


class EndingPolicy(TablePolicy):
    """These rights until they end, and then the same for ever."""

    def __init__(self, rights: TableRights) -> None:
        super().__init__(BOTH_READ)
        self._ending = rights

    def rights(self, identity: Identity, backend: str, wall: float) -> TableRights:
        return self._ending if wall < self._ending.valid_until else super().rights(identity, backend, wall)


@FORM
@WAYS
def test_the_topic_that_is_coming_is_withdrawn(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_B, LARGE), topic(TOPIC_A))
    world.reply(whole[:50_000])
    world.policies.current = TablePolicy(ALL_TOPICS)
    assert not world.reply(whole[50_000:60_000]).down
    assert world.ended is not None
    assert world.ended.reason is reasons.FETCHED_TOPIC_WITHDRAWN


@FORM
@WAYS
def test_a_topic_that_the_broker_forgot_in_the_middle(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, LARGE), topic(TOPIC_B, error=100))
    assert world.reply(whole, chunk=30_000).down == whole
    assert world.state.topics.name(TOPIC_B) is None
    assert world.state.refresh_wanted


@FORM
@WAYS
def test_broken_in_the_middle(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = bytearray(answer(4, topic(TOPIC_A, LARGE), topic(TOPIC_B)))
    whole[100_070:] = b"\xff" * (len(whole) - 100_070)
    world.reply(bytes(whole), chunk=10_000)
    assert world.ended is not None
    assert world.ended.reason is UPSTREAM_PROTOCOL


@FORM
@WAYS
def test_an_own_answer_waits_until_its_end(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, LARGE))
    down = world.reply(whole[:50_000]).down
    assert not world.send(versions(5)).down
    down += world.reply(whole[50_000:]).down
    assert down[: len(whole)] == whole
    assert int.from_bytes(down[len(whole) + 4 : len(whole) + 8], "big") == 5
    assert world.session.idle


@FORM
@WAYS
def test_other_requests_go_on_meanwhile(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, LARGE))
    down = world.reply(whole[:50_000]).down
    assert world.send(heartbeat(5)).up == heartbeat(5)
    down += world.reply(whole[50_000:], beaten(5)).down
    assert down == whole + beaten(5)


@FORM
@WAYS
def test_what_leads_into_debt_is_collected_for_its_throttle_time(form: hot.Form, way: str) -> None:
    quota = Quota(produce_bytes=1e9, consume_bytes=60_000.0, requests=1e6, connections=9)
    world = world_of(form, way, quota=quota)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, LARGE))
    assert not world.reply(whole[:90_000]).down
    seen = world.reply(whole[90_000:])
    assert body_of(1, 16, seen.answers[0])["throttleTimeMs"] > 500
    assert world.held_until > world.clock.now


@FORM
@WAYS
def test_the_session_ends_in_the_middle(form: hot.Form, way: str) -> None:
    world = world_of(form, way)
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, LARGE))
    world.reply(whole[:50_000])
    world.clock.now += 4000
    assert not world.reply(whole[50_000:]).down
    assert world.ended is not None
    assert world.ended.reason is reasons.SESSION_EXPIRED


@FORM
def test_the_front_alone_is_waited_for(form: hot.Form) -> None:
    world = world_of(form, PUMP)
    world.send(fetch(4, TOPIC_A, version=16))
    assert not world.reply(answer(4, topic(TOPIC_A, LARGE))[: STREAMED_FRONT - 1]).down
    assert world.session.upstream_wanted == STREAMED_FRONT


def test_small_answers_are_not_streamed() -> None:
    world = World()
    world.login()
    world.send(fetch(4, TOPIC_A, version=16))
    whole = answer(4, topic(TOPIC_A, bytes(60_000)))
    assert not world.reply(whole[:50_000]).down
    assert world.reply(whole[50_000:]).down == whole

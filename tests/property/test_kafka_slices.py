"""A message walked in slices: the same octets, audit, counters and limits as in one go, whatever happens in between."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import slices
from gateway.core.rights import Quota
from gateway.kafka import codec, compile_encoder
from gateway.kafka.meters import DENIALS
from gateway.kafka.plan import TopicFacts, TopicFactsWanted
from gateway.kafka.vocabulary import SYSTEM
from tests.property.kafka_bodies import shape_of
from tests.property.short_ways import picture as picture_of
from tests.property.test_any_kafka_request import IDS, NAMES, VERSIONS, _body, names_from
from tests.scenarios.kafka_world import PLENTY, Seen, TablePolicy, World, framed, request, response

ALLOWED = tuple(
    (kind.name, operation, name)
    for kind in SYSTEM.kinds.values()
    for operation in kind.operations
    for name in (*(each for each in NAMES if each.startswith("ok")), "kafka-cluster")
)
TIGHT = Quota(produce_bytes=300.0, consume_bytes=300.0, requests=2.0, connections=5)
OTHERS = tuple(each for each in ALLOWED if each[2] != "ok-two")


def world_of(sliced: bool, creating: bool, quota: Quota) -> World:
    world = World(ALLOWED, quota=quota)
    for topic_id, name in IDS.items():
        world.state.topics.learn(name, topic_id)
    world.state.auto_create_topics = creating
    world.login()
    walks = world.context.walks
    walks.octets = 0 if sliced else 1 << 40
    walks.seconds, walks.elements = 0.0 if sliced else 1e9, 0
    return world


def exchange(world: World, sent: bytes, answer: Callable[[int], bytes]) -> Seen:
    """Send a request, tell what it waits for, answer it; all that came of it."""
    seen = world.send(sent)
    asks = 0
    while seen.asks:
        asks += 1
        (ask,) = seen.asks
        seen.asks = []
        missing = ask.ids if isinstance(ask, TopicFactsWanted) else frozenset()  # type: ignore[attr-defined]
        seen += world.tell(TopicFacts({}, missing, ask.names))  # type: ignore[attr-defined]
    if seen.requests and world.ended is None:
        header = codec.parse_request_header(memoryview(seen.requests[0]))
        if len(world.session._queue):
            seen += world.reply(answer(header.api_version))
    seen += world.advance(5.0)
    return seen


def picture(world: World) -> dict[str, Any]:
    principal = world.session.principal
    account = world.quotas.account(principal, PLENTY, world.clock.now) if principal is not None else None
    sums = sorted(tuple(event.fields.values()) for event in world.tally.drain(0.0))
    return {
        **picture_of(world),  # type: ignore[arg-type]
        "sums": sums,
        "kept": account._kept if account is not None else 0,
        "walks": world.context.walks.taken,
    }


@pytest.mark.parametrize(("key", "version"), VERSIONS, ids=lambda value: str(value))
def test_slices_of_one_element_come_to_the_same_as_one_go(key: int, version: int) -> None:
    sliced = 0
    for seed in range(6):
        dice = random.Random(f"{key} {version} {seed}")
        creating, quota = dice.random() < 0.3, TIGHT if seed % 3 == 2 else PLENTY
        body = _body(shape_of(("request", key, version)), dice, names_from(dice))
        sent = request(key, version, 9, body)
        answers: dict[int, bytes] = {}

        def answer(at: int, seed: int = seed, answers: dict[int, bytes] = answers) -> bytes:
            if at not in answers:
                lot = random.Random(f"answer {key} {at} {seed}")
                answers[at] = response(key, at, 9, _body(shape_of(("response", key, at)), lot, NAMES))
            return answers[at]

        whole, cut = world_of(False, creating, quota), world_of(True, creating, quota)
        seen = [exchange(world, sent, answer) for world in (whole, cut)]
        assert seen[0] == seen[1], seed
        assert picture(whole) == picture(cut), seed
        sliced += cut.slices
        assert whole.slices == 0
    assert sliced or key in (0, 1, 12, 13, 22, 25, 26)


def long_metadata(count: int = 40) -> bytes:
    names = [{"name": ("ok-one", "ok-two", "no-one")[number % 3]} for number in range(count)]
    return request(
        3, 9, 9, {"topics": names, "allowAutoTopicCreation": False, "includeTopicAuthorizedOperations": True}
    )


def of_topics(*names: str) -> bytes:
    topics = [{"errorCode": 0, "name": name, "partitions": []} for name in names for _ in range(9)]
    return response(3, 9, 9, {"brokers": [{"nodeId": 1, "host": "b", "port": 9}], "topics": topics})


def names_in(frame: bytes) -> set[str]:
    header = codec.parse_request_header(memoryview(frame))
    body = codec.decode_request(header.api_key, header.api_version, frame[header.body_offset :])
    return {topic["name"] for topic in body["topics"]}


@pytest.mark.parametrize("after", [1, 20, 60, 110])
def test_a_policy_that_comes_between_two_slices_decides_all_of_the_request(after: int) -> None:
    world = world_of(True, False, PLENTY)

    def reload() -> None:
        if world.slices == after:
            world.policies.current = TablePolicy(OTHERS, revision="r2")

    world.between = reload
    seen = world.send(long_metadata())
    assert names_in(seen.requests[0]) == {"ok-one"}
    denied = [(event.fields["resource"], event.fields["revision"]) for event in world.lines("denied")]
    assert len(denied) == len({resource for resource, _ in denied}) == 2
    assert ("ok-two", "r2") in denied
    assert world.context.walks.taken == 0


@pytest.mark.parametrize("after", [1, 10, 30])
def test_a_policy_that_comes_between_two_slices_decides_all_of_the_answer(after: int) -> None:
    world = world_of(True, False, PLENTY)
    world.send(request(3, 9, 9, {"topics": None, "allowAutoTopicCreation": False}))
    begun = world.slices

    def reload() -> None:
        if world.slices == begun + after:
            world.policies.current = TablePolicy(OTHERS, revision="r2")

    world.between = reload
    (answer,) = world.reply(of_topics("ok-one", "ok-two")).answers
    told = codec.decode_response(3, 9, answer[5:])
    assert {topic["name"] for topic in told["topics"]} == {"ok-one"}
    assert world.slices > begun + after
    assert world.context.walks.taken == 0


def test_a_policy_that_comes_after_any_slice_leaves_one_outcome_and_one_sum() -> None:
    """Also in the middle of what is done once it is decided: writing, counting, letting go."""
    topics = [{"name": name, "numPartitions": 1, "replicationFactor": 1} for name in ("ok-one", "ok-two", "no-one")]
    created = request(19, 5, 9, {"topics": topics})
    refused = request(19, 5, 9, {"topics": topics[1:]})
    rows = [{"name": name, "partitionData": [{"index": 0, "records": None}]} for name in ("ok-one", "ok-two")]
    produce = request(
        0, 9, 9, {"acks": -1, "transactionalId": "ok-one", "timeoutMs": 1, "topicData": rows, "_tags": {7: b"x"}}
    )
    for sent in (created, refused, produce):
        after = 0
        while True:
            after += 1
            world = world_of(True, False, PLENTY)

            def reload(world: World = world, after: int = after) -> None:
                if world.slices == after:
                    world.policies.current = TablePolicy(OTHERS, revision="r2")

            world.between = reload
            seen = world.send(sent)
            if world.slices < after:
                break
            plain = world_of(False, False, PLENTY)
            plain.policies.current = TablePolicy(OTHERS, revision="r2")
            assert plain.send(sent) == seen, after
            for each in (world, plain):
                each.events = []
            ours, theirs = picture(world), picture(plain)
            assert {**ours, "meters": 0} == {**theirs, "meters": 0}, after


class Halted(Exception):
    """The test goes on, and the session is left in the middle of a message."""


def halted_in(world: World, sent: bytes, after: int = 3) -> None:
    def halt() -> None:
        if world.slices == after:
            raise Halted

    world.between = halt
    with pytest.raises(Halted):
        world.send(sent)
    world.between = lambda: None


def test_the_end_of_the_connection_gives_its_place_back() -> None:
    world = world_of(True, False, PLENTY)
    halted_in(world, long_metadata())
    assert world.context.walks.taken == 1
    assert not world.session.idle
    world.session.closed(world.tokens.validate("bad", (), 0.0).reason, "")
    assert world.context.walks.taken == 0


def test_a_token_that_ends_between_two_slices_ends_the_connection_and_nothing_is_forwarded() -> None:
    world = world_of(True, False, PLENTY)
    halted_in(world, long_metadata())
    seen = world.advance(4000.0)
    assert seen.close is not None
    assert seen.close.reason.code == "session-expired"
    assert not seen.up
    assert world.context.walks.taken == 0


def test_neither_side_is_taken_from_as_long_as_a_message_is_at_hand() -> None:
    world = world_of(True, False, PLENTY)
    heartbeat = request(12, 4, 5, {"groupId": "ok-one", "generationId": 1, "memberId": "m"})
    world.send(heartbeat)
    beaten = response(12, 4, 5, {"throttleTimeMs": 0, "errorCode": 0})
    halted_in(world, long_metadata(), world.slices + 3)
    assert world.session.parked
    assert world.session.busy == "client"
    assert world.session.answer(memoryview(beaten)) == 0
    seen = world.advance(0.0)
    assert len(seen.requests) == 1
    assert world.reply(beaten).down == beaten


def test_more_walks_than_there_are_places_wait_with_nothing_but_their_octets() -> None:
    first = world_of(True, False, PLENTY)
    halted_in(first, long_metadata())
    others = []
    for _ in range(3):
        other = World(ALLOWED, quotas=first.quotas)
        other.context.walks = first.context.walks
        other.login()
        others.append(other)
    halted_in(others[0], long_metadata())
    halted_in(others[1], long_metadata())
    assert first.context.walks.taken == 2  # of one principal
    assert others[1].session.busy == "client"
    assert first.advance(0.0).requests
    assert others[1].advance(0.0).requests
    others[2].session.closed(first.tokens.validate("bad", (), 0.0).reason, "")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_request_ends_the_same_in_slices(at: int, value: int) -> None:
    sent = bytearray(long_metadata(30))
    sent[14 + at % (len(sent) - 14)] = value
    ends = []
    for sliced in (False, True):
        world = world_of(sliced, False, PLENTY)
        seen = world.send(bytes(sent))
        ends.append((seen.up, seen.down, world.ended, picture(world)))
    assert ends[0] == ends[1]


def test_an_own_answer_of_many_denials_in_slices() -> None:
    sent = request(
        19, 5, 9, {"topics": [{"name": f"no-{n}", "numPartitions": 1, "replicationFactor": 1} for n in range(50)]}
    )
    seen = [world_of(sliced, False, PLENTY).send(sent) for sliced in (False, True)]
    assert seen[0] == seen[1]
    assert framed(b"") not in seen[0].answers


def test_what_was_begun_under_another_policy_ends_with_its_request() -> None:
    """The new policy lets it go the short way at once. Whatever is denied from then on is counted, each time."""
    world = World([("topic", "Read", "ok-one")])
    world.login()
    walks = world.context.walks
    walks.octets, walks.seconds, walks.elements = 0, 0.0, 0
    slices = 0

    def between() -> None:
        nonlocal slices
        slices += 1
        if slices == 5:
            world.policies.current = TablePolicy([("topic", "Read", "*")], revision="new")

    world.between = between
    partition = {"partition": 0, "currentLeaderEpoch": -1, "fetchOffset": 0, "partitionMaxBytes": 1}
    topics = [{"topic": name, "partitions": [partition]} for name in ("ok-one", *(f"t{each}" for each in range(8)))]
    world.send(request(1, 12, 10, {"sessionId": 0, "sessionEpoch": -1, "topics": topics}))
    assert slices == 5, "then it was decided at once"
    world.between = lambda: None
    walks.octets = 1 << 40
    denials = world.meters.cell(DENIALS, "main", "no-rule")
    counted = []
    for number in range(3):
        before = denials.value
        world.send(request(20, 4, 100 + number, {"topicNames": ["secret"], "timeoutMs": 1}))
        counted.append(denials.value - before)
        world.advance(1.0)
    assert counted[0] > 0
    assert len(set(counted)) == 1


def large(key: int, records: bytes) -> tuple[bytes, Callable[[int], bytes]]:
    """A request whose half is denied, and its answer; with `records` either in the one or in the other."""
    names = ("ok-one", "no-one")
    if key == 0:
        data = [{"name": name, "partitionData": [{"index": 0, "records": records}]} for name in names]
        parts = [{"index": 0, "errorCode": 0, "baseOffset": 1}]
        sent = request(0, 9, 9, {"acks": -1, "timeoutMs": 9, "topicData": data})
        return sent, lambda version: response(0, 9, 9, {"responses": [{"name": "ok-one", "partitionResponses": parts}]})
    if key == 1:
        asked = [{"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1000}]
        sent = request(1, 12, 9, {"topics": [{"topic": name, "partitions": asked} for name in names]})
        fetched = [{"partitionIndex": 0, "errorCode": 0, "records": records}]
        told = [{"topic": name, "partitions": fetched} for name in names]
        return sent, lambda version: response(1, 12, 9, {"responses": told})
    topics = [{"errorCode": 0, "name": name, "partitions": []} for name in names] * (len(records) // 100)
    sent = request(3, 9, 9, {"topics": None, "allowAutoTopicCreation": False})
    return sent, lambda version: response(
        3, 9, 9, {"brokers": [{"nodeId": 1, "host": "b", "port": 9}], "topics": topics}
    )


@pytest.mark.parametrize("quota", [PLENTY, TIGHT], ids=["plenty", "tight"])
@pytest.mark.parametrize("key", [0, 1, 3])
def test_what_is_copied_in_pieces_comes_to_the_same(key: int, quota: Quota, monkeypatch: pytest.MonkeyPatch) -> None:
    """Octets on every side of the bounds of pieces."""
    monkeypatch.setattr(slices, "OCTETS_AT_ONCE", 1 << 12)
    monkeypatch.setattr(compile_encoder, "PARTS_MAX", 50)
    monkeypatch.setattr(slices, "JOINED_AT_ONCE", 20)
    monkeypatch.setattr(codec, "_requests", {})
    monkeypatch.setattr(codec, "_responses", {})
    for octets in (4_000, 4_096, 4_097, 60_000):
        sent, answer = large(key, bytes(index % 251 for index in range(octets)))
        whole, cut = world_of(False, False, quota), world_of(True, False, quota)
        cut.context.walks.elements = 100
        seen = [exchange(world, sent, answer) for world in (whole, cut)]
        assert seen[0] == seen[1], octets
        assert picture(whole) == picture(cut), octets
        assert cut.slices > 1

"""When this request or answer arrives after authentication, expect that."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import repeats
from gateway.core.rights import Quota
from gateway.core.session import Endpoint, Unavailable
from gateway.core.settings import Limits
from gateway.kafka import authorize, codec, reasons
from gateway.kafka.plan import TopicFacts, TopicFactsWanted
from tests.scenarios.kafka_world import (
    ALL_TOPICS,
    GONE,
    TOPIC_A,
    TOPIC_B,
    TOPIC_NEW,
    TablePolicy,
    World,
    authenticate,
    beaten,
    body_of,
    fetch,
    fetched,
    framed,
    handshake,
    heartbeat,
    id_of,
    produce,
    produced,
    request,
    request_body,
    response,
    versions,
)

BOTH = (*ALL_TOPICS, ("topic", "Read", "b"), ("topic", "Write", "b"))


def logged_in(*args: Any, **kwargs: Any) -> World:
    world = World(*args, **kwargs)
    world.login()
    return world


def tallied(world: World) -> dict[tuple[object, object], tuple[object, object]]:
    return {
        (event.fields["operation"], event.fields["resource"]): (event.fields["requests"], event.fields["bytes"])
        for event in world.tally.drain(0.0)
    }


# Produce


@pytest.mark.parametrize("version", range(3, 14))
def test_an_allowed_produce_goes_on_as_it_is(version: int) -> None:
    world = logged_in()
    frame = produce(5, TOPIC_A if version >= 13 else "a", version=version)
    assert world.send(frame, frame).up == frame + frame
    answer = produced(5, TOPIC_A if version >= 13 else "a", version=version)
    assert world.reply(answer, answer).down == answer + answer
    assert tallied(world)["Write", "a"][0] == 2


@pytest.mark.parametrize(
    ("api_key", "version", "fields"),
    [
        (0, 12, {"acks": 1, "timeoutMs": 9, "topicData": [{"name": "a", "partitionData": [], "_tags": {9: b"x"}}]}),
        (0, 9, {"acks": 1, "timeoutMs": 9, "topicData": [{"name": "a", "partitionData": []}], "_tags": {0: b""}}),
        (
            1,
            12,
            {
                "maxWaitMs": 1,
                "minBytes": 1,
                "topics": [{"topic": "a", "partitions": [{"partition": 1, "_tags": {8: b"x"}}]}],
            },
        ),
        (
            1,
            12,
            {"maxWaitMs": 1, "minBytes": 1, "topics": [{"topic": "a", "partitions": []}], "_tags": {1: b"x" * 13}},
        ),  # ReplicaState from v15 on
        (2, 6, {"replicaId": -1, "topics": [{"name": "a", "partitions": []}], "_tags": {5: b"replica"}}),
        (12, 4, {"groupId": "g", "memberId": "m", "generationId": 1, "_tags": {5: b"x"}}),
    ],
)
def test_unknown_tagged_fields_are_not_passed_on(api_key: int, version: int, fields: dict[str, Any]) -> None:
    """A newer broker may know them, and do what nobody decided."""
    world = logged_in(allowed=(*ALL_TOPICS, ("topic", "Describe", "a"), ("group", "Read", "g")))
    sent = request(api_key, version, 5, fields)
    (forwarded,) = world.send(sent).requests
    assert len(forwarded) < len(sent) - 4
    header, body = request_body(forwarded)
    assert (header.correlation_id, header.client_id) == (5, "test")
    known = codec.decode_request(api_key, version, sent[4 + header.body_offset :])
    assert codec.drop_unknown(known)
    assert body == known


def test_unknown_tagged_fields_of_the_header_are_not_passed_on() -> None:
    world = logged_in()
    plain = produce(5, "a", version=9)
    header = codec.parse_request_header(memoryview(plain)[4:])
    start, rest = plain[4 : 4 + header.body_offset - 1], plain[4 + header.body_offset :]
    (forwarded,) = world.send(framed(start + b"\x01\x07\x02zz" + rest)).requests
    assert forwarded == plain[4:]


@pytest.mark.parametrize("version", [3, 9, 12])
def test_a_partly_allowed_produce(version: int) -> None:
    world = logged_in()
    seen = world.send(produce(5, "a", "b", version=version))
    _, body = request_body(seen.requests[0])
    assert [topic["name"] for topic in body["topicData"]] == ["a"]
    seen = world.reply(produced(5, "a", version=version))
    answer = body_of(0, version, seen.answers[0])
    codes = {each["name"]: each["partitionResponses"][0]["errorCode"] for each in answer["responses"]}
    assert codes == {"a": 0, "b": 29}
    (line,) = world.lines("denied")
    assert line.fields["decision"] == "c1-1"
    assert {name: line.fields[name] for name in ("operation", "kind", "resource", "why", "revision", "reason")} == {
        "operation": "Write",
        "kind": "topic",
        "resource": "b",
        "why": "no-rule",
        "revision": "r1",
        "reason": "not-allowed",
    }
    sums = tallied(world)
    assert sums["Write", "a"][0] == 1
    assert sums["Write", "a"][1] > 0
    assert ("Write", "b") not in sums


def test_a_wholly_denied_produce_is_answered_here() -> None:
    world = logged_in()
    seen = world.send(produce(5, "b"))
    assert seen.up == b""
    answer = body_of(0, 9, seen.answers[0])
    assert answer["responses"][0]["partitionResponses"][0]["errorCode"] == 29


def test_produce_without_an_answer_takes_no_place() -> None:
    world = logged_in()
    seen = world.send(produce(5, "a", acks=0), heartbeat(6))
    assert len(seen.requests) == 2
    assert id_of(world.reply(beaten(6)).answers[0]) == 6


def test_the_allowed_part_of_produce_without_an_answer() -> None:
    world = logged_in()
    seen = world.send(produce(5, "a", "b", acks=0), heartbeat(6))
    _, body = request_body(seen.requests[0])
    assert [topic["name"] for topic in body["topicData"]] == ["a"]
    assert id_of(world.reply(beaten(6)).answers[0]) == 6
    assert world.ended is None


def test_a_denied_produce_without_an_answer_ends_the_connection() -> None:
    world = logged_in()
    seen = world.send(heartbeat(4), produce(5, "b", acks=0), heartbeat(6))
    assert seen.up == heartbeat(4)
    assert world.ended is not None
    assert world.ended.reason is reasons.PRODUCE_UNANSWERED
    assert len(world.lines("denied")) == 1


def test_a_transactional_batch_is_never_passed_by_the_topic_alone() -> None:
    world = logged_in()
    world.send(produce(4, "a"))
    seen = world.send(produce(5, "a", attributes=0x10))
    assert seen.up == b""
    seen = world.reply(produced(4, "a"))
    assert body_of(0, 9, seen.answers[1])["responses"][0]["partitionResponses"][0]["errorCode"] == 53


def test_a_name_is_no_id() -> None:
    """A topic's name of sixteen bytes must not open the topic whose id has those bytes."""
    name = "A" * 16
    world = logged_in((("topic", "Write", name),))
    assert world.send(produce(5, name)).up
    seen = world.send(produce(6, TOPIC_A, version=13))  # TOPIC_A is topic a, which is not allowed
    assert seen.up == b""


def test_node_endpoints_never_pass_unchanged() -> None:
    world = logged_in()
    world.send(produce(5, "a", version=10))
    endpoints = [{"nodeId": 2, "host": "broker2.internal", "port": 19093, "rack": None}]
    seen = world.reply(produced(5, "a", version=10, nodeEndpoints=endpoints))
    (endpoint,) = body_of(0, 10, seen.answers[0])["nodeEndpoints"]
    assert (endpoint["host"], endpoint["port"]) == ("gw.test", 9102)
    assert b"internal" not in seen.down


# Fetch


@pytest.mark.parametrize("version", range(4, 19))
def test_an_allowed_fetch_goes_on_as_it_is(version: int) -> None:
    world = logged_in()
    topic: str | bytes = TOPIC_A if version >= 13 else "a"
    frame, answer = fetch(5, topic, version=version), fetched(5, topic, version=version)
    assert world.send(frame).up == frame
    assert world.reply(answer).down == answer
    requests, octets = tallied(world)["Read", "a"]
    assert requests == 1
    assert isinstance(octets, int)
    assert octets > 0


def test_an_empty_incremental_fetch_goes_on() -> None:
    world = logged_in()
    world.send(fetch(4, "a", sessionEpoch=0))
    world.reply(fetched(4, "a"))
    frame = fetch(5, sessionId=77, sessionEpoch=1)
    assert world.send(frame).up == frame
    assert world.reply(fetched(5, "a")).down == fetched(5, "a")


def test_a_withdrawn_topic_does_not_keep_flowing_in_a_session() -> None:
    world = logged_in(BOTH)
    world.send(fetch(4, "a", "b", sessionEpoch=0))
    world.reply(fetched(4, "a", "b"))
    world.send(fetch(5, sessionId=77, sessionEpoch=1))
    world.policies.current = TablePolicy(ALL_TOPICS, revision="r2")
    seen = world.reply(fetched(5, "a", "b"))
    answer = body_of(1, 12, seen.answers[0])
    given = {each["topic"]: each["partitions"][0] for each in answer["responses"]}
    assert given["a"]["errorCode"] == 0
    assert len(given["a"]["records"]) > 0
    assert given["b"]["errorCode"] == 29
    assert not given["b"]["records"]
    assert answer["sessionId"] == 0
    (line,) = world.lines("denied")
    assert line.fields["revision"] == "r2"


def test_a_fetch_as_a_replica() -> None:
    world = logged_in((*ALL_TOPICS, ("cluster", "ClusterAction", "*")))
    seen = world.send(fetch(5, "a", replicaId=3))
    assert seen.up == b""
    assert seen.down != b""


def test_fetch_answers_with_addresses_are_rewritten() -> None:
    world = logged_in()
    world.send(fetch(5, TOPIC_A, version=16))
    endpoints = [{"nodeId": 1, "host": "broker1.internal", "port": 19092, "rack": None}]
    seen = world.reply(fetched(5, TOPIC_A, version=16, nodeEndpoints=endpoints))
    (endpoint,) = body_of(1, 16, seen.answers[0])["nodeEndpoints"]
    assert (endpoint["host"], endpoint["port"]) == ("gw.test", 9101)


# Topic ids


def test_an_unknown_topic_id_is_asked_for_and_nothing_later_is_decided() -> None:
    world = logged_in()
    frame = fetch(5, TOPIC_NEW, version=13)
    seen = world.send(heartbeat(4), frame, heartbeat(6))
    assert seen.up == heartbeat(4)
    assert seen.asks == [TopicFactsWanted("main", frozenset(), frozenset({TOPIC_NEW}))]
    assert world.session.parked
    world.state.topics.learn("a", TOPIC_NEW)
    seen = world.tell(TopicFacts({TOPIC_NEW: "a"}, frozenset(), frozenset()))
    assert seen.up == frame + heartbeat(6)
    assert not world.session.parked


@pytest.mark.parametrize("had", [True, False])
def test_a_topic_id_that_nobody_knows(had: bool) -> None:
    world = logged_in()
    seen = world.send(produce(5, TOPIC_NEW, version=13), heartbeat(6))
    (ask,) = seen.asks
    missing = TopicFacts({}, frozenset({TOPIC_NEW}), frozenset())
    seen = world.tell(missing if had else Unavailable(ask))
    answer = body_of(0, 13, seen.answers[0])["responses"][0]
    assert bytes(answer["topicId"]) == TOPIC_NEW
    assert answer["partitionResponses"][0]["errorCode"] == 100
    assert seen.up == heartbeat(6)


def test_what_was_told_holds_for_one_request_alone() -> None:
    world = logged_in()
    world.send(produce(5, TOPIC_NEW, version=13))
    world.tell(TopicFacts({}, frozenset({TOPIC_NEW}), frozenset()))
    assert world.send(produce(6, TOPIC_NEW, version=13)).asks


def test_a_waiting_request_is_charged_once() -> None:
    world = logged_in(quota=Quota(1e9, 1e9, requests=1.0, connections=9))
    seen = world.send(fetch(5, TOPIC_NEW, version=13))
    assert seen.asks
    assert world.held_until <= world.clock.now
    world.state.topics.learn("a", TOPIC_NEW)
    assert world.tell(TopicFacts({TOPIC_NEW: "a"}, frozenset(), frozenset())).up
    assert world.held_until <= world.clock.now


def test_a_request_that_waited_is_audited_and_summed_once() -> None:
    world = logged_in()
    world.send(produce(5, TOPIC_A, TOPIC_B, TOPIC_NEW, version=13))
    world.state.topics.learn("c", TOPIC_NEW)
    seen = world.tell(TopicFacts({TOPIC_NEW: "c"}, frozenset(), frozenset()))
    assert len(seen.requests) == 1
    assert [line.fields["resource"] for line in world.lines("denied")] == ["b", "c"]
    assert tallied(world)["Write", "a"][0] == 1


def test_an_id_the_broker_does_not_know_any_more_is_forgotten() -> None:
    world = logged_in()
    world.send(fetch(5, TOPIC_A, version=13))
    seen = world.reply(fetched(5, TOPIC_A, version=13, error=100))
    assert body_of(1, 13, seen.answers[0])["responses"][0]["partitions"][0]["errorCode"] == 100
    assert world.state.topics.name(TOPIC_A) is None
    assert world.state.topics.name(TOPIC_B) == "b"
    assert world.state.refresh_wanted
    assert world.send(fetch(6, TOPIC_A, version=13)).asks


# Order


def test_own_answers_wait_their_turn() -> None:
    world = logged_in()
    seen = world.send(heartbeat(4), produce(5, "b"), versions(6), heartbeat(7), produce(8, "b"))
    assert seen.down == b""
    assert seen.up == heartbeat(4) + heartbeat(7)
    seen = world.reply(beaten(4))
    assert [id_of(answer) for answer in seen.answers] == [4, 5, 6]
    seen = world.reply(beaten(7))
    assert [id_of(answer) for answer in seen.answers] == [7, 8]


def test_the_queue_of_expected_answers_is_bounded() -> None:
    world = logged_in(limits=Limits(in_flight_max=3))
    seen = world.send(*(heartbeat(number) for number in range(10, 20)))
    assert len(seen.requests) == 3
    assert world.session.parked
    seen = world.reply(beaten(10), beaten(11))
    assert [id_of(answer) for answer in seen.answers] == [10, 11]
    assert len(seen.requests) == 2
    seen = world.reply(*(beaten(number) for number in range(12, 15)))
    assert len(seen.requests) == 3


def test_own_answers_that_wait_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.kafka.answers.OWN_OCTETS_MAX", 100)
    world = logged_in()
    world.send(heartbeat(4), *(produce(number, "b") for number in range(5, 50)))
    assert world.session.parked
    seen = world.reply(beaten(4))
    assert [id_of(answer) for answer in seen.answers] == list(range(4, 50))
    assert not world.session.parked


@pytest.mark.parametrize("correlation_id", [3, 5, -1])
def test_an_answer_that_was_not_due(correlation_id: int) -> None:
    world = logged_in()
    world.send(heartbeat(4))
    seen = world.reply(beaten(correlation_id))
    assert seen.down == b""
    assert world.ended is not None
    assert world.ended.reason is reasons.UPSTREAM_PROTOCOL


def test_an_answer_nobody_asked_for() -> None:
    world = logged_in()
    world.reply(beaten(4))
    assert world.ended is not None
    assert world.ended.reason is reasons.UPSTREAM_PROTOCOL


def test_a_broken_answer_is_not_passed_on() -> None:
    world = logged_in()
    world.send(fetch(4, "a"))
    good = fetched(4, "a")
    seen = world.reply(framed(good[4:-3]))
    assert seen.down == b""
    assert world.ended is not None
    assert world.ended.reason is reasons.UPSTREAM_PROTOCOL


@pytest.mark.parametrize(
    ("size", "why"), [(3, "UPSTREAM_PROTOCOL"), (-1, "UPSTREAM_PROTOCOL"), (2001, "UPSTREAM_FRAME_TOO_LARGE")]
)
def test_an_answer_of_an_impossible_length(size: int, why: str) -> None:
    world = logged_in(limits=Limits(frame_bytes_max=2000))
    world.send(heartbeat(4))
    world.reply(struct.pack(">i", size))
    assert world.ended is not None
    assert world.ended.reason is getattr(reasons, why)


# Limits


def test_the_answer_comes_at_once_with_the_throttle_time_and_then_a_pause() -> None:
    world = logged_in(quota=Quota(1e9, 1e9, requests=2.0, connections=9))
    seen = world.send(heartbeat(4), heartbeat(5), heartbeat(6), heartbeat(7))
    assert len(seen.requests) == 3  # two saved, one into debt, then held back
    assert seen.mute_until == pytest.approx(world.clock.now + 0.5)
    seen = world.reply(beaten(4), beaten(5), beaten(6))
    times = [body_of(12, 4, answer)["throttleTimeMs"] for answer in seen.answers]
    assert times == [0, 0, 500]
    assert seen.requests == []
    assert len(world.advance(0.6).requests) == 1
    assert len(world.lines("throttled")) == 1


@pytest.mark.parametrize(("theirs", "expected"), [(100, 500), (900, 900)])
def test_the_larger_throttle_time_is_told(theirs: int, expected: int) -> None:
    world = logged_in(quota=Quota(1e9, 1e9, requests=2.0, connections=9))
    world.send(heartbeat(4), heartbeat(5), heartbeat(6))
    seen = world.reply(beaten(4), beaten(5), beaten(6, throttle=theirs))
    assert body_of(12, 4, seen.answers[2])["throttleTimeMs"] == expected


@pytest.mark.parametrize("version", [3, 8, 9, 12])
def test_the_throttle_time_of_produce_is_patched_in_place(version: int) -> None:
    world = logged_in(quota=Quota(produce_bytes=100.0, consume_bytes=1e9, requests=1e9, connections=9))
    frame = produce(4, "a", version=version)
    seen = world.send(frame)
    assert seen.up == frame
    assert seen.mute_until > world.clock.now
    plain = produced(4, "a", version=version)
    seen = world.reply(plain)
    answer = body_of(0, version, seen.answers[0])
    assert answer["throttleTimeMs"] > 0
    assert len(seen.down) == len(plain)
    assert {**answer, "throttleTimeMs": 0} == body_of(0, version, plain[4:])


def test_consuming_is_throttled_by_the_answers_size() -> None:
    world = logged_in(quota=Quota(1e9, consume_bytes=100.0, requests=1e9, connections=9))
    world.send(fetch(4, "a"))
    seen = world.reply(fetched(4, "a"))
    assert body_of(1, 12, seen.answers[0])["throttleTimeMs"] > 0
    assert seen.mute_until > world.clock.now
    assert not world.send(fetch(5, "a")).up


def test_no_pause_is_longer_than_the_limit() -> None:
    world = logged_in(quota=Quota(1.0, 1.0, 1e9, connections=9), limits=Limits(throttle_max=1.5))
    seen = world.send(produce(4, "a"))
    assert seen.mute_until == world.clock.now + 1.5
    answer = body_of(0, 9, world.reply(produced(4, "a")).answers[0])
    assert answer["throttleTimeMs"] == 1500


def test_a_denied_answer_carries_the_throttle_time_too() -> None:
    world = logged_in(quota=Quota(1.0, 1e9, 1e9, connections=9))
    seen = world.send(produce(4, "b"))
    assert body_of(0, 9, seen.answers[0])["throttleTimeMs"] == 2000


def test_throttled_is_written_once_per_interval() -> None:
    world = logged_in(quota=Quota(1.0, 1e9, 1e9, connections=9))
    for number in range(6):
        world.send(produce(number, "a"))
        world.advance(2.1)
    assert len(world.lines("throttled")) == 2


# Policy revisions


def test_a_new_revision_holds_from_the_next_request_on() -> None:
    world = logged_in(BOTH)
    assert world.send(produce(4, "b")).up
    world.policies.current = TablePolicy(ALL_TOPICS, revision="r2")
    assert not world.send(produce(5, "b")).up
    world.policies.current = TablePolicy(BOTH, revision="r3")
    assert world.send(produce(6, "b")).up


def test_a_binding_that_ends_holds_no_longer() -> None:
    world = World(BOTH)
    policy = world.policies.current
    policy._rights.valid_until = world.clock.wall() + 10
    world.login()
    world.send(produce(4, "a"), produce(5, "a"))
    asked = policy.asked
    world.clock.now += 11
    world.send(produce(6, "a"))
    assert policy.asked > asked


# Other APIs


def test_metadata_tells_the_gateways_addresses() -> None:
    world = logged_in()
    frame = request(3, 9, 4, {"topics": None, "allowAutoTopicCreation": False})
    assert len(world.send(frame).requests) == 1
    brokers = [{"nodeId": 1, "host": "broker1.internal", "port": 19092, "rack": None}]
    topics = [{"errorCode": 0, "name": name, "isInternal": False, "partitions": []} for name in ("a", "b")]
    seen = world.reply(response(3, 9, 4, {"brokers": brokers, "clusterId": "c", "controllerId": 1, "topics": topics}))
    answer = body_of(3, 9, seen.answers[0])
    assert [(each["host"], each["port"]) for each in answer["brokers"]] == [("gw.test", 9101)]
    assert [each["name"] for each in answer["topics"]] == ["a"]
    assert b"internal" not in seen.down


def test_a_broker_outside_the_range_is_warned_of_once_and_does_not_leak() -> None:
    world = logged_in()
    world.state.set_brokers({1: Endpoint("broker1.internal", 19092), 77: Endpoint("far.internal", 1)})
    brokers = [{"nodeId": node_id, "host": f"b{node_id}.internal", "port": 9, "rack": None} for node_id in (1, 77)]
    for number in (4, 5):
        world.send(request(3, 9, number, {"topics": []}))
        seen = world.reply(response(3, 9, number, {"brokers": brokers, "controllerId": 77}))
        assert b"internal" not in seen.down
    (line,) = world.lines("warning")
    assert (line.fields["reason"], line.fields["node_id"]) == ("node-id-outside-range", 77)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (framed(struct.pack(">hhih", 999, 0, 4, -1)), reasons.API_UNKNOWN),
        (framed(struct.pack(">hhih", -1, 0, 4, -1)), reasons.API_UNKNOWN),
        (framed(struct.pack(">hhih", 38, 1, 4, -1)), reasons.API_NOT_OFFERED),
        (framed(struct.pack(">hhih", 27, 1, 4, -1)), reasons.API_NOT_OFFERED),
        (framed(struct.pack(">hhih", 0, 2, 4, -1)), reasons.VERSION_NOT_OFFERED),
        (framed(struct.pack(">hhih", 12, 99, 4, -1) + b"\0"), reasons.VERSION_NOT_OFFERED),
        (framed(heartbeat(4)[4:] + b"x"), reasons.REQUEST_MALFORMED),
        (framed(heartbeat(4)[4:-2]), reasons.REQUEST_MALFORMED),
        (framed(produce(4, "a")[4:] + b"x"), reasons.REQUEST_MALFORMED),
        (framed(fetch(4, "a")[4:-1]), reasons.REQUEST_MALFORMED),
        (framed(struct.pack(">hhih", 12, 4, 4, 500)), reasons.REQUEST_MALFORMED),
        (struct.pack(">i", (100 << 20) + 1), reasons.FRAME_TOO_LARGE),
    ],
)
def test_bad_requests_end_the_connection_and_nothing_of_them_is_forwarded(frame: bytes, why: object) -> None:
    world = logged_in()
    seen = world.send(heartbeat(3), frame, heartbeat(5))
    assert seen.up == heartbeat(3)
    assert world.ended is not None
    assert world.ended.reason is why


def test_an_error_while_deciding_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*args: Any) -> Any:
        raise ZeroDivisionError("secret payload")

    monkeypatch.setattr(authorize, "plan", plan)
    world = logged_in()
    seen = world.send(heartbeat(3))
    assert seen.up == b""
    assert world.ended is not None
    assert world.ended.reason is reasons.INTERNAL_ERROR
    assert "ZeroDivisionError at" in world.ended.detail
    assert "secret" not in repr(world.events)


@pytest.mark.parametrize("version", range(9, 14))
def test_librdkafkas_metadata_for_all_topics(version: int) -> None:
    world = logged_in()
    sound = request(3, version, 4, {"topics": None, "allowAutoTopicCreation": False})
    excess = framed(sound[4:] + bytes(3))
    assert world.send(excess).up == sound
    assert world.ended is None
    world.send(framed(sound[4:] + bytes(4)))
    assert world.ended is not None
    assert world.ended.reason is reasons.REQUEST_MALFORMED


def test_a_version_that_one_broker_lacks_is_not_offered() -> None:
    world = logged_in()
    versions_of = {**dict(world.state._versions[1].apis), 12: (0, 3)}
    world.state.set_versions(2, type(world.state._versions[1])(versions_of))
    world.send(heartbeat(4))
    assert world.ended is not None
    assert world.ended.reason is reasons.VERSION_NOT_OFFERED


def test_where_the_upstream_is() -> None:
    assert World(node_id=2).session.upstream_endpoint() == Endpoint("broker2.internal", 19093)
    assert World(node_id=7).session.upstream_endpoint() is None
    world = World(node_id=None)
    assert {world.session.upstream_endpoint() for _ in range(4)} == set(world.state.brokers.values())


def test_a_lost_upstream_ends_the_connection() -> None:
    world = logged_in()
    world.session.upstream_lost(GONE, "reset")
    assert world.session.effects.close is not None
    assert world.session.effects.close.reason is GONE


def test_what_closed_says() -> None:
    world = logged_in()
    world.send(heartbeat(3))
    world.reply(beaten(3))
    world.session.closed(GONE, "")
    (line,) = world.lines("closed")
    sent = len(handshake(1) + authenticate("alice", 2) + heartbeat(3))
    assert (line.fields["requests"], line.fields["bytes_in"]) == (3, sent)
    assert isinstance(line.fields["bytes_out"], int)
    assert line.fields["bytes_out"] > len(beaten(3))
    assert line.fields["reason"] == "test-gone"


def test_the_software_of_a_client_that_needs_no_token_is_in_its_last_line() -> None:
    world = logged_in()
    world.send(versions(3, clientSoftwareName="other"))
    world.session.closed(GONE, "")
    assert world.lines("closed")[0].fields["client_software"] == "other/1.0"


def test_idle_is_when_nothing_is_owed() -> None:
    world = logged_in()
    assert world.session.idle
    world.send(heartbeat(3))
    assert not world.session.idle
    world.reply(beaten(3))
    assert world.session.idle
    world.send(fetch(5, TOPIC_NEW, version=13))
    assert not world.session.idle


def test_a_second_denial_of_the_same_has_a_number_of_its_own() -> None:
    world = logged_in()
    world.send(produce(4, "b"))
    world.advance(repeats.INTERVAL)
    world.send(produce(5, "b"))
    assert [line.fields["decision"] for line in world.lines("denied")] == ["c1-1", "c1-2"]


def test_a_denial_that_repeats_is_written_once_an_interval_and_says_how_often_it_came() -> None:
    """librdkafka asks for the metadata of a denied topic several times a second, as long as it lives."""
    world = logged_in()
    for number in range(25):
        world.send(produce(number, "b"))
        world.advance(repeats.INTERVAL / 10)
    lines = world.lines("denied")
    assert [line.fields.get("repeats", 0) for line in lines] == [0, 9, 9]
    world.session.closed(GONE, "")
    assert [line.fields["more"] for line in world.lines("denied")[3:]] == [4]  # 3 lines, 18 repeats and these: 25


def test_another_operation_or_resource_is_no_repeat() -> None:
    world = logged_in()
    world.send(produce(4, "b"), fetch(5, "b"), produce(6, "c"), produce(7, "b"))
    lines = world.lines("denied")
    assert [(line.fields["operation"], line.fields["resource"]) for line in lines] == [
        ("Write", "b"), ("Read", "b"), ("Write", "c"),
    ]  # fmt: skip


def test_a_denial_under_new_rights_is_no_repeat() -> None:
    world = logged_in()
    world.send(produce(4, "b"), produce(5, "b"))
    world.policies.current = TablePolicy((), revision="r2")
    world.send(produce(6, "b"))
    assert [line.fields["revision"] for line in world.lines("denied")] == ["r1", "r2"]
    world.session.closed(GONE, "")
    assert world.lines("denied")[-1].fields["more"] == 1


def test_denials_of_one_request_are_bounded_in_the_audit() -> None:
    world = logged_in()
    world.send(produce(4, *(f"x{number}" for number in range(250))))
    lines = world.lines("denied")
    assert len(lines) == 101
    assert lines[-1].fields["more"] == 150


# Any chunking


SCRIPT = (
    versions(1), handshake(2), authenticate("alice", 3), heartbeat(4), produce(5, "a"), produce(6, "b"),
    fetch(7, "a"), fetch(8, "a", "b"), produce(9, "a", "b"), produce(10, "a", acks=0), versions(11), heartbeat(12),
    fetch(13, TOPIC_B, version=13), request(3, 9, 14, {"topics": [{"name": "b"}]}),
)  # fmt: skip
ANSWERS = (
    beaten(4), produced(5, "a"), fetched(7, "a"), fetched(8, "a"), produced(9, "a"), beaten(12),
)  # fmt: skip


def played(chunk_up: int, chunk_down: int) -> tuple[bytes, bytes, list[tuple[str, object]]]:
    world = World()
    seen = world.send(*SCRIPT, chunk=chunk_up)
    seen += world.reply(*ANSWERS, chunk=chunk_down)
    assert world.ended is None
    return seen.up, seen.down, [(event.event, event.fields.get("resource")) for event in world.events]


def test_byte_by_byte_is_the_same_as_whole() -> None:
    assert played(1, 1) == played(0, 0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400))
def test_any_chunking_is_the_same_as_whole(chunk_up: int, chunk_down: int) -> None:
    assert played(chunk_up, chunk_down) == played(0, 0)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 60))
def test_garbage_is_never_forwarded(data: bytes, chunk: int) -> None:
    world = World()
    assert world.send(data, chunk=chunk).up == b""
    assert world.ended is None or world.ended.reason is not reasons.INTERNAL_ERROR


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(SCRIPT) - 1), st.data())
def test_a_damaged_request_has_a_named_cause(which: int, data: st.DataObject) -> None:
    frame = bytearray(SCRIPT[which])
    at = data.draw(st.integers(4, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255))
    world = World()
    if which > 2:
        world.login()
    seen = world.send(bytes(frame))
    for each in seen.requests:  # whatever goes on is whole and in the table
        header = codec.parse_request_header(memoryview(each))
        codec.decode_request(header.api_key, header.api_version, each[header.body_offset :])
    assert world.ended is None or world.ended.reason is not reasons.INTERNAL_ERROR

"""Every API that is offered, at every version, by principals with all rights and with none, whole and damaged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.session import Unavailable
from gateway.kafka import codec, reasons
from gateway.kafka.table import OFFERED
from gateway.kafka.vocabulary import SYSTEM
from tests.scenarios.kafka_world import Seen, World, body_of, framed, id_of, request, response

EVERYTHING = tuple((kind.name, operation, "*") for kind in SYSTEM.kinds.values() for operation in kind.operations)
ALL_VERSIONS = [(key, version) for key, (low, high) in OFFERED.items() for version in range(low, high + 1)]
ONE_TOPIC: dict[int, dict[str, Any]] = {
    0: {"topicData": [{"name": "a", "partitionData": [{"index": 0, "records": None}]}]},
    2: {"topics": [{"name": "a", "partitions": [{"partitionIndex": 0}]}]},
    3: {"topics": [{"name": "a"}]},
    23: {"topics": [{"topic": "a", "partitions": [{"partition": 0}]}]},
    37: {"topics": [{"name": "a", "count": 3, "assignments": None}]},
}


def settled(world: World, seen: Seen) -> Seen:
    """Tell whatever is asked for that it could not be had."""
    while seen.asks:
        (ask,) = seen.asks
        seen.asks = []
        seen += world.tell(Unavailable(ask))
    return seen


@pytest.mark.parametrize("rights", ["all", "none"])
@pytest.mark.parametrize(("api_key", "version"), ALL_VERSIONS)
def test_an_empty_request_and_an_empty_answer(api_key: int, version: int, rights: str) -> None:
    world = World(EVERYTHING if rights == "all" else ())
    world.login()
    seen = settled(world, world.send(request(api_key, version, 9, {})))
    assert world.ended is None or world.ended.reason is reasons.PRODUCE_UNANSWERED, world.ended
    if seen.requests:
        header = codec.parse_request_header(memoryview(seen.requests[0]))
        assert (header.api_key, header.correlation_id, header.client_id) == (api_key, 9, "test")
        if api_key == 0:
            return  # acks=0
        seen = world.reply(response(api_key, header.api_version, 9, {}))
    assert world.ended is None or world.ended.reason is reasons.PRODUCE_UNANSWERED, world.ended
    for answer in seen.answers:
        assert id_of(answer) == 9
        body_of(api_key, version, answer)


@pytest.mark.parametrize("api_key", ONE_TOPIC)
def test_a_denied_topic_is_never_forwarded(api_key: int) -> None:
    for version in range(OFFERED[api_key][0], OFFERED[api_key][1] + 1):
        if api_key == 0 and version >= 13:
            continue
        world = World()
        world.policies.current._rights.allowed = frozenset()
        world.login()
        body = {**ONE_TOPIC[api_key], **({"acks": -1} if api_key == 0 else {})}
        seen = world.send(request(api_key, version, 9, body))
        for sent in seen.requests:
            header = codec.parse_request_header(memoryview(sent))
            asked = codec.decode_request(api_key, header.api_version, sent[header.body_offset :])
            assert not asked.get("topics")
            assert not asked.get("topicData")
        assert world.lines("denied")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ALL_VERSIONS), st.data())
def test_a_damaged_answer_is_passed_on_whole_or_ends_the_connection(
    which: tuple[int, int], data: st.DataObject
) -> None:
    api_key, version = which
    world = World(EVERYTHING)
    world.login()
    body = {"acks": 1} if api_key == 0 else {}
    seen = settled(world, world.send(request(api_key, version, 9, body)))
    if not seen.requests:
        return
    header = codec.parse_request_header(memoryview(seen.requests[0]))
    answer = bytearray(response(api_key, header.api_version, 9, {})[4:])
    for _ in range(data.draw(st.integers(1, 3))):
        if len(answer) > 4:
            answer[data.draw(st.integers(4, len(answer) - 1))] = data.draw(st.integers(0, 255))
    seen = world.reply(framed(bytes(answer)))
    assert world.ended is None or world.ended.reason is reasons.UPSTREAM_PROTOCOL, world.ended
    for each in seen.answers:
        assert id_of(each) == 9

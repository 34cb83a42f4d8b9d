"""The hot path's scanners say what the codec says, on every version, on cut frames and on broken ones."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kafka import codec, hot, scan, steps
from gateway.kafka.codec import Malformed
from tests.forms import FORMS
from tests.property.kafka_bodies import shape_of, some_body

Body = dict[str, Any]
PRODUCE, FETCH = 0, 1
HEADERS = (b"", b"\x00" * 14)
"""The body does not begin at the frame's first byte."""


def batch(flags: int, producer_id: int, payload: int = 5) -> bytes:
    """The header of a record batch (magic 2) and some bytes that stand for records."""
    head = bytes(8) + (49 + payload).to_bytes(4, "big") + bytes(4) + b"\x02" + bytes(4) + flags.to_bytes(2, "big")
    return head + bytes(20) + producer_id.to_bytes(8, "big", signed=True) + bytes(10) + bytes(payload)


def with_batches(body: Body, dice: random.Random) -> Body:
    for topic in body["topicData"]:
        for partition in topic["partitionData"]:
            partition["records"] = dice.choice(
                (None, b"", b"short", batch(0, -1), batch(0x10, 7), batch(0, 7), batch(0, -1) + batch(0x10, 9))
            )
    return body


def octets(records: Any) -> int:
    return len(records or b"")


def flags(body: Body) -> tuple[bool, bool]:
    """(transactional, idempotent) found the slow way."""
    transactional = idempotent = False
    for topic in body["topicData"]:
        for partition in topic["partitionData"]:
            records = bytes(partition["records"] or b"")
            while len(records) >= 61:
                transactional = transactional or bool(records[22] & 0x10)
                idempotent = idempotent or int.from_bytes(records[43:51], "big", signed=True) >= 0
                records = records[12 + int.from_bytes(records[8:12], "big") :]
    return transactional, idempotent


FETCH_TAGGED = ("clusterId", "replicaState", "replicaDirectoryId", "highWatermark")


def tagged(api_key: int, version: int, body: Body) -> bool:
    """Whether the message is shorter without its tagged fields."""

    def without(value: Any) -> Any:
        if isinstance(value, list):
            return [without(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {name: without(each) for name, each in value.items() if name not in ("_tags", *FETCH_TAGGED)}

    return codec.encode_request(api_key, version, without(body)) != codec.encode_request(api_key, version, body)


def expected_produce(body: Body, version: int) -> scan.ProduceScan:
    name = "topicId" if version >= 13 else "name"
    identity = body["transactionalId"]
    return scan.ProduceScan(
        None if identity is None else identity.encode(),
        body["acks"],
        tuple(topic[name] if version >= 13 else topic[name].encode() for topic in body["topicData"]),
        tuple(sum(octets(each["records"]) for each in topic["partitionData"]) for topic in body["topicData"]),
        *flags(body),
        tagged(0, version, body),
    )


def topics_of(topics: list[Body], version: int) -> tuple[bytes, ...]:
    return tuple(topic["topicId"] if version >= 13 else topic["topic"].encode() for topic in topics)


def expected_fetch(body: Body, version: int) -> scan.FetchScan:
    return scan.FetchScan(
        topics_of(body["topics"], version),
        body.get("sessionId", 0),
        body.get("sessionEpoch", -1),
        body["replicaState"]["replicaId"] if version >= 15 else body["replicaId"],
        topics_of(body.get("forgottenTopicsData", []), version),
        tagged(1, version, body),
    )


def codes(topics: list[Body], partitions: str) -> frozenset[int]:
    return frozenset(each["errorCode"] for topic in topics for each in topic[partitions] if each["errorCode"])


def check_produce_walk(walk: scan.ProduceWalk, body: Body, frame: bytes, endpoints: bool) -> None:
    there = frame[walk.throttle_offset : walk.throttle_offset + 4]
    assert int.from_bytes(there, "big", signed=True) == body["throttleTimeMs"]
    assert walk.has_node_endpoints is endpoints
    assert walk.error_codes == codes(body["responses"], "partitionResponses")


def check_fetch_walk(walk: scan.FetchWalk, body: Body, frame: bytes, version: int, endpoints: bool) -> None:
    there = frame[walk.throttle_offset : walk.throttle_offset + 4]
    assert int.from_bytes(there, "big", signed=True) == body["throttleTimeMs"]
    assert walk.topics == topics_of(body["responses"], version)
    assert walk.topic_octets == tuple(
        sum(octets(each["records"]) for each in topic["partitions"]) for topic in body["responses"]
    )
    assert walk.has_node_endpoints is endpoints
    assert (walk.error_code, walk.session_id) == (body.get("errorCode", 0), body.get("sessionId", 0))
    assert walk.error_codes == codes(body["responses"], "partitions")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", steps.PRODUCE_VERSIONS)
def test_produce_requests(form: hot.Form, version: int) -> None:
    dice = random.Random(version)
    shape = shape_of(("request", PRODUCE, version))
    for _ in range(150):
        body = with_batches(some_body(shape, dice), dice)
        header = dice.choice(HEADERS)
        frame = header + codec.encode_request(PRODUCE, version, body)
        assert form.scan_produce(memoryview(frame), len(header), version) == expected_produce(body, version)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", steps.FETCH_VERSIONS)
def test_fetch_requests(form: hot.Form, version: int) -> None:
    dice = random.Random(version)
    shape = shape_of(("request", FETCH, version))
    for _ in range(150):
        body = some_body(shape, dice)
        header = dice.choice(HEADERS)
        frame = header + codec.encode_request(FETCH, version, body)
        assert form.scan_fetch(memoryview(frame), len(header), version) == expected_fetch(body, version)


@pytest.mark.parametrize("version", steps.PRODUCE_VERSIONS)
def test_produce_answers(version: int) -> None:
    dice = random.Random(version)
    shape = shape_of(("response", PRODUCE, version))
    for _ in range(150):
        body = some_body(shape, dice)
        header = dice.choice(HEADERS)
        frame = header + codec.encode_response(PRODUCE, version, body)
        walk = scan.walk_produce_response(memoryview(frame), len(header), version)
        check_produce_walk(walk, body, frame, bool(body.get("nodeEndpoints")))


@pytest.mark.parametrize("version", steps.FETCH_VERSIONS)
def test_fetch_answers(version: int) -> None:
    dice = random.Random(version)
    shape = shape_of(("response", FETCH, version))
    for _ in range(150):
        body = some_body(shape, dice)
        header = dice.choice(HEADERS)
        frame = header + codec.encode_response(FETCH, version, body)
        walk = scan.walk_fetch_response(memoryview(frame), len(header), version)
        check_fetch_walk(walk, body, frame, version, bool(body.get("nodeEndpoints")))


BOTH: list[hot.Form] = [each.values[0] for each in FORMS]
SCANS = [
    *(("request", PRODUCE, version, form.scan_produce) for form in BOTH for version in steps.PRODUCE_VERSIONS),
    *(("request", FETCH, version, form.scan_fetch) for form in BOTH for version in steps.FETCH_VERSIONS),
    *(("response", PRODUCE, version, scan.walk_produce_response) for version in steps.PRODUCE_VERSIONS),
    *(("response", FETCH, version, scan.walk_fetch_response) for version in steps.FETCH_VERSIONS),
]


def encoded(kind: str, key: int, version: int, dice: random.Random) -> bytes:
    body = some_body(shape_of((kind, key, version)), dice)
    if (kind, key) == ("request", PRODUCE):
        body = with_batches(body, dice)
    return codec.encode_request(key, version, body) if kind == "request" else codec.encode_response(key, version, body)


@pytest.mark.parametrize(("kind", "key", "version", "function"), SCANS)
def test_cut_anywhere_it_is_malformed(kind: str, key: int, version: int, function: Any) -> None:
    dice = random.Random(version)
    for _ in range(5):
        data = encoded(kind, key, version, dice)
        for size in range(len(data)):
            with pytest.raises(Malformed):
                function(memoryview(data)[:size], 0, version)
        with pytest.raises(Malformed):
            function(memoryview(data + b"\0"), 0, version)


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(SCANS), st.integers(0, 2**32), st.integers(0, 10_000), st.integers(1, 255))
def test_one_wrong_byte_is_judged_as_by_the_codec(
    which: tuple[str, int, int, Any], seed: int, place: int, change: int
) -> None:
    """A request that the scanner takes is one the codec takes, or its only fault is text that is not UTF-8."""
    kind, key, version, function = which
    data = bytearray(encoded(kind, key, version, random.Random(seed)))
    data[place % len(data)] ^= change
    try:
        found = function(memoryview(data), 0, version)
    except Malformed:
        found = None
    decode = codec.decode_request if kind == "request" else codec.decode_response
    body, fault = None, ""
    try:
        body = decode(key, version, memoryview(data))
    except Malformed as error:
        fault = str(error)
    if body is None:
        assert kind == "response" or found is None or "UTF-8" in fault
        return
    assert found is not None
    if kind == "request":
        expected: Any = (expected_produce if key == PRODUCE else expected_fetch)(body, version)
        assert found[:4] == expected[:4]


@pytest.mark.parametrize("version", [-1, 2, 14, 99])
def test_other_versions_are_malformed(version: int) -> None:
    with pytest.raises(Malformed):
        scan.scan_produce(memoryview(bytes(40)), 0, version)
    with pytest.raises(Malformed):
        scan.walk_produce_response(memoryview(bytes(40)), 0, version)


@pytest.mark.parametrize("version", [-1, 3, 19, 99])
def test_other_fetch_versions_are_malformed(version: int) -> None:
    with pytest.raises(Malformed):
        scan.scan_fetch(memoryview(bytes(40)), 0, version)
    with pytest.raises(Malformed):
        scan.walk_fetch_response(memoryview(bytes(40)), 0, version)


@pytest.mark.parametrize("size", [15, 17])
def test_a_known_tag_of_another_size_is_refused(size: int) -> None:
    """The broker reads the directory id's 16 bytes whatever size is announced, and would read on elsewhere."""
    body = {"topics": [{"partitions": [{"replicaDirectoryId": b"\x01" * 16}]}]}
    frame = codec.encode_request(FETCH, 17, body)
    good = b"\x01\x00\x10" + b"\x01" * 16
    assert good in frame
    bad = frame.replace(good, b"\x01\x00" + bytes([size]) + b"\x01" * size)
    scan.scan_fetch(memoryview(frame), 0, 17)
    for read in (
        lambda: scan.scan_fetch(memoryview(bad), 0, 17),
        lambda: codec.decode_request(FETCH, 17, bad),
    ):
        with pytest.raises(Malformed):
            read()


def test_elements_are_bounded() -> None:
    topics = [{"topicId": bytes(16), "partitionData": []}]
    at_most = {"topicData": topics * scan.ELEMENTS_MAX}
    frame = codec.encode_request(PRODUCE, 13, at_most)
    assert len(scan.scan_produce(memoryview(frame), 0, 13).topics) == scan.ELEMENTS_MAX
    codec.decode_request(PRODUCE, 13, frame)
    frame = codec.encode_request(PRODUCE, 13, {"topicData": topics * (scan.ELEMENTS_MAX + 1)})
    with pytest.raises(Malformed):
        scan.scan_produce(memoryview(frame), 0, 13)
    with pytest.raises(Malformed):
        codec.decode_request(PRODUCE, 13, frame)

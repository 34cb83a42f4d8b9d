"""The hot path, downwards: find in answers to Produce and Fetch what is to be counted, checked or rewritten.

As kafka.scan for requests: plain Python to be compiled later, held by tests to what the codec says. The sender is
the broker: text is not checked to be UTF-8, and tagged fields are stepped over by their sizes. Records are stepped
over by their length.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.core.slices import paced
from gateway.kafka.primitives import Malformed, varint
from gateway.kafka.steps import (
    FAULTS,
    FETCH_FLEXIBLE,
    FETCH_TOPIC_IDS,
    FETCH_VERSIONS,
    INT16,
    INT32,
    PRODUCE_FLEXIBLE,
    PRODUCE_TOPIC_IDS,
    PRODUCE_VERSIONS,
    read_count,
    read_nullable_text,
    read_tag,
    read_topic,
    skip_tags,
)  # fmt: skip

PRODUCE_NODE_ENDPOINTS = 10
FETCH_NODE_ENDPOINTS = 16
NODE_ENDPOINTS_TAG = 0


class ProduceWalk(NamedTuple):
    """What a Produce answer holds. `throttle_offset`: where in the frame its int32 throttle time is.

    error_codes: those of its partitions, 0 left out.
    """

    throttle_offset: int
    has_node_endpoints: bool
    error_codes: frozenset[int]


class FetchWalk(NamedTuple):
    """What a Fetch answer holds. topic_octets: bytes of records for each topic. error_code: of the whole answer."""

    throttle_offset: int
    topics: tuple[bytes, ...]
    topic_octets: tuple[int, ...]
    has_node_endpoints: bool
    error_code: int
    session_id: int
    error_codes: frozenset[int]


_NO_CODES: frozenset[int] = frozenset()


def walk_produce_response(frame: memoryview, body_offset: int, version: int) -> ProduceWalk:
    """Walk a Produce answer of versions 3 to 13. Raises Malformed."""
    try:
        return _walk_produce(frame, body_offset, version)
    except FAULTS:
        raise Malformed(f"ProduceResponse v{version}: it ends too early") from None


def walk_fetch_response(frame: memoryview, body_offset: int, version: int) -> FetchWalk:
    """Walk a Fetch answer of versions 4 to 18. Raises Malformed."""
    try:
        return _walk_fetch(frame, body_offset, version)
    except FAULTS:
        raise Malformed(f"FetchResponse v{version}: it ends too early") from None


def _walk_produce(d: memoryview, o: int, version: int) -> ProduceWalk:
    if version not in PRODUCE_VERSIONS:
        raise Malformed(f"ProduceResponse has no version {version}")
    end = len(d)
    flexible = version >= PRODUCE_FLEXIBLE
    ids = version >= PRODUCE_TOPIC_IDS
    size = 30 if version >= 5 else 22
    codes: set[int] | None = None
    count, o = read_count(d, o, end, flexible, (18 if ids else 3) if flexible else 6)
    for _ in paced(range(count)):
        _, o = read_topic(d, o, end, flexible, ids)
        partitions, o = read_count(d, o, end, flexible, size)
        for _ in paced(range(partitions)):
            (code,) = INT16(d, o + 4)
            if code:
                codes = {code} if codes is None else codes | {code}
            o += size
            if version >= 8:
                o = _record_errors(d, o, end, flexible)
                _, o = read_nullable_text(d, o, end, flexible)
            if flexible:
                o = o + 1 if d[o] == 0 else skip_tags(d, o, end)
        if flexible:
            o = o + 1 if d[o] == 0 else skip_tags(d, o, end)
    throttle_offset = o
    o += 4
    endpoints = False
    if flexible:
        endpoints, o = answer_tags(d, o, end, version >= PRODUCE_NODE_ENDPOINTS)
    if o != end:
        raise Malformed("ProduceResponse: bytes left over, or too few")
    return ProduceWalk(throttle_offset, endpoints, _NO_CODES if codes is None else frozenset(codes))


def _record_errors(d: memoryview, o: int, end: int, flexible: bool) -> int:
    count, o = read_count(d, o, end, flexible, 6)
    for _ in paced(range(count)):
        _, o = read_nullable_text(d, o + 4, end, flexible)
        if flexible:
            o = skip_tags(d, o, end)
    return o


def _walk_fetch(d: memoryview, o: int, version: int) -> FetchWalk:
    if version not in FETCH_VERSIONS:
        raise Malformed(f"FetchResponse has no version {version}")
    end = len(d)
    flexible = version >= FETCH_FLEXIBLE
    ids = version >= FETCH_TOPIC_IDS
    throttle_offset = o
    o += 4
    error_code = session_id = 0
    if version >= 7:
        (error_code,) = INT16(d, o)
        (session_id,) = INT32(d, o + 2)
        o += 6
    topics: list[bytes] = []
    octets: list[int] = []
    codes: set[int] | None = None
    size = 30 if version >= 5 else 22
    count, o = read_count(d, o, end, flexible, (18 if ids else 3) if flexible else 6)
    for _ in paced(range(count)):
        topic, o = read_topic(d, o, end, flexible, ids)
        partitions, o = read_count(d, o, end, flexible, size)
        total = 0
        for _ in paced(range(partitions)):
            (code,) = INT16(d, o + 4)
            if code:
                codes = {code} if codes is None else codes | {code}
            o = _aborted(d, o + size, end, flexible)
            if version >= 11:
                o += 4
            if flexible:
                length, o = varint(d, o)
                length -= 1
            else:
                (length,) = INT32(d, o)
                o += 4
                if length < -1:
                    raise Malformed("FetchResponse: a negative length")
            if length > 0:
                total += length
                o += length
            if flexible:
                o = o + 1 if d[o] == 0 else skip_tags(d, o, end)
        if flexible:
            o = o + 1 if d[o] == 0 else skip_tags(d, o, end)
        topics.append(topic)
        octets.append(total)
    endpoints = False
    if flexible:
        endpoints, o = answer_tags(d, o, end, version >= FETCH_NODE_ENDPOINTS)
    if o != end:
        raise Malformed("FetchResponse: bytes left over, or too few")
    seen = _NO_CODES if codes is None else frozenset(codes)
    return FetchWalk(throttle_offset, tuple(topics), tuple(octets), endpoints, error_code, session_id, seen)


def _aborted(d: memoryview, o: int, end: int, flexible: bool) -> int:
    """Behind the list of aborted transactions, which may be null."""
    count: int
    if flexible:
        count, o = varint(d, o)
        count -= 1
        if count * 17 > end - o:
            raise Malformed("FetchResponse: more elements than bytes")
        for _ in paced(range(count)):
            o = skip_tags(d, o + 16, end)
        return o
    (count,) = INT32(d, o)
    if count < -1:
        raise Malformed("FetchResponse: a negative length")
    return o + 4 + 16 * max(count, 0)


def answer_tags(d: memoryview, o: int, end: int, known: bool) -> tuple[bool, int]:
    """Whether node endpoints (KIP-951) are among an answer's tagged fields, and where these end."""
    if d[o] == 0:
        return False, o + 1
    count, o = varint(d, o)
    found = False
    last = -1
    for _ in paced(range(count)):
        tag, _, stop = read_tag(d, o, end, last)
        last = tag
        if known and tag == NODE_ENDPOINTS_TAG:
            found = True
        o = stop
    return found, o

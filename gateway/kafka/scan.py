"""The hot path: find in Produce, Fetch and their answers what is to be decided, without building the message.

Called by the session for each such frame. Plain Python over (data, offset), to be compiled later; this form is the
specification, and kafka.codec says the same about every frame (tests compare them at every version). Records are
stepped over by their length: no byte of them is copied, and of each batch only three fields of its header are read.

Every function raises Malformed where the codec would, with two exceptions, both where the answer's sender is the
broker or the name is looked up as bytes anyway: text is not checked to be UTF-8, and the tagged fields of answers are
stepped over by their size. A request's known tagged fields are measured, because the broker reads them without
looking at the size that was announced: a wrong one would make it read another message than the one decided here.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import NamedTuple

from gateway.kafka.compile import TEXT_MAX, Malformed, varint

ELEMENTS_MAX = 250_000
"""Topics and partitions in one message; kafka.codec has the same bound for requests."""

PRODUCE_FLEXIBLE = 9
PRODUCE_TOPIC_IDS = 13
FETCH_FLEXIBLE = 12
FETCH_TOPIC_IDS = 13
FETCH_REPLICA_STATE = 15
FETCH_DIRECTORY_ID = 17
FETCH_HIGH_WATERMARK = 18
PRODUCE_NODE_ENDPOINTS = 10
FETCH_NODE_ENDPOINTS = 16
NODE_ENDPOINTS_TAG = 0

PRODUCE_VERSIONS = range(3, 14)
FETCH_VERSIONS = range(4, 19)

_FAULTS = (IndexError, StructError)
_INT16 = Struct(">h").unpack_from
_INT32 = Struct(">i").unpack_from
_INT64 = Struct(">q").unpack_from
_ACKS_TIMEOUT = Struct(">hi").unpack_from
_SESSION = Struct(">ii").unpack_from

# A record batch (KIP-98): its length (counted from behind itself), magic, attributes and producer id.
_BATCH = Struct(">8xi4xb4xH20xq").unpack_from
_BATCH_HEADER = 61
_BATCH_OVERHEAD = 12
_TRANSACTIONAL = 0x10


class ProduceScan(NamedTuple):
    """What a Produce request asks for.

    topics: raw names as bytes, from version 13 on 16-byte ids, in the request's order, as often as given.
    topic_octets: bytes of records for each of them.
    """

    transactional_id: bytes | None
    acks: int
    topics: tuple[bytes, ...]
    topic_octets: tuple[int, ...]
    has_transactional_batch: bool
    has_idempotent_batch: bool


class FetchScan(NamedTuple):
    """What a Fetch request asks for. `replica_id` is the field's, or that of the tagged ReplicaState (KIP-903)."""

    topics: tuple[bytes, ...]
    session_id: int
    session_epoch: int
    replica_id: int
    forgotten: tuple[bytes, ...]


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


def scan_produce(frame: memoryview, body_offset: int, version: int) -> ProduceScan:
    """Scan a Produce request of versions 3 to 13. Raises Malformed."""
    try:
        return _scan_produce(frame, body_offset, version)
    except _FAULTS:
        raise Malformed(f"ProduceRequest v{version}: it ends too early") from None


def scan_fetch(frame: memoryview, body_offset: int, version: int) -> FetchScan:
    """Scan a Fetch request of versions 4 to 18. Raises Malformed."""
    try:
        return _scan_fetch(frame, body_offset, version)
    except _FAULTS:
        raise Malformed(f"FetchRequest v{version}: it ends too early") from None


def walk_produce_response(frame: memoryview, body_offset: int, version: int) -> ProduceWalk:
    """Walk a Produce answer of versions 3 to 13. Raises Malformed."""
    try:
        return _walk_produce(frame, body_offset, version)
    except _FAULTS:
        raise Malformed(f"ProduceResponse v{version}: it ends too early") from None


def walk_fetch_response(frame: memoryview, body_offset: int, version: int) -> FetchWalk:
    """Walk a Fetch answer of versions 4 to 18. Raises Malformed."""
    try:
        return _walk_fetch(frame, body_offset, version)
    except _FAULTS:
        raise Malformed(f"FetchResponse v{version}: it ends too early") from None


def _scan_produce(d: memoryview, o: int, version: int) -> ProduceScan:
    if version not in PRODUCE_VERSIONS:
        raise Malformed(f"ProduceRequest has no version {version}")
    end = len(d)
    flexible = version >= PRODUCE_FLEXIBLE
    ids = version >= PRODUCE_TOPIC_IDS
    transactional_id, o = _nullable_text(d, o, end, flexible)
    acks, _ = _ACKS_TIMEOUT(d, o)
    o += 6
    topics: list[bytes] = []
    octets: list[int] = []
    transactional = idempotent = False
    least = (18 if ids else 3) if flexible else 6
    count, o = _count(d, o, end, flexible, least)
    left = _fewer(ELEMENTS_MAX, count)
    for _ in range(count):
        topic, o = _topic(d, o, end, flexible, ids)
        partitions, o = _count(d, o, end, flexible, 6 if flexible else 8)
        left = _fewer(left, partitions)
        total = 0
        for _ in range(partitions):
            o += 4
            if flexible:
                size, o = varint(d, o)
                size -= 1
            else:
                (size,) = _INT32(d, o)
                o += 4
                if size < -1:
                    raise Malformed("ProduceRequest: a negative length")
            if size > 0:
                stop = o + size
                if stop > end:
                    raise Malformed("ProduceRequest: records longer than what is there")
                total += size
                if not (transactional and idempotent):
                    of_transaction, of_producer = _batches(d, o, stop)
                    transactional = transactional or of_transaction
                    idempotent = idempotent or of_producer
                o = stop
            if flexible:
                o = o + 1 if d[o] == 0 else _unknown_tags(d, o, end)
        if flexible:
            o = o + 1 if d[o] == 0 else _unknown_tags(d, o, end)
        topics.append(topic)
        octets.append(total)
    if flexible:
        o = _unknown_tags(d, o, end)
    if o != end:
        raise Malformed("ProduceRequest: bytes left over, or too few")
    return ProduceScan(transactional_id, acks, tuple(topics), tuple(octets), transactional, idempotent)


def _batches(d: memoryview, o: int, stop: int) -> tuple[bool, bool]:
    """Whether a batch of these records is transactional, and whether one carries a producer id.

    The broker takes one batch of magic 2 per partition and refuses anything else; what cannot be read as such a
    batch is left to it. Every batch that can be found counts, so that none can hide behind the first.
    """
    transactional = idempotent = False
    while stop - o >= _BATCH_HEADER:
        length, magic, attributes, producer_id = _BATCH(d, o)
        if magic == 2:
            if attributes & _TRANSACTIONAL:
                transactional = True
            if producer_id >= 0:
                idempotent = True
        if length < _BATCH_HEADER - _BATCH_OVERHEAD:
            break
        o += _BATCH_OVERHEAD + length
    return transactional, idempotent


def _scan_fetch(d: memoryview, o: int, version: int) -> FetchScan:
    if version not in FETCH_VERSIONS:
        raise Malformed(f"FetchRequest has no version {version}")
    end = len(d)
    flexible = version >= FETCH_FLEXIBLE
    ids = version >= FETCH_TOPIC_IDS
    replica_id = -1
    if version < FETCH_REPLICA_STATE:
        (replica_id,) = _INT32(d, o)
        o += 4
    o += 13  # maximum wait, least and most bytes, isolation level
    session_id, session_epoch = 0, -1
    if version >= 7:
        session_id, session_epoch = _SESSION(d, o)
        o += 8
    size = 16 + (8 if version >= 5 else 0) + (4 if version >= 9 else 0) + (4 if flexible else 0)
    topics, o, left = _fetch_topics(d, o, end, version, size, ELEMENTS_MAX)
    forgotten: tuple[bytes, ...] = ()
    if version >= 7:
        forgotten, o, left = _forgotten_topics(d, o, end, flexible, ids, left)
    if version >= 11:
        _, o = _text(d, o, end, flexible)
    if flexible:
        replica_id, o = _fetch_tags(d, o, end, version, replica_id)
    if o != end:
        raise Malformed("FetchRequest: bytes left over, or too few")
    return FetchScan(topics, session_id, session_epoch, replica_id, forgotten)


def _fetch_topics(
    d: memoryview, o: int, end: int, version: int, size: int, left: int
) -> tuple[tuple[bytes, ...], int, int]:
    flexible = version >= FETCH_FLEXIBLE
    ids = version >= FETCH_TOPIC_IDS
    topics = []
    count, o = _count(d, o, end, flexible, (18 if ids else 3) if flexible else 6)
    left = _fewer(left, count)
    for _ in range(count):
        topic, o = _topic(d, o, end, flexible, ids)
        topics.append(topic)
        partitions, o = _count(d, o, end, flexible, size + flexible)
        left = _fewer(left, partitions)
        if flexible:
            for _ in range(partitions):
                o += size
                o = o + 1 if d[o] == 0 else _partition_tags(d, o, end, version)
            o = o + 1 if d[o] == 0 else _unknown_tags(d, o, end)
        else:
            o += partitions * size
    return tuple(topics), o, left


def _forgotten_topics(
    d: memoryview, o: int, end: int, flexible: bool, ids: bool, left: int
) -> tuple[tuple[bytes, ...], int, int]:
    topics = []
    count, o = _count(d, o, end, flexible, (18 if ids else 3) if flexible else 6)
    left = _fewer(left, count)
    for _ in range(count):
        topic, o = _topic(d, o, end, flexible, ids)
        topics.append(topic)
        partitions, o = _count(d, o, end, flexible, 4)
        left = _fewer(left, partitions)
        o += 4 * partitions
        if flexible:
            o = o + 1 if d[o] == 0 else _unknown_tags(d, o, end)
    return tuple(topics), o, left


def _partition_tags(d: memoryview, o: int, end: int, version: int) -> int:
    """A fetched partition's tagged fields: the directory id (KIP-853) and the high watermark (KIP-1166)."""
    count, o = varint(d, o)
    last = -1
    for _ in range(count):
        tag, o, stop = _tag(d, o, end, last)
        last = tag
        if (tag == 0 and version >= FETCH_DIRECTORY_ID and stop - o != 16) or (
            tag == 1 and version >= FETCH_HIGH_WATERMARK and stop - o != 8
        ):
            raise Malformed("FetchRequest.topics.partitions: a tagged field of another size")
        o = stop
    return o


def _fetch_tags(d: memoryview, o: int, end: int, version: int, replica_id: int) -> tuple[int, int]:
    """A Fetch request's own tagged fields: the cluster id, and ReplicaState (KIP-903) with the replica id."""
    count, o = varint(d, o)
    last = -1
    for _ in range(count):
        tag, o, stop = _tag(d, o, end, last)
        last = tag
        if tag == 0:
            _, o = _nullable_text(d, o, end, True)
        elif tag == 1 and version >= FETCH_REPLICA_STATE:
            (replica_id,) = _INT32(d, o)
            o = _unknown_tags(d, o + 12, end)
        else:
            o = stop
        if o != stop:
            raise Malformed("FetchRequest: a tagged field of another size")
    return replica_id, o


def _walk_produce(d: memoryview, o: int, version: int) -> ProduceWalk:
    if version not in PRODUCE_VERSIONS:
        raise Malformed(f"ProduceResponse has no version {version}")
    end = len(d)
    flexible = version >= PRODUCE_FLEXIBLE
    ids = version >= PRODUCE_TOPIC_IDS
    size = 30 if version >= 5 else 22
    codes: set[int] | None = None
    count, o = _count(d, o, end, flexible, (18 if ids else 3) if flexible else 6)
    for _ in range(count):
        _, o = _topic(d, o, end, flexible, ids)
        partitions, o = _count(d, o, end, flexible, size)
        for _ in range(partitions):
            (code,) = _INT16(d, o + 4)
            if code:
                codes = {code} if codes is None else codes | {code}
            o += size
            if version >= 8:
                o = _record_errors(d, o, end, flexible)
                _, o = _nullable_text(d, o, end, flexible)
            if flexible:
                o = o + 1 if d[o] == 0 else _unknown_tags(d, o, end)
        if flexible:
            o = o + 1 if d[o] == 0 else _unknown_tags(d, o, end)
    throttle_offset = o
    o += 4
    endpoints = False
    if flexible:
        endpoints, o = _answer_tags(d, o, end, version >= PRODUCE_NODE_ENDPOINTS)
    if o != end:
        raise Malformed("ProduceResponse: bytes left over, or too few")
    return ProduceWalk(throttle_offset, endpoints, _NO_CODES if codes is None else frozenset(codes))


def _record_errors(d: memoryview, o: int, end: int, flexible: bool) -> int:
    count, o = _count(d, o, end, flexible, 6)
    for _ in range(count):
        _, o = _nullable_text(d, o + 4, end, flexible)
        if flexible:
            o = _unknown_tags(d, o, end)
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
        (error_code,) = _INT16(d, o)
        (session_id,) = _INT32(d, o + 2)
        o += 6
    topics: list[bytes] = []
    octets: list[int] = []
    codes: set[int] | None = None
    size = 30 if version >= 5 else 22
    count, o = _count(d, o, end, flexible, (18 if ids else 3) if flexible else 6)
    for _ in range(count):
        topic, o = _topic(d, o, end, flexible, ids)
        partitions, o = _count(d, o, end, flexible, size)
        total = 0
        for _ in range(partitions):
            (code,) = _INT16(d, o + 4)
            if code:
                codes = {code} if codes is None else codes | {code}
            o = _aborted(d, o + size, end, flexible)
            if version >= 11:
                o += 4
            if flexible:
                length, o = varint(d, o)
                length -= 1
            else:
                (length,) = _INT32(d, o)
                o += 4
                if length < -1:
                    raise Malformed("FetchResponse: a negative length")
            if length > 0:
                total += length
                o += length
            if flexible:
                o = o + 1 if d[o] == 0 else _unknown_tags(d, o, end)
        if flexible:
            o = o + 1 if d[o] == 0 else _unknown_tags(d, o, end)
        topics.append(topic)
        octets.append(total)
    endpoints = False
    if flexible:
        endpoints, o = _answer_tags(d, o, end, version >= FETCH_NODE_ENDPOINTS)
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
        for _ in range(count):
            o = _unknown_tags(d, o + 16, end)
        return o
    (count,) = _INT32(d, o)
    if count < -1:
        raise Malformed("FetchResponse: a negative length")
    return o + 4 + 16 * max(count, 0)


def _answer_tags(d: memoryview, o: int, end: int, known: bool) -> tuple[bool, int]:
    """Whether node endpoints (KIP-951) are among an answer's tagged fields, and where these end."""
    if d[o] == 0:
        return False, o + 1
    count, o = varint(d, o)
    found = False
    last = -1
    for _ in range(count):
        tag, _, stop = _tag(d, o, end, last)
        last = tag
        if known and tag == NODE_ENDPOINTS_TAG:
            found = True
        o = stop
    return found, o


def _tag(d: memoryview, o: int, end: int, last: int) -> tuple[int, int, int]:
    """The next tagged field: (its tag, where it begins, where it ends)."""
    tag, o = varint(d, o)
    size, o = varint(d, o)
    if tag <= last:
        raise Malformed("tagged fields out of order")
    if o + size > end:
        raise Malformed("a tagged field past the end")
    return tag, o, o + size


def _unknown_tags(d: memoryview, o: int, end: int) -> int:
    """Behind the tagged fields at `o`, stepped over by their sizes."""
    if d[o] == 0:
        return o + 1
    count, o = varint(d, o)
    last = -1
    for _ in range(count):
        last, _, o = _tag(d, o, end, last)
    return o


def _count(d: memoryview, o: int, end: int, flexible: bool, least: int) -> tuple[int, int]:
    """The count of an array whose elements take at least `least` bytes each; null is refused."""
    if flexible:
        count = d[o]
        if count < 0x80:
            o += 1
        else:
            count, o = varint(d, o)
        count -= 1
    else:
        (count,) = _INT32(d, o)
        o += 4
    if count < 0:
        raise Malformed("a negative count")
    if count * least > end - o:
        raise Malformed("more elements than bytes")
    return count, o


def _fewer(left: int, count: int) -> int:
    """What is left of the elements a message may have. Raises Malformed below zero."""
    left -= count
    if left < 0:
        raise Malformed("too many elements")
    return left


def _topic(d: memoryview, o: int, end: int, flexible: bool, ids: bool) -> tuple[bytes, int]:
    """A topic's id, or its name."""
    if ids:
        stop = o + 16
        if stop > end:
            raise Malformed("a topic id longer than what is there")
        return bytes(d[o:stop]), stop
    return _text(d, o, end, flexible)


def _text(d: memoryview, o: int, end: int, flexible: bool) -> tuple[bytes, int]:
    text, o = _nullable_text(d, o, end, flexible)
    if text is None:
        raise Malformed("null where it may not be")
    return text, o


def _nullable_text(d: memoryview, o: int, end: int, flexible: bool) -> tuple[bytes | None, int]:
    if flexible:
        size = d[o]
        if size < 0x80:
            o += 1
        else:
            size, o = varint(d, o)
        size -= 1
        if size > TEXT_MAX:
            raise Malformed("a string that is too long")
    else:
        (size,) = _INT16(d, o)
        o += 2
        if size < -1:
            raise Malformed("a negative length")
    if size < 0:
        return None, o
    stop = o + size
    if stop > end:
        raise Malformed("a string longer than what is there")
    return bytes(d[o:stop]), stop

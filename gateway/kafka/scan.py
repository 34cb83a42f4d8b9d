"""The hot path: find in Produce and Fetch requests what is to be decided, without building the message.

Called by the session for each such frame; answers are in kafka.walk. Plain Python over (data, offset), to be compiled
later; this form is the specification, and kafka.codec says the same about every frame (tests compare them at every
version). Records are stepped over by their length: no byte of them is copied, and of each batch only four fields of
its header are read.

Every function raises Malformed where the codec would, except that names are not checked to be UTF-8: they are looked
up as bytes. Known tagged fields are measured, because the broker reads them without looking at the size that was
announced: a wrong one would make it read another message than the one decided here.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from gateway.kafka.primitives import Malformed, varint
from gateway.kafka.steps import (
    FAULTS,
    FETCH_FLEXIBLE,
    FETCH_TOPIC_IDS,
    FETCH_VERSIONS,
    INT32,
    PRODUCE_FLEXIBLE,
    PRODUCE_TOPIC_IDS,
    PRODUCE_VERSIONS,
    fewer,
    read_count,
    read_nullable_text,
    read_tag,
    read_text,
    read_topic,
    skip_tags,
)  # fmt: skip
from gateway.kafka.walk import FetchWalk, ProduceWalk, walk_fetch_response, walk_produce_response

__all__ = [
    "FetchScan", "FetchWalk", "ProduceScan", "ProduceWalk", "scan_fetch", "scan_produce", "walk_fetch_response",
    "walk_produce_response",
]  # fmt: skip

ELEMENTS_MAX = 50_000
"""Topics and partitions in one request; kafka.codec has the same bound."""

FETCH_REPLICA_STATE = 15
FETCH_DIRECTORY_ID = 17
FETCH_HIGH_WATERMARK = 18

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
    topic_octets: bytes of records for each of them. tagged: it holds tagged fields, of which none is known today.
    """

    transactional_id: bytes | None
    acks: int
    topics: tuple[bytes, ...]
    topic_octets: tuple[int, ...]
    has_transactional_batch: bool
    has_idempotent_batch: bool
    tagged: bool


class FetchScan(NamedTuple):
    """What a Fetch request asks for. `replica_id` is the field's, or that of the tagged ReplicaState (KIP-903).

    tagged: it holds tagged fields, known or not; consumers send none.
    """

    topics: tuple[bytes, ...]
    session_id: int
    session_epoch: int
    replica_id: int
    forgotten: tuple[bytes, ...]
    tagged: bool


def scan_produce(frame: memoryview, body_offset: int, version: int) -> ProduceScan:
    """Scan a Produce request of versions 3 to 13. Raises Malformed."""
    try:
        return _scan_produce(frame, body_offset, version)
    except FAULTS:
        raise Malformed(f"ProduceRequest v{version}: it ends too early") from None


def scan_fetch(frame: memoryview, body_offset: int, version: int) -> FetchScan:
    """Scan a Fetch request of versions 4 to 18. Raises Malformed."""
    try:
        return _scan_fetch(frame, body_offset, version)
    except FAULTS:
        raise Malformed(f"FetchRequest v{version}: it ends too early") from None


def _scan_produce(d: memoryview, o: int, version: int) -> ProduceScan:
    if version not in PRODUCE_VERSIONS:
        raise Malformed(f"ProduceRequest has no version {version}")
    end = len(d)
    flexible = version >= PRODUCE_FLEXIBLE
    ids = version >= PRODUCE_TOPIC_IDS
    transactional_id, o = read_nullable_text(d, o, end, flexible)
    acks, _ = _ACKS_TIMEOUT(d, o)
    o += 6
    topics: list[bytes] = []
    octets: list[int] = []
    transactional = idempotent = tagged = False
    least = (18 if ids else 3) if flexible else 6
    count, o = read_count(d, o, end, flexible, least)
    left = fewer(ELEMENTS_MAX, count)
    for _ in range(count):
        topic, o = read_topic(d, o, end, flexible, ids)
        partitions, o = read_count(d, o, end, flexible, 6 if flexible else 8)
        left = fewer(left, partitions)
        total = 0
        for _ in range(partitions):
            o += 4
            if flexible:
                size, o = varint(d, o)
                size -= 1
            else:
                (size,) = INT32(d, o)
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
                tagged, o = (tagged, o + 1) if d[o] == 0 else (True, skip_tags(d, o, end))
        if flexible:
            tagged, o = (tagged, o + 1) if d[o] == 0 else (True, skip_tags(d, o, end))
        topics.append(topic)
        octets.append(total)
    if flexible:
        tagged, o = (tagged, o + 1) if d[o] == 0 else (True, skip_tags(d, o, end))
    if o != end:
        raise Malformed("ProduceRequest: bytes left over, or too few")
    return ProduceScan(transactional_id, acks, tuple(topics), tuple(octets), transactional, idempotent, tagged)


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
        (replica_id,) = INT32(d, o)
        o += 4
    o += 13  # maximum wait, least and most bytes, isolation level
    session_id, session_epoch = 0, -1
    if version >= 7:
        session_id, session_epoch = _SESSION(d, o)
        o += 8
    size = 16 + (8 if version >= 5 else 0) + (4 if version >= 9 else 0) + (4 if flexible else 0)
    topics, o, left, tagged = _fetch_topics(d, o, end, version, size, ELEMENTS_MAX)
    forgotten: tuple[bytes, ...] = ()
    if version >= 7:
        forgotten, o, tagged = _forgotten_topics(d, o, end, flexible, ids, left, tagged)
    if version >= 11:
        _, o = read_text(d, o, end, flexible)
    if flexible:
        tagged = tagged or d[o] != 0
        replica_id, o = _fetch_tags(d, o, end, version, replica_id)
    if o != end:
        raise Malformed("FetchRequest: bytes left over, or too few")
    return FetchScan(topics, session_id, session_epoch, replica_id, forgotten, tagged)


def _fetch_topics(
    d: memoryview, o: int, end: int, version: int, size: int, left: int
) -> tuple[tuple[bytes, ...], int, int, bool]:
    flexible = version >= FETCH_FLEXIBLE
    ids = version >= FETCH_TOPIC_IDS
    topics = []
    tagged = False
    count, o = read_count(d, o, end, flexible, (18 if ids else 3) if flexible else 6)
    left = fewer(left, count)
    for _ in range(count):
        topic, o = read_topic(d, o, end, flexible, ids)
        topics.append(topic)
        partitions, o = read_count(d, o, end, flexible, size + flexible)
        left = fewer(left, partitions)
        if flexible:
            for _ in range(partitions):
                o += size
                tagged, o = (tagged, o + 1) if d[o] == 0 else (True, _partition_tags(d, o, end, version))
            tagged, o = (tagged, o + 1) if d[o] == 0 else (True, skip_tags(d, o, end))
        else:
            o += partitions * size
    return tuple(topics), o, left, tagged


def _forgotten_topics(
    d: memoryview, o: int, end: int, flexible: bool, ids: bool, left: int, tagged: bool
) -> tuple[tuple[bytes, ...], int, bool]:
    topics = []
    count, o = read_count(d, o, end, flexible, (18 if ids else 3) if flexible else 6)
    left = fewer(left, count)
    for _ in range(count):
        topic, o = read_topic(d, o, end, flexible, ids)
        topics.append(topic)
        partitions, o = read_count(d, o, end, flexible, 4)
        left = fewer(left, partitions)
        o += 4 * partitions
        if flexible:
            tagged, o = (tagged, o + 1) if d[o] == 0 else (True, skip_tags(d, o, end))
    return tuple(topics), o, tagged


def _partition_tags(d: memoryview, o: int, end: int, version: int) -> int:
    """A fetched partition's tagged fields: the directory id (KIP-853) and the high watermark (KIP-1166)."""
    count, o = varint(d, o)
    last = -1
    for _ in range(count):
        tag, o, stop = read_tag(d, o, end, last)
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
        tag, o, stop = read_tag(d, o, end, last)
        last = tag
        if tag == 0:
            _, o = read_nullable_text(d, o, end, True)
        elif tag == 1 and version >= FETCH_REPLICA_STATE:
            (replica_id,) = INT32(d, o)
            o = skip_tags(d, o + 12, end)
        else:
            o = stop
        if o != stop:
            raise Malformed("FetchRequest: a tagged field of another size")
    return replica_id, o

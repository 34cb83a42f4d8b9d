"""Steps of the hot path's scanners over (data, offset): counts, names and tagged fields, bounds-checked.

Each takes the offset of its value and gives the one behind it. They raise Malformed, or IndexError or struct.error
where the bytes end, which kafka.scan and kafka.walk turn into Malformed.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError

from gateway.kafka.primitives import TEXT_MAX, Malformed, varint

PRODUCE = 0
FETCH = 1
PRODUCE_FLEXIBLE = 9
PRODUCE_TOPIC_IDS = 13
FETCH_FLEXIBLE = 12
FETCH_TOPIC_IDS = 13
NO_REPLICA = -1
"""The replica id of a client that is none."""
PRODUCE_VERSIONS = range(3, 14)
FETCH_VERSIONS = range(4, 19)

FAULTS = (IndexError, StructError)
INT16 = Struct(">h").unpack_from
INT32 = Struct(">i").unpack_from


def read_tag(d: memoryview, o: int, end: int, last: int) -> tuple[int, int, int]:
    """The next tagged field: (its tag, where it begins, where it ends)."""
    tag, o = varint(d, o)
    size, o = varint(d, o)
    if tag <= last:
        raise Malformed("tagged fields out of order")
    if o + size > end:
        raise Malformed("a tagged field past the end")
    return tag, o, o + size


def skip_tags(d: memoryview, o: int, end: int) -> int:
    """Behind the tagged fields at `o`, stepped over by their sizes."""
    if d[o] == 0:
        return o + 1
    count, o = varint(d, o)
    last = -1
    for _ in range(count):
        last, _, o = read_tag(d, o, end, last)
    return o


def read_count(d: memoryview, o: int, end: int, flexible: bool, least: int) -> tuple[int, int]:
    """The count of an array whose elements take at least `least` bytes each; null is refused."""
    if flexible:
        count = d[o]
        if count < 0x80:
            o += 1
        else:
            count, o = varint(d, o)
        count -= 1
    else:
        (count,) = INT32(d, o)
        o += 4
    if count < 0:
        raise Malformed("a negative count")
    if count * least > end - o:
        raise Malformed("more elements than bytes")
    return count, o


def fewer(left: int, count: int) -> int:
    """What is left of the elements a message may have. Raises Malformed below zero."""
    left -= count
    if left < 0:
        raise Malformed("too many elements")
    return left


def read_topic(d: memoryview, o: int, end: int, flexible: bool, ids: bool) -> tuple[bytes, int]:
    """A topic's id, or its name."""
    if ids:
        stop = o + 16
        if stop > end:
            raise Malformed("a topic id longer than what is there")
        return bytes(d[o:stop]), stop
    return read_text(d, o, end, flexible)


def read_text(d: memoryview, o: int, end: int, flexible: bool) -> tuple[bytes, int]:
    text, o = read_nullable_text(d, o, end, flexible)
    if text is None:
        raise Malformed("null where it may not be")
    return text, o


def read_nullable_text(d: memoryview, o: int, end: int, flexible: bool) -> tuple[bytes | None, int]:
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
        (size,) = INT16(d, o)
        o += 2
        if size < -1:
            raise Malformed("a negative length")
    if size < 0:
        return None, o
    stop = o + size
    if stop > end:
        raise Malformed("a string longer than what is there")
    return bytes(d[o:stop]), stop

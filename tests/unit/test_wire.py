"""The splitter and the cursor: whole values, need more, or one documented error."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.cursor import Cursor, Overlong, Truncated
from gateway.wire.splitter import PREFIX, BadLength, frame_end, split

LENGTH_MIN, LENGTH_MAX = 2, 40


def prefixed(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


def test_a_frame_is_found_when_its_last_byte_is_there() -> None:
    data = b"??" + prefixed(b"abc") + b"x"
    for size in range(2, len(data) + 1):
        end = frame_end(memoryview(data)[:size], 2, LENGTH_MIN, LENGTH_MAX)
        assert end == (-4 if size < 6 else -7 if size < 9 else 9)


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 1, 41, 2**31 - 1])
def test_a_length_outside_the_bounds_is_refused_with_its_prefix(length: int) -> None:
    data = memoryview(length.to_bytes(4, "big", signed=True))
    with pytest.raises(BadLength) as caught:
        frame_end(data, 0, LENGTH_MIN, LENGTH_MAX)
    assert caught.value.length == length
    assert frame_end(data[:3], 0, LENGTH_MIN, LENGTH_MAX) == -PREFIX


@pytest.mark.parametrize("length", [2, 40])
def test_a_length_at_the_bounds_is_taken(length: int) -> None:
    assert frame_end(memoryview(prefixed(bytes(length))), 0, LENGTH_MIN, LENGTH_MAX) == 4 + length


def cut_up(data: bytes, cuts: list[int]) -> tuple[list[bytes], int | None]:
    """Frames of a stream that arrives in chunks, as a pump and a session handle it, and the bad length at its end."""
    found: list[bytes] = []
    held = b""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, stop in itertools.pairwise(edges):
        held += data[start:stop]
        while True:
            try:
                frames, rest, wanted = split(memoryview(held), 0, LENGTH_MIN, LENGTH_MAX)
            except BadLength as bad:
                return found, bad.length
            found += [held[begin:end] for begin, end in frames]
            held = held[rest:]
            if len(held) < wanted:
                break
    return found, None


@given(
    st.lists(st.binary(min_size=LENGTH_MIN, max_size=LENGTH_MAX), max_size=6),
    st.sampled_from([None, -1, 0, 1, LENGTH_MAX + 1, 2**31 - 1]),
    st.lists(st.integers(0, 400), max_size=40),
)
def test_any_chunking_gives_the_same_frames(frames: list[bytes], bad: int | None, cuts: list[int]) -> None:
    data = b"".join(prefixed(frame) for frame in frames)
    if bad is not None:
        data += bad.to_bytes(4, "big", signed=True) + b"tail"
    assert cut_up(data, cuts) == (frames, bad)
    assert cut_up(data, list(range(len(data)))) == (frames, bad)


def test_the_cursor_reads_in_order() -> None:
    data = b"\xff\xff\xfe\xff\xff\xff\xfd\xff\xff\xff\xff\xff\xff\xff\xfc\x80\xff\xff\xff\xff\xac\x02tail"
    cursor = Cursor(memoryview(data))
    assert (cursor.int8(), cursor.int16(), cursor.int32(), cursor.int64()) == (-1, -2, -3, -4)
    assert (cursor.uint8(), cursor.uint32(), cursor.uvarint()) == (128, 0xFFFFFFFF, 300)
    assert (cursor.left, bytes(cursor.take(4)), cursor.left) == (4, b"tail", 0)


@pytest.mark.parametrize(
    ("method", "size"), [("int8", 1), ("int16", 2), ("int32", 4), ("int64", 8), ("uint8", 1), ("uint32", 4)]
)
def test_the_cursor_stays_where_it_was_when_bytes_are_missing(method: str, size: int) -> None:
    cursor = Cursor(memoryview(bytes(9)), 1, size)
    with pytest.raises(Truncated):
        getattr(cursor, method)()
    assert cursor.offset == 1


@pytest.mark.parametrize("octets", [-1, 3, 2**40])
def test_the_cursor_skips_neither_back_nor_past_the_end(octets: int) -> None:
    cursor = Cursor(memoryview(bytes(9)), 1, 3)
    for move in (cursor.skip, cursor.take):
        with pytest.raises(Truncated):
            move(octets)
    assert cursor.offset == 1


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 4)])
def test_a_cursor_stays_inside_its_data(start: int, end: int) -> None:
    with pytest.raises(Truncated):
        Cursor(memoryview(bytes(3)), start, end)


@pytest.mark.parametrize(
    ("data", "value"), [(b"\x00", 0), (b"\x7f", 127), (b"\x80\x01", 128), (b"\xff\xff\xff\xff\x0f", 2**32 - 1)]
)
def test_varints(data: bytes, value: int) -> None:
    cursor = Cursor(memoryview(data))
    assert (cursor.uvarint(), cursor.left) == (value, 0)
    for size in range(len(data)):
        cursor = Cursor(memoryview(data)[:size])
        with pytest.raises(Truncated):
            cursor.uvarint()
        assert cursor.offset == 0


@pytest.mark.parametrize("data", [b"\x80\x80\x80\x80\x80\x01", b"\xff\xff\xff\xff\x10", b"\x80\x80\x80\x80\x80"])
def test_overlong_varints(data: bytes) -> None:
    with pytest.raises(Overlong):
        Cursor(memoryview(data)).uvarint()

"""Find the frames in a stream of length-prefixed ones: four bytes of length, big-endian and signed, then the frame.

Plain functions over (data, offset), so that they can be compiled; this form is the specification. Called by protocol
sessions for both directions, before anything is allocated for a frame.
"""

from __future__ import annotations

from typing import NamedTuple

PREFIX = 4
"""Bytes of the length."""


class BadLength(Exception):
    """A frame announces a length outside what is taken: `length` as read, which may be zero or negative."""

    def __init__(self, length: int, length_min: int, length_max: int) -> None:
        super().__init__(f"a frame of {length} bytes; {length_min} to {length_max} are taken")
        self.length = length


def frame_end(data: memoryview, offset: int, length_min: int, length_max: int) -> int:
    """Where the frame whose prefix is at `offset` ends, if all of it is there; it begins at ``offset + PREFIX``.

    Otherwise minus the bytes that must be there, counted from `offset`, before asking again: -4 for a prefix that is
    not whole, then the frame with its prefix. Raises BadLength as soon as the prefix is whole.
    """
    there = len(data) - offset
    if there < PREFIX:
        return -PREFIX
    length = int.from_bytes(data[offset : offset + PREFIX], "big", signed=True)
    if length < length_min or length > length_max:
        raise BadLength(length, length_min, length_max)
    if there - PREFIX < length:
        return -(PREFIX + length)
    return offset + PREFIX + length


class Split(NamedTuple):
    """Complete frames as (start, end) without their prefixes, where the rest begins, and how much it must hold."""

    frames: list[tuple[int, int]]
    rest: int
    wanted: int


def split(data: memoryview, offset: int, length_min: int, length_max: int) -> Split:
    """All complete frames from `offset` on.

    A bad length behind complete frames ends the list: the caller takes those, comes back with the rest, and BadLength
    is raised then. So the frames found do not depend on how the stream was cut into chunks.
    """
    frames: list[tuple[int, int]] = []
    while True:
        try:
            end = frame_end(data, offset, length_min, length_max)
        except BadLength:
            if frames:
                return Split(frames, offset, PREFIX)
            raise
        if end < 0:
            return Split(frames, offset, -end)
        frames.append((offset + PREFIX, end))
        offset = end

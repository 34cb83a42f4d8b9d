"""HPACK header blocks with their Huffman-coded strings written out (RFC 7541, 5.2), before hpack reads them.

hpack takes a string apart by half octets, each some steps of Python's: 16 KiB hold the loop for five milliseconds and
more. Here the same table is walked by whole octets, in a third of the time. Whatever is not plain (a string that breaks
off, a number without end, code words that are none) is left as it came: hpack says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from hpack import Decoder, HeaderTuple
from hpack.huffman_table import HUFFMAN_COMPLETE, HUFFMAN_EMIT_SYMBOL, HUFFMAN_FAIL, HUFFMAN_TABLE

CONTINUED_MAX = 4
"""Octets that continue a number (RFC 7541, 5.1)."""
_FAILED = 256
"""The state behind code words that are none; it is not left."""


def _transitions() -> tuple[list[int], list[bytes], frozenset[int]]:
    """[state << 8 | octet] -> the next state << 8, and what is written; the states << 8 in which a string may end."""
    ends = {0}
    halves: list[tuple[list[int], list[bytes]]] = []
    for state in range(_FAILED):
        row = HUFFMAN_TABLE[state * 16 : state * 16 + 16]
        ends.update(each << 8 for each, flags, _ in row if flags & HUFFMAN_COMPLETE)
        going = [(_FAILED if flags & HUFFMAN_FAIL else each) << 8 for each, flags, _ in row]
        halves.append((going, [bytes((said,)) if flags & HUFFMAN_EMIT_SYMBOL else b"" for _, flags, said in row]))
    halves.append(([_FAILED << 8] * 16, [b""] * 16))
    following: list[int] = []
    written: list[bytes] = []
    for going, said in halves:
        for middle, first in zip(going, said, strict=True):
            then, second = halves[middle >> 8]
            following += then
            written += [first + each for each in second] if first else second
    return following, written, frozenset(ends)


_FOLLOWING, _WRITTEN, _ENDS = _transitions()


class PlainDecoder(Decoder):
    """hpack's own, for blocks in which nothing is Huffman-coded any more."""

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        """As hpack's, with its errors."""
        return super().decode(plain(bytes(data)), raw)


def plain(block: bytes) -> bytes:
    """The block, its Huffman-coded strings written out; from the first thing on that is not plain, as it came."""
    parts: list[bytes] = []
    at = run = 0
    while at < len(block):
        strings, prefix = _kind(block[at])
        index, at = _number(block, at, prefix)
        for _ in range(strings + (not index) if strings and at else 0):
            coded = at < len(block) and block[at] & 0x80
            begins = at
            length, at = _number(block, at, 7)
            if not at or at + length > len(block):
                at = 0
                break
            if coded:
                text = decoded(block[at : at + length])
                if text is None:
                    at = 0
                    break
                parts += (block[run:begins], _length(len(text)), text)
                run = at + length
            at += length
        if not at:
            break
    parts.append(block[run:])
    return b"".join(parts)


def decoded(coded: bytes) -> bytes | None:
    """The string; None if it is none."""
    state = 0
    parts = []
    for octet in coded:
        at = state | octet
        parts.append(_WRITTEN[at])
        state = _FOLLOWING[at]
    return b"".join(parts) if state in _ENDS else None


def _kind(first: int) -> tuple[int, int]:
    """Of a field that begins so: how many strings it has at least (one more if no name is indexed), and the bits of its
    first octet that are a number's."""
    if first & 0x80:
        return 0, 7
    if first & 0x40:
        return 1, 6
    return (0, 5) if first & 0x20 else (1, 4)


def _number(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """A number, and where it ends; (0, 0) if it does not."""
    if at >= len(block):
        return 0, 0
    most = (1 << prefix) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    for shift in range(0, 7 * CONTINUED_MAX, 7):
        if at >= len(block):
            return 0, 0
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    return 0, 0


def _length(octets: int) -> bytes:
    """Of a string that is written as it is."""
    if octets < 0x7F:
        return bytes((octets,))
    rest = octets - 0x7F
    found = bytearray((0x7F,))
    while rest >= 0x80:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)

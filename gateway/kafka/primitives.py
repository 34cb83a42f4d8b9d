"""What the codec and the scanners share: the one error of reading, and unsigned varints."""

from __future__ import annotations

from typing import Any

TEXT_MAX = 0x7FFF
"""The longest string in bytes, compact ones included: Kafka refuses longer ones either way."""


class Malformed(Exception):
    """These bytes are not the message they claim to be. The text says what and where, never the bytes."""


def varint(data: Any, offset: int) -> tuple[int, int]:
    """An unsigned varint of at most 32 bits: (value, the offset behind it). Raises Malformed, IndexError at the end."""
    octet = data[offset]
    if octet < 0x80:
        return octet, offset + 1
    value = octet & 0x7F
    octet = data[offset + 1]
    if octet < 0x80:
        return value | octet << 7, offset + 2
    value |= (octet & 0x7F) << 7
    octet = data[offset + 2]
    if octet < 0x80:
        return value | octet << 14, offset + 3
    value |= (octet & 0x7F) << 14
    octet = data[offset + 3]
    if octet < 0x80:
        return value | octet << 21, offset + 4
    value |= (octet & 0x7F) << 21
    octet = data[offset + 4]
    if octet > 0x7F:
        raise Malformed("a varint of more than five bytes")
    if octet > 0x0F:
        raise Malformed("a varint of more than 32 bits")
    return value | octet << 28, offset + 5


def written(value: int) -> bytes:
    """An unsigned varint as bytes."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)

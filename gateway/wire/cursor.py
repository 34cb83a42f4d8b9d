"""Read big-endian values one after the other, never past the end: for parsers written by hand.

Every method raises Truncated when its bytes are not all there, before it allocates anything, and leaves the position
where it was. What a value means is the caller's affair.
"""

from __future__ import annotations


class Truncated(Exception):
    """There are fewer bytes than the value at hand takes."""


class Overlong(Exception):
    """An unsigned varint of more than five bytes, or of more than 32 bits."""


class Cursor:
    """A position in `data` between `offset` and `end`."""

    __slots__ = ("data", "end", "offset")

    def __init__(self, data: memoryview, offset: int = 0, end: int | None = None) -> None:
        self.data = data
        self.offset = offset
        self.end = len(data) if end is None else end
        if not 0 <= offset <= self.end <= len(data):
            raise Truncated

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return self.end - self.offset

    def skip(self, octets: int) -> None:
        if octets < 0 or octets > self.end - self.offset:
            raise Truncated
        self.offset += octets

    def take(self, octets: int) -> memoryview:
        """The next bytes as a view, not a copy."""
        start = self.offset
        self.skip(octets)
        return self.data[start : self.offset]

    def int8(self) -> int:
        return int.from_bytes(self.take(1), "big", signed=True)

    def int16(self) -> int:
        return int.from_bytes(self.take(2), "big", signed=True)

    def int32(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def int64(self) -> int:
        return int.from_bytes(self.take(8), "big", signed=True)

    def uint8(self) -> int:
        return self.take(1)[0]

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def uvarint(self) -> int:
        """An unsigned varint of 32 bits (seven bits a byte, lowest first). Raises Overlong."""
        start = offset = self.offset
        value = 0
        while True:
            if offset >= self.end:
                raise Truncated
            octet = self.data[offset]
            value |= (octet & 0x7F) << 7 * (offset - start)
            offset += 1
            if octet < 0x80:
                break
            if offset - start == 5:
                raise Overlong
        if value > 0xFFFFFFFF:
            raise Overlong
        self.offset = offset
        return value

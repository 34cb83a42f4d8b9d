"""What workers of one gateway tell each other of the same principal or address, in memory that all of them see.

Each worker has a table of rows and is the only one that writes in it; the others look a row up by its key. So nothing
is locked, a worker that dies anywhere holds nobody up, and its table is simply emptied. A key is a digest under a
secret of the gateway's own: nobody outside can choose names that crowd one part of a table. A row stands within
`WINDOW` rows of where its key points; the tables have more than twice the rows that can be in use.

Numbers are doubles at multiples of eight bytes, each written whole. Several of one row may be read while they are being
written; what is made of them bears that (core.limits).
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Any, Protocol

KEY = 16
"""Bytes of a key."""
WORD = 8
WINDOW = 64
"""Rows in which a key is looked for."""
_EMPTY = bytes(KEY)
_ONE = Struct("d")


class Memory(Protocol):
    """What is needed of `mmap.mmap`."""

    def find(self, sub: bytes, start: int, end: int, /) -> int: ...

    def __getitem__(self, key: slice, /) -> bytes: ...

    def __setitem__(self, key: slice, value: bytes, /) -> None: ...

    def __buffer__(self, flags: int, /) -> memoryview: ...


def size(rows: int, width: int) -> int:
    """Bytes of a table of so many rows (a multiple of `WINDOW`), each a key, once more for the search, and `width`
    numbers."""
    return rows * (2 * KEY + width * WORD)


class Table:
    """One worker's rows. All keys also stand together, so that looking for one is one search in `WINDOW` of them."""

    __slots__ = ("_begin", "_memory", "_row", "_rows", "_size", "_width")

    def __init__(self, memory: Memory, begin: int, rows: int, width: int) -> None:
        """`begin`: where the table begins in the memory, a multiple of eight."""
        self._memory = memory
        self._begin = begin
        self._rows = rows
        self._width = width
        self._row = Struct(f"{KEY}s{width}d")
        self._size = self._row.size

    def find(self, key: bytes) -> int | None:
        """Where the row of a key is, None if it has none."""
        begin = self._window(key)
        end = begin + WINDOW * KEY
        at = self._memory.find(key, begin, end)
        while at >= 0:
            row, beside = divmod(at - self._begin, KEY)
            if not beside:
                return self._place(row)
            at = self._memory.find(key, at + 1, end)
        return None

    def claim(self, key: bytes) -> int | None:
        """The key's row, a new one with zeros if it has none; None if there is no room. By the owner alone."""
        at = self.find(key)
        if at is not None:
            return at
        begin = self._window(key)
        for place in range(begin, begin + WINDOW * KEY, KEY):
            if self._memory[place : place + KEY] == _EMPTY:
                at = self._place((place - self._begin) // KEY)
                self._row.pack_into(self._memory, at, key, *(0.0,) * self._width)
                self._memory[place : place + KEY] = key
                return at
        return None

    def release(self, at: int) -> None:
        """The row is nobody's any more. By the owner alone."""
        begin = self._begin + (at - self._place(0)) // self._size * KEY
        self._memory[begin : begin + KEY] = _EMPTY
        self._memory[at : at + KEY] = _EMPTY

    def row(self, at: int) -> tuple[Any, ...]:
        """A row's key and its numbers."""
        return self._row.unpack_from(self._memory, at)

    def get(self, at: int, number: int) -> float:
        """One number of a row."""
        found: float = _ONE.unpack_from(self._memory, at + KEY + number * WORD)[0]
        return found

    def put(self, at: int, number: int, value: float) -> None:
        _ONE.pack_into(self._memory, at + KEY + number * WORD, value)

    def put_many(self, at: int, number: int, values: Struct, *those: float) -> None:
        """Several numbers of a row from one on; `values` is made of as many doubles."""
        values.pack_into(self._memory, at + KEY + number * WORD, *those)

    def _place(self, row: int) -> int:
        return self._begin + self._rows * KEY + row * self._size

    def _window(self, key: bytes) -> int:
        return self._begin + int.from_bytes(key[:8], "big") % (self._rows - WINDOW + 1) * KEY


class Shares:
    """One worker's view: its own table, and those of the others."""

    def __init__(self, secret: bytes, own: Table, others: tuple[Table, ...]) -> None:
        self._secret = secret
        self.own = own
        self.others = others

    def key(self, *words: str) -> bytes:
        """The key of what these words name; never the one that stands for an empty row."""
        text = "".join(f"{len(word)}:{word}" for word in words)
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY, key=self._secret).digest()

    def sum(self, key: bytes, number: int) -> float:
        """What all others together have as one number under a key."""
        return sum(table.get(at, number) for table in self.others if (at := table.find(key)) is not None)

"""Memory that supervisor, office and workers share: anonymous, made before the first fork, gone with the last of them.

Every number in it is one double at a multiple of eight bytes, written whole and by one process alone, so that nothing
is locked, and a process that dies anywhere leaves nothing behind that another would wait for.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from enum import IntEnum, unique

WORD = 8
OFFICE = 0
"""The office's place; the workers' are 1 to N."""
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0)
"""What is never touched costs no memory, and is not to be counted as if it did."""


@unique
class Field(IntEnum):
    """What a place says. Times are monotonic unless they say wall."""

    # written by the supervisor
    PID = 0
    STARTS = 1
    STARTED_AT = 2
    """Wall."""
    EXIT = 3
    """How the last one ended: an exit code, or the negative number of a signal."""
    DUE_AT = 4
    """When it is started again, 0 while it runs."""
    HANGS = 5
    """How often it was ended because its loop did not turn."""
    ENDS = 6
    RENEWED = 7
    """At the office's place: the last `AGREED` that the supervisor has taken; who is forked from then on has it."""
    # written by the process itself
    BEAT = 8
    SERVING = 9
    """1 from when it serves."""
    TOTAL = 10
    """Connections."""
    UNAUTHENTICATED = 11
    AGREED = 12
    """By the office: how often something was agreed upon that whoever is forked has to know."""


def shared(size: int) -> mmap.mmap:
    """Memory that is inherited by fork and stays the same for all."""
    return mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | NORESERVE)


class Places:
    """One row of doubles for each process."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._width = len(Field)
        self._memory = shared(WORD * (1 + self._width * (workers + 1)))
        self._words = memoryview(self._memory).cast("d")

    def get(self, place: int, field: Field) -> float:
        return self._words[1 + place * self._width + field]

    def put(self, place: int, field: Field, value: float) -> None:
        self._words[1 + place * self._width + field] = value

    @property
    def stopping(self) -> bool:
        return bool(self._words[0])

    def stop(self) -> None:
        """By the supervisor: everything ends."""
        self._words[0] = 1.0


class Board:
    """One text that all may read and one process writes: what was last agreed upon.

    Two halves, of which one is in force; the other is written first and then named, so that whoever writes may die at
    any moment, and what is read is always whole.
    """

    _HEAD = struct.Struct("dQQ")
    """Which half; the length of each."""

    def __init__(self, octets_max: int) -> None:
        self.octets_max = octets_max
        self._memory = shared(mmap.PAGESIZE + 2 * octets_max)
        self._words = memoryview(self._memory)[: mmap.PAGESIZE].cast("Q")

    def read(self) -> bytes:
        """What is in force; b"" before the first."""
        half = self._words[0] & 1
        begin = mmap.PAGESIZE + half * self.octets_max
        return self._memory[begin : begin + self._words[1 + half]]

    def write(self, text: bytes) -> None:
        """Raises ValueError if it is too long, and then nothing is changed."""
        if len(text) > self.octets_max:
            raise ValueError(f"{len(text)} bytes, at most {self.octets_max}")
        half = 1 - (self._words[0] & 1)
        begin = mmap.PAGESIZE + half * self.octets_max
        self._memory[begin : begin + len(text)] = text
        self._words[1 + half] = len(text)
        self._words[0] = half


class SharedTurns:
    """Turns at the audit's output (edge.audit.Turns), by a lock that the system takes back from a process that dies.

    The lock and the word beside it belong to a file without a name. Whoever dies while it writes leaves the word at 1:
    the next one ends the line that may have been cut.
    """

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("gateway-audit", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, mmap.PAGESIZE)
        self._memory = mmap.mmap(self._descriptor, mmap.PAGESIZE)

    def take(self) -> bool:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        torn = bool(self._memory[0])
        self._memory[0] = 1
        return torn

    def give(self, torn: bool) -> None:
        self._memory[0] = torn
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

"""Records that prove themselves, what is known of each, and the comparison of what was sent with what was found.

A record is made from its stream and number alone: key, partition and every octet of the value. Whoever reads one
makes it anew and compares, so nothing has to be kept but a state and an offset for each.
"""

from __future__ import annotations

import hashlib
import random
import struct
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

KEYS = 500
"""Keys of one stream; a key stays on one partition."""
SIZE_MAX = 900
_HEAD = struct.Struct(">BQ")
_DIGEST = 16
_POOL = random.Random(4711).randbytes(1 << 16)
SHOWN_MAX = 5
"""Examples given for each kind of finding."""

SENT, ACKNOWLEDGED, FAILED, WITHDRAWN = 1, 2, 3, 4
"""What is known of a record: on its way or without an answer; promised; refused (it may be there once or not at all);
of a transaction that was aborted (it must never be seen)."""


class Altered(Exception):
    """Octets that no stream has made."""


@dataclass
class Stream:
    """One producer's records, and what is known of each. Written by its producer's thread, read by others."""

    number: int
    topic: str
    partitions: int
    states: bytearray = field(default_factory=bytearray)
    offsets: array[int] = field(default_factory=lambda: array("q"))
    """Where the broker said it stored a record; -1 where it did not say."""
    transactions: list[range] = field(default_factory=list)
    """Those without a known outcome: all of it must be there, or nothing."""
    acknowledged: int = 0

    def key(self, number: int) -> bytes:
        return b"%d-%d" % (self.number, number % KEYS)

    def partition(self, number: int) -> int:
        return number % KEYS % self.partitions

    def value(self, number: int) -> bytes:
        spread = number * 2654435761 + self.number * 40503
        start = spread % (len(_POOL) - SIZE_MAX)
        body = _HEAD.pack(self.number, number) + _POOL[start : start + 20 + spread % (SIZE_MAX - 20)]
        return body + hashlib.blake2b(body, digest_size=_DIGEST, key=self.key(number)).digest()

    def sent(self) -> int:
        """Take the next number."""
        self.states.append(SENT)
        self.offsets.append(-1)
        return len(self.states) - 1

    def stored(self, number: int, offset: int) -> None:
        self.offsets[number] = offset

    def settle(self, numbers: range, state: int) -> None:
        self.states[numbers.start : numbers.stop] = bytes([state]) * len(numbers)
        if state == ACKNOWLEDGED:
            self.acknowledged += len(numbers)


class Reading:
    """What one reader has found so far. Safe for several threads as far as dict and array are."""

    def __init__(self, streams: list[Stream]) -> None:
        self.streams = streams
        self.found = [array("q") for _ in streams]
        """Stream -> number -> offset, -1 where it has not been seen."""
        self.count = 0
        """Different records."""
        self.again = 0
        """The same record at the same offset, as a group reads it after a rebalance."""
        self.wrong: Counter[str] = Counter()
        self.examples: list[str] = []

    def take(self, topic: str, partition: int, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Look at one record that was read."""
        where = f"{topic}-{partition}@{offset}"
        try:
            stream, number = self._recognise(topic, key, value or b"")
        except Altered:
            self._note("altered", where)
            return
        found = self.found[stream.number]
        if number >= len(found):
            found.extend([-1] * (number + 4096 - len(found)))
        if partition != stream.partition(number):
            self._note("on a partition that is not its key's", where)
        if found[number] == -1:
            found[number] = offset
            self.count += 1
        elif found[number] == offset:
            self.again += 1
        else:
            self._note("there twice", f"{where} and @{found[number]}")

    def _recognise(self, topic: str, key: bytes | None, value: bytes) -> tuple[Stream, int]:
        """Raises Altered."""
        if len(value) < _HEAD.size:
            raise Altered
        index, number = _HEAD.unpack_from(value)
        if index >= len(self.streams) or number >= len(self.streams[index].states):
            raise Altered
        stream = self.streams[index]
        if topic != stream.topic or key != stream.key(number) or value != stream.value(number):
            raise Altered
        return stream, number

    def has(self, stream: Stream, number: int) -> bool:
        found = self.found[stream.number]
        return number < len(found) and found[number] >= 0

    def missing(self) -> int:
        """Acknowledged records that have not been seen."""
        return sum(1 for _ in self._lost())

    def _lost(self) -> Iterator[str]:
        for stream in self.streams:
            for number, state in enumerate(stream.states):
                if state == ACKNOWLEDGED and not self.has(stream, number):
                    yield f"{stream.topic}-{stream.partition(number)} number {number} of stream {stream.number}"

    def compare(self) -> None:
        """Note what is lost, out of order, elsewhere than told, seen though withdrawn, or a torn transaction."""
        for where in self._lost():
            self._note("acknowledged and lost", where)
        for stream in self.streams:
            last = dict.fromkeys(range(stream.partitions), -1)
            for number, offset in enumerate(self.found[stream.number][: len(stream.states)]):
                if offset < 0:
                    continue
                partition = stream.partition(number)
                where = f"{stream.topic}-{partition}@{offset} number {number} of stream {stream.number}"
                if offset <= last[partition]:
                    self._note("out of order", where)
                last[partition] = offset
                if stream.offsets[number] not in (-1, offset):
                    self._note("not at the offset that was told", where)
                if stream.states[number] == WITHDRAWN:
                    self._note("seen though its transaction was aborted", where)
            for numbers in stream.transactions:
                if len({self.has(stream, number) for number in numbers}) > 1:
                    self._note("a transaction of which only a part is there", f"numbers {numbers}")

    def _note(self, kind: str, where: str) -> None:
        self.wrong[kind] += 1
        if self.wrong[kind] <= SHOWN_MAX:
            self.examples.append(f"{kind}: {where}")


def tally(streams: list[Stream]) -> dict[str, int]:
    """How many records are in each state."""
    names = {SENT: "without an answer", ACKNOWLEDGED: "acknowledged", FAILED: "refused", WITHDRAWN: "withdrawn"}
    return {name: sum(stream.states.count(state) for stream in streams) for state, name in names.items()}

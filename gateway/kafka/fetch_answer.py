"""A Fetch answer walked as it comes: what has come of it may go on before its end is here.

An answer may be many MiB. `feed` is shown what there is of it, again from the first octet that was not taken, and says
how much of that may go on. Every topic is looked up when its header comes, records are passed on by their length, and
never kept. What is decided by a part:

* Before anything of an answer went on (`began` is False) whatever is unusual makes `feed` raise Declined: the answer
  is then collected whole and goes the general way (kafka.relay), which can change it.
* Afterwards its front is gone. A topic that may not be read, or is not known, may only be named with the broker's own
  error for that and without records; else `feed` raises Withheld, and the connection ends.
* Broker addresses (NodeEndpoints, KIP-951) stand in a tag at the very end. The end is waited for whole; with addresses
  in it `feed` stops before it (`ends_with_addresses`), and `blank` gives as many octets that say nothing: a tag of a
  number that no client knows, which all skip (KIP-482). A client then asks for Metadata, as with older brokers.

The interpreted form, and the specification of the compiled one (kafka.hot). kafka.walk says the same of whole answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.kafka.errors import UNKNOWN_TOPIC_ID
from gateway.kafka.primitives import TEXT_MAX, Malformed, varint, written
from gateway.kafka.steps import (
    FAULTS,
    FETCH_FLEXIBLE,
    FETCH_TOPIC_IDS,
    INT16,
    INT32,
    read_count,
)
from gateway.kafka.walk import FETCH_NODE_ENDPOINTS, answer_tags

TAIL_OCTETS_MAX = 64 * 1024
"""Of the tagged fields at an answer's end, which is an address of every broker at most."""
LOOKAHEAD = 64
"""Octets that are waited for at a step's beginning, if the answer has as many: most steps need fewer."""
UNKNOWN_MAX = 1000
"""Topic ids of one answer that are remembered as unknown to the broker."""
_BLANK_TAGS = (127, 16383)
"""Numbers that no version of a Fetch answer knows, of one octet and of two."""

Read = Callable[[bytes, bool], list[int] | int]
"""(topic, by id) -> the audit's live [requests, bytes] of a topic that may be read, else the error code for it."""

_HEAD, _TOPIC, _PARTITION, _ABORTED, _RECORDS, _TAGS, _TAG, _LAST, _DONE = range(9)


class Declined(Exception):
    """Nothing of this answer went on, and it is not one that may as it is."""


class Withheld(Exception):
    """Records of a topic that may not be read, in an answer whose front has gone on. `topic`: its name, or its id."""

    def __init__(self, topic: bytes, by_id: bool) -> None:
        super().__init__("records of a topic that may not be read")
        self.topic = topic
        self.by_id = by_id


class FetchAnswer:
    """One answer at a time; `begin` starts the next. Raises Malformed, too, as kafka.walk would."""

    __slots__ = (
        "_aborted", "_after", "_error", "_last_tag", "_pair", "_pairs", "_partitions", "_read", "_skip", "_state",
        "_steps", "_tags", "_topic", "_topics", "_version", "began", "by_id", "ends_with_addresses", "left", "unknown",
        "wanted",
    )  # fmt: skip

    def __init__(self, read: Read) -> None:
        self._read = read
        self.left = 0
        """Octets of the answer that were not taken yet; 0: it is complete."""
        self.wanted = 0
        """Octets from the first one not taken without which `feed` would take nothing more."""
        self.began = False
        self.by_id = False
        self.ends_with_addresses = False
        self.unknown: list[bytes] = []
        """Topic ids that the broker did not know any more."""
        self._pairs: list[tuple[list[int], int]] = []
        self._state = _DONE
        self._steps = (
            self._step_head, self._step_topic, self._step_partition, self._step_aborted, self._step_records,
            self._step_tags, self._step_tag, self._step_last,
        )  # fmt: skip

    def begin(self, size: int, version: int) -> None:
        """An answer of that version begins, of `size` octets with its length prefix."""
        self.left = size
        self.wanted = min(size, LOOKAHEAD)
        self.began = self.ends_with_addresses = False
        self._version = version
        self.by_id = version >= FETCH_TOPIC_IDS
        self._state = _HEAD
        self._skip = self._topics = self._partitions = self._aborted = self._tags = 0
        self._topic = b""
        self._error = 0
        self._pairs.clear()
        self.unknown.clear()

    def feed(self, data: memoryview, verdicts: Mapping[bytes, list[int]]) -> int:
        """How many octets of `data`, which may hold more than this answer, may go on."""
        whole = len(data) >= self.left
        there = data[: self.left]
        end = len(there)
        taken = 0
        try:
            while self._state != _DONE:
                if self._skip:
                    step = min(self._skip, end - taken)
                    taken += step
                    self._skip -= step
                    if self._skip:
                        break
                taken = self._steps[self._state](there, taken, self.left, verdicts)
        except FAULTS:
            if whole:
                raise Malformed(f"FetchResponse v{self._version}: it ends too early") from None
        self.left -= taken
        self.began = True
        self.wanted = self._wants(end - taken)
        return taken

    def _wants(self, rest: int) -> int:
        if self._skip:
            return 1
        return self.left if self._state in (_LAST, _DONE) else min(self.left, max(LOOKAHEAD, 2 * rest))

    @property
    def complete(self) -> bool:
        """Everything of it was walked."""
        return self._state == _DONE

    def tally(self) -> None:
        """Add what came to the audit's sums: asked for once what was fed goes on."""
        for pair, octets in self._pairs:
            pair[1] += octets
        self._pairs.clear()

    def look_again(self, verdicts: Mapping[bytes, list[int]]) -> None:
        """Rights have changed in the middle of an answer. Raises Withheld if its topic may not be read any more."""
        if self._topic and not self._error and self._topic not in verdicts:
            verdict = self._read(self._topic, self.by_id)
            if isinstance(verdict, int):
                raise Withheld(self._topic, self.by_id)

    # Each step reads one thing at `o` of `d` and gives the offset behind it; `end` is the answer's end, which may lie
    # behind what is there. It raises a fault, having changed nothing, where more octets are needed.

    def _step_head(self, d: memoryview, o: int, end: int, verdicts: Mapping[bytes, list[int]]) -> int:
        flexible = self._version >= FETCH_FLEXIBLE
        o += 8  # length and correlation id
        if flexible:
            if d[o]:
                raise Declined
            o += 1
        o += 4 if self._version < 7 else 10  # throttle time; error and session id
        self._topics, o = read_count(d, o, end, flexible, _topic_octets_min(self.by_id, flexible))
        self._state = _TOPIC
        return o

    def _step_topic(self, d: memoryview, o: int, end: int, verdicts: Mapping[bytes, list[int]]) -> int:
        if not self._topics:
            self._state = _LAST
            return o
        flexible = self._version >= FETCH_FLEXIBLE
        topic, o = self._name(d, o, end, flexible)
        partitions, o = read_count(d, o, end, flexible, 30 if self._version >= 5 else 22)
        verdict = verdicts.get(topic) or self._read(topic, self.by_id)
        if isinstance(verdict, int):
            if not self.began:
                raise Declined
            self._error = verdict
        else:
            self._error = 0
            self._pair = verdict
        self._topic = topic
        self._topics -= 1
        self._partitions = partitions
        self._state = _PARTITION
        return o

    def _name(self, d: memoryview, o: int, end: int, flexible: bool) -> tuple[bytes, int]:
        """As steps.read_topic; only that a text longer than what is there is a fault as long as more may come."""
        if self.by_id:
            size = 16
        elif flexible:
            size, o = varint(d, o)
            size -= 1
        else:
            (size,) = INT16(d, o)
            o += 2
        if not 0 <= size <= min(TEXT_MAX, end - o):
            raise Malformed("FetchResponse: a topic that cannot be one")
        if o + size > len(d):
            raise IndexError
        return bytes(d[o : o + size]), o + size

    def _step_partition(self, d: memoryview, o: int, end: int, verdicts: Mapping[bytes, list[int]]) -> int:
        flexible = self._version >= FETCH_FLEXIBLE
        if not self._partitions:
            self._after = _TOPIC
            self._state = _TAGS if flexible else _TOPIC
            return o
        (code,) = INT16(d, o + 4)
        o += 30 if self._version >= 5 else 22
        aborted: int
        if flexible:
            aborted, o = varint(d, o)
            aborted -= 1
        else:
            (aborted,) = INT32(d, o)
            o += 4
            if aborted < -1:
                raise Malformed("FetchResponse: a negative length")
        if aborted * (16 + flexible) > end - o:
            raise Malformed("FetchResponse: more elements than bytes")
        if self._error and code != self._error:
            raise Withheld(self._topic, self.by_id)
        if code == UNKNOWN_TOPIC_ID:
            if not self.began:
                raise Declined
            if self.by_id and len(self.unknown) < UNKNOWN_MAX:
                self.unknown.append(self._topic)
        self._partitions -= 1
        self._aborted = max(aborted, 0)
        self._state = _ABORTED
        return o

    def _step_aborted(self, d: memoryview, o: int, end: int, verdicts: Mapping[bytes, list[int]]) -> int:
        if not self._aborted:
            self._state = _RECORDS
        elif self._version < FETCH_FLEXIBLE:
            self._skip = 16 * self._aborted
            self._aborted = 0
        else:
            if d[o + 16]:
                self._after = _ABORTED
                self._state = _TAGS
                self._skip = 16
            else:
                o += 17
            self._aborted -= 1
        return o

    def _step_records(self, d: memoryview, o: int, end: int, verdicts: Mapping[bytes, list[int]]) -> int:
        flexible = self._version >= FETCH_FLEXIBLE
        if self._version >= 11:
            o += 4  # the replica to read from
        size: int
        if flexible:
            size, o = varint(d, o)
            size -= 1
        else:
            (size,) = INT32(d, o)
            o += 4
            if size < -1:
                raise Malformed("FetchResponse: a negative length")
        if size > end - o:
            raise Malformed("FetchResponse: records longer than the answer")
        if size > 0:
            if self._error:
                raise Withheld(self._topic, self.by_id)
            self._pairs.append((self._pair, size))
            self._skip = size
        self._after = _PARTITION
        self._state = _TAGS if flexible else _PARTITION
        return o

    def _step_tags(self, d: memoryview, o: int, end: int, verdicts: Mapping[bytes, list[int]]) -> int:
        self._tags, o = varint(d, o)
        self._last_tag = -1
        self._state = _TAG if self._tags else self._after
        return o

    def _step_tag(self, d: memoryview, o: int, end: int, verdicts: Mapping[bytes, list[int]]) -> int:
        if not self._tags:
            self._state = self._after
            return o
        tag, o = varint(d, o)
        size, o = varint(d, o)
        if tag <= self._last_tag:
            raise Malformed("tagged fields out of order")
        if size > end - o:
            raise Malformed("a tagged field past the end")
        self._last_tag = tag
        self._tags -= 1
        self._skip = size
        return o

    def _step_last(self, d: memoryview, o: int, end: int, verdicts: Mapping[bytes, list[int]]) -> int:
        stop = o
        if self._version >= FETCH_FLEXIBLE:
            if end - o > TAIL_OCTETS_MAX:
                if not self.began:
                    raise Declined
                raise Malformed("FetchResponse: more tagged fields than an answer has")
            if len(d) < end:
                raise IndexError
            self.ends_with_addresses, stop = answer_tags(d, o, end, self._version >= FETCH_NODE_ENDPOINTS)
        if stop != end:
            raise Malformed("FetchResponse: bytes left over, or too few")
        self._state = _DONE
        if not self.ends_with_addresses:
            return stop
        if not self.began:
            raise Declined
        return o


def _topic_octets_min(by_id: bool, flexible: bool) -> int:
    return (18 if by_id else 3) if flexible else 6


def blank(octets: int) -> bytes:
    """As many octets of tagged fields that say nothing: one field of a number that nobody knows, full of zeros."""
    for tag in _BLANK_TAGS:
        number = written(tag)
        for length_octets in (1, 2, 3):
            content = octets - 1 - len(number) - length_octets
            if content >= 0 and len(length := written(content)) == length_octets:
                return b"\x01" + number + length + bytes(content)
    raise ValueError(f"{octets} octets hold no tagged field")

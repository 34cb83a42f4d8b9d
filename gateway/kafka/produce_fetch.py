"""The fast path: Produce and Fetch whose topics were all allowed before go on as the bytes they are.

Verdicts are remembered by the topic's raw bytes, names and ids apart, and shared by all who have the same rights
(kafka.verdicts). Only allows are: whatever is denied, unknown or unusual (transactional, a replica's fetch, tagged
fields) is left to the engine. A new revision, other claims after a re-authentication, or sums that the audit has given
up lead to other verdicts (`renew`).

Answers are walked too: broker addresses stand in a tag at their end, and an incremental fetch session (KIP-227)
keeps sending topics that the request no longer names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gateway.core.audit import AllowedTally
from gateway.core.slices import paced
from gateway.kafka.errors import TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_ID
from gateway.kafka.hot import scan_fetch, scan_produce
from gateway.kafka.plan import ZERO_ID
from gateway.kafka.scan import FetchWalk, ProduceScan
from gateway.kafka.steps import FETCH_TOPIC_IDS, NO_REPLICA, PRODUCE_TOPIC_IDS
from gateway.kafka.verdicts import LOOKS_MAX, Table, VerdictMemory
from gateway.kafka.view import SessionView

NAME_BYTES_MAX = 249
"""Of any topic that can exist; longer names are not remembered, since they would only fill memory."""

Octets = list[tuple[list[int], int]]
"""Sums of the audit, and what is to be added to them."""


class FastPath:
    """One connection's way to the verdicts."""

    __slots__ = (
        "_memory", "_tally", "_verdicts", "_view", "collected", "generation", "read_ids", "read_names", "write_ids",
        "write_names",
    )  # fmt: skip

    def __init__(self, view: SessionView, memory: VerdictMemory, tally: AllowedTally) -> None:
        self._view = view
        self._memory = memory
        self._tally = tally
        self.generation = 0
        """Counts the changes: what was found before may hold no longer."""
        self.collected = False
        """Answers to Fetch are to be collected whole: a topic that was read may not be read any more, and may stand in
        the middle of any answer of a fetch session."""
        self._take()

    def _take(self) -> None:
        """The verdicts of the rights that hold now. They may be others than before."""
        verdicts = self._memory.of(self._view.rights, self._view.principal, self._tally.generation)
        self._verdicts = verdicts
        self.write_names, self.write_ids = verdicts.write_names, verdicts.write_ids
        self.read_names, self.read_ids = verdicts.read_names, verdicts.read_ids

    def renew(self) -> None:
        """The audit has given its sums up: every verdict is asked for again."""
        self.generation += 1
        self._take()

    def rights_changed(self) -> None:
        """Other rights, or another policy."""
        before = self._verdicts
        self.renew()
        if self._verdicts is not before:
            self._verdicts.come_after(before, partial(self._view.allowed_quietly, "topic", "Read"))
            self.collected = self._verdicts.withdrawn

    def forget(self, unknown: Sequence[bytes]) -> None:
        """A broker does not know these topic ids any more."""
        self.generation += 1
        self._verdicts.forget_ids(unknown)

    def reads(self, topic: bytes, by_id: bool) -> list[int] | int:
        """The audit's [requests, bytes] of a topic that may be read, else the error a broker answers instead."""
        verdicts = self.read_ids if by_id else self.read_names
        if topic in verdicts or self._look(verdicts, topic, by_id, "Read"):
            return verdicts[topic]
        known = not by_id or self._view.topics.name(topic) is not None
        return TOPIC_AUTHORIZATION_FAILED if known else UNKNOWN_TOPIC_ID

    def table(self, by_id: bool, writing: bool) -> Table:
        """The verdicts that count for requests which name topics so, and do that."""
        if writing:
            return self.write_ids if by_id else self.write_names
        return self.read_ids if by_id else self.read_names

    def look(self, topic: bytes, by_id: bool, writing: bool) -> list[int] | None:
        """The audit's [requests, bytes] of a topic that is met for the first time; None if it is not allowed."""
        verdicts = self.table(by_id, writing)
        return verdicts[topic] if self._look(verdicts, topic, by_id, "Write" if writing else "Read") else None

    def withheld(self, topic: bytes, by_id: bool) -> str:
        """Audit that records of a topic were on their way that may not be read. The topic's name, "" if not known."""
        name = self._view.topics.name(topic) or "" if by_id else topic[:NAME_BYTES_MAX].decode(errors="replace")
        if name:
            self._view.begin("Fetch", answer=True)
            self._view.allowed("topic", "Read", name)
            self._view.end()
        return name

    def produce(self, frame: memoryview, body_offset: int, version: int) -> ProduceScan | None:
        """The scan of a Produce request that may go on as it is, None if the engine must look. Raises Malformed."""
        scan = scan_produce(frame, body_offset, version)
        if scan.has_transactional_batch or scan.transactional_id is not None or scan.tagged:
            return None
        by_id = version >= PRODUCE_TOPIC_IDS
        verdicts = self.write_ids if by_id else self.write_names
        topics = scan.topics
        if not topics or not self._all_allowed(verdicts, topics, by_id, "Write"):
            return None
        for topic, octets in zip(topics, scan.topic_octets, strict=True):
            pair = verdicts[topic]
            pair[0] += 1
            pair[1] += octets
        return scan

    def fetch(self, frame: memoryview, body_offset: int, version: int) -> bool:
        """Whether a Fetch request may go on as it is. Raises Malformed."""
        scan = scan_fetch(frame, body_offset, version)
        if scan.replica_id != NO_REPLICA or scan.tagged:
            return False
        by_id = version >= FETCH_TOPIC_IDS
        verdicts = self.read_ids if by_id else self.read_names
        if not self._all_allowed(verdicts, scan.topics, by_id, "Read"):
            return False
        for topic in scan.topics:
            verdicts[topic][0] += 1
        return True

    def produced(self, frame: memoryview, body_offset: int, version: int) -> Octets:
        """The bytes of a Produce request that the engine decided, with the sums of the topics that were allowed."""
        sums: Octets = []
        scan = scan_produce(frame, body_offset, version)
        by_id = version >= PRODUCE_TOPIC_IDS
        verdicts = self.write_ids if by_id else self.write_names
        for topic, octets in paced(zip(scan.topics, scan.topic_octets, strict=True)):
            if self._all_allowed(verdicts, (topic,), by_id, "Write"):
                sums.append((verdicts[topic], octets))
        return sums

    def fetched(self, walk: FetchWalk, version: int, again: bool) -> bool:
        """Sum an answer's bytes, unless it is looked at again; whether it may go on as it is: every topic in it is
        still allowed."""
        by_id = version >= FETCH_TOPIC_IDS
        verdicts = self.read_ids if by_id else self.read_names
        good = not walk.has_node_endpoints
        sums: Octets = []
        for topic, octets in paced(zip(walk.topics, walk.topic_octets, strict=True)):
            pair = verdicts.get(topic)
            if pair is None and self._look(verdicts, topic, by_id, "Read"):
                pair = verdicts[topic]
            if pair is None:
                good = False
            else:
                sums.append((pair, octets))
        if not again:
            for pair, octets in sums:
                pair[1] += octets
        return good

    def _all_allowed(self, verdicts: Table, topics: tuple[bytes, ...], by_id: bool, operation: str) -> bool:
        looks = 0
        for topic in topics:
            if topic in verdicts:
                continue
            looks += 1
            if looks > LOOKS_MAX or not self._look(verdicts, topic, by_id, operation):
                return False
        # Making room for a late topic may have dropped an early one; then the engine decides.
        return all(topic in verdicts for topic in topics) if len(topics) > 1 else True

    def _look(self, verdicts: Table, topic: bytes, by_id: bool, operation: str) -> bool:
        """Ask the rights, and remember an allow."""
        name: str | None
        if by_id:
            name = self._view.topics.name(topic) if topic != ZERO_ID else None
        elif len(topic) > NAME_BYTES_MAX:
            return False
        else:
            try:
                name = topic.decode()
            except UnicodeDecodeError:
                return False
        if name is None or not self._view.allowed_quietly("topic", operation, name):
            return False
        if operation == "Read":
            self._verdicts.read(name)
        self._memory.remember(self._verdicts, verdicts, topic, self._view.tally_pair(operation, "topic", name))
        return True

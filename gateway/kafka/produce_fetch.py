"""The fast path: Produce and Fetch whose topics were all allowed before go on as the bytes they are.

Each connection remembers its verdicts by the topic's raw bytes, names and ids apart. A verdict is the live
[requests, bytes] pair of the audit's sums, so that a hit costs one lookup. Only allows are remembered: whatever is
denied, unknown or unusual (transactional, a replica's fetch, tagged fields) is left to the engine. A new revision, a
re-authentication or a flush of the sums starts anew (`renew`).

Answers are walked too: broker addresses stand in a tag at their end, and an incremental fetch session (KIP-227)
keeps sending topics that the request no longer names.
"""

from __future__ import annotations

from gateway.core.slices import paced
from gateway.kafka.errors import TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC_ID
from gateway.kafka.hot import scan_fetch, scan_produce
from gateway.kafka.plan import ZERO_ID
from gateway.kafka.scan import FetchWalk, ProduceScan
from gateway.kafka.steps import FETCH_TOPIC_IDS, NO_REPLICA, PRODUCE_TOPIC_IDS
from gateway.kafka.view import SessionView

VERDICTS_MAX = 2000
"""Remembered per connection, direction and kind of key; when full it starts anew."""
LOOKS_MAX = 256
"""Topics of one request that rights are asked for here; one with more is the engine's, which decides it in slices."""
NAME_BYTES_MAX = 249
"""Of any topic that can exist; longer names are not remembered, since they would only fill memory."""

Verdicts = dict[bytes, list[int]]
Octets = list[tuple[list[int], int]]
"""Sums of the audit, and what is to be added to them."""


class FastPath:
    """One connection's verdicts."""

    __slots__ = ("_seen", "_view", "collected", "generation", "read_ids", "read_names", "write_ids", "write_names")

    def __init__(self, view: SessionView) -> None:
        self._view = view
        self.generation = 0
        """Counts the calls of `renew`."""
        self._seen: set[str] = set()
        self.collected = False
        """Answers to Fetch are to be collected whole: a topic that this connection has read may not be read any more,
        and may stand in the middle of any answer of its fetch session."""
        self.write_names: Verdicts = {}
        self.write_ids: Verdicts = {}
        self.read_names: Verdicts = {}
        self.read_ids: Verdicts = {}

    def renew(self) -> None:
        """A new generation: every verdict is asked for again."""
        self.generation += 1
        self.write_names.clear()
        self.write_ids.clear()
        self.read_names.clear()
        self.read_ids.clear()

    def rights_changed(self) -> None:
        """Other rights, or another policy."""
        self.renew()
        self.collected = not all(self._view.allowed_quietly("topic", "Read", name) for name in self._seen)

    def reads(self, topic: bytes, by_id: bool) -> list[int] | int:
        """The audit's [requests, bytes] of a topic that may be read, else the error a broker answers instead."""
        verdicts = self.read_ids if by_id else self.read_names
        if topic in verdicts or self._look(verdicts, topic, by_id, "Read"):
            return verdicts[topic]
        known = not by_id or self._view.topics.name(topic) is not None
        return TOPIC_AUTHORIZATION_FAILED if known else UNKNOWN_TOPIC_ID

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

    def _all_allowed(self, verdicts: Verdicts, topics: tuple[bytes, ...], by_id: bool, operation: str) -> bool:
        looks = 0
        for topic in topics:
            if topic in verdicts:
                continue
            looks += 1
            if looks > LOOKS_MAX or not self._look(verdicts, topic, by_id, operation):
                return False
        # Making room for a late topic may have dropped an early one; then the engine decides.
        return all(topic in verdicts for topic in topics) if len(topics) > 1 else True

    def _look(self, verdicts: Verdicts, topic: bytes, by_id: bool, operation: str) -> bool:
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
        if len(verdicts) >= VERDICTS_MAX:
            verdicts.clear()
        if operation == "Read" and len(self._seen) < VERDICTS_MAX:
            self._seen.add(name)
        verdicts[topic] = self._view.tally_pair(operation, "topic", name)
        return True

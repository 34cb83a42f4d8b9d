"""What is known of one Kafka cluster: its brokers, versions, features and topics. One per backend.

control.KafkaControl writes it, sessions read it. Everything in it is a copy of what brokers said, bounded; an id
keeps its name for life in Kafka (a topic made anew has a new id), so that a stale entry can only be one too many,
and `forget` drops those that a broker did not know any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from gateway.core.session import Endpoint
from gateway.core.slices import breathe, paced
from gateway.kafka.plan import ZERO_ID, TopicId
from gateway.kafka.remembered import Remembered
from gateway.kafka.table import OFFERED
from gateway.kafka.verdicts import VerdictMemory

TOPICS_MAX = 200_000
"""Topics remembered; the oldest give way, and are asked for again when they are met."""
BROKERS_MAX = 1000

K = TypeVar("K", int, str)

VersionRanges = Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class BrokerVersions:
    """What one broker says it can do: API key -> versions, feature -> versions, both ends included."""

    apis: VersionRanges
    supported_features: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    finalized_features: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    finalized_epoch: int = -1


class TopicDirectory:
    """Topic names by id and ids by name, as last seen; implements plan.Topics."""

    __slots__ = ("_ids", "_names", "changes", "topics_max")

    def __init__(self, topics_max: int = TOPICS_MAX) -> None:
        self.topics_max = topics_max
        self._names: dict[TopicId, str] = {}
        self._ids: dict[str, TopicId] = {}
        self.changes = 0
        """Counts them, for what was computed from the topics before."""

    def __len__(self) -> int:
        return len(self._names)

    def name(self, topic_id: TopicId) -> str | None:
        return self._names.get(topic_id)

    def topic_id(self, name: str) -> TopicId | None:
        return self._ids.get(name)

    def names(self) -> Collection[str]:
        return self._ids.keys()

    def learn(self, name: str, topic_id: TopicId) -> None:
        """Remember a topic. A name with a new id was made anew: its old id is forgotten. Full: the oldest goes."""
        if topic_id == ZERO_ID:
            return
        before = self._ids.get(name)
        if before == topic_id:
            return
        self.changes += 1
        if before is not None:
            self._names.pop(before, None)
        elif len(self._names) >= self.topics_max:
            self.forget([next(iter(self._names))])
        former_name = self._names.get(topic_id)
        if former_name is not None:  # the broker contradicts itself; the last word holds for both directions
            self._ids.pop(former_name, None)
        self._names[topic_id] = name
        self._ids[name] = topic_id

    def forget(self, topic_ids: Iterable[TopicId]) -> None:
        for topic_id in topic_ids:
            name = self._names.pop(topic_id, None)
            self.changes += name is not None
            if name is not None and self._ids.get(name) == topic_id:
                del self._ids[name]

    def replace(self, topics: Iterable[tuple[str, TopicId]]) -> None:
        """All topics of the cluster: what is not among them is gone. In slices; until the last the old ones hold."""
        fresh = TopicDirectory(self.topics_max)
        for name, topic_id in paced(topics):
            fresh.learn(name, topic_id)
        breathe()
        self.changes += fresh._ids != self._ids
        self._names, self._ids = fresh._names, fresh._ids


class BackendState:
    """One cluster as the gateway knows it now.

    `offered` is what clients may use: the gateway's table within what every known broker can do. `generation`
    counts its changes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.cluster_id: str | None = None
        self.brokers: dict[int, Endpoint] = {}
        self.auto_create_topics = True
        """As long as it is not known, a topic might be created by asking for it."""
        self.topics = TopicDirectory()
        self.metadata = Remembered(self.topics)
        self.verdicts = VerdictMemory()
        self.offered: VersionRanges = MappingProxyType({})
        self.supported_features: Mapping[str, tuple[int, int]] = MappingProxyType({})
        self.finalized_features: Mapping[str, tuple[int, int]] = MappingProxyType({})
        self.finalized_epoch = -1
        self.generation = 0
        self.refresh_wanted = False
        """A session saw that the brokers or topics changed, since the control connection last looked."""
        self.on_wanted: Callable[[], None] = _nobody
        """Told at once when it is; the control connection's schedule sleeps until then."""
        self.warned: set[tuple[str, int]] = set()
        """(listener, node id) of brokers outside a listener's range, so that each is warned of once."""
        self._versions: dict[int, BrokerVersions] = {}
        self._next = 0

    @property
    def ready(self) -> bool:
        """Whether some broker was reached, so that clients can be answered."""
        return bool(self.brokers) and bool(self.offered)

    def set_brokers(self, brokers: Mapping[int, Endpoint]) -> None:
        """All brokers of the cluster. Versions of those that left no longer narrow what is offered."""
        self.brokers = dict(sorted(brokers.items())[:BROKERS_MAX])
        gone = [node_id for node_id in self._versions if node_id not in self.brokers]
        for node_id in gone:
            del self._versions[node_id]
        if gone:
            self._intersect()

    def set_versions(self, node_id: int, versions: BrokerVersions) -> None:
        if self._versions.get(node_id) != versions:
            self._versions[node_id] = versions
            self._intersect()

    def endpoint(self, node_id: int | None) -> Endpoint | None:
        """Where a broker is; for None any of them, in turn."""
        if node_id is not None:
            return self.brokers.get(node_id)
        if not self.brokers:
            return None
        self._next = (self._next + 1) % len(self.brokers)
        return list(self.brokers.values())[self._next]

    def forget_topics(self, topic_ids: Iterable[TopicId]) -> None:
        """A broker did not know these ids (UNKNOWN_TOPIC_ID)."""
        self.topics.forget(topic_ids)
        self.want_refresh()

    def want_refresh(self) -> None:
        """A session saw that what is known is no longer so."""
        self.refresh_wanted = True
        self.on_wanted()

    def _intersect(self) -> None:
        every = list(self._versions.values())
        self.generation += 1
        self.offered = MappingProxyType(_common([OFFERED, *(broker.apis for broker in every)]) if every else {})
        self.supported_features = MappingProxyType(_common([broker.supported_features for broker in every]))
        newest = max(every, key=lambda broker: broker.finalized_epoch, default=None)
        self.finalized_epoch = newest.finalized_epoch if newest else -1
        self.finalized_features = newest.finalized_features if newest else MappingProxyType({})


def _nobody() -> None:
    """Nobody waits for a wish yet."""


def _common(ranges: Sequence[Mapping[K, tuple[int, int]]]) -> dict[K, tuple[int, int]]:
    """The keys that all have, with the versions that all have."""
    common: dict[K, tuple[int, int]] = {}
    if not ranges:
        return common
    for key in ranges[0]:
        theirs = [other.get(key) for other in ranges]
        known = [each for each in theirs if each is not None]
        low, high = max(each[0] for each in known), min(each[1] for each in known)
        if len(known) == len(ranges) and low <= high:
            common[key] = (low, high)
    return common

"""A cluster of the operator's own behind the demo (``--bootstrap``): its node ids, and the demo's two topics in it."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from gateway.ops.demo.client import silent_logger

REACHED_SECONDS_MAX, DONE_SECONDS_MAX = 15.0, 60.0
"""For a first answer, without which the demo says that no broker is there, and for topics to be made or removed."""


class NoBroker(Exception):
    """The broker could not be reached or did not do what was asked."""


class OwnCluster:
    """Reached in plaintext, beside the gateway; only to look at it and to make topics."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin = AdminClient({"bootstrap.servers": bootstrap}, logger=silent_logger)
        try:
            found = self._admin.list_topics(timeout=REACHED_SECONDS_MAX)
        except KafkaException as error:
            raise NoBroker(f"{bootstrap}: {error.args[0].str()}") from None
        self._topics = frozenset(found.topics)
        self.node_ids = range(min(found.brokers), max(found.brokers) + 1)

    def prepare(self, topics: Sequence[str]) -> list[str]:
        """Make the topics that are not there. Returns those made."""
        missing = [topic for topic in topics if topic not in self._topics]
        if not missing:
            return []
        for topic, done in self._admin.create_topics([NewTopic(name, 3, -1) for name in missing]).items():
            try:
                done.result(DONE_SECONDS_MAX)
            except KafkaException as error:
                raise NoBroker(f"topic {topic} could not be made on {self._bootstrap}: {error.args[0].str()}") from None
        return missing

    def remove(self, topics: Sequence[str]) -> None:
        """Remove the topics that `prepare` made; what cannot be removed stays."""
        if not topics:
            return
        for done in self._admin.delete_topics(list(topics)).values():
            try:
                done.result(DONE_SECONDS_MAX)
            except KafkaException:
                continue

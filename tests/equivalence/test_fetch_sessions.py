"""Fetch sessions with a real broker behind the engine: what a client is told, fetch after fetch."""

from __future__ import annotations

import pytest

from gateway.kafka.plan import Body
from tests.equivalence.acls import AclView, acls
from tests.equivalence.gateway import through
from tests.equivalence.world import World

pytestmark = pytest.mark.real
FETCH = 1
ALLOWED, DENIED = 0, 29
VERSIONS = (7, 12, 13, 18)


class Reader:
    """A client that fetches as KIP-227 has it: all partitions, then what changed, and all again when told to."""

    def __init__(self, world: World, version: int, rights: str) -> None:
        self._world, self._version = world, version
        self.view: AclView = world.view("nobody")
        self.may(rights)
        self._session, self._epoch = 0, 0
        self._wanted: list[str] = []
        self._sent: set[str] = set()

    def may(self, rights: str) -> None:
        self.view.acls = acls(*rights.split(", "))

    def want(self, *topics: str) -> None:
        self._wanted += topics

    def fetch(self) -> dict[str, int]:
        """Topic -> error, of what the answer holds; records too where the error is 0."""
        full = self._epoch == 0
        topics = [name for name in self._wanted if full or name not in self._sent]
        body = {
            "maxWaitMs": 5, "maxBytes": 10_000, "sessionId": self._session, "sessionEpoch": self._epoch,
            "topics": [{**self._named(name), "partitions": [self._partition()]} for name in topics],
        }  # fmt: skip
        answer = through(self._world.broker, self.view, self._world.learn, FETCH, self._version, body)
        assert answer is not None
        assert answer["errorCode"] == 0
        self._sent = set(self._wanted)
        self._epoch = self._epoch + 1 if answer["sessionId"] else 0
        self._session = answer["sessionId"]
        return {self._name(topic): self._error(topic) for topic in answer["responses"]}

    @property
    def has_session(self) -> bool:
        return self._session != 0

    def _partition(self) -> Body:
        return {"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1000}

    def _named(self, name: str) -> Body:
        return {"topic": name} if self._version < 13 else {"topicId": self._world.topics.ids[name]}

    def _name(self, topic: Body) -> str:
        name = topic["topic"] if self._version < 13 else self._world.topics.name(topic["topicId"])
        assert name is not None
        return name

    @staticmethod
    def _error(topic: Body) -> int:
        (partition,) = topic["partitions"]
        assert bool(partition["records"]) == (partition["errorCode"] == ALLOWED)
        error: int = partition["errorCode"]
        return error


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_goes_on_by_requests_that_name_nothing(world: World, version: int) -> None:
    reader = Reader(world, version, "Read topic *")
    reader.want("a-one")
    assert reader.fetch() == {"a-one": ALLOWED}
    assert reader.has_session
    assert reader.fetch() == {"a-one": ALLOWED}
    reader.want("b-one")
    assert reader.fetch() == {"a-one": ALLOWED, "b-one": ALLOWED}
    assert reader.has_session


@pytest.mark.parametrize("version", VERSIONS)
def test_a_denied_topic_is_told_of_at_every_fetch(world: World, version: int) -> None:
    reader = Reader(world, version, "Read topic a-*")
    reader.want("a-one", "b-one")
    for _ in range(3):
        assert reader.fetch() == {"a-one": ALLOWED, "b-one": DENIED}
        assert not reader.has_session


@pytest.mark.parametrize("version", VERSIONS)
def test_a_denied_topic_that_is_added_ends_the_session(world: World, version: int) -> None:
    reader = Reader(world, version, "Read topic a-*")
    reader.want("a-one")
    assert reader.fetch() == {"a-one": ALLOWED}
    assert reader.has_session
    reader.want("b-one")
    assert reader.fetch() == {"b-one": DENIED}
    assert not reader.has_session
    assert reader.fetch() == {"a-one": ALLOWED, "b-one": DENIED}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_right_that_is_withdrawn_ends_the_flow(world: World, version: int) -> None:
    reader = Reader(world, version, "Read topic *")
    reader.want("a-one", "b-one")
    assert reader.fetch() == {"a-one": ALLOWED, "b-one": ALLOWED}
    reader.may("Read topic *, deny Read topic b-*")
    assert reader.fetch() == {"a-one": ALLOWED, "b-one": DENIED}
    assert not reader.has_session
    assert reader.fetch() == {"a-one": ALLOWED, "b-one": DENIED}
    reader.may("Read topic *")
    assert reader.fetch() == {"a-one": ALLOWED, "b-one": ALLOWED}
    assert reader.has_session

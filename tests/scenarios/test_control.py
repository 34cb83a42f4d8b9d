"""The control connection against brokers made by hand, of several versions and tempers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.core.exchange import ExchangeFailed
from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.kafka import codec
from gateway.kafka.backend import BackendState
from gateway.kafka.control import KafkaControl
from gateway.kafka.plan import TopicFactsWanted, TopicsToCreate
from tests.scenarios.kafka_world import request_body

NEW = {key: api.versions for key, api in codec.APIS.items()}
OLD = {**NEW, 3: (0, 9), 18: (0, 3)}
IDS = {"a": b"A" * 16, "b": b"B" * 16}


class HandMadeBroker:
    """Answers like a broker; `silent` makes it fail, `answer` replaces what one API answers."""

    def __init__(self, apis: Mapping[int, tuple[int, int]] = NEW, auto_create: str | None = "false") -> None:
        self.apis = apis
        self.auto_create = auto_create
        self.silent = False
        self.node_id: int | None = None
        self.asked: list[tuple[int, int, dict[str, Any]]] = []
        self.open = 0
        self.replaced: bytes | None = None

    async def call(self, frame: bytes) -> bytes:
        header, body = request_body(frame)
        key, version = header.api_key, header.api_version
        self.asked.append((key, version, body))
        await asyncio.sleep(0)
        if self.silent:
            raise ExchangeFailed("silent")
        if self.replaced is not None:
            return self.replaced
        low, high = self.apis.get(key, (0, -1))
        if key == 18 and not low <= version <= high:
            answer, version = {"errorCode": 35, "apiKeys": [{"apiKey": 18, "minVersion": 0, "maxVersion": high}]}, 0
        else:
            assert low <= version <= high, f"a broker without version {version} of {key} was asked"
            answer = getattr(self, f"_answer_{key}")(body, version)
        return codec.encode_response_header(key, version, header.correlation_id) + codec.encode_response(
            key, version, answer
        )

    def close(self) -> None:
        self.open -= 1

    def _answer_18(self, body: dict[str, Any], version: int) -> dict[str, Any]:
        keys = [{"apiKey": key, "minVersion": low, "maxVersion": high} for key, (low, high) in self.apis.items()]
        return {"errorCode": 0, "apiKeys": keys}

    def _answer_3(self, body: dict[str, Any], version: int) -> dict[str, Any]:
        if body["topics"] is None:
            found = list(IDS.items())
        else:
            names = {topic_id: name for name, topic_id in IDS.items()}
            found = []
            for topic in body["topics"]:
                name = topic["name"] if topic["name"] is not None else names.get(bytes(topic["topicId"]))
                found.append((name, IDS.get(name or "", bytes(16))))
            if body.get("allowAutoTopicCreation"):
                found = [(name, topic_id if any(topic_id) else b"N" * 16) for name, topic_id in found]
        topics = [
            {"errorCode": 0 if any(topic_id) else 3, "name": name, "partitions": []}
            | ({"topicId": topic_id} if version >= 10 else {})
            for name, topic_id in found
        ]
        brokers = [{"nodeId": 1, "host": "one", "port": 1}, {"nodeId": 2, "host": "two", "port": 2}]
        return {"brokers": brokers, "clusterId": "cluster-9", "controllerId": 1, "topics": topics}

    def _answer_32(self, body: dict[str, Any], version: int) -> dict[str, Any]:
        """As Kafka's ConfigHelper: a broker tells of itself and of no other node."""
        (resource,) = body["resources"]
        if self.node_id is not None and resource["resourceName"] != str(self.node_id):
            failed = {"errorCode": 42, "resourceType": 4, "resourceName": resource["resourceName"], "configs": []}
            return {"results": [failed]}
        configs = [] if self.auto_create is None else [{"name": "auto.create.topics.enable", "value": self.auto_create}]
        return {"results": [{"resourceType": 4, "resourceName": resource["resourceName"], "configs": configs}]}


class Cluster:
    def __init__(self, **brokers: HandMadeBroker) -> None:
        self.brokers = brokers
        self.state = BackendState("main")
        self.control = KafkaControl(self.state, Backend(name="main", bootstrap=("boot:9", "one:1")))

    async def dial(self, endpoint: Endpoint) -> HandMadeBroker:
        broker = self.brokers.get(endpoint.host)
        if broker is None:
            raise ExchangeFailed("refused")
        broker.open += 1
        return broker

    def settled(self) -> bool:
        return all(broker.open == 0 for broker in self.brokers.values())


async def test_a_cluster_is_learnt() -> None:
    cluster = Cluster(one=HandMadeBroker(), two=HandMadeBroker())
    await cluster.control.refresh(cluster.dial)
    state = cluster.state
    assert state.ready
    assert state.cluster_id == "cluster-9"
    assert state.brokers == {1: Endpoint("one", 1), 2: Endpoint("two", 2)}
    assert state.topics.name(b"A" * 16) == "a"
    assert state.auto_create_topics is False
    assert state.offered[1][1] > 0
    assert cluster.settled()


async def test_a_refresh_is_wanted_until_it_is_done() -> None:
    cluster = Cluster(one=HandMadeBroker(), two=HandMadeBroker())
    assert not cluster.control.refresh_wanted
    cluster.state.forget_topics([b"A" * 16])
    assert cluster.control.refresh_wanted
    await cluster.control.refresh(cluster.dial)
    assert not cluster.control.refresh_wanted


@pytest.mark.parametrize(("setting", "expected"), [("true", True), ("false", False), (None, True)])
async def test_auto_create_is_true_unless_it_is_known_not_to_be(setting: str | None, expected: bool) -> None:
    cluster = Cluster(one=HandMadeBroker(auto_create=setting), two=HandMadeBroker())
    await cluster.control.refresh(cluster.dial)
    assert cluster.state.auto_create_topics is expected


async def test_auto_create_is_asked_of_the_broker_that_it_is_about() -> None:
    """Also where the address of the bootstrap is another broker's than the first's."""
    one, two = HandMadeBroker(), HandMadeBroker()
    one.node_id, two.node_id = 1, 2
    cluster = Cluster(boot=two, one=one, two=two)
    await cluster.control.refresh(cluster.dial)
    assert cluster.state.auto_create_topics is False
    assert cluster.settled()


async def test_a_broker_that_may_not_describe_configs() -> None:
    without = {key: range_ for key, range_ in NEW.items() if key != 32}
    cluster = Cluster(one=HandMadeBroker(without), two=HandMadeBroker())
    await cluster.control.refresh(cluster.dial)
    assert cluster.state.auto_create_topics is True
    assert 32 not in cluster.state.offered


async def test_older_brokers_narrow_what_is_offered() -> None:
    cluster = Cluster(one=HandMadeBroker(), two=HandMadeBroker(OLD))
    await cluster.control.refresh(cluster.dial)
    assert cluster.state.offered[3] == (0, 9)


async def test_a_broker_that_knows_no_newer_api_versions() -> None:
    old = HandMadeBroker({**OLD, 18: (0, 0)})
    cluster = Cluster(one=old, two=HandMadeBroker())
    await cluster.control.refresh(cluster.dial)
    assert [version for key, version, _ in old.asked if key == 18][:2] == [3, 0]


async def test_one_broker_down_does_not_stop_a_refresh() -> None:
    cluster = Cluster(one=HandMadeBroker())
    await cluster.control.refresh(cluster.dial)
    assert cluster.state.ready
    assert cluster.settled()


async def test_what_is_known_of_a_broker_that_is_down_stays() -> None:
    old = HandMadeBroker(OLD)
    cluster = Cluster(one=HandMadeBroker(), two=old)
    await cluster.control.refresh(cluster.dial)
    old.silent = True
    await cluster.control.refresh(cluster.dial)
    assert cluster.state.offered[3] == (0, 9)
    assert cluster.settled()


async def test_no_broker_at_all() -> None:
    cluster = Cluster()
    with pytest.raises(ExchangeFailed, match="no broker could be reached"):
        await cluster.control.refresh(cluster.dial)
    assert not cluster.state.ready


@pytest.mark.parametrize("answer", [b"", b"\0\0", b"\0\0\0\0", b"\0\0\0\x09\0\0", b"\0\0\0\0\0\0\xff\xff\xff\xff"])
async def test_an_answer_that_is_none(answer: bytes) -> None:
    broker = HandMadeBroker()
    broker.replaced = answer
    cluster = Cluster(one=broker)
    with pytest.raises(ExchangeFailed):
        await cluster.control.refresh(cluster.dial)
    assert cluster.settled()


async def test_topic_facts() -> None:
    cluster = Cluster(one=HandMadeBroker())
    ask = TopicFactsWanted("main", frozenset({"a", "x"}), frozenset({b"B" * 16, b"Z" * 16}))
    facts = await cluster.control.answer(ask, cluster.dial)
    assert facts.names_by_id == {b"A" * 16: "a", b"B" * 16: "b"}
    assert facts.missing_ids == {b"Z" * 16}
    assert facts.missing_names == {"x"}
    assert cluster.state.topics.name(b"B" * 16) == "b"
    (_, _, body) = cluster.brokers["one"].asked[-1]
    assert body["allowAutoTopicCreation"] is False
    cluster.control.close()
    assert cluster.settled()


async def test_ids_cannot_be_known_to_a_broker_that_has_none() -> None:
    cluster = Cluster(one=HandMadeBroker(OLD))
    ask = TopicFactsWanted("main", frozenset(), frozenset({b"B" * 16}))
    facts = await cluster.control.answer(ask, cluster.dial)
    assert facts.missing_ids == {b"B" * 16}


async def test_topics_are_created_by_those_names_alone() -> None:
    broker = HandMadeBroker()
    cluster = Cluster(one=broker)
    facts = await cluster.control.answer(TopicsToCreate("main", frozenset({"x"})), cluster.dial)
    assert facts.missing_names == frozenset()
    (_, _, body) = broker.asked[-1]
    assert body["allowAutoTopicCreation"] is True
    assert [topic["name"] for topic in body["topics"]] == ["x"]
    cluster.control.close()
    assert cluster.settled()


async def test_many_names_are_asked_in_slices() -> None:
    broker = HandMadeBroker()
    cluster = Cluster(one=broker)
    ask = TopicFactsWanted("main", frozenset(f"t{number}" for number in range(2500)), frozenset())
    await cluster.control.answer(ask, cluster.dial)
    assert [len(body["topics"]) for key, _, body in broker.asked if key == 3] == [1000, 1000, 500]


# The connection that is kept

WHICH = TopicFactsWanted("main", frozenset({"a"}), frozenset())


def greeted(broker: HandMadeBroker) -> int:
    return sum(key == 18 for key, _, _ in broker.asked)


async def test_asks_share_a_connection_until_the_next_refresh() -> None:
    broker = HandMadeBroker()
    cluster = Cluster(one=broker)
    for _ in range(3):
        await cluster.control.answer(WHICH, cluster.dial)
    await cluster.control.answer(TopicsToCreate("main", frozenset({"x"})), cluster.dial)
    assert (greeted(broker), broker.open) == (1, 1)
    await cluster.control.refresh(cluster.dial)
    assert broker.open == 0


async def test_one_connection_is_kept_however_many_were_needed_at_once() -> None:
    broker = HandMadeBroker()
    cluster = Cluster(one=broker)
    await asyncio.gather(*(cluster.control.answer(WHICH, cluster.dial) for _ in range(5)))
    assert (greeted(broker), broker.open) == (5, 1)


async def test_a_kept_connection_that_is_dead_is_replaced() -> None:
    dead, alive = HandMadeBroker(), HandMadeBroker()
    cluster = Cluster(one=dead)
    await cluster.control.answer(WHICH, cluster.dial)
    dead.silent = True
    cluster.brokers["one"] = alive
    facts = await cluster.control.answer(WHICH, cluster.dial)
    assert facts.names_by_id == {b"A" * 16: "a"}
    assert (dead.open, alive.open) == (0, 1)


async def test_a_connection_that_fails_is_not_kept() -> None:
    broker = HandMadeBroker()
    cluster = Cluster(one=broker)
    await cluster.control.answer(WHICH, cluster.dial)
    broker.silent = True
    with pytest.raises(ExchangeFailed):
        await cluster.control.answer(WHICH, cluster.dial)
    assert broker.open == 0


async def test_nothing_is_kept_after_the_end() -> None:
    broker = HandMadeBroker()
    cluster = Cluster(one=broker)
    cluster.control.close()
    await cluster.control.answer(WHICH, cluster.dial)
    assert broker.open == 0

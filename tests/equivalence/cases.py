"""Requests, for each API: what is asked, at which versions, and what has to be there before.

A case's body is built anew for every run. `run.fresh("a-x")` is a name that no other run has, so that a request that
changes something finds the same state both times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.kafka.plan import Body, TopicId
from gateway.kafka.table import OFFERED, TABLE
from tests.equivalence.world import NO_ID, TOPICS, UNKNOWN_IDS, World, batch, produce_body


@dataclass
class Run:
    """One asking of a case, straight or through the engine."""

    world: World
    version: int
    label: str

    def fresh(self, name: str) -> str:
        return f"{name}-{self.label}"

    def id(self, topic: str) -> TopicId:
        return self.world.topics.ids[topic]

    def named(self, topic: str, ids_from: int, field: str = "name") -> Body:
        """A topic as this version names it."""
        if self.version < ids_from:
            return {field: topic}
        return {"topicId": UNKNOWN_IDS[topic] if topic in UNKNOWN_IDS else self.id(topic)}


@dataclass(frozen=True)
class Case:
    key: int
    name: str
    build: Callable[[Run], Body]
    versions: tuple[int, int] = (0, 99)
    setup: Callable[[Run], None] | None = None
    differs: dict[str, str] = field(default_factory=dict)
    """A path's beginning -> why answers differ there by intention."""
    by_chance: bool = False
    """They may differ so, or not, by how fast the broker is."""

    @property
    def api(self) -> str:
        return TABLE[self.key].name

    def at(self) -> Iterator[int]:
        first, last = OFFERED[self.key]
        yield from range(max(first, self.versions[0]), min(last, self.versions[1]) + 1)


BOTH = ("a-one", "b-one")
BOTH_AND_MISSING = (*BOTH, "a-none", "b-none")


def _produce(run: Run, *names: str, **fields: object) -> Body:
    body = produce_body(*names, **fields)
    for topic, name in zip(body["topicData"], names, strict=True):
        topic.pop("name")
        topic.update(run.named(name, 13))
    return body


def _transactional(run: Run, transactional_id: str | None) -> Body:
    body = _produce(run, "a-one", transactionalId=transactional_id)
    body["topicData"][0]["partitionData"][0]["records"] = batch(transactional=True, producer_id=7)
    return body


def _fetch(run: Run, *names: str, **fields: object) -> Body:
    partition = {"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1000}
    return {
        "maxWaitMs": 5, "minBytes": 0, "maxBytes": 10_000,
        "topics": [{**run.named(name, 13, "topic"), "partitions": [partition]} for name in names], **fields,
    }  # fmt: skip


PRODUCE = (
    Case(0, "two topics and missing ones", lambda run: _produce(run, *BOTH_AND_MISSING)),
    Case(0, "one topic", lambda run: _produce(run, "b-one")),
    Case(0, "transactional batch", lambda run: _transactional(run, "b-transaction")),
    Case(0, "transactional batch without an id", lambda run: _transactional(run, None)),
    Case(0, "transactional id without such a batch", lambda run: _produce(run, *BOTH, transactionalId="b-transaction")),
)
FETCH = (
    Case(1, "two topics and missing ones", lambda run: _fetch(run, *BOTH_AND_MISSING)),
    Case(1, "one topic", lambda run: _fetch(run, "b-one")),
    Case(1, "nothing", lambda run: _fetch(run)),
    Case(
        1, "a new session", lambda run: _fetch(run, *BOTH, sessionId=0, sessionEpoch=0), versions=(7, 18),
        differs={"sessionId": "no session is made where a topic is denied"},
    ),
    Case(1, "a session that is not there", lambda run: _fetch(run, "a-one", sessionId=77, sessionEpoch=5),
         versions=(7, 18),
         differs={"": "a request with a denied topic is asked without its session, so that the error of a session "
                      "that is not there does not come up; the client starts a session anew either way"}),
    Case(1, "as replica 1", lambda run: _fetch(run, *BOTH, replicaId=1), versions=(4, 14),
         differs={"": "nobody reads as a replica through the gateway, ClusterAction or not"}),
    Case(1, "as replica 1, tagged", lambda run: _fetch(run, *BOTH, replicaState={"replicaId": 1, "replicaEpoch": -1}),
         versions=(15, 18), differs={"": "nobody reads as a replica through the gateway, ClusterAction or not"}),
)  # fmt: skip


def _partitions(name: str, **fields: object) -> Body:
    return {"name": name, "partitions": [{"partitionIndex": 0, **fields}]}


OFFSETS = (
    Case(2, "latest of two topics", lambda run: {
        "replicaId": -1, "topics": [_partitions(name, timestamp=-1) for name in BOTH]}),
    Case(2, "missing topics", lambda run: {
        "replicaId": -1, "topics": [_partitions(name, timestamp=-2) for name in BOTH_AND_MISSING]}),
    Case(23, "two topics and missing ones", lambda run: {
        "replicaId": -1,
        "topics": [{"topic": name, "partitions": [{"partition": 0, "leaderEpoch": 0}]} for name in BOTH_AND_MISSING]}),
)  # fmt: skip


def _metadata(run: Run, *names: str, **fields: object) -> Body:
    body: Body = {"topics": [{"name": name} for name in names], **fields}
    if run.version >= 4:
        body.setdefault("allowAutoTopicCreation", False)
    return body


def _by_id(run: Run, *names: str) -> Body:
    topics = [{"name": None, "topicId": run.named(name, 0)["topicId"]} for name in names]
    return {"topics": topics, "allowAutoTopicCreation": False, "includeTopicAuthorizedOperations": True}


_CREATED = {
    "topics": "the gateway creates a topic before it asks, so it is there where the broker says 3 the first time"
}
METADATA = (
    Case(3, "two topics", lambda run: _metadata(run, *BOTH)),
    Case(3, "twice the same", lambda run: _metadata(run, "b-one", "b-one", "a-one")),
    Case(3, "missing topics", lambda run: _metadata(run, *BOTH_AND_MISSING), versions=(4, 13)),
    Case(3, "not a topic's name", lambda run: _metadata(run, "a b", "..", "b*"), versions=(4, 13)),
    Case(3, "authorized operations", lambda run: _metadata(
        run, *BOTH_AND_MISSING, includeTopicAuthorizedOperations=True), versions=(8, 13)),
    Case(3, "authorized operations on the cluster", lambda run: _metadata(
        run, "a-one", includeClusterAuthorizedOperations=True), versions=(8, 10)),
    Case(3, "all", lambda run: {"topics": [] if run.version == 0 else None}),
    Case(3, "none", lambda run: {"topics": []}, versions=(1, 13)),
    Case(3, "by id", lambda run: _by_id(run, *BOTH), versions=(12, 13)),
    Case(3, "by id, one unknown", lambda run: _by_id(run, "a-one", "b-none"), versions=(12, 13)),
    Case(3, "by id where it is not supported", lambda run: {
        "topics": [{"name": "a-one", "topicId": run.id("a-one")}]}, versions=(10, 11)),
    Case(3, "by name and by id", lambda run: {
        "topics": [{"name": "a-one", "topicId": run.id("b-one")}, {"name": "b-one", "topicId": NO_ID}],
        "allowAutoTopicCreation": False}, versions=(12, 13)),
)  # fmt: skip
CLUSTER = (
    Case(60, "brokers", lambda run: {"includeClusterAuthorizedOperations": False}),
    Case(60, "authorized operations", lambda run: {"includeClusterAuthorizedOperations": True}),
    Case(60, "controllers", lambda run: {"endpointType": 2, "includeClusterAuthorizedOperations": True},
         versions=(1, 2)),
    Case(75, "two topics and missing ones", lambda run: {"topics": [{"name": name} for name in BOTH_AND_MISSING]}),
    Case(75, "twice the same", lambda run: {"topics": [{"name": "b-one"}, {"name": "b-one"}]}),
    Case(75, "a page", lambda run: {
        "topics": [{"name": name} for name in sorted(TOPICS)], "responsePartitionLimit": 3}),
    Case(75, "the next page", lambda run: {
        "topics": [{"name": name} for name in sorted(TOPICS)],
        "cursor": {"topicName": "a-two", "partitionIndex": 1}}),
    Case(75, "the page of a topic", lambda run: {
        "topics": [{"name": name} for name in sorted(TOPICS)],
        "cursor": {"topicName": "b-one", "partitionIndex": 1}}),
    Case(75, "a cursor elsewhere", lambda run: {
        "topics": [{"name": "a-one"}], "cursor": {"topicName": "b-one", "partitionIndex": 0}}),
    Case(75, "all", lambda run: {"topics": []}, setup=lambda run: run.world.learn()),
    Case(75, "all, from a cursor on", lambda run: {
        "topics": [], "cursor": {"topicName": "a-two", "partitionIndex": 1}}, setup=lambda run: run.world.learn()),
)  # fmt: skip


def _coordinator(kind: int, *keys: str) -> Callable[[Run], Body]:
    def build(run: Run) -> Body:
        body: Body = {"keyType": kind} if run.version >= 1 else {}
        return body | ({"key": keys[0]} if run.version < 4 else {"coordinatorKeys": list(keys)})

    return build


FIND = (
    Case(10, "a group", _coordinator(0, "a-group")),
    Case(10, "another group", _coordinator(0, "b-group")),
    Case(10, "two groups", _coordinator(0, "b-group", "a-group"), versions=(4, 6)),
    Case(10, "transactional ids", _coordinator(1, "b-transaction", "a-transaction"), versions=(1, 6)),
    Case(10, "a share group", _coordinator(2, "a-group:AAAAAAAAAAAAAAAAAAAAAQ:0"), versions=(1, 6)),
)
CLASSIC = (
    Case(11, "a", lambda run: _join(run, "a-join")),
    Case(11, "b", lambda run: _join(run, "b-join")),
    Case(12, "a", lambda run: {"groupId": "a-group", "generationId": 1, "memberId": "gone"}),
    Case(12, "b", lambda run: {"groupId": "b-group", "generationId": 1, "memberId": "gone"}),
    Case(13, "a", lambda run: {"groupId": "a-group", "memberId": "gone"}, versions=(0, 2)),
    Case(13, "b", lambda run: {"groupId": "b-group", "memberId": "gone"}, versions=(0, 2)),
    Case(13, "a, by list", lambda run: {"groupId": "a-group", "members": [{"memberId": "gone"}]}, versions=(3, 5)),
    Case(13, "b, by list", lambda run: {"groupId": "b-group", "members": [{"memberId": "gone"}]}, versions=(3, 5)),
    Case(14, "a", lambda run: _sync(run, "a-group")),
    Case(14, "b", lambda run: _sync(run, "b-group")),
    Case(14, "no protocol named", lambda run: {"groupId": "b-group", "generationId": 1, "memberId": "gone"},
         versions=(5, 5)),
)  # fmt: skip


def _join(run: Run, group: str) -> Body:
    rebalance = {"rebalanceTimeoutMs": 6000} if run.version >= 1 else {}
    return {
        "groupId": run.fresh(group), "sessionTimeoutMs": 6000, "memberId": "", "protocolType": "consumer",
        "protocols": [{"name": "range", "metadata": b""}], **rebalance,
    }  # fmt: skip


def _sync(run: Run, group: str) -> Body:
    named = {"protocolType": "consumer", "protocolName": "range"} if run.version >= 5 else {}
    return {"groupId": group, "generationId": 1, "memberId": "gone", **named}


GROUPS = (
    Case(15, "two groups and one missing", lambda run: {"groups": ["a-group", "b-group", "b-none"]}),
    Case(15, "authorized operations", lambda run: {
        "groups": ["a-group", "b-group", "a-none"], "includeAuthorizedOperations": True}, versions=(3, 6)),
    Case(16, "all", lambda run: {}),
    Case(42, "two groups", lambda run: {"groupsNames": [run.fresh("a-gone"), run.fresh("b-gone")]},
         setup=lambda run: [run.world.commit(run.fresh(name), "a-one") for name in ("a-gone", "b-gone")] and None),
    Case(42, "twice the same, missing", lambda run: {"groupsNames": ["b-none", "b-none", "a-none"]}),
    Case(68, "a", lambda run: _heartbeat(run, "a-beat", "a-one")),
    Case(68, "two topics", lambda run: _heartbeat(run, "a-beat", *BOTH)),
    Case(68, "b", lambda run: _heartbeat(run, "b-beat", "b-one")),
    Case(68, "nothing new", lambda run: {
        "groupId": "b-members", "memberId": "gone", "memberEpoch": 3, "topicPartitions": None}),
    Case(69, "groups", lambda run: {"groupIds": ["a-members", "b-members", "a-mixed", "a-none"]}),
    Case(69, "authorized operations", lambda run: {
        "groupIds": ["a-members", "b-members", "a-mixed"], "includeAuthorizedOperations": True}),
)  # fmt: skip


def _heartbeat(run: Run, group: str, *topics: str) -> Body:
    return {
        "groupId": run.fresh(group), "memberId": "m" if run.version else "", "memberEpoch": 0,
        "rebalanceTimeoutMs": 60_000,
        "subscribedTopicNames": list(topics), "topicPartitions": [],
    }  # fmt: skip


def _commit(run: Run, group: str, *names: str) -> Body:
    offsets = [{"partitionIndex": 0, "committedOffset": 1, "committedMetadata": "m"}]
    return {"groupId": group, "topics": [{**run.named(name, 10), "partitions": offsets} for name in names]}


def _fetched(run: Run, group: str, names: tuple[str, ...] | None) -> Body:
    topics = None if names is None else [{**run.named(name, 10), "partitionIndexes": [0]} for name in names]
    if run.version < 8:
        return {"groupId": group, "topics": topics}
    groups = [{"groupId": each, "topics": topics} for each in dict.fromkeys((group, "a-group", "b-group"))]
    return {"groups": groups}


COMMITTED = (
    Case(8, "two topics and missing ones", lambda run: _commit(run, "a-written", *BOTH_AND_MISSING)),
    Case(8, "b", lambda run: _commit(run, "b-written", *BOTH)),
    Case(8, "one topic", lambda run: _commit(run, "a-written", "b-one")),
    Case(9, "two topics and missing ones", lambda run: _fetched(run, "a-group", BOTH_AND_MISSING)),
    Case(9, "b", lambda run: _fetched(run, "b-group", BOTH)),
    Case(9, "one topic", lambda run: _fetched(run, "a-group", ("b-one",))),
    Case(9, "all topics", lambda run: _fetched(run, "a-group", None), versions=(2, 10)),
    Case(9, "all topics of b", lambda run: _fetched(run, "b-group", None), versions=(2, 10)),
    Case(9, "a group that is not there", lambda run: _fetched(run, "a-none", ("b-one",))),
    Case(47, "two topics", lambda run: _offset_delete("a-written", *BOTH),
         setup=lambda run: run.world.commit("a-written", *BOTH)),
    Case(47, "b", lambda run: _offset_delete("b-written", *BOTH),
         setup=lambda run: run.world.commit("b-written", *BOTH)),
    Case(47, "a group that is not there", lambda run: _offset_delete("a-none", "b-one")),
)  # fmt: skip


def _offset_delete(group: str, *topics: str) -> Body:
    return {"groupId": group, "topics": [_partitions(name) for name in topics]}


def _added(run: Run, transactional_id: str, *topics: str) -> Body:
    return {
        "v3AndBelowTransactionalId": transactional_id, "v3AndBelowProducerId": 7, "v3AndBelowProducerEpoch": 0,
        "v3AndBelowTopics": [{"name": name, "partitions": [0, 1]} for name in topics],
    }  # fmt: skip


def _txn_commit(run: Run, transactional_id: str, group: str, *names: str) -> Body:
    offsets = [{"partitionIndex": 0, "committedOffset": 1, "committedMetadata": "m"}]
    return {
        "transactionalId": transactional_id, "groupId": group, "producerId": 7, "producerEpoch": 0,
        "topics": [{**run.named(name, 6), "partitions": offsets} for name in names],
    }  # fmt: skip


def _offsets_added(transactional_id: str, group: str) -> Callable[[Run], Body]:
    return lambda run: {
        "transactionalId": transactional_id, "producerId": 7, "producerEpoch": 0, "groupId": group
    }  # fmt: skip


_UNKNOWN_PARTITIONS = {
    "resultsByTopicV3AndBelow": "an allowed topic that does not exist is answered 55 as the others, since the gateway "
    "does not ask whether it exists; the request fails either way"
}
TRANSACTIONS = (
    Case(22, "no transactional id", lambda run: {"transactionalId": None, "transactionTimeoutMs": 5000}),
    Case(22, "a", lambda run: {"transactionalId": run.fresh("a-init"), "transactionTimeoutMs": 5000}),
    Case(22, "b", lambda run: {"transactionalId": run.fresh("b-init"), "transactionTimeoutMs": 5000}),
    Case(24, "two topics", lambda run: _added(run, "a-transaction", *BOTH)),
    Case(24, "missing topics", lambda run: _added(run, "a-transaction", *BOTH_AND_MISSING),
         differs=_UNKNOWN_PARTITIONS),
    Case(24, "b", lambda run: _added(run, "b-transaction", *BOTH)),
    Case(24, "an internal topic", lambda run: _added(run, "a-transaction", "a-one", "__consumer_offsets")),
    Case(25, "a", _offsets_added("a-transaction", "a-group")),
    Case(25, "group b", _offsets_added("a-transaction", "b-group")),
    Case(25, "b", _offsets_added("b-transaction", "a-group")),
    Case(26, "a", lambda run: {"transactionalId": "a-transaction", "producerId": 7, "committed": True}),
    Case(26, "b", lambda run: {"transactionalId": "b-transaction", "producerId": 7, "committed": True}),
    Case(28, "two topics and missing ones", lambda run: _txn_commit(
        run, "a-transaction", "a-group", *BOTH_AND_MISSING)),
    Case(28, "group b", lambda run: _txn_commit(run, "a-transaction", "b-group", *BOTH)),
    Case(28, "b", lambda run: _txn_commit(run, "b-transaction", "a-group", *BOTH)),
)  # fmt: skip


def _created(run: Run, *names: str) -> Body:
    return {
        "topics": [{"name": name, "numPartitions": 1, "replicationFactor": 1} for name in names], "timeoutMs": 5000
    }  # fmt: skip


def _deleted(run: Run, *names: str, by_id: bool = False) -> Body:
    if run.version < 6:
        return {"topicNames": list(names), "timeoutMs": 5000}
    topics: list[Body] = [{"name": name} for name in names]
    if by_id:
        topics = [{"name": None, "topicId": run.named(name, 0)["topicId"]} for name in names]
    return {"topics": topics, "timeoutMs": 5000}


def _make(run: Run) -> None:
    run.world.create(run.fresh("a-del"), run.fresh("b-del"))


def _resources(*resources: tuple[int, str], **config: str) -> Callable[[Run], Body]:
    def build(run: Run) -> Body:
        configs = [{"name": name.replace("_", "."), "value": value} for name, value in config.items()]
        return {
            "resources": [
                {"resourceType": kind, "resourceName": name, **({"configs": configs} if config else {})}
                for kind, name in resources
            ]
        }

    return build


def _described(*resources: tuple[int, str]) -> Callable[[Run], Body]:
    def build(run: Run) -> Body:
        keys = ["retention.ms", "log.retention.ms", "consumer.session.timeout.ms"]
        return {
            "resources": [
                {"resourceType": kind, "resourceName": name, "configurationKeys": keys} for kind, name in resources
            ]
        }

    return build


# The same resource twice in AlterConfigs is not asked: the broker answers nothing at all then.
_TOPIC_RESOURCES = ((2, "a-one"), (2, "b-one"), (2, "a-none"))
_MISSING_DELETED = {
    "responses": "a topic that may be described but not deleted is answered 29, where the broker says 3 if there is "
    "none: the gateway does not ask whether it exists"
}
ADMINISTRATION = (
    Case(19, "two topics", lambda run: _created(run, run.fresh("a-made"), run.fresh("b-made"))),
    Case(19, "one that exists, one twice", lambda run: _created(run, "a-one", *[run.fresh("b-made")] * 2)),
    Case(20, "two topics", lambda run: _deleted(run, run.fresh("a-del"), run.fresh("b-del")), setup=_make),
    Case(20, "two topics by id", lambda run: _deleted(run, run.fresh("a-del"), run.fresh("b-del"), by_id=True),
         setup=_make, versions=(6, 6)),
    Case(20, "missing topics", lambda run: _deleted(run, "a-none", "b-none"), differs=_MISSING_DELETED),
    Case(20, "twice the same", lambda run: _deleted(run, "b-none", "b-none")),
    Case(20, "an unknown id", lambda run: _deleted(run, "b-none", by_id=True), versions=(6, 6)),
    Case(20, "name and id", lambda run: {"topics": [
        {"name": "a-none", "topicId": run.id("b-one")}, {"name": None, "topicId": NO_ID}]}, versions=(6, 6)),
    Case(37, "two topics", lambda run: {
        "topics": [{"name": name, "count": 5, "assignments": None} for name in BOTH_AND_MISSING],
        "timeoutMs": 5000, "validateOnly": True}),
    Case(37, "twice the same", lambda run: {
        "topics": [{"name": "b-one", "count": 5, "assignments": None}] * 2, "timeoutMs": 5000, "validateOnly": True}),
    Case(32, "topics", _described(*_TOPIC_RESOURCES)),
    Case(32, "broker and groups", _described((4, "1"), (4, ""), (32, "a-group"), (32, "b-group"), (16, "b-metrics"))),
    Case(32, "what nobody knows", _described((2, "a-one"), (77, "b-one"))),
    Case(33, "topics", _resources(*_TOPIC_RESOURCES, retention_ms="-1")),
    Case(33, "broker and groups", _resources((4, "1"), (32, "a-group"), (32, "b-group"), (16, "b-metrics"))),
    Case(33, "what nobody knows", _resources((2, "a-one"), (77, "b-one"), (8, "1"))),
    Case(44, "topics", _resources(*_TOPIC_RESOURCES, retention_ms="-1")),
    Case(44, "broker, logger and groups", _resources(
        (4, "1"), (8, "1"), (32, "a-group"), (32, "b-group"), (16, "b-metrics"))),
    Case(44, "twice the same", _resources((2, "b-one"), (2, "b-one"), (2, "a-one"), retention_ms="-1")),
    Case(44, "what nobody knows", _resources((2, "a-one"), (77, "b-one"))),
)  # fmt: skip

CREATED = (
    Case(3, "to be created", lambda run: _metadata(
        run, run.fresh("a-new"), run.fresh("b-new"), allowAutoTopicCreation=True),
        versions=(4, 13), differs=_CREATED, by_chance=True),
    Case(3, "to be created without saying so", lambda run: _metadata(run, run.fresh("a-new"), run.fresh("b-new")),
         versions=(0, 3), differs=_CREATED, by_chance=True),
)  # fmt: skip
"""Asked last: the broker goes on creating after it has answered, and lists of all topics would change meanwhile."""

CASES: tuple[Case, ...] = (
    *PRODUCE, *FETCH, *OFFSETS, *METADATA, *CLUSTER, *FIND, *CLASSIC, *GROUPS, *COMMITTED, *TRANSACTIONS,
    *ADMINISTRATION, *CREATED,
)  # fmt: skip

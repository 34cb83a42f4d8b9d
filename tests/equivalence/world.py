"""The broker with its topics, groups and principals.

Two families of names: what begins with ``a-`` and what begins with ``b-``. A principal's rights are on one of them, on
both, or on neither. `a-none` and `b-none` never exist. Super user: whoever comes by the plaintext listener.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from gateway.core.session import Endpoint
from gateway.kafka.plan import ZERO_ID, Body
from tests.equivalence.acls import Acl, AclView, Topics, acls, creations
from tests.equivalence.wire import Connection
from tests.real.kafka import KafkaCluster

SECONDS_MAX = 90.0

PRINCIPALS: dict[str, tuple[Acl, ...]] = {
    "nobody": (),
    "describer": acls("Describe topic *", "Describe group *", "Describe transactional-id *"),
    "reader": acls("Read topic *", "Read group *"),
    "writer": acls("Write topic *", "Write transactional-id *", "IdempotentWrite cluster"),
    "half": acls("All topic a-*", "All group a-*", "All transactional-id a-*"),
    "everything": acls("All topic *", "All group *", "All transactional-id *", "All cluster"),
    "cluster": acls("All cluster"),
    "barred": acls(
        "All topic *", "All group *", "All transactional-id *", "deny Read topic b-*", "deny Describe group b-*",
        "deny Write transactional-id b-*", "deny Create topic b-*", "deny AlterConfigs topic b-*",
    ),
    "undescribing": acls("All topic *", "Read group *", "deny Describe topic b-*", "deny DescribeConfigs topic a-*"),
}  # fmt: skip

TOPICS = ("a-one", "a-two", "b-one")
PROPERTIES = {
    "auto.create.topics.enable": "true",
    "group.consumer.session.timeout.ms": "3000000",
    "group.consumer.max.session.timeout.ms": "3600000",
    "group.max.session.timeout.ms": "3600000",
    "log.retention.ms": "-1",
}


class World:
    """A running broker. `broker` is the super user's connection, `direct(name)` a principal's."""

    def __init__(self, folder: Path) -> None:
        self.cluster = KafkaCluster(
            folder, users={name: name for name in PRINCIPALS}, authorizer=True, properties=PROPERTIES, heap_mb=384
        )
        self.topics = Topics()
        self._runs = 0
        self._direct: dict[str, Connection] = {}
        self.broker = Connection(0)

    def __enter__(self) -> Self:
        self.cluster.start()
        try:
            self._fill()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (*self._direct.values(), self.broker):
            connection.close()
        self.cluster.stop()

    def _fill(self) -> None:
        self.broker = Connection(self.cluster.port(1))
        self.ask(30, 3, {"creations": creations(PRINCIPALS.items())})
        self.create(*TOPICS)
        for name in TOPICS:
            self.produce(name)
        for group in ("a-group", "b-group", "a-written", "b-written"):
            self.commit(group, "a-one", "b-one")
        self._until_well(
            lambda: self.ask(10, 4, {"keyType": 1, "coordinatorKeys": ["a-transaction", "b-transaction"]}),
            lambda answer: [key["errorCode"] for key in answer["coordinators"]],
        )
        self.subscribe("a-members", "a-one")
        self.subscribe("b-members", "b-one")
        self.subscribe("a-mixed", "a-one", "b-one")
        self._wait_for_acls()

    def ask(self, key: int, version: int, body: Body) -> Body:
        answer = self.broker.ask(key, version, body)
        assert answer is not None
        return answer

    def direct(self, principal: str) -> Connection:
        if principal not in self._direct:
            self._direct[principal] = Connection(self.cluster.port(1, "SASL"), principal)
        return self._direct[principal]

    def view(self, principal: str) -> AclView:
        return AclView(PRINCIPALS[principal], self.topics, {1: Endpoint("127.0.0.1", self.cluster.port(1, "SASL"))})

    def label(self) -> str:
        """A word that is in no other run's names."""
        self._runs += 1
        return f"r{self._runs:05d}"

    def learn(self) -> None:
        """Look at the broker's topics anew."""
        answer = self.ask(3, 12, {"topics": None, "allowAutoTopicCreation": False})
        self.topics.ids = {topic["name"]: topic["topicId"] for topic in answer["topics"]}

    def create(self, *names: str) -> None:
        topics = [{"name": name, "numPartitions": 2, "replicationFactor": 1} for name in names]
        self.ask(19, 7, {"topics": topics, "timeoutMs": 10_000})
        self.until(lambda: set(names) <= set(self.topics.ids))

    def until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        self.learn()
        while not happened():
            assert time.monotonic() < deadline, "the broker did not come to it"
            time.sleep(0.02)
            self.learn()

    def produce(self, topic: str) -> None:
        """A record in the first partition, as soon as the broker knows that it leads it."""
        body = produce_body(topic)
        self._until_well(
            lambda: self.ask(0, 9, body),
            lambda answer: [part["errorCode"] for part in answer["responses"][0]["partitionResponses"]],
        )

    def commit(self, group: str, *topics: str) -> None:
        offsets = [{"partitionIndex": 0, "committedOffset": 1, "committedMetadata": "m"}]
        body = {"groupId": group, "topics": [{"name": name, "partitions": offsets} for name in topics]}
        self._until_well(
            lambda: self.ask(10, 4, {"keyType": 0, "coordinatorKeys": [group]}),
            lambda answer: [key["errorCode"] for key in answer["coordinators"]],
        )
        self._until_well(
            lambda: self.ask(8, 8, body),
            lambda answer: [part["errorCode"] for topic in answer["topics"] for part in topic["partitions"]],
        )

    def subscribe(self, group: str, *topics: str) -> None:
        """A member of the new group protocol, with its assignment taken."""
        body: Body = {
            "groupId": group, "memberId": "", "memberEpoch": 0, "rebalanceTimeoutMs": 60_000,
            "subscribedTopicNames": list(topics), "topicPartitions": [],
        }  # fmt: skip
        answer = self.ask(68, 0, body)
        assert answer["errorCode"] == 0, answer
        body |= {"memberId": answer["memberId"], "memberEpoch": answer["memberEpoch"]}
        deadline = time.monotonic() + SECONDS_MAX
        while not (answer["assignment"] or {}).get("topicPartitions"):
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)
            answer = self.ask(68, 0, body | {"memberEpoch": answer["memberEpoch"]})
        owned = answer["assignment"]["topicPartitions"]
        self.ask(68, 0, body | {"memberEpoch": answer["memberEpoch"], "topicPartitions": owned})

    def _wait_for_acls(self) -> None:
        """The last ACL of all is there: it was made in one request with the others."""
        last = self.direct("undescribing")
        self._until_well(
            lambda: last.ask(3, 9, {"topics": [{"name": "a-one"}]}) or {},
            lambda answer: [topic["errorCode"] for topic in answer["topics"]],
        )

    @staticmethod
    def _until_well(ask: Callable[[], Body], errors: Callable[[Body], list[int]]) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while any(errors(answer := ask())):
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)


def produce_body(*topics: str, **fields: object) -> Body:
    data = [{"name": name, "partitionData": [{"index": 0, "records": batch()}]} for name in topics]
    return {"acks": 1, "timeoutMs": 5000, "topicData": data, **fields}


def batch(*, transactional: bool = False, producer_id: int = -1) -> bytes:
    """One record batch of one record (value ``v``)."""
    record = b"\x00\x00\x00\x01\x02v\x00"
    body = struct.pack(
        ">hiqqqhii", 0x10 if transactional else 0, 0, 1_700_000_000_000, 1_700_000_000_000, producer_id,
        -1 if producer_id < 0 else 0, -1 if producer_id < 0 else 0, 1,
    ) + bytes([len(record) * 2]) + record  # fmt: skip
    return struct.pack(">qiibI", 0, len(body) + 9, -1, 2, _crc32c(body)) + body


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ 0x82F63B78 if crc & 1 else crc >> 1
    return crc ^ 0xFFFFFFFF


NO_ID = ZERO_ID
UNKNOWN_IDS = {"a-none": bytes(range(100, 116)), "b-none": bytes(range(200, 216))}

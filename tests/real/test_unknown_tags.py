"""Clients skip a tagged field of a Fetch answer that they do not know, as KIP-482 says: the gateway rests on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.real import java
from tests.real.kafka import KafkaCluster
from tests.real.ports import free_ports
from tests.real.tagging import Tagging

pytestmark = pytest.mark.real

TOPIC = "tagged"
VALUES = [f"value-{number}" for number in range(50)]


@pytest.fixture(params=[4, 131])
def tagging(request: pytest.FixtureRequest, broker: tuple[KafkaCluster, int]) -> Iterator[Tagging]:
    cluster, port = broker
    relay = Tagging(port, lambda: cluster.port(1, "TAGGED"), request.param)
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaCluster, int]]:
    (port,) = free_ports(1)
    with KafkaCluster(tmp_path_factory.mktemp("tagged"), extra={"TAGGED": {1: port}}) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(60)
        cluster.wait_topic(TOPIC)
        producer = Producer({"bootstrap.servers": cluster.bootstrap})
        for value in VALUES:
            producer.produce(TOPIC, value)
        assert producer.flush(60) == 0
        yield cluster, port


def test_librdkafka(tagging: Tagging, broker: tuple[KafkaCluster, int]) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": f"localhost:{broker[1]}",
            "group.id": f"tags-{tagging.tagged}-{id(tagging)}",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([TOPIC])
    found = []
    for _ in range(600):
        message = consumer.poll(0.1)
        if message is not None:
            assert message.error() is None, message.error()
            found.append(message.value().decode())
        if len(found) == len(VALUES):
            break
    consumer.close()
    assert found == VALUES
    assert tagging.tagged > 0


def test_java(tagging: Tagging, broker: tuple[KafkaCluster, int], tmp_path: Path) -> None:
    ran = java.run(
        java.CONSOLE_CONSUMER, "--bootstrap-server", f"localhost:{broker[1]}", "--topic", TOPIC, "--from-beginning",
        "--max-messages", str(len(VALUES)), "--timeout-ms", "90000", folder=tmp_path,
    )  # fmt: skip
    assert ran.out.split() == VALUES, ran.text
    assert "ERROR" not in ran.text, ran.text
    assert tagging.tagged > 0

"""Two workers in front of a real broker, killed one after the other while records flow: clients come back by
themselves, and what was acknowledged is at the broker, once, where it was said to be, and not altered.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, POLICY, Site

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: the workers are the gateway's (unset it)")

RECORDS = 8_000
PRODUCERS = 4
KILLS = 4
PARTITIONS = 4


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("two-workers")
    with (
        KafkaCluster(folder / "kafka", properties={"auto.create.topics.enable": "false"}) as cluster,
        GatewayProcess(folder / "gateway", {"main": cluster.bootstrap}, policy=POLICY, workers=2) as gateway,
    ):
        yield Site(cluster, gateway)


def value(number: int) -> bytes:
    return number.to_bytes(8, "big") + hashlib.blake2b(number.to_bytes(8, "big"), digest_size=32).digest() * 4


def kill_a_worker(gateway: GatewayProcess, worker: int) -> None:
    """And wait until its successor serves."""
    audit = gateway.audit()
    served = [each for each in audit if each["event"] == "worker" and each["worker"] == worker and "process" in each]
    os.kill(served[-1]["process"], signal.SIGKILL)
    gateway.wait_audit(event="worker", worker=worker, state="serves", after=len(audit))


def test_nothing_acknowledged_is_lost_when_workers_are_killed(site: Site) -> None:
    assert site.gateway is not None
    topic = site.topic(partitions=PARTITIONS)
    acknowledged: dict[int, tuple[int, int]] = {}
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)
        else:
            content = message.value()
            assert isinstance(content, bytes)
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            acknowledged[int.from_bytes(content[:8], "big")] = partition, offset

    producers = [
        Producer(
            site.app().confluent(
                **{"enable.idempotence": True, "linger.ms": 5, "message.timeout.ms": 120_000, "batch.size": 20_000}
            )
        )
        for _ in range(PRODUCERS)
    ]  # fmt: skip
    share = RECORDS // (KILLS + 1)
    for number in range(RECORDS):
        producer = producers[number % PRODUCERS]
        producer.produce(topic, value(number), partition=number % PARTITIONS, on_delivery=delivered)
        if number % 50 == 0:
            for each in producers:
                each.poll(0)
        if number % share == share - 1 and number // share < KILLS:
            kill_a_worker(site.gateway, 1 + number // share % 2)
    for producer in producers:
        assert producer.flush(120) == 0
    assert not failed
    assert len(acknowledged) == RECORDS
    assert_all_there_once(site, topic, acknowledged)
    ends = [line for line in site.gateway.audit() if line["event"] == "worker" and line["state"] == "ended"]
    assert len(ends) >= KILLS


def assert_all_there_once(site: Site, topic: str, acknowledged: dict[int, tuple[int, int]]) -> None:
    """Read from the broker itself."""
    consumer = Consumer({"bootstrap.servers": site.cluster.bootstrap, "group.id": "judge", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    found: Counter[int] = Counter()
    places: dict[int, tuple[int, int]] = {}
    try:
        ends = [
            consumer.get_watermark_offsets(TopicPartition(topic, each), timeout=60)[1] for each in range(PARTITIONS)
        ]
        while sum(found.values()) < sum(ends):
            message = consumer.poll(10)
            assert message is not None, f"{sum(found.values())} of {sum(ends)} records were read"
            assert message.error() is None, message.error()
            content = message.value()
            assert isinstance(content, bytes)
            number = int.from_bytes(content[:8], "big")
            assert content == value(number)
            found[number] += 1
            places[number] = message.partition() or 0, message.offset() or 0
    finally:
        consumer.close()
    assert set(found) == set(acknowledged), "what was acknowledged is there, and nothing else"
    assert max(found.values()) == 1, "once"
    assert places == acknowledged

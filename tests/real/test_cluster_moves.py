"""A cluster that moves under its clients: leaders change, brokers fall out, come back, and join."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, Producer

from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, POLICY, Site, unique, until
from tests.real.test_confluent import admin, consume

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: moves are watched through the gateway (unset it)")


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three brokers of this module's own."""
    folder = tmp_path_factory.mktemp("moving")
    with (
        KafkaCluster(folder / "kafka", nodes=3, properties={"auto.create.topics.enable": "false"}) as cluster,
        GatewayProcess(folder / "gateway", {"main": cluster.bootstrap}, policy=POLICY) as gateway,
    ):
        yield Site(cluster, gateway)


def leaders(site: Site, topic: str) -> set[int]:
    return {each.leader for each in site.admin.list_topics(topic, timeout=60).topics[topic].partitions.values()}


def test_clients_follow_a_killed_broker(moving: Site) -> None:
    """Broker 3 is killed and comes back while a producer sends: every record arrives once."""
    app, topic = moving.app(), moving.topic(partitions=6)
    outcome: list[KafkaError | None] = []
    producer = Producer(app.confluent(**{"enable.idempotence": True, "message.timeout.ms": 110000}))

    def send(first: int, last: int) -> None:
        for number in range(first, last):
            producer.produce(topic, f"{number}".encode(), on_delivery=lambda error, _: outcome.append(error))
            producer.poll(0)
        assert producer.flush(120) == 0

    send(0, 100)
    moving.cluster.kill(3)
    send(100, 200)
    until(lambda: leaders(moving, topic) <= {1, 2}, what="leaders that are there")
    moving.cluster.restart(3)
    send(200, 300)
    assert outcome == [None] * 300
    found = consume(app.confluent(**{"group.id": unique("app-g")}), [topic], 300, 60)
    assert sorted(int(each.value()) for each in found) == list(range(300))


def test_a_controlled_shutdown_moves_leaders(moving: Site) -> None:
    app, topic = moving.app(), moving.topic(partitions=6)
    outcome: list[KafkaError | None] = []
    producer = Producer(app.confluent(**{"message.timeout.ms": 110000}))
    for step in ("before", "stopped", "back"):
        if step == "stopped":
            moving.cluster.stop_node(2)
        if step == "back":
            moving.cluster.restart(2)
        for _ in range(30):
            producer.produce(topic, step.encode(), on_delivery=lambda error, _: outcome.append(error))
        assert producer.flush(120) == 0
    assert outcome == [None] * 90


def test_a_broker_that_joins_is_reached(moving: Site) -> None:
    """Broker 4 gets its own port, and a topic that lives on it alone is produced to and read."""
    assert moving.gateway is not None
    moving.cluster.join(4)
    client = admin(moving.app())
    port = moving.gateway.ports["main"][1] + 4
    until(
        lambda: (4, port) in [(node.id, node.port) for node in client.describe_cluster().result(60).nodes],
        what="the new broker's port",
    )
    topic = unique("app.four")
    from confluent_kafka.cimpl import NewTopic

    moving.admin.create_topics([NewTopic(topic, num_partitions=1, replica_assignment=[[4]])])[topic].result(60)
    outcome: list[KafkaError | None] = []
    producer = Producer(moving.app().confluent(**{"message.timeout.ms": 110000}))
    producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
    assert producer.flush(120) == 0
    assert outcome == [None]
    assert len(consume(moving.app().confluent(**{"group.id": unique("app-g")}), [topic], 1)) == 1


def test_several_backends_are_apart(moving: Site, kafka_one: KafkaCluster, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Two clusters behind one gateway: a right on one is no right on the other, and topics do not mix."""
    policy = POLICY.replace(
        "    - allow: [produce, consume, create, delete, describe, alter]\n",
        "    - allow: [produce, consume, create, delete, describe, alter]\n      backends: [second]\n",
    )
    other = Site(kafka_one, None)
    mine, theirs = moving.topic(), other.topic()
    backends = {"main": moving.cluster.bootstrap, "second": kafka_one.bootstrap}
    with GatewayProcess(tmp_path, backends, policy=policy) as gateway:
        site = Site(moving.cluster, gateway)
        outcome: dict[str, list[int | None]] = {"main": [], "second": []}
        for backend, topic in (("main", mine), ("second", theirs)):
            settings = site.app().confluent() | {"bootstrap.servers": gateway.bootstrap(backend)}
            producer = Producer(settings)
            producer.produce(
                topic, b"x",
                on_delivery=lambda error, _, to=backend: outcome[to].append(error.code() if error else None),
            )  # fmt: skip
            assert producer.flush(120) == 0
    assert outcome == {"main": [KafkaError.TOPIC_AUTHORIZATION_FAILED], "second": [None]}

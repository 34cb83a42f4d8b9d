"""IPv6 from end to end: a listener on ::1 with a host name per broker, each client family, and brokers behind it.

Also what TCP itself is told: keepalive on both sides, below the idle times after which balancers forget a connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from tests.real import test_aiokafka, test_confluent, test_java, test_kafka_python, test_kafkajs
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.names import need_names
from tests.real.node import kafkajs
from tests.real.site import DIRECT, PLENTY, Site, unique, until
from tests.real.sockets import ESTABLISHED, sockets_of
from tests.real.wire import METADATA, RawClient, request

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: the addresses are the gateway's (unset it)")

POLICY = (
    """\
version: 1
roles:
  app: [{allow: [produce, consume], kafka: {topic: ["app.*"], group: ["app-*"]}}]
bindings:
  - {roles: [app], to: {issuer: test, sub: svc-app}, from: ["::1/128"]}
"""
    + PLENTY
)
"""Who comes by IPv4 may do nothing: the address that counts is the client's own, in its own family."""
BALANCER_IDLE_SECONDS = {"AWS NLB": 350, "Azure Load Balancer": 240, "GCP": 600}


@pytest.fixture(scope="module")
def six(kafka_three: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need_names()
    gateway = GatewayProcess(tmp_path_factory.mktemp("six"), {"main": kafka_three.bootstrap}, policy=POLICY)
    gateway.add_names("six", host="kafka6.test", bind="::1")
    with gateway:
        yield Site(kafka_three, gateway, "six")


def seen(site: Site, after: int) -> set[tuple[str, str]]:
    """(address, server name) of the connections since."""
    assert site.gateway is not None
    lines = [line for line in site.gateway.audit()[after:] if line["event"] == "connected"]
    return {(line["address"], line["server_name"]) for line in lines}


def came_by_ipv6(site: Site, after: int) -> None:
    wanted = {"kafka6.test", *(f"b{node}.kafka6.test" for node in site.cluster.nodes)}
    until(lambda: {name for _, name in seen(site, after)} >= wanted, what="a line for every name")
    assert {address for address, _ in seen(site, after)} == {"::1"}


def test_confluent_by_ipv6(six: Site) -> None:
    app, topic, at = six.app(), six.topic(), six.audited()
    assert test_confluent.produce(app.confluent(), topic) == {topic: [None] * 10}
    assert len(test_confluent.consume(app.confluent(**{"group.id": unique("app-g")}), [topic], 10)) == 10
    came_by_ipv6(six, at)


async def test_aiokafka_by_ipv6(six: Site) -> None:
    app, topic, at = six.app(), six.topic(), six.audited()
    await test_aiokafka.produce(app.aiokafka(), topic)
    assert len(await test_aiokafka.consume(app.aiokafka(group_id=unique("app-g")), topic, 10)) == 10
    came_by_ipv6(six, at)


def test_kafka_python_by_ipv6(six: Site) -> None:
    app, topic, at = six.app(), six.topic(), six.audited()
    test_kafka_python.produce(app.kafka_python(), topic)
    assert len(test_kafka_python.consume(app.kafka_python(group_id=unique("app-g")), topic, 10)) == 10
    came_by_ipv6(six, at)


@pytest.mark.node
def test_kafkajs_by_ipv6(six: Site) -> None:
    client, topic, at = six.app().kafkajs(), six.topic(), six.audited()
    test_kafkajs.ok(kafkajs(client, "produce", topic=topic, values=test_kafkajs.VALUES))
    assert len(test_kafkajs.ok(test_kafkajs.consume(client, topic, 10))) == 10
    came_by_ipv6(six, at)


def test_java_by_ipv6(six: Site, tmp_path: Path) -> None:
    app, topic, at = six.app(), six.topic(), six.audited()
    done = test_java.produce(app, topic, tmp_path, "one", "two", "three")
    assert "ERROR" not in done.text, done.text
    found = test_java.consume(app, topic, tmp_path, 3, unique("app-g"))
    assert sorted(found.out.split()) == ["one", "three", "two"], found.text
    came_by_ipv6(six, at)


def test_by_ipv4_the_same_token_may_do_nothing(six: Site) -> None:
    """The binding is for ::1."""
    assert six.gateway is not None
    topic, at = six.topic(), six.audited()
    outcome = test_confluent.produce(Site(six.cluster, six.gateway).app().confluent(), topic, count=1)
    assert outcome == {topic: [KafkaError.TOPIC_AUTHORIZATION_FAILED]}
    line = six.denied(at, resource=topic)
    assert (line["why"], line["address"]) == ("network", "127.0.0.1")


# --- what TCP is told


def keepalive_timers(pid: int, *, local: int = 0, remote: int = 0) -> list[float]:
    """Seconds until the next keepalive probe of each established connection at a port; -1 where none is planned.

    The timer 2 is that of keepalive.
    """
    found = []
    for each in sockets_of(pid):
        kind, _, when = each.timer.partition(":")
        if each.state == ESTABLISHED and (local, remote) in ((each.local, 0), (0, each.remote)):
            found.append(int(when, 16) / 100 if kind == "02" else -1.0)
    return found


def test_keepalive_comes_before_balancers_forget(six: Site) -> None:
    """On an idle connection both sides are probed: the client's, and the broker's that belongs to it."""
    gateway = six.gateway
    assert gateway is not None
    with RawClient(gateway.port(), gateway.ca_file) as client:
        client.authenticate(gateway.issuer.token("svc-app"))
        client.send(request(METADATA, 1, b"\0\0\0\0"))
        client.receive()

        def timers() -> tuple[list[float], list[float]]:
            brokers = [keepalive_timers(gateway.pid, remote=six.cluster.port(node)) for node in six.cluster.nodes]
            return keepalive_timers(gateway.pid, local=gateway.port()), [timer for each in brokers for timer in each]

        seen_timers: list[tuple[list[float], list[float]]] = []

        def at_rest() -> bool:
            seen_timers.append(timers())
            return all(seen_timers[-1]) and not any(-1 in each for each in seen_timers[-1])

        until(at_rest, what="nothing is on its way")
        clients, brokers = seen_timers[-1]
    assert len(clients) == 1
    assert brokers
    assert all(each < min(BALANCER_IDLE_SECONDS.values()) / 2 for each in clients + brokers), (clients, brokers)

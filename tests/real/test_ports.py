"""A port per broker, the same after every restart; brokers that no port stands for; what strangers cost a broker."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from gateway.kafka import codec
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, POLICY, Site, unique, until
from tests.real.sockets import ESTABLISHED, LISTENING, every_socket, sockets_of
from tests.real.test_confluent import consume, produce
from tests.real.wire import API_VERSIONS, METADATA, SASL_HANDSHAKE, RawClient, frame, request, string

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: ports per broker are the gateway's (unset it)")

DESCRIBE_CLUSTER, FIND_COORDINATOR = 60, 10


@pytest.fixture
def own(kafka_one: KafkaCluster, tmp_path: Path) -> Iterator[Site]:
    with GatewayProcess(tmp_path, {"main": kafka_one.bootstrap}, policy=POLICY) as gateway:
        yield Site(kafka_one, gateway)


def listening() -> set[int]:
    """Ports that some process of this machine listens on."""
    return {each.local for each in every_socket() if each.state == LISTENING}


def dialled(site: Site) -> int:
    """Connections of this gateway to the broker; others have some of their own to it, which come and go."""
    assert site.gateway is not None
    port = site.cluster.port(1)
    return sum(each.state == ESTABLISHED and each.remote == port for each in sockets_of(site.gateway.pid))


def test_the_whole_range_is_bound_and_the_same_after_a_restart(own: Site) -> None:
    assert own.gateway is not None
    wanted = set(own.gateway.ports["main"][:11])
    assert wanted <= listening()
    app, topic = own.app(), own.topic()
    produce(app.confluent(**{"enable.idempotence": False}), topic, count=5)
    before = {(node.id, node.port) for node in _nodes(own)}
    assert own.gateway.stop() == 0
    assert not wanted & listening()
    own.gateway.start()
    assert wanted <= listening()
    assert {(node.id, node.port) for node in _nodes(own)} == before
    assert len(consume(app.confluent(**{"group.id": unique("app-g")}), [topic], 5)) == 5


def test_a_client_lives_through_a_restart(own: Site) -> None:
    """It knows the brokers' ports and comes back to them by itself: nothing it was told has become untrue."""
    from confluent_kafka import Producer

    assert own.gateway is not None
    topic, outcome = own.topic(), list[object]()
    producer = Producer(own.app().confluent(**{"message.timeout.ms": 110000}))
    for step in (0, 1):
        producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
        assert producer.flush(120) == 0
        if step == 0:
            own.gateway.stop()
            own.gateway.start()
    assert outcome == [None, None]


def _nodes(site: Site) -> list[object]:
    client = AdminClient(site.app().confluent())
    return list(client.describe_cluster().result(60).nodes)


def test_a_broker_outside_the_range_is_named_and_leaks_no_address(kafka_three: KafkaCluster, tmp_path: Path) -> None:
    """Brokers 1 and 2 have ports, broker 3 has none: it is told of by an error with a name, never by its address."""
    gateway = GatewayProcess(tmp_path, {"main": kafka_three.bootstrap}, policy=POLICY)
    (listener,) = gateway.config["listeners"]
    listener["broker_ports"]["node_ids"] = "1-2"
    with gateway:
        site = Site(kafka_three, gateway)
        topic = site.topic(partitions=6)
        hidden = kafka_three.port(3)
        assert not {gateway.ports["main"][1] + 3} & listening()
        with RawClient(gateway.port(), gateway.ca_file) as raw:
            assert raw.authenticate(gateway.issuer.token("svc", groups=["app"]))[0] == 0
            answers = [
                _ask(raw, METADATA, 12, {"topics": [{"name": topic}]}),
                _ask(raw, DESCRIBE_CLUSTER, 0, {}),
                *[
                    _ask(raw, FIND_COORDINATOR, 4, {"keyType": 0, "coordinatorKeys": [f"app-{number}"]})
                    for number in range(10)
                ],
            ]
        octets = struct.pack(">i", hidden)
        assert not [answer for answer in answers if octets in answer or b"127.0.0.1" in answer]
        gateway.wait_audit(lambda line: line.get("reason") == "node-id-outside-range")
        admin = AdminClient(site.app().confluent())
        assert {node.id for node in admin.describe_cluster().result(60).nodes} == {1, 2}


def _ask(raw: RawClient, key: int, version: int, body: codec.Body) -> bytes:
    raw.send(frame(codec.encode_request_header(key, version, 1, "raw") + codec.encode_request(key, version, body)))
    return raw.receive()


# --- before authentication nothing reaches the broker


def test_strangers_cost_the_broker_nothing(kafka_one: KafkaCluster, tmp_path: Path) -> None:
    """Fifty connections that ask ApiVersions and open SASL: not one connection more at the broker."""
    gateway = GatewayProcess(tmp_path, {"main": kafka_one.bootstrap}, policy=POLICY)
    (backend,) = gateway.config["backends"]
    backend["metadata_refresh"] = "1 h"  # what the gateway asks for itself would be counted too
    with gateway:
        _meet_strangers(Site(kafka_one, gateway))


def _meet_strangers(own: Site) -> None:
    assert own.gateway is not None
    until(lambda: _broker_requests(own) >= 2, what="the first refresh")
    until(lambda: _steady(lambda: (dialled(own), _broker_requests(own))), what="a steady count")
    with ExitStack() as ending:
        strangers = [
            ending.enter_context(RawClient(own.gateway.ports["main"][1] + 1, own.gateway.ca_file)) for _ in range(50)
        ]
        before = dialled(own)
        at = _broker_requests(own)
        for raw in strangers:
            raw.send(request(API_VERSIONS, 0))
            assert len(raw.receive()) > 100
            raw.send(request(SASL_HANDSHAKE, 1, string("OAUTHBEARER")))
            raw.receive()
        assert dialled(own) <= before
        assert _broker_requests(own) == at
        first = strangers[0]
        initial = f"n,,\x01auth=Bearer {own.gateway.issuer.token('svc', groups=['app'])}\x01\x01".encode()
        first.send(request(36, 1, struct.pack(">i", len(initial)) + initial))
        first.receive()
        first.send(request(METADATA, 1, struct.pack(">i", 0)))
        first.receive()
        assert dialled(own) >= before + 1, "the count would notice"


def _steady(count: Callable[[], object]) -> bool:
    first = count()
    time.sleep(1.0)
    return count() == first


def _broker_requests(site: Site) -> int:
    """Dials to the broker so far, as the gateway counts them; the control connection stays open."""
    assert site.gateway is not None
    _, text = site.gateway.admin("/metrics")
    return int(
        sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith("gateway_upstream_dials_total{")
        )
    )


def test_a_backend_that_is_lost_is_noted_and_found_again(tmp_path: Path) -> None:
    """/readyz stays 200, since other backends may be served, and says which is not reached and why."""
    with (
        KafkaCluster(tmp_path / "kafka") as cluster,
        GatewayProcess(tmp_path / "gateway", {"main": cluster.bootstrap}, policy=POLICY) as gateway,
    ):
        until(lambda: gateway.admin("/readyz") == (200, "ready\n"), what="nothing to note")
        cluster.kill(1)
        until(lambda: "upstream-unreachable" in gateway.admin("/readyz")[1], what="the note")
        status, said = gateway.admin("/readyz")
        assert status == 200
        assert "note: backend main: not reached at the last look" in said
        assert gateway.wait_audit(event="upstream", state="unreachable")
        cluster.restart(1)
        until(lambda: gateway.admin("/readyz") == (200, "ready\n"), 120, "the backend reached again")


def test_what_is_bound_and_what_is_told_are_apart(kafka_one: KafkaCluster, tmp_path: Path) -> None:
    """Behind a balancer that maps ports: clients are told its name and its ports, and neither is bound here."""
    gateway = GatewayProcess(tmp_path, {"main": kafka_one.bootstrap}, policy=POLICY)
    (listener,) = gateway.config["listeners"]
    chain, key = gateway.ca.server("gateway", hosts=["localhost", "kafka.example.com"])
    listener |= {"advertised": "kafka.example.com", "advertised_broker_base": 40_000}
    listener["tls"] = {"certificate": str(chain), "key": str(key)}
    with gateway, RawClient(gateway.port(), gateway.ca_file) as raw:
        assert raw.authenticate(gateway.issuer.token("svc", groups=["app"]))[0] == 0
        answer = memoryview(_ask(raw, METADATA, 12, {"topics": []}))[codec.response_header_size(METADATA, 12) :]
        (broker,) = codec.decode_response(METADATA, 12, answer)["brokers"]
        assert (broker["host"], broker["port"]) == ("kafka.example.com", 40_001)
        assert not set(range(40_000, 40_010)) & listening()

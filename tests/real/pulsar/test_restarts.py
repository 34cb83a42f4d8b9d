"""A broker that falls out, workers, TLS to the broker: each with a broker or gateway of its own."""

from __future__ import annotations

import time

import pulsar
import pytest

from tests.real.pulsar.broker import PulsarBroker
from tests.real.pulsar.site import POLICY, Site, gateway_for, receive
from tests.real.pulsar.wire import RawPulsar


def test_clients_return_when_the_broker_restarts(broker: PulsarBroker, site: Site) -> None:
    """Nothing acknowledged is lost, also what was sent while nobody was there."""
    topic = site.topic()
    with site.client(operation_timeout_seconds=60) as client:
        consumer = client.subscribe(topic, "app-sub")
        producer = client.create_producer(topic, send_timeout_millis=0, batching_enabled=False)
        for number in range(20):
            producer.send(f"{number}".encode())
        broker.kill()
        lost: list[object] = []
        for number in range(20, 40):
            producer.send_async(f"{number}".encode(), lambda result, _: lost.append(result))
        broker.start()
        producer.flush()
        assert all(result == pulsar.Result.Ok for result in lost)
        found: set[int] = set()
        deadline = time.monotonic() + 60
        while len(found) < 40 and time.monotonic() < deadline:
            try:
                message = consumer.receive(1000)
            except pulsar.Timeout:
                continue
            consumer.acknowledge(message)
            found.add(int(message.data()))
        assert found == set(range(40))


def test_a_name_from_one_worker_is_good_at_the_others(
    broker: PulsarBroker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    gateway = gateway_for(tmp_path_factory.mktemp("workers"), broker, POLICY)
    gateway.config["workers"] = 2
    with gateway:
        site = Site(broker, gateway)
        names = set()
        for _ in range(4):
            with RawPulsar(gateway.port(), gateway.ca_file) as client:
                client.connect(site.token())
                client.receive()
                names.add(client.ask("lookup", topic="app-workers", request_id=1).body.broker_url_tls[13:])
        assert len(names) == 1
        for _ in range(8):
            with RawPulsar(gateway.port(), gateway.ca_file) as client:
                client.connect(site.token(), proxy_to_broker_url=next(iter(names)))
                assert client.receive().name == "connected"
        topic = site.topic()
        with site.client() as application:
            consumer = application.subscribe(topic, "app-sub")
            application.create_producer(topic).send(b"by two workers")
            assert receive(consumer, 1) == [b"by two workers"]

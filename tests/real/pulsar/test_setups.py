"""Other setups, each with a gateway of its own: workers, TLS to the broker, tokens passed on, certificates; and a
broker that falls out."""

from __future__ import annotations

import secrets
import time
import urllib.request
from pathlib import Path
from typing import Any

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


def test_tls_to_the_broker_too(broker: PulsarBroker, tmp_path: Path) -> None:
    """The broker's certificate is verified before anything is said, and lookups lead to its TLS port."""
    gateway = gateway_for(tmp_path, broker)
    (backend,) = gateway.config["backends"]
    del backend["insecure_plaintext"], backend["account"]["over_plaintext"]
    backend["bootstrap"] = [f"localhost:{broker.tls_port}"]
    backend["tls"] = {"ca": str(broker.ca.path)}
    with gateway:
        _one_record(Site(broker, gateway))


def test_the_clients_own_token_is_passed_on(broker: PulsarBroker, tmp_path: Path) -> None:
    """The broker believes the same issuer, and knows the client by its own token."""
    gateway = gateway_for(tmp_path, broker, issuer=broker.issuer)
    (backend,) = gateway.config["backends"]
    backend["clients_as"] = "own-token"
    policy = POLICY.replace("issuer: test", f"issuer: {broker.issuer.name}")
    gateway.policy_path.write_text(policy)
    with gateway:
        site = Site(broker, gateway)
        _one_record(site)
        with (
            site.client(site.token("svc-nogrant"), operation_timeout_seconds=5) as client,
            pytest.raises(pulsar.PulsarException),
        ):
            client.create_producer(site.topic())


def test_a_client_certificate_is_enough(broker: PulsarBroker, tmp_path: Path) -> None:
    principal = "spiffe://corp/svc-cert"
    broker.grant(principal, "produce", "consume")
    binding = f"  - {{roles: [app], to: {{certificate: {{uri: {principal}}}}}}}\nlimits:"
    gateway = gateway_for(tmp_path, broker, POLICY.replace("limits:", binding, 1))
    (listener,) = gateway.config["listeners"]
    listener["tls"] |= {"client_certificate": "optional", "client_ca": str(gateway.ca.path)}
    certificate, key = gateway.ca.client(principal)
    with gateway:
        site = Site(broker, gateway)
        _one_record(site, authentication=pulsar.AuthenticationTLS(str(certificate), str(key)))
        line = gateway.wait_audit(event="authenticated")
        assert (line["mechanism"], line["principal"]) == ("CERTIFICATE", f"certificate:clients:{principal}")


def test_no_credential_and_no_payload_is_told_at_level_debug(broker: PulsarBroker, tmp_path: Path) -> None:
    """CVE-2025-30677's kind: tokens good and bad, the gateway's own, payloads, a withdrawn and an ended session."""
    gateway = gateway_for(tmp_path, broker)
    gateway.config["log_level"] = "debug"
    payload = secrets.token_hex(16)
    with gateway:
        site = Site(broker, gateway)
        good = site.token()
        bad = good[:-6] + ("AAAAAA" if not good.endswith("AAAAAA") else "BBBBBB")
        topic = site.topic()
        with site.client(good) as client:
            consumer = client.subscribe(topic, "app-sub")
            client.create_producer(topic, properties={"mark": payload}).send(payload.encode(), partition_key=payload)
            assert receive(consumer, 1) == [payload.encode()]
        with site.client(bad, operation_timeout_seconds=2) as client, pytest.raises(pulsar.PulsarException):
            client.create_producer(topic)
        short = site.token(lifetime=3.0)
        with RawPulsar(gateway.port(), gateway.ca_file) as client:
            client.connect(short)
            assert client.receive().name == "connected"
            gateway.wait_audit(event="closed", reason="session-expired")
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/metrics", timeout=10).read()
    own = (tmp_path / "own-token").read_text()
    told = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.suffix in (".log", ".jsonl")}
    told["metrics"] = metrics
    assert {"gateway.log", "audit.jsonl"} <= set(told)
    for name, octets in told.items():
        for secret in (*(part for token in (good, bad, short, own) for part in token.split(".")[1:]), payload):
            assert secret.encode() not in octets, name


def _one_record(site: Site, **client: Any) -> None:
    topic = site.topic()
    with site.client(**client) as application:
        consumer = application.subscribe(topic, "app-sub")
        application.create_producer(topic).send(b"a record")
        assert receive(consumer, 1) == [b"a record"]

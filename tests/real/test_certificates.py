"""Clients that prove themselves by a certificate, by a token, and by both, through real TLS and a real library."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Producer

from tests.certificates import make_ca
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, PLENTY, Site
from tests.real.test_confluent import produce

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: certificates are the gateway's (unset it)")

POLICY = (
    """\
version: 1
roles:
  orders:
    - allow: [produce]
      kafka: {topic: ["orders.*"]}
  tokens:
    - allow: [produce]
      kafka: {topic: ["tokens.*"]}
bindings:
  - {roles: [orders], to: {certificate: {uri: "spiffe://bank/orders"}}}
  - {roles: [tokens], to: {issuer: test, sub: "spiffe://bank/orders"}}
"""
    + PLENTY
)
URI = "spiffe://bank/orders"


@pytest.fixture(scope="module")
def own(kafka_one: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("certificates"), {"main": kafka_one.bootstrap}, policy=POLICY)
    tls = gateway.config["listeners"][0]["tls"]
    tls |= {"client_certificate": "optional", "client_ca": gateway.ca_file}
    with gateway:
        yield Site(kafka_one, gateway)


def certificate(site: Site, uri: str) -> dict[str, Any]:
    assert site.gateway is not None
    chain, key = site.gateway.ca.client(uri, "orders")
    return {
        "bootstrap.servers": site.bootstrap, "security.protocol": "SSL", "ssl.ca.location": site.gateway.ca_file,
        "ssl.certificate.location": str(chain), "ssl.key.location": str(key), "enable.idempotence": False,
    }  # fmt: skip


def test_a_certificate_is_a_principal(own: Site) -> None:
    assert own.gateway is not None
    orders, tokens, at = own.topic("orders.a"), own.topic("tokens.a"), own.audited()
    done = produce(certificate(own, URI), orders, tokens, count=2)
    assert done == {orders: [None] * 2, tokens: [KafkaError.TOPIC_AUTHORIZATION_FAILED] * 2}
    line = own.gateway.wait_audit(event="authenticated", after=at)
    assert line["who"] == {"method": "certificate", "issuer": "clients", "name": URI}


def test_a_token_of_the_same_name_is_somebody_else(own: Site) -> None:
    assert own.gateway is not None
    orders, tokens = own.topic("orders.a"), own.topic("tokens.a")
    settings = own.gateway.confluent(own.gateway.issuer.token(URI), **{"enable.idempotence": False})
    done = produce(settings, orders, tokens, count=2)
    assert done == {orders: [KafkaError.TOPIC_AUTHORIZATION_FAILED] * 2, tokens: [None] * 2}


def test_with_both_the_token_is_who_it_is(own: Site) -> None:
    assert own.gateway is not None
    orders, tokens, at = own.topic("orders.a"), own.topic("tokens.a"), own.audited()
    more = certificate(own, URI)
    settings = own.gateway.confluent(own.gateway.issuer.token(URI)) | {
        name: more[name] for name in more if name.startswith("ssl.") or name == "enable.idempotence"
    }
    done = produce(settings, orders, tokens, count=2)
    assert done == {orders: [KafkaError.TOPIC_AUTHORIZATION_FAILED] * 2, tokens: [None] * 2}
    line = own.gateway.wait_audit(lambda line: line["who"]["method"] == "jwt", event="authenticated", after=at)
    assert line["who"]["name"] == URI


def test_another_authoritys_certificate_is_nobodys(own: Site, tmp_path: Path) -> None:
    """librdkafka does not even show one that the listener's CAs did not sign; who shows it is refused by TLS."""
    assert own.gateway is not None
    at = own.audited()
    chain, key = make_ca(tmp_path, "Other CA").client(URI, "orders")
    producer = Producer(certificate(own, URI) | {"ssl.certificate.location": str(chain), "ssl.key.location": str(key)})
    producer.poll(1.0)
    own.gateway.wait_audit(lambda line: line.get("reason") == "not-authenticated", after=at)
    context = ssl.create_default_context(cafile=own.gateway.ca_file)
    context.load_cert_chain(chain, key)
    with (
        socket.create_connection(("127.0.0.1", own.gateway.port()), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
        suppress(OSError),
    ):
        encrypted.recv(1)
    own.gateway.wait_audit(event="refused", reason="client-certificate-refused", after=at)
    assert not [line for line in own.gateway.audit()[at:] if line["event"] == "authenticated"]


def test_neither_is_nobody(own: Site) -> None:
    """TLS without certificate or token: nothing but the SASL APIs is understood."""
    assert own.gateway is not None
    at = own.audited()
    settings = {name: value for name, value in certificate(own, URI).items() if "certificate" not in name}
    del settings["ssl.key.location"]
    producer = Producer(settings)
    producer.poll(1.0)
    own.gateway.wait_audit(lambda line: line.get("reason") == "not-authenticated", after=at)

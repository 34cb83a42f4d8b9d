"""One port, a host name per broker: real clients find each broker by SNI. Their resolver is given the names."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiokafka
import pytest
from aiokafka.abc import AbstractTokenProvider
from confluent_kafka import KafkaError, Producer

from gateway.ops.demo.cluster import EmbeddedCluster
from tests.integration.test_run import POLICY
from tests.real import java
from tests.real.gateway import GatewayProcess
from tests.real.site import until

with warnings.catch_warnings():  # it reads its schemas by importlib.resources.read_text, deprecated since Python 3.11
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaProducer

NAMES = {"pattern": "b{node_id}.kafka.test", "bootstrap": "kafka.test", "node_ids": "0-9"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedCluster]:
    made = EmbeddedCluster(["orders", "payroll"])
    yield made
    made.stop()


@pytest.fixture(scope="module")
def gateway(cluster: EmbeddedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Both kinds of addressing on one gateway: `main` by names, `ports` by ports."""
    folder = tmp_path_factory.mktemp("gateway")
    brokers = ",".join(cluster.bootstrap)
    made = GatewayProcess(folder, {"main": brokers, "ports": brokers}, policy=POLICY)
    listener: dict[str, Any] = made.config["listeners"][0]
    certificate, key = made.ca.server(hosts=["kafka.test", "*.kafka.test"])
    listener["tls"]["certificates"] = [{"certificate": str(certificate), "key": str(key)}]
    listener["addressing"] = {"sni": NAMES}
    del listener["broker_ports"], listener["advertised"]
    with made:
        yield made


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if str(name).endswith("kafka.test") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def names_reached(gateway: GatewayProcess) -> set[str]:
    return {
        str(line["server_name"])
        for line in gateway.audit()
        if line["event"] == "connected" and line["listener"] == "main-listener"
    }


async def test_aiokafka_reaches_every_broker_by_its_name(gateway: GatewayProcess, resolved: None) -> None:
    token = gateway.issuer.token("app")

    class Provider(AbstractTokenProvider):
        async def token(self) -> str:
            return token

    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=f"kafka.test:{gateway.port()}",
        security_protocol="SASL_SSL",
        ssl_context=ssl.create_default_context(cafile=gateway.ca_file),
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=Provider(),
    )
    async with asyncio.timeout(60):
        await producer.start()
        try:
            for partition in range(3):
                await producer.send_and_wait("orders", b"x", partition=partition)
        finally:
            await producer.stop()
    until(lambda: "kafka.test" in names_reached(gateway), what="the name that it began with")
    brokers = {"b1.kafka.test", "b2.kafka.test", "b3.kafka.test"}
    until(lambda: bool(brokers & names_reached(gateway)), what="a broker's name")
    for line in gateway.audit():
        if line["event"] == "connected" and str(line.get("server_name", "")).startswith("b"):
            assert line["server_name"] == f"b{line['node_id']}.kafka.test"


def test_kafka_python_reaches_brokers_by_name(gateway: GatewayProcess, resolved: None) -> None:
    producer = KafkaProducer(
        bootstrap_servers=[f"kafka.test:{gateway.port()}"],
        security_protocol="SASL_SSL",
        ssl_cafile=gateway.ca_file,
        sasl_mechanism="PLAIN",
        sasl_plain_username="token",
        sasl_plain_password=gateway.issuer.token("app"),
    )
    try:
        producer.send("orders", b"y").get(timeout=60)
    finally:
        producer.close(timeout=10)


def test_the_java_client_reaches_brokers_by_name(gateway: GatewayProcess, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 kafka.test " + " ".join(f"b{number}.kafka.test" for number in range(10)) + "\n")
    login = f'username="token" password="{gateway.issuer.token("app")}"'
    settings = tmp_path / "client.properties"
    settings.write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nssl.truststore.type=PEM\n"
        f"ssl.truststore.location={gateway.ca_file}\nenable.idempotence=false\n"
        f"sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {login};\n"
    )
    at = len(gateway.audit())
    done = java.run(
        java.CONSOLE_PRODUCER, "--bootstrap-server", f"kafka.test:{gateway.port()}", "--command-config", str(settings),
        "--topic", "orders", folder=tmp_path, stdin="one\ntwo\n", properties=(f"-Djdk.net.hosts.file={hosts}",),
    )  # fmt: skip
    assert (done.code, done.text) == (0, "")
    gateway.wait_audit(lambda line: str(line.get("server_name", "")).startswith("b"), after=at, event="connected")


def test_the_other_listener_of_the_same_gateway_goes_by_ports(gateway: GatewayProcess) -> None:
    errors: list[KafkaError | None] = []
    settings = {"bootstrap.servers": gateway.bootstrap("ports"), "message.timeout.ms": 50000}
    producer = Producer(gateway.confluent(gateway.issuer.token("app"), **settings))
    producer.produce("orders", b"z", on_delivery=lambda error, _: errors.append(error))
    producer.flush(60)
    assert errors == [None]

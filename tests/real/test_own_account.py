"""The gateway's own account towards real brokers: every mechanism, renewed in place, rotated, refused."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.real.gateway import GatewayProcess
from tests.real.guarded import (
    CLIENT_SECRET,
    PLAIN_PASSWORD,
    SCRAM_PASSWORD,
    GuardedKafka,
    TokenServer,
    guarded_backend,
    guarded_kafka,
    private,
)
from tests.real.site import DIRECT, POLICY, unique, until
from tests.real.wire import METADATA, RawClient, request

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: the account is the gateway's (unset it)")

WAYS = ("plain", "scram256", "scram512", "fetched", "filed")
RENEWALS = 6
"""Logins repeated in place, of each way, that traffic goes on for."""
SEEN_SECONDS_MAX = 120.0
HELD_BACK = 100


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    with guarded_kafka(tmp_path_factory.mktemp("guarded")) as made:
        yield made


@pytest.fixture(scope="module")
def endpoint(kafka: GuardedKafka) -> Iterator[TokenServer]:
    server = TokenServer(kafka.ca, kafka.issuer, lifetime=8.0)
    yield server
    server.close()


@pytest.fixture(scope="module")
def gateway(
    kafka: GuardedKafka, endpoint: TokenServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """One gateway with a backend for each way to log in, all to the same broker."""
    folder = tmp_path_factory.mktemp("gateway-account")
    os.environ["GATEWAY_TEST_PASSWORD"] = SCRAM_PASSWORD
    made = GatewayProcess(folder, dict.fromkeys((*WAYS, "mutual"), kafka.bootstrap), policy=POLICY)
    plain = private(folder / "plain.password", PLAIN_PASSWORD + "\n")
    scram = private(folder / "scram.password", SCRAM_PASSWORD)
    secret = private(folder / "client.secret", CLIENT_SECRET)
    filed = private(folder / "own.token", kafka.issuer.token("gw", lifetime=3600))
    accounts: dict[str, dict[str, Any]] = {
        "plain": {"plain": {"username": "gw", "password_file": plain}},
        "scram256": {"scram": {"mechanism": "SCRAM-SHA-256", "username": "gw", "password_file": scram}},
        "scram512": {"scram": {"username": "gw", "password_env": "GATEWAY_TEST_PASSWORD"}},
        "fetched": {
            "oauth": {
                "token_url": endpoint.url, "client_id": "gw-client", "client_secret_file": secret,
                "ca": str(kafka.ca.path),
            }
        },
        "filed": {"oauth": {"token_file": filed}},
    }  # fmt: skip
    for backend in made.config["backends"]:
        guarded_backend(backend, kafka, accounts.get(backend["name"]))
        if backend["name"] == "mutual":
            certificate, key = kafka.ca.client(common_name="gw-certificate")
            backend["bootstrap"] = kafka.mutual.split(",")
            backend["tls"] |= {"certificate": str(certificate), "key": str(key)}
    made.ports["main"] = made.ports["plain"]
    with made:
        yield made
    del os.environ["GATEWAY_TEST_PASSWORD"]


def new_topic(kafka: GuardedKafka) -> str:
    name = unique("app.account")
    admin = AdminClient({"bootstrap.servers": kafka.cluster.bootstrap})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(60)
    kafka.cluster.wait_topic(name)
    return name


def settings(gateway: GatewayProcess, way: str, subject: str = "svc-app", **more: Any) -> dict[str, Any]:
    def token() -> str:
        return gateway.issuer.token(subject, groups=["app"])

    return gateway.confluent(token, **more) | {"bootstrap.servers": gateway.bootstrap(way)}


def metric(gateway: GatewayProcess, name: str, **labels: str) -> float:
    found = 0.0
    for line in gateway.admin("/metrics")[1].splitlines():
        if line.startswith(name + "{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
            found += float(line.rpartition(" ")[2])
    return found


class Traffic:
    """A producer and a group's consumer of one topic, by one way to log in."""

    def __init__(self, gateway: GatewayProcess, kafka: GuardedKafka, way: str) -> None:
        self.way, self.topic = way, new_topic(kafka)
        self.errors, self.failed, self.got = list[KafkaError](), list[KafkaError](), list[int]()
        self.sent = 0
        self.producer = Producer(
            settings(gateway, way, error_cb=self.errors.append, **{"linger.ms": 0, "enable.idempotence": True})
        )
        self.consumer = Consumer(
            settings(
                gateway, way, error_cb=self.errors.append,
                **{"group.id": unique("app-account"), "auto.offset.reset": "earliest", "enable.auto.commit": True},
            )
        )  # fmt: skip
        self.consumer.subscribe([self.topic])

    def send(self) -> None:
        self.producer.produce(self.topic, str(self.sent).encode(), on_delivery=self._delivered)
        self.sent += 1
        self.producer.poll(0.002)

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self.failed.append(error)

    def read(self) -> bool:
        """Whether all that was sent has come."""
        message = self.consumer.poll(0.002)
        if message is not None:
            assert message.error() is None, message.error()
            self.got.append(int(message.value()))
        return len(self.got) >= self.sent


def test_traffic_outlives_the_brokers_patience(gateway: GatewayProcess, kafka: GuardedKafka) -> None:
    """Produce and consume by all ways at once, over several re-authentications of each: no error, nothing lost, nothing
    twice, no new connection."""
    at = len(gateway.audit())
    flows = [Traffic(gateway, kafka, way) for way in WAYS]

    def renewed() -> bool:
        for _ in range(20):
            for flow in flows:
                flow.send()
                flow.read()
        return all(
            metric(gateway, "gateway_kafka_renewals_total", backend=way, result="ok") >= RENEWALS for way in WAYS
        )

    until(renewed, SEEN_SECONDS_MAX, "enough renewals of every way")
    for flow in flows:
        assert flow.producer.flush(60) == 0
        until(flow.read, SEEN_SECONDS_MAX, f"all records by {flow.way}")
        assert (flow.failed, flow.errors) == ([], []), flow.way
        assert flow.got == list(range(flow.sent)), flow.way
    closed = [line for line in gateway.audit()[at:] if line["event"] == "closed"]
    assert {line["reason"] for line in closed} <= {"client-disconnected", "client-lost"}, closed
    for flow in flows:
        flow.consumer.close()


def unready(gateway: GatewayProcess, reason: str) -> bool:
    """Whether /readyz says no, and why."""
    status, said = gateway.readyz()
    return status == 503 and "not taken" in said and reason in said


@pytest.mark.parametrize("way", ["scram512", "fetched"])
def test_an_idle_connection_is_renewed_too(gateway: GatewayProcess, way: str) -> None:
    """A client that says nothing over several lives of the login is answered at once on the same connection."""
    before = metric(gateway, "gateway_kafka_renewals_total", backend=way, result="ok")
    ask = request(METADATA, 1, b"\0\0\0\0")
    with RawClient(gateway.port(way), gateway.ca_file) as client:
        client.authenticate(gateway.issuer.token("svc-idle", groups=["app"]))
        client.send(ask)
        client.receive()
        until(lambda: metric(gateway, "gateway_kafka_renewals_total", backend=way, result="ok") >= before + 3)
        client.send(ask)
        client.receive()


def test_a_client_certificate_of_the_gateways_own(gateway: GatewayProcess, kafka: GuardedKafka) -> None:
    topic, failed = new_topic(kafka), list[KafkaError | None]()
    producer = Producer(settings(gateway, "mutual"))
    producer.produce(topic, b"x", on_delivery=lambda error, _: failed.append(error))
    assert producer.flush(60) == 0
    assert failed == [None]


@pytest.mark.parametrize("subject", ["gw"])
@pytest.mark.parametrize("way", ["plain", "scram512", "fetched", "filed"])
def test_a_client_of_the_accounts_name_is_refused(gateway: GatewayProcess, way: str, subject: str) -> None:
    at = len(gateway.audit())
    token = gateway.issuer.token(subject, groups=["app"])
    with RawClient(gateway.port(way), gateway.ca_file) as client, pytest.raises((OSError, ConnectionError)):
        client.authenticate(token)
    line = gateway.wait_audit(event="refused", after=at)
    assert line["reason"] == "principal-is-gateway-account"


def test_nothing_secret_is_told(gateway: GatewayProcess, endpoint: TokenServer, kafka: GuardedKafka) -> None:
    """At log level debug, in the audit, in the metrics and on the admin port (runs last in this gateway)."""
    said = (
        gateway.log() + "".join(map(str, gateway.audit())) + gateway.admin("/metrics")[1] + gateway.admin("/readyz")[1]
    )
    said += (gateway.folder / "audit.jsonl").read_text()
    tokens = [*endpoint.tokens, (gateway.folder / "own.token").read_text()]
    assert endpoint.asked >= 2, "the short-lived token was fetched anew"
    for word in (PLAIN_PASSWORD, SCRAM_PASSWORD, CLIENT_SECRET, *tokens, *(token.split(".")[2] for token in tokens)):
        assert word not in said


def test_a_password_is_rotated_without_a_restart(kafka: GuardedKafka, tmp_path: Path) -> None:
    """Refused loudly and without a storm; taken again once the file has the new password."""
    kafka.set_password("first-4711", "rotating")
    made = GatewayProcess(tmp_path, {"main": kafka.bootstrap}, policy=POLICY)
    file = private(tmp_path / "password", "first-4711")
    guarded_backend(made.config["backends"][0], kafka, {"scram": {"username": "rotating", "password_file": file}})
    with made:
        topic = new_topic(kafka)
        kafka.set_password("second-4711", "rotating")
        until(lambda: unready(made, "account-refused"), what="/readyz names the account")
        made.wait_audit(event="upstream", state="account-refused")
        stop = threading.Event()

        def hammer() -> None:
            while not stop.is_set():
                try:
                    with RawClient(made.port(), made.ca_file) as client:
                        client.authenticate(made.issuer.token("svc-app", groups=["app"]))
                        client.send(request(METADATA, 1, b"\0\0\0\0"))
                        client.receive()
                except (OSError, AssertionError, EOFError):
                    stop.wait(0.01)

        before, began = kafka.cluster.log(1).count("failed authentication"), time.monotonic()
        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(
            lambda: metric(made, "gateway_upstream_logins_total", result="account-held-back") > HELD_BACK,
            SEEN_SECONDS_MAX, "clients that are not let pass to a broker that said no",
        )  # fmt: skip
        stop.set()
        for thread in threads:
            thread.join()
        tried, seconds = kafka.cluster.log(1).count("failed authentication") - before, time.monotonic() - began
        assert tried <= 2 + seconds, f"{tried} logins in {seconds:.1f} seconds"
        private(tmp_path / "password.new", "second-4711")
        os.replace(tmp_path / "password.new", file)
        until(lambda: made.admin("/readyz")[0] == 200, 60, "the new password is taken")
        made.wait_audit(event="upstream", state="account-changed")
        failed: list[KafkaError | None] = []
        producer = Producer(settings(made, "main"))
        producer.produce(topic, b"x", on_delivery=lambda error, _: failed.append(error))
        assert producer.flush(60) == 0
        assert failed == [None]


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ({"plain": {"username": "gw", "password_env": "PATH"}}, "account-refused"),
        ({"scram": {"username": "nobody", "password_env": "PATH"}}, "account-refused"),
    ],
)
def test_a_wrong_account_is_named(kafka: GuardedKafka, tmp_path: Path, account: dict[str, Any], reason: str) -> None:
    made = GatewayProcess(tmp_path, {"main": kafka.bootstrap}, policy=POLICY)
    guarded_backend(made.config["backends"][0], kafka, account)
    made.start(ready=False)
    try:
        until(lambda: unready(made, reason), what=f"/readyz says {reason}")
    finally:
        made.stop()


def test_clients_are_let_go_of_when_the_account_is_another(gateway: GatewayProcess) -> None:
    """The broker knew them under the old one: they are answered, and come back under the new one."""
    at = len(gateway.audit())
    config = yaml.safe_load(gateway.config_path.read_text())
    backends = {backend["name"]: backend for backend in config["backends"]}
    backends["plain"]["account"] = backends["scram256"]["account"]
    with (
        RawClient(gateway.port("plain"), gateway.ca_file) as client,
        RawClient(gateway.port("filed"), gateway.ca_file) as other,
    ):
        for each in (client, other):
            assert each.authenticate(gateway.issuer.token("svc-app", groups=["app"]))[0] == 0
            each.send(request(METADATA, 1, b"\x00\x00\x00\x00"))
            assert each.receive()
        scratch = gateway.folder / "gateway.new"
        scratch.write_text(json.dumps(config))
        os.replace(scratch, gateway.config_path)
        line = gateway.wait_audit(
            lambda line: line["event"] in ("config-revision", "config-refused") and "file" in line, after=at
        )
        assert line["event"] == "config-revision"
        assert line["leaving"] == 1
        closed = gateway.wait_audit(event="closed", reason="backend-account-changed", after=at)
        assert closed["listener"] == "plain-listener"
        assert client.ended()
        other.send(request(METADATA, 1, b"\x00\x00\x00\x00"))
        assert other.receive()
    with RawClient(gateway.port("plain"), gateway.ca_file) as again:
        assert again.authenticate(gateway.issuer.token("svc-app", groups=["app"]))[0] == 0
        again.send(request(METADATA, 1, b"\x00\x00\x00\x00"))
        assert again.receive()

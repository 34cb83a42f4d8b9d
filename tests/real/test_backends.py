"""Two clusters behind one gateway, one over TLS: rights, topic ids and trust are each backend's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from gateway.kafka import codec
from tests.certificates import Ca, make_ca
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, PLENTY, unique, until
from tests.real.test_confluent import consume, produce
from tests.real.wire import RawClient, frame

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: there is no gateway with backends (unset it)")

FETCH, METADATA = 1, 3
UNKNOWN_TOPIC_ID, TOPIC_AUTHORIZATION_FAILED = 100, 29
POLICY = (
    """\
version: 1
roles:
  app:
    - allow: [produce, consume]
      kafka: {topic: [both], group: ["*"]}
      backends: [main]
    - allow: [consume]
      kafka: {topic: [both], group: ["*"]}
      backends: [encrypted]
    - allow: [produce, consume]
      kafka: {topic: ["app.*"], group: ["*"]}
bindings:
  - {roles: [app], to: {issuer: test, claims: {groups: app}}}
"""
    + PLENTY
)


@dataclass
class Encrypted:
    """A real broker whose listener TLS has a certificate for localhost and 127.0.0.1 from `ca`."""

    cluster: KafkaCluster
    ca: Ca

    @property
    def bootstrap(self) -> str:
        return self.cluster.bootstrap_of("TLS")


def tls_cluster(folder: Path, ca: Ca, hosts: list[str]) -> KafkaCluster:
    certificate, key = ca.server("broker", hosts=hosts)
    store = folder / "keystore.pem"
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    return KafkaCluster(
        folder / "kafka",
        extra={"TLS": {}},
        properties={
            "auto.create.topics.enable": "false",
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,TLS:SSL,CONTROLLER:PLAINTEXT",
            "listener.name.tls.ssl.keystore.type": "PEM",
            "listener.name.tls.ssl.keystore.location": str(store),
        },
    )


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Encrypted]:
    folder = tmp_path_factory.mktemp("kafka-tls")
    ca = make_ca(folder / "ca")
    with tls_cluster(folder, ca, ["localhost", "127.0.0.1"]) as cluster:
        yield Encrypted(cluster, ca)


def over_tls(gateway: GatewayProcess, backend: str, **tls: str) -> None:
    """Make a backend of the configuration one that is dialled with TLS."""
    for each in gateway.config["backends"]:
        if each["name"] == backend:
            del each["insecure_plaintext"]
            each["tls"] = tls


@pytest.fixture(scope="module")
def two(
    kafka_one: KafkaCluster, encrypted: Encrypted, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("two-backends")
    backends = {"main": kafka_one.bootstrap, "encrypted": encrypted.bootstrap}
    gateway = GatewayProcess(folder, backends, policy=POLICY)
    over_tls(gateway, "encrypted", ca=str(encrypted.ca.path))
    with gateway:
        for cluster in (kafka_one, encrypted.cluster):
            make_topic(cluster, "both", 1)
        yield gateway


def make_topic(cluster: KafkaCluster, name: str, partitions: int) -> None:
    client = AdminClient({"bootstrap.servers": cluster.bootstrap})
    client.create_topics([NewTopic(name, partitions, 1)])[name].result(60)
    cluster.wait_topic(name)


def settings(gateway: GatewayProcess, backend: str, **more: Any) -> dict[str, Any]:
    token = gateway.issuer.token("svc", groups=["app"])
    return gateway.confluent(token, **more) | {"bootstrap.servers": gateway.bootstrap(backend)}


def test_a_broker_behind_tls_is_produced_to_and_read(two: GatewayProcess, encrypted: Encrypted) -> None:
    topic = unique("app.tls")
    make_topic(encrypted.cluster, topic, 3)
    done = produce(settings(two, "encrypted", **{"enable.idempotence": False}), topic)
    assert set(done[topic]) == {None}
    found = consume(settings(two, "encrypted", **{"group.id": unique("g")}), [topic], 10)
    assert len(found) == 10


def test_one_name_has_each_backends_own_rights(two: GatewayProcess) -> None:
    """`both` may be written on one cluster and only be read on the other."""
    plain = {"enable.idempotence": False}
    assert set(produce(settings(two, "main", **plain), "both")["both"]) == {None}
    at = len(two.audit())
    denied = produce(settings(two, "encrypted", **plain), "both", count=1)
    assert denied == {"both": [KafkaError.TOPIC_AUTHORIZATION_FAILED]}
    line = two.wait_audit(event="denied", resource="both", after=at)
    assert (line["backend"], line["operation"]) == ("encrypted", "Write")


def session(gateway: GatewayProcess, backend: str) -> RawClient:
    raw = RawClient(gateway.ports[backend][1] + 1, gateway.ca_file)
    assert raw.authenticate(gateway.issuer.token("svc", groups=["app"]))[0] == 0
    return raw


def asked(raw: RawClient, key: int, version: int, body: codec.Body) -> codec.Body:
    raw.send(frame(codec.encode_request_header(key, version, 1, "raw") + codec.encode_request(key, version, body)))
    answer = memoryview(raw.receive())
    return codec.decode_response(key, version, answer[codec.response_header_size(key, version) :])


def fetched(raw: RawClient, topic_id: bytes) -> tuple[int, int]:
    """The partition's error code, and how many octets of records came."""
    partition = {"partition": 0, "fetchOffset": 0, "partitionMaxBytes": 1 << 20, "currentLeaderEpoch": -1}
    body = {
        "maxWaitMs": 100, "minBytes": 1, "maxBytes": 1 << 20, "sessionId": 0, "sessionEpoch": -1,
        "topics": [{"topicId": topic_id, "partitions": [partition]}],
    }  # fmt: skip
    answer = asked(raw, FETCH, 13, body)
    (topic,) = answer["responses"]
    (part,) = topic["partitions"]
    return part["errorCode"], len(part["records"] or b"")


def id_of(raw: RawClient, name: str) -> bytes:
    (topic,) = asked(raw, METADATA, 12, {"topics": [{"name": name}]})["topics"]
    assert topic["errorCode"] == 0
    return bytes(topic["topicId"])


def test_an_id_of_one_backend_means_nothing_on_the_other(two: GatewayProcess) -> None:
    produce(settings(two, "main", **{"enable.idempotence": False}), "both", count=1)
    with session(two, "main") as plain, session(two, "encrypted") as other:
        mine, theirs = id_of(plain, "both"), id_of(other, "both")
        assert mine != theirs
        code, octets = fetched(plain, mine)
        assert code == 0
        assert octets > 0
        assert fetched(other, theirs)[0] == 0
        assert fetched(other, mine) == (UNKNOWN_TOPIC_ID, 0)
        assert fetched(plain, theirs) == (UNKNOWN_TOPIC_ID, 0)


def test_plaintext_is_warned_of_and_tls_is_not(two: GatewayProcess) -> None:
    warned = [line["warning"] for line in two.audit() if line["event"] == "warning"]
    assert [line for line in warned if "backend main is reached in plain text" in line], warned
    assert not [line for line in warned if "encrypted" in line], warned


# --- an upstream that is not who it should be


def unready(folder: Path, bootstrap: str, reason: str, **tls: str) -> str:
    """Start a gateway at a broker it must not believe; what /readyz says until it names `reason`."""
    gateway = GatewayProcess(folder, {"main": bootstrap}, policy=POLICY.replace(
        "[encrypted]", "[main]"))  # fmt: skip
    over_tls(gateway, "main", **tls)
    (folder / "gateway.yaml").write_text(yaml.safe_dump(gateway.config, sort_keys=False))
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", "--config", str(folder / "gateway.yaml")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    said = (0, "")

    def named() -> bool:
        nonlocal said
        assert process.poll() is None
        said = gateway.readyz()
        return reason in said[1]

    try:
        until(named, 90, f"{reason} in /readyz")
        assert said[0] == 503
        line = gateway.wait_audit(lambda line: line["event"] in ("upstream", "warning") and reason in str(line))
        assert line
    finally:
        process.terminate()
        process.wait(60)
    return said[1]


def test_a_broker_of_another_authority_is_not_believed(encrypted: Encrypted, tmp_path: Path) -> None:
    other = make_ca(tmp_path / "other", "Other CA")
    said = unready(tmp_path, encrypted.bootstrap, "upstream-certificate-untrusted", ca=str(other.path))
    assert "main" in said


def test_a_broker_of_another_name_is_not_believed(encrypted: Encrypted, tmp_path: Path) -> None:
    said = unready(
        tmp_path,
        encrypted.bootstrap,
        "upstream-certificate-wrong-name",
        ca=str(encrypted.ca.path),
        server_name="kafka.bank.test",
    )
    assert "main" in said


def test_a_plaintext_broker_is_not_spoken_to_without_being_told(kafka_one: KafkaCluster, tmp_path: Path) -> None:
    """TLS is the default: a plaintext port is a failure with a name, and no octet of Kafka is sent to it."""
    ca = make_ca(tmp_path / "ca")
    said = unready(tmp_path, kafka_one.bootstrap, "upstream-tls-failed", ca=str(ca.path))
    assert "main" in said


def test_a_producer_does_not_notice_which_upstream_is_encrypted(two: GatewayProcess) -> None:
    """Both at once over one process: neither backend's broker answers for the other."""
    outcome: list[KafkaError | None] = []
    producers = [Producer(settings(two, name, **{"enable.idempotence": False})) for name in ("main", "encrypted")]
    producers[0].produce("both", b"x", on_delivery=lambda error, _: outcome.append(error))
    assert producers[0].flush(60) == 0
    assert outcome == [None]
    shown = producers[1].list_topics(timeout=60)
    assert {broker.port for broker in shown.brokers.values()} <= set(two.ports["encrypted"])

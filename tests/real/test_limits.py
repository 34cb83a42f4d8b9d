"""Limits as clients notice them: throttle times, group membership, large frames."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, Producer

from gateway.kafka import codec
from tests.real.gateway import GatewayProcess
from tests.real.kafka import HOST, KafkaCluster
from tests.real.site import DIRECT, POLICY, Site, unique, until
from tests.real.test_confluent import consume
from tests.real.wire import RawClient, frame

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: the limits are the gateway's (unset it)")

DESCRIBE_CLIENT_QUOTAS, ALTER_CLIENT_QUOTAS = 48, 49
PRODUCE = 0
OURS = "".join(
    f"  - {{to: {{issuer: test, sub: {name}}}, produce: {rate} KiB/s, consume: {rate} KiB/s, requests: 5000/s, "
    "connections: 20}\n"
    for name, rate in (("svc-member", 100), ("svc-tight", 200), ("svc-stat", 200))
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A broker that takes frames as large as the gateway does, since it gets quotas of its own here."""
    folder = tmp_path_factory.mktemp("limits")
    large = str(101 << 20)
    properties = {
        "auto.create.topics.enable": "false", "message.max.bytes": large, "socket.request.max.bytes": str(104 << 20),
    }  # fmt: skip
    policy = POLICY.replace("limits:\n", f"limits:\n{OURS}")
    with (
        KafkaCluster(folder / "kafka", heap_mb=1024, properties=properties) as cluster,
        GatewayProcess(folder / "gateway", {"main": cluster.bootstrap}, policy=policy) as gateway,
    ):
        yield Site(cluster, gateway)


# --- throttle times


def direct(site: Site, key: int, version: int, body: codec.Body) -> codec.Body:
    """Ask the broker itself, in plaintext."""
    import socket

    with socket.create_connection((HOST, site.cluster.port(1)), timeout=60) as connection:
        connection.sendall(
            frame(codec.encode_request_header(key, version, 1, "t") + codec.encode_request(key, version, body))
        )
        got = b""
        while len(got) < 4 or len(got) < 4 + int.from_bytes(got[:4], "big"):
            got += connection.recv(65536)
    return codec.decode_response(key, version, memoryview(got)[4 + codec.response_header_size(key, version) :])


def broker_quota(site: Site, client_id: str, octets: int) -> None:
    """AlterClientQuotas: what a client id may produce at the broker, in bytes a second."""
    operation = {"key": "producer_byte_rate", "value": float(octets), "remove": False}
    entry = {"entity": [{"entityType": "client-id", "entityName": client_id}], "ops": [operation]}
    answer = direct(site, ALTER_CLIENT_QUOTAS, 1, {"entries": [entry], "validateOnly": False})
    assert [each["errorCode"] for each in answer["entries"]] == [0]
    asked = {"components": [{"entityType": "client-id", "matchType": 0, "match": client_id}], "strict": True}
    until(lambda: bool(direct(site, DESCRIBE_CLIENT_QUOTAS, 1, asked)["entries"]), what="the broker's own quota")


def throttled(site: Site, subject: str, client_id: str, octets: int) -> tuple[list[float], list[int]]:
    """What a producer is told while it sends: by its callback in seconds, and by its statistics in milliseconds."""
    topic, outcome = site.topic(partitions=1), list[KafkaError | None]()
    told: list[float] = []
    stats: list[int] = []

    def note(text: str) -> None:
        stats.extend(broker["throttle"]["max"] for broker in json.loads(text)["brokers"].values())

    producer = Producer(
        site.app(subject).confluent(
            throttle_cb=lambda event: told.append(event.throttle_time), stats_cb=note,
            **{
                "client.id": client_id, "linger.ms": 0, "batch.size": 60_000, "statistics.interval.ms": 200,
                "enable.idempotence": False,
            },
        )
    )  # fmt: skip
    for _ in range(octets // 50_000):
        producer.produce(topic, os.urandom(50_000), on_delivery=lambda error, _: outcome.append(error))
        producer.poll(0)
    assert producer.flush(60) == 0
    producer.poll(0.3)
    assert set(outcome) == {None}
    return told, stats


def test_a_client_is_told_our_throttle_time(own: Site) -> None:
    told, stats = throttled(own, "svc-stat", unique("mine"), 800_000)
    assert max(told) > 0
    assert max(stats) > 0
    assert max(told) <= 2.1, "limits.throttle_max"


def test_a_client_is_told_the_brokers_throttle_time_where_it_is_larger(own: Site) -> None:
    """200 MiB/s here, 20 kB/s at the broker: its throttle time comes through, longer than any of ours."""
    client_id = unique("theirs")
    broker_quota(own, client_id, 20_000)
    at = own.audited()
    told, _ = throttled(own, "svc-free", client_id, 250_000)
    assert max(told) > 0.5
    assert own.gateway is not None
    ours = [line for line in own.gateway.audit()[at:] if line["event"] == "throttled" and "svc-free" in str(line)]
    assert not ours, "the gateway held nobody"


def test_of_both_the_larger_is_told(own: Site) -> None:
    """The broker's quota is far tighter than ours, which binds too."""
    client_id = unique("both")
    broker_quota(own, client_id, 20_000)
    told, _ = throttled(own, "svc-tight", client_id, 300_000)
    assert max(told) > 2.1, "longer than throttle_max, so the broker's"


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_throttled_member_stays_in_its_group(own: Site, protocol: str) -> None:
    """Reading 2 MB at 100 KiB/s with a session of 10 seconds: no rebalance, and every record once."""
    topic, rebalances = own.topic(partitions=2), list[str]()
    feeder = Producer({"bootstrap.servers": own.cluster.bootstrap})
    for number in range(40):
        feeder.produce(topic, os.urandom(50_000), partition=number % 2)
    assert feeder.flush(60) == 0
    session = {"session.timeout.ms": 10000} if protocol == "classic" else {}
    consumer = Consumer(
        own.app("svc-member").confluent(
            **{
                "group.id": unique("app-g"), "group.protocol": protocol, "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": 500_000, **session,
            }
        )
    )  # fmt: skip
    offsets: list[tuple[int, int]] = []
    try:
        consumer.subscribe(
            [topic],
            on_assign=lambda *_: rebalances.append("assigned"),
            on_revoke=lambda *_: rebalances.append("revoked"),
            on_lost=lambda *_: rebalances.append("lost"),
        )
        began = time.monotonic()
        while len(offsets) < 40 and time.monotonic() - began < 120:
            message = consumer.poll(0.2)
            if message is not None:
                assert message.error() is None, message.error()
                offsets.append((message.partition(), message.offset()))
        took = time.monotonic() - began
        assert rebalances == ["assigned"]
        assert sorted(offsets) == sorted({(partition, offset) for partition in (0, 1) for offset in range(20)})
        assert took > 12
    finally:
        consumer.close()


# --- large frames


def test_ninety_mebibytes_there_and_back(own: Site) -> None:
    """One record of 90 MiB in one request, and in one answer; another client goes on beside it."""
    assert own.gateway is not None
    topic = own.topic(partitions=1, **{"max.message.bytes": str(100 << 20)})
    large, outcome = os.urandom(90 << 20), list[KafkaError | None]()
    acknowledged, done = list[KafkaError | None](), threading.Event()

    def beside() -> None:
        producer = Producer(own.app("svc-small").confluent(**{"linger.ms": 0, "enable.idempotence": False}))
        while not done.wait(0.05):
            producer.produce(topic_of_small, b"x", on_delivery=lambda error, _: acknowledged.append(error))
            assert producer.flush(60) == 0

    topic_of_small = own.topic(partitions=1)
    thread = threading.Thread(target=beside)
    thread.start()
    try:
        producer = Producer(
            own.app("svc-large").confluent(
                **{
                    "message.max.bytes": 100 << 20, "enable.idempotence": False, "queue.buffering.max.kbytes": 1 << 20,
                    "message.timeout.ms": 110000, "retries": 0,
                }
            )
        )  # fmt: skip
        until(lambda: bool(acknowledged), what="the small ones flow")
        before = len(acknowledged)
        producer.produce(topic, large, on_delivery=lambda error, _: outcome.append(error))
        assert producer.flush(120) == 0
        assert outcome == [None]
        (message,) = consume(
            own.app("svc-large").confluent(
                **{
                    "group.id": unique("app-g"), "fetch.message.max.bytes": 100 << 20, "fetch.max.bytes": 100 << 20,
                    "receive.message.max.bytes": 110 << 20, "message.max.bytes": 100 << 20,
                }
            ),
            [topic], 1, 120,
        )  # fmt: skip
        assert message.error() is None
        assert message.value() == large
    finally:
        done.set()
        thread.join()
    assert set(acknowledged) == {None}
    assert len(acknowledged) > before + 3, "between the pieces of the large one"
    peak = _peak_kib(f"/proc/{own.gateway.pid}/status")
    assert peak < 700 << 10, f"{peak >> 10} MiB at most"


def test_two_hundred_half_frames_leave_room_for_the_others(own: Site) -> None:
    """200 authenticated clients each send half of a frame of 64 MiB and stop: 6.4 GiB are never held."""
    assert own.gateway is not None
    gateway = own.gateway
    half, clients = bytes(1 << 20), list[RawClient]()
    stop = threading.Event()

    def flood(number: int) -> None:
        token = gateway.issuer.token(f"svc-half-{number}", groups=["app"])
        raw = RawClient(gateway.port(), gateway.ca_file, timeout=60)
        clients.append(raw)
        try:
            assert raw.authenticate(token)[0] == 0
            raw.send((64 << 20).to_bytes(4, "big") + b"\x00\x00\x00\x09")
            for _ in range(32):
                if stop.is_set():
                    return
                raw.send(half)
        except OSError:
            return

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    topic, outcome = own.topic(partitions=1), list[KafkaError | None]()
    producer = Producer(own.app("svc-beside").confluent(**{"linger.ms": 0, "enable.idempotence": False}))
    ends = time.monotonic() + 12
    while time.monotonic() < ends or len(outcome) <= 10:
        producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
        assert producer.flush(60) == 0
        stop.wait(0.2)
    stop.set()
    peak = _peak_kib(f"/proc/{gateway.pid}/status")
    for thread in threads:
        thread.join()
    for raw in clients:
        raw.__exit__(None, None, None)
    assert set(outcome) == {None}
    assert peak < 900 << 10, f"{peak >> 10} MiB at most"


def _peak_kib(status: str) -> int:
    with open(status) as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

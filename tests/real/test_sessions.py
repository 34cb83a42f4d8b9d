"""Tokens that end, policies that change: what lives on, and what is cut off."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, POLICY, Site, until
from tests.real.wire import METADATA, RawClient, request, string

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: sessions are the gateway's (unset it)")


@pytest.fixture(scope="module")
def own(kafka_one: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway of this module's own: its policy is changed."""
    folder = tmp_path_factory.mktemp("gateway-sessions")
    with GatewayProcess(folder, {"main": kafka_one.bootstrap}, policy=POLICY) as gateway:
        yield Site(kafka_one, gateway)


# --- tokens that end


def test_a_refreshing_client_outlives_its_tokens(own: Site) -> None:
    """librdkafka re-authenticates on the connection (KIP-368); nothing it sent is lost over several token lives."""
    assert own.gateway is not None
    app, topic, at = own.app("svc-refresh", lifetime=4), own.topic(), own.audited()
    errors: list[KafkaError] = []
    outcome: list[KafkaError | None] = []
    producer = Producer(app.confluent(error_cb=errors.append, **{"linger.ms": 0, "enable.idempotence": False}))
    ends = time.monotonic() + 14
    while time.monotonic() < ends:
        producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
        producer.poll(0.1)
    assert producer.flush(10) == 0
    assert outcome
    assert set(outcome) == {None}
    lines = [each for each in own.gateway.audit()[at:] if "svc-refresh" in str(each.get("principal"))]
    assert sum(each["event"] == "reauthenticated" for each in lines) >= 2, lines
    assert not [each for each in lines if each["event"] == "closed" and each["reason"] == "session-expired"]
    assert len(app.minted) >= 3


async def test_a_refreshing_aiokafka_outlives_its_tokens(own: Site) -> None:
    """aiokafka does not re-authenticate on a connection: it is cut off at the end and comes again with a new token."""
    from aiokafka import AIOKafkaProducer

    app, topic = own.app("svc-aio", lifetime=4), own.topic()
    async with AIOKafkaProducer(**app.aiokafka()) as producer:
        ends = time.monotonic() + 11
        sent = 0
        while time.monotonic() < ends:
            await producer.send_and_wait(topic, b"x")
            sent += 1
            await asyncio.sleep(0.1)
    assert sent > 20


def test_an_idle_connection_ends_with_its_token(own: Site) -> None:
    assert own.gateway is not None
    at = own.audited()
    with RawClient(own.gateway.port(), own.gateway.ca_file) as client:
        code, lifetime = client.authenticate(own.gateway.issuer.token("svc-idle", lifetime=3, groups=["app"]))
        assert code == 0
        assert 0 < lifetime <= 3000
        began = time.monotonic()
        assert client.ended()
        assert time.monotonic() - began < 6
    own.gateway.wait_audit(event="closed", reason="session-expired", after=at)


def test_a_busy_connection_ends_with_its_token(own: Site) -> None:
    """It asks again and again, and is cut off all the same, within a second of `exp`."""
    assert own.gateway is not None
    at = own.audited()
    ask = request(METADATA, 1, struct.pack(">i", 0))
    with RawClient(own.gateway.port(), own.gateway.ca_file) as client:
        client.authenticate(own.gateway.issuer.token("svc-busy", lifetime=3, groups=["app"]))
        began, answers = time.monotonic(), 0
        with pytest.raises((ConnectionError, OSError)):  # noqa: PT012 - the loop is the point
            while time.monotonic() - began < 10:
                client.send(ask)
                client.receive()
                answers += 1
        assert time.monotonic() - began < 5
        assert answers > 10
    own.gateway.wait_audit(event="closed", reason="session-expired", after=at)


def test_a_parked_fetch_ends_with_its_token(own: Site) -> None:
    """A Fetch that may wait twenty seconds at the broker for a first record is cut off at the token's end."""
    assert own.gateway is not None
    topic, at = own.topic(partitions=1), own.audited()
    fetch = (
        struct.pack(">iiiibi", -1, 20_000, 1, 1 << 20, 0, 1) + string(topic) + struct.pack(">iiqi", 1, 0, 0, 1 << 20)
    )
    broker = own.gateway.ports["main"][1] + 1
    with RawClient(broker, own.gateway.ca_file) as client:
        code, _ = client.authenticate(own.gateway.issuer.token("svc-parked", lifetime=3, groups=["app"]))
        assert code == 0
        began = time.monotonic()
        client.send(request(1, 4, fetch))
        with pytest.raises(ConnectionError):
            client.receive()
        assert 0.5 < time.monotonic() - began < 6
    own.gateway.wait_audit(
        lambda line: "svc-parked" in str(line.get("principal")), event="closed", reason="session-expired", after=at
    )


# --- policies that change


def test_a_new_policy_decides_the_next_request(own: Site) -> None:
    assert own.gateway is not None
    topic = own.topic()
    outcome: list[int | None] = []
    producer = Producer(own.app().confluent(**{"linger.ms": 0, "enable.idempotence": False}))

    def send() -> int | None:
        try:
            producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error.code() if error else None))
        except KafkaException as error:  # the library remembers a refusal for a while
            return int(error.args[0].code())
        assert producer.flush(20) == 0
        return outcome[-1]

    assert send() is None
    connections = sum(line["event"] == "authenticated" for line in own.gateway.audit())
    try:
        own.gateway.change_policy(POLICY.replace('topic: ["app.*"]', 'topic: ["elsewhere.*"]'))
        assert send() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    finally:
        own.gateway.change_policy(POLICY)
    until(lambda: send() is None, 20, "the old policy")
    assert sum(line["event"] == "authenticated" for line in own.gateway.audit()) == connections


def test_a_broken_policy_leaves_the_old_one(own: Site) -> None:
    assert own.gateway is not None
    topic, at = own.topic(), own.audited()
    before = [line for line in own.gateway.audit() if line["event"] == "policy-revision"]
    own.gateway.change_policy(POLICY.replace("end: true", ""))
    assert own.gateway.wait_audit(event="policy-refused", after=at)
    outcome: list[KafkaError | None] = []
    producer = Producer(own.app().confluent())
    producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
    assert producer.flush(20) == 0
    assert outcome == [None]
    assert [line for line in own.gateway.audit() if line["event"] == "policy-revision"] == before
    own.gateway.policy_path.write_text(POLICY)


# --- floods


def test_a_flood_is_throttled_and_others_are_not(own: Site) -> None:
    """The library is told by throttle_time_ms (KIP-219); every record arrives, at the policy's pace."""
    assert own.gateway is not None
    topic, at = own.topic(), own.audited()
    throttles: list[float] = []
    outcome: list[KafkaError | None] = []
    settings = own.app("slow").confluent(
        throttle_cb=lambda event: throttles.append(event.throttle_time), **{"linger.ms": 0, "batch.size": 20000}
    )
    producer = Producer(settings)
    began = time.monotonic()
    for _ in range(50):
        producer.produce(topic, bytes(10_000), on_delivery=lambda error, _: outcome.append(error))
    others: list[KafkaError | None] = []
    other = Producer(own.app("svc-other").confluent())
    other.produce(topic, b"x", on_delivery=lambda error, _: others.append(error))
    assert other.flush(10) == 0
    quick = time.monotonic() - began
    assert producer.flush(60) == 0
    took = time.monotonic() - began
    assert others == [None]
    assert set(outcome) == {None}
    assert max(throttles) > 0
    assert took > 2.5, "500 kB at 100 KiB/s"
    assert quick < took
    line = own.gateway.wait_audit(event="throttled", after=at)
    assert "slow" in line["principal"]

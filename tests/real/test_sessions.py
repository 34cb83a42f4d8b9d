"""Tokens that end, policies that change: what lives on, and what is cut off."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, POLICY, Site, until
from tests.real.wire import METADATA, RawClient, request, string

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: sessions are the gateway's (unset it)")

LIFETIME, SHORT = 8.0, 5.0
"""Seconds that tokens live: of clients that have to renew them in time, and of those that are cut off."""
SEEN_SECONDS_MAX = 120.0


@pytest.fixture(scope="module")
def own(kafka_one: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway of this module's own: its policy is changed."""
    folder = tmp_path_factory.mktemp("gateway-sessions")
    with GatewayProcess(folder, {"main": kafka_one.bootstrap}, policy=POLICY) as gateway:
        yield Site(kafka_one, gateway)


# --- tokens that end


def test_a_refreshing_client_outlives_its_tokens(own: Site) -> None:
    """librdkafka re-authenticates on the connection (KIP-368); nothing it sent is lost over several token lives."""
    gateway = own.gateway
    assert gateway is not None
    app, topic, at = own.app("svc-refresh", lifetime=LIFETIME), own.topic(), own.audited()
    errors: list[KafkaError] = []
    outcome: list[KafkaError | None] = []
    producer = Producer(app.confluent(error_cb=errors.append, **{"linger.ms": 0, "enable.idempotence": False}))

    def lines() -> list[dict[str, Any]]:
        return [each for each in gateway.audit()[at:] if "svc-refresh" in str(each.get("principal"))]

    def sent_until_renewed() -> bool:
        producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
        producer.poll(0.1)
        return sum(each["event"] == "reauthenticated" for each in lines()) >= 2 and len(app.minted) >= 3

    until(sent_until_renewed, SEEN_SECONDS_MAX, "two logins on the same connection")
    assert producer.flush(60) == 0
    assert outcome
    assert set(outcome) == {None}
    assert not [each for each in lines() if each["event"] == "closed" and each["reason"] == "session-expired"]


async def test_a_refreshing_aiokafka_outlives_its_tokens(own: Site) -> None:
    """aiokafka does not re-authenticate on a connection: it is cut off at the end and comes again with a new token."""
    from aiokafka import AIOKafkaProducer

    app, topic = own.app("svc-aio", lifetime=SHORT), own.topic()
    async with AIOKafkaProducer(**app.aiokafka()) as producer:
        sent = 0
        async with asyncio.timeout(SEEN_SECONDS_MAX):
            while sent <= 20 or len(app.minted) < 4:
                await producer.send_and_wait(topic, b"x")
                sent += 1
                await asyncio.sleep(0.1)


def test_an_idle_connection_ends_with_its_token(own: Site) -> None:
    assert own.gateway is not None
    at = own.audited()
    with RawClient(own.gateway.port(), own.gateway.ca_file) as client:
        code, lifetime = client.authenticate(own.gateway.issuer.token("svc-idle", lifetime=SHORT, groups=["app"]))
        assert code == 0
        assert 0 < lifetime <= 1000 * SHORT
        assert client.ended()
    own.gateway.wait_audit(event="closed", reason="session-expired", after=at)


def test_a_busy_connection_ends_with_its_token(own: Site) -> None:
    """It asks again and again, and is cut off all the same."""
    assert own.gateway is not None
    at = own.audited()
    ask = request(METADATA, 1, struct.pack(">i", 0))
    with RawClient(own.gateway.port(), own.gateway.ca_file) as client:
        client.authenticate(own.gateway.issuer.token("svc-busy", lifetime=SHORT, groups=["app"]))
        ends, answers = time.monotonic() + SEEN_SECONDS_MAX, 0
        with pytest.raises((ConnectionError, OSError)):  # noqa: PT012 - the loop is the point
            while time.monotonic() < ends:
                client.send(ask)
                client.receive()
                answers += 1
        assert answers > 10
    own.gateway.wait_audit(event="closed", reason="session-expired", after=at)


def test_a_parked_fetch_ends_with_its_token(own: Site) -> None:
    """A Fetch that may wait minutes at the broker for a first record is cut off at the token's end."""
    assert own.gateway is not None
    topic, at, longest = own.topic(partitions=1), own.audited(), 1000 * int(SEEN_SECONDS_MAX)
    fetch = (
        struct.pack(">iiiibi", -1, longest, 1, 1 << 20, 0, 1) + string(topic) + struct.pack(">iiqi", 1, 0, 0, 1 << 20)
    )
    broker = own.gateway.ports["main"][1] + 1
    with RawClient(broker, own.gateway.ca_file) as client:
        code, _ = client.authenticate(own.gateway.issuer.token("svc-parked", lifetime=SHORT, groups=["app"]))
        assert code == 0
        client.send(request(1, 4, fetch))
        with pytest.raises(ConnectionError):
            client.receive()
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
        assert producer.flush(60) == 0
        return outcome[-1]

    assert send() is None
    try:
        changed = own.gateway.change_policy(POLICY.replace('topic: ["app.*"]', 'topic: ["elsewhere.*"]'))
        assert send() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    finally:
        own.gateway.change_policy(POLICY)
    until(lambda: send() is None, what="the old policy")
    revisions = [line.get("revision") for line in own.gateway.audit()]
    since = own.gateway.audit()[revisions.index(changed) :]
    assert not [line for line in since if line["event"] == "authenticated"], "the connections were the same"


def test_a_broken_policy_leaves_the_old_one(own: Site) -> None:
    assert own.gateway is not None
    topic, at = own.topic(), own.audited()
    before = [line for line in own.gateway.audit() if line["event"] == "policy-revision"]
    own.gateway.change_policy(POLICY.replace("end: true", ""))
    assert own.gateway.wait_audit(event="policy-refused", after=at)
    outcome: list[KafkaError | None] = []
    producer = Producer(own.app().confluent())
    producer.produce(topic, b"x", on_delivery=lambda error, _: outcome.append(error))
    assert producer.flush(60) == 0
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
    assert other.flush(60) == 0
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

"""Clients with good tokens and bad intent against a running gateway: floods, costly requests, orders of bytes."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.kafka import codec
from gateway.kafka.authentication import REAUTHENTICATION_INTERVAL_MIN
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.site import DIRECT, POLICY, Site, until
from tests.real.wire import SASL_AUTHENTICATE, SASL_HANDSHAKE, RawClient, frame, request, string
from tests.scenarios.kafka_world import batch

pytestmark = pytest.mark.skipif(DIRECT, reason="REAL_DOOR=direct: there is no gateway to attack (unset it)")

PRODUCE, FETCH, METADATA, HEARTBEAT = 0, 1, 3, 12
SLOW = 100 * 1024
"""What the policy gives the subjects `slow-...`, in bytes a second each way; each test has one without a debt."""
LIMITS = "".join(
    f"  - {{to: {{issuer: test, sub: slow-{name}}}, produce: 100 KiB/s, consume: 100 KiB/s, requests: 200/s, "
    "connections: 20}\n"
    for name in ("all", "none", "fetch", "member")
)
MARK = b"payload-that-no-log-may-hold"


@pytest.fixture(scope="module")
def site(kafka_one: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway of this module's own, which logs all it ever logs."""
    policy = POLICY.replace("limits:\n", f"limits:\n{LIMITS}")
    with GatewayProcess(tmp_path_factory.mktemp("attacks"), {"main": kafka_one.bootstrap}, policy=policy) as gateway:
        yield Site(kafka_one, gateway)


def gateway_of(site: Site) -> GatewayProcess:
    assert site.gateway is not None
    return site.gateway


def client(site: Site, subject: str, timeout: float = 60.0) -> RawClient:
    """An authenticated connection to broker 1."""
    gateway = gateway_of(site)
    made = RawClient(gateway.ports["main"][1] + 1, gateway.ca_file, timeout)
    code, _ = made.authenticate(gateway.issuer.token(subject, groups=["app"]))
    assert code == 0
    return made


def ask(key: int, version: int, body: dict[str, Any], correlation: int = 7) -> bytes:
    return frame(
        codec.encode_request_header(key, version, correlation, "raw") + codec.encode_request(key, version, body)
    )


def produce(topic: str, records: bytes, acks: int = -1) -> bytes:
    partitions = [{"index": 0, "records": records}]
    body = {"acks": acks, "timeoutMs": 5000, "topicData": [{"name": topic, "partitionData": partitions}]}
    return ask(PRODUCE, 9, body)


def fetch(topic: str, octets: int) -> bytes:
    partition = {"partition": 0, "fetchOffset": 0, "partitionMaxBytes": octets}
    topics = [{"topic": topic, "partitions": [partition]}]
    return ask(FETCH, 11, {"maxWaitMs": 100, "minBytes": 1, "maxBytes": octets, "topics": topics})


def heartbeat(group: str = "app-g") -> bytes:
    return ask(HEARTBEAT, 4, {"groupId": group, "generationId": 1, "memberId": "m"})


def in_parallel(count: int, one: Any) -> None:
    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def summed(site: Site, at: int, operation: str, resource: str) -> int:
    """Bytes that the audit's sums say were let through. All sums of an interval are written together: once there is one
    of something that came later, those before it are there."""
    marker, now = site.topic("app.marker", partitions=1), site.audited()
    with client(site, "svc-marker") as raw:
        raw.send(produce(marker, batch(0, 10)))
        raw.receive()
    gateway_of(site).wait_audit(event="allowed", operation="Write", resource=marker, after=now)
    lines = gateway_of(site).audit()[at:]
    return sum(
        line["bytes"]
        for line in lines
        if line["event"] == "allowed" and (line["operation"], line["resource"]) == (operation, resource)
    )


# --- floods


@pytest.mark.parametrize(("acks", "subject"), [(-1, "slow-all"), (0, "slow-none")])
def test_large_frames_on_many_connections_are_held_to_the_rate(site: Site, acks: int, subject: str) -> None:
    """Ten seconds of frames that are each worth five: what is let through pays for itself."""
    topic, at, octets, seconds = site.topic(partitions=1), site.audited(), 512_000, 10.0
    flood = produce(topic, batch(0, octets), acks)
    ends = time.monotonic() + seconds

    def one() -> None:
        with client(site, subject, timeout=seconds) as raw:
            try:
                while time.monotonic() < ends:
                    raw.send(flood)
                    if acks:
                        raw.receive()
            except OSError:
                pass

    in_parallel(5, one)
    found = summed(site, at, "Write", topic)
    assert found <= SLOW * (time.monotonic() - ends + seconds + 1) + 2 * octets


def test_fetches_asked_for_in_advance_are_held_to_the_rate(site: Site) -> None:
    topic, at, seconds = site.topic(partitions=1), site.audited(), 8.0
    fill(site, topic, 40, 250_000)
    began = time.monotonic()
    ends = began + seconds
    with client(site, "slow-fetch", timeout=seconds) as raw:
        raw.send(fetch(topic, 500_000) * 100)
        try:
            while time.monotonic() < ends:
                raw.receive()
        except OSError:
            pass
    found = summed(site, at, "Read", topic)
    assert found <= SLOW * (time.monotonic() - began + 1) + 5 * 600_000


def fill(site: Site, topic: str, count: int, octets: int) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": site.cluster.bootstrap})
    for _ in range(count):
        producer.produce(topic, bytes(octets))
    assert producer.flush(60) == 0


def test_heartbeats_pass_while_a_flood_is_paid_for(site: Site) -> None:
    """Three frames of nine seconds each: five heartbeats are answered before the last of them."""
    topic = site.topic(partitions=1)
    with client(site, "slow-member") as flooding, client(site, "slow-member") as member:
        flooding.send(produce(topic, batch(0, 900_000)) * 3)
        flooding.receive()
        for _ in range(5):
            member.send(heartbeat())
            member.receive()
        assert flooding.waiting() < 2


# --- requests made to cost much


def test_one_costly_request_does_not_stop_the_others(site: Site) -> None:
    """As many topics as a request may name, all of them denied: the others have their turns between such requests."""
    names = [{"name": f"none-{number}"} for number in range(codec.REQUEST_ELEMENTS_MAX)]
    costly = ask(METADATA, 9, {"topics": names, "allowAutoTopicCreation": False})
    with client(site, "svc-victim") as victim, client(site, "svc-costly", timeout=60) as attacker:
        attacker.send(costly * 3)
        turns = 0
        while attacker.waiting() < 3:
            victim.send(heartbeat())
            victim.receive()
            turns += 1
        assert turns >= 2


def test_a_request_of_more_elements_is_refused(site: Site) -> None:
    names = [{"name": "x"}] * (codec.REQUEST_ELEMENTS_MAX + 1)
    at = site.audited()
    with client(site, "svc-many") as raw:
        raw.send(ask(METADATA, 9, {"topics": names, "allowAutoTopicCreation": False}))
        assert raw.ended()
    gateway_of(site).wait_audit(event="closed", reason="request-malformed", after=at)


# --- nothing passes before, between or after authentication, and nothing of it is written


def bearer(token: str) -> bytes:
    message = f"n,,\x01auth=Bearer {token}\x01\x01".encode()
    return struct.pack(">i", len(message)) + message


HELLO_0 = request(SASL_HANDSHAKE, 0, string("OAUTHBEARER"))
HELLO_1 = request(SASL_HANDSHAKE, 1, string("OAUTHBEARER"))


@pytest.mark.parametrize("order", ["behind", "behind-the-end", "before", "between", "bare", "two-tokens"])
def test_what_stands_around_a_bad_token_is_not_forwarded(site: Site, order: str) -> None:
    gateway, topic = gateway_of(site), site.topic(partitions=1)
    records = batch(0, len(MARK))[: -len(MARK)] + MARK
    bad, good = gateway.issuer.token("svc-a", aud="elsewhere"), gateway.issuer.token("svc-a", groups=["app"])
    wrapped, sent = request(SASL_AUTHENTICATE, 1, bearer(bad)), produce(topic, records)
    proven = request(SASL_AUTHENTICATE, 1, bearer(good))
    at = site.audited()
    with RawClient(gateway.ports["main"][1] + 1, gateway.ca_file) as raw:
        raw.send({
            "behind": HELLO_1 + wrapped + sent,
            "behind-the-end": HELLO_1 + wrapped + request(SASL_AUTHENTICATE, 1, struct.pack(">i", 1) + b"\x01") + sent,
            "before": sent + HELLO_1 + proven,
            "between": HELLO_1 + sent + proven,
            "bare": HELLO_0 + bearer(bad) + sent,
            "two-tokens": HELLO_1 + wrapped + proven + sent,
        }[order])  # fmt: skip
        assert raw.ended()
    gateway.wait_audit(lambda line: line["event"] == "closed" and "reason" in line, after=at)
    lines = gateway.audit()[at:]
    assert not [line for line in lines if line["event"] == "authenticated"]
    said = gateway.log() + "".join(map(str, gateway.audit()))
    assert MARK.decode() not in said
    assert not [token for token in (bad, good) if token in said or token.rpartition(".")[2] in said]


def test_a_request_behind_a_good_token_is_decided_by_it(site: Site) -> None:
    gateway, at = gateway_of(site), site.audited()
    token = gateway.issuer.token("svc-pipelined", groups=["readers"])
    with RawClient(gateway.ports["main"][1] + 1, gateway.ca_file) as raw:
        raw.send(HELLO_1 + request(SASL_AUTHENTICATE, 1, bearer(token)) + produce(site.topic(), batch(0, 10)))
        raw.receive()
        raw.receive()
        assert b"\x00\x1d" in raw.receive()
    gateway.wait_audit(event="denied", operation="Write", after=at)


def test_nobody_takes_a_session_over(site: Site) -> None:
    """A re-authentication as another principal ends the connection; what stands behind it is not forwarded."""
    gateway = gateway_of(site)
    with client(site, "svc-first") as raw:
        proven = time.monotonic()
        until(lambda: time.monotonic() > proven + REAUTHENTICATION_INTERVAL_MIN, what="another login may come")
        at = site.audited()
        other = gateway.issuer.token("svc-second", groups=["app"])
        raw.send(HELLO_1 + request(SASL_AUTHENTICATE, 1, bearer(other)) + heartbeat())
        assert raw.ended()
    gateway.wait_audit(event="closed", reason="principal-changed", after=at)

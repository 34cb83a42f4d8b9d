"""Unmodified clients through the gateway, on a real broker that authorizes too: what applications do all day."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter

import pulsar
import pytest
from pulsar.schema import AvroSchema, Integer, JsonSchema, Record, String, StringSchema

from tests.real.gateway import Line
from tests.real.pulsar.site import QUIET_MS, RECEIVE_MS, Site, receive, unique
from tests.real.pulsar.wire import RawPulsar
from tests.real.site import until

COMPRESSIONS = {
    "none": pulsar.CompressionType.NONE, "lz4": pulsar.CompressionType.LZ4, "zlib": pulsar.CompressionType.ZLib,
    "zstd": pulsar.CompressionType.ZSTD, "snappy": pulsar.CompressionType.SNAPPY,
}  # fmt: skip
TYPES = {
    "exclusive": pulsar.ConsumerType.Exclusive, "shared": pulsar.ConsumerType.Shared,
    "failover": pulsar.ConsumerType.Failover, "key-shared": pulsar.ConsumerType.KeyShared,
}  # fmt: skip


class Order(Record):  # type: ignore[misc]
    name = String()


class LongerOrder(Record):  # type: ignore[misc]
    name = String()
    amount = Integer(required_default=True)


LongerOrder.__name__ = "Order"  # the schema's name is the class's


@pytest.mark.parametrize("kind", TYPES)
def test_four_subscription_types(site: Site, kind: str) -> None:
    topic = site.topic()
    with site.client() as client:
        consumers = [client.subscribe(topic, "app-sub", consumer_type=TYPES[kind])]
        if kind in ("shared", "key-shared"):
            consumers.append(client.subscribe(topic, "app-sub", consumer_type=TYPES[kind]))
        producer = client.create_producer(topic)
        for number in range(60):
            producer.send(f"{number}".encode(), partition_key=f"key-{number % 7}")
        found: list[bytes] = []
        keys: dict[str, set[int]] = {}
        deadline = time.monotonic() + 60
        while len(found) < 60 and time.monotonic() < deadline:
            for index, consumer in enumerate(consumers):
                try:
                    message = consumer.receive(50)
                except pulsar.Timeout:
                    continue
                consumer.acknowledge(message)
                found.append(message.data())
                keys.setdefault(message.partition_key(), set()).add(index)
        assert sorted(map(int, found)) == list(range(60))
        if kind == "key-shared":
            assert all(len(each) == 1 for each in keys.values()), "a key went to two consumers"


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_batches_compressed(site: Site, compression: str) -> None:
    topic = site.topic()
    with site.client() as client:
        consumer = client.subscribe(topic, "app-sub")
        producer = client.create_producer(
            topic, compression_type=COMPRESSIONS[compression], batching_enabled=True, batching_max_messages=50,
            block_if_queue_full=True,
        )  # fmt: skip
        for number in range(500):
            producer.send_async(f"{number} {'x' * 200}".encode(), None)
        producer.flush()
        assert [int(each.split()[0]) for each in receive(consumer, 500)] == list(range(500))


def test_a_message_larger_than_a_frame_comes_in_chunks(site: Site) -> None:
    topic = site.topic()
    large = bytes(range(256)) * (12 << 12)  # 12 MiB; a frame has at most 5
    with site.client() as client:
        consumer = client.subscribe(topic, "app-sub")
        producer = client.create_producer(topic, chunking_enabled=True, batching_enabled=False)
        producer.send(large)
        assert receive(consumer, 1) == [large]


def test_the_largest_message_passes_whole(site: Site) -> None:
    topic = site.topic()
    large = b"\x5a" * ((5 << 20) - 4096)
    with site.client() as client:
        consumer = client.subscribe(topic, "app-sub")
        client.create_producer(topic, batching_enabled=False).send(large)
        assert receive(consumer, 1) == [large]


def test_partitions(site: Site) -> None:
    topic = site.partitioned(3)
    with site.client() as client:
        assert len(client.get_topic_partitions(topic)) == 3
        consumer = client.subscribe(topic, "app-sub")
        producer = client.create_producer(
            topic, message_routing_mode=pulsar.PartitionsRoutingMode.RoundRobinDistribution, batching_enabled=False
        )
        for number in range(30):
            producer.send(f"{number}".encode())
        seen = Counter[str]()
        for _ in range(30):
            message = consumer.receive(RECEIVE_MS)
            consumer.acknowledge(message)
            seen[message.topic_name()] += 1
        assert len(seen) == 3


def test_non_persistent(site: Site) -> None:
    topic = site.topic(domain="non-persistent")
    with site.client() as client:
        consumer = client.subscribe(topic, "app-sub")
        producer = client.create_producer(topic)
        for number in range(20):
            producer.send(f"{number}".encode())
        assert len(receive(consumer, 20)) == 20


@pytest.mark.parametrize("schema", [JsonSchema, AvroSchema])
def test_schemas(site: Site, schema: type[JsonSchema]) -> None:
    topic = site.topic()
    with site.client() as client:
        consumer = client.subscribe(topic, "app-sub", schema=schema(Order))
        client.create_producer(topic, schema=schema(Order)).send(Order(name="a schema"))
        assert consumer.receive(RECEIVE_MS).value().name == "a schema"
        with pytest.raises(pulsar.PulsarException, match="IncompatibleSchema"):
            client.create_producer(topic, schema=StringSchema())


def test_an_avro_schema_grows(site: Site) -> None:
    """A field more, with a default: registered as the next version; what was written by either is read."""
    topic = site.topic()
    with site.client() as client:
        old = client.create_producer(topic, schema=AvroSchema(Order))
        consumer = client.subscribe(topic, "app-sub", schema=AvroSchema(LongerOrder))
        new = client.create_producer(topic, schema=AvroSchema(LongerOrder))
        old.send(Order(name="old"))
        new.send(LongerOrder(name="new", amount=2))
        found = [consumer.receive(RECEIVE_MS).value() for _ in range(2)]
        assert [(each.name, each.amount) for each in found] == [("old", None), ("new", 2)]
    told = site.broker.admin("GET", f"/schemas/{topic.partition('://')[2]}/schemas")["getSchemaResponses"]
    assert [each["type"] for each in told] == ["AVRO", "AVRO"]


def test_a_reader_and_seek(site: Site) -> None:
    topic = site.topic()
    with site.client() as client:
        producer = client.create_producer(topic, batching_enabled=False)
        ids = [producer.send(f"{number}".encode()) for number in range(10)]
        reader = client.create_reader(topic, pulsar.MessageId.earliest, subscription_role_prefix="reader")
        assert [reader.read_next(RECEIVE_MS).data() for _ in range(10)] == [f"{each}".encode() for each in range(10)]
        assert not reader.has_message_available()
        reader.seek(ids[4])
        assert reader.read_next(RECEIVE_MS).data() in (b"4", b"5")
        consumer = client.subscribe(topic, "app-seek", initial_position=pulsar.InitialPosition.Earliest)
        receive(consumer, 10)
        consumer.seek(ids[0])
        assert consumer.receive(RECEIVE_MS).data() in (b"0", b"1")
        consumer.close()


def test_negative_acknowledgements_and_dead_letters(site: Site) -> None:
    topic = site.topic()
    with site.client() as client:
        consumer = client.subscribe(
            topic, "app-sub", consumer_type=pulsar.ConsumerType.Shared, negative_ack_redelivery_delay_ms=200,
            dead_letter_policy=pulsar.ConsumerDeadLetterPolicy(max_redeliver_count=1),
        )  # fmt: skip
        dead = client.subscribe(f"{topic}-app-sub-DLQ", "app-dead")
        client.create_producer(topic).send(b"poison")
        for _ in range(2):
            consumer.negative_acknowledge(consumer.receive(RECEIVE_MS))
        assert dead.receive(RECEIVE_MS).data() == b"poison"


def test_a_regular_expression_meets_only_what_is_allowed(site: Site) -> None:
    mark = unique("mark")
    allowed = [f"persistent://public/default/app-{mark}-{each}" for each in "ab"]
    hidden = [f"persistent://public/default/app-pii-{mark}", f"persistent://public/default/other-{mark}"]
    for topic in (*allowed, *hidden):
        site.broker.admin("PUT", f"/persistent/public/default/{topic.rpartition('/')[2]}")
    with site.client() as client:
        consumer = client.subscribe(re.compile(f"persistent://public/default/.*{mark}.*"), "app-regex")
        for topic in allowed:
            client.create_producer(topic).send(topic.encode())
        assert sorted(each.decode() for each in receive(consumer, 2)) == sorted(allowed)


def test_denied_to_produce_and_to_consume(site: Site) -> None:
    at = site.audited()
    with site.client() as client:
        for topic in (site.topic("secret"), site.topic("app-pii-x")):
            with pytest.raises(pulsar.PulsarException, match=r"AuthorizationError|NotAuthorized|Authorization"):
                client.create_producer(topic)
            with pytest.raises(pulsar.PulsarException):
                client.subscribe(topic, "app-sub")
        with pytest.raises(pulsar.PulsarException):
            client.subscribe(site.topic(), "somebodys")
        good = site.topic()
        client.create_producer(good).send(b"the connection goes on")
    line = site.gateway.wait_audit(event="denied", after=at, resource="somebodys")
    assert (line["kind"], line["operation"]) == ("subscription", "Subscribe")


def test_a_reader_role_may_not_produce(site: Site) -> None:
    topic = site.topic()
    with site.client(site.token(groups=("readers",))) as client:
        client.subscribe(topic, "app-sub").close()
        with pytest.raises(pulsar.PulsarException):
            client.create_producer(topic)


def test_the_broker_decides_by_the_clients_own_role(site: Site) -> None:
    """The gateway allows it, the broker has no grant for that role: not the gateway's rights (CVE-2023-30429)."""
    with (
        site.client(site.token("svc-nogrant"), operation_timeout_seconds=5) as client,
        pytest.raises(pulsar.PulsarException),
    ):
        client.create_producer(site.topic())


def test_nobody_is_the_gateway_or_the_superuser(site: Site) -> None:
    for name in ("gw", "admin"):
        at = site.audited()
        with (
            site.client(site.token(name), operation_timeout_seconds=3) as client,
            pytest.raises(pulsar.PulsarException),
        ):
            client.create_producer(site.topic())
        site.gateway.wait_audit(event="refused", after=at, reason="principal-is-gateway-account")


def test_a_bad_token_is_refused(site: Site) -> None:
    at = site.audited()
    with (
        site.client("nonsense", operation_timeout_seconds=3) as client,
        pytest.raises(pulsar.PulsarException),
    ):
        client.create_producer(site.topic())
    site.gateway.wait_audit(event="refused", after=at)


def test_a_token_is_refreshed_while_records_flow(site: Site) -> None:
    """Several lives of a token, no record lost, no connection ended by it."""
    topic = site.topic()
    at = site.audited()
    given = []

    def fresh() -> str:
        given.append(1)
        return site.token("svc-app", lifetime=8.0)

    with site.client(fresh) as client:
        consumer = client.subscribe(topic, "app-sub")
        producer = client.create_producer(topic)
        sent = 0

        def renewed() -> bool:
            nonlocal sent
            producer.send(f"{sent}".encode())
            sent += 1
            return sum(line["event"] == "reauthenticated" for line in site.gateway.audit()[at:]) >= 2

        until(renewed, 90, "two new tokens")
        assert [int(each) for each in receive(consumer, sent)] == list(range(sent))
    lines = site.gateway.audit()[at:]
    assert not [line for line in lines if line.get("reason") in ("session-expired", "authentication-unanswered")]


@pytest.mark.parametrize("kind", ["idle", "consuming", "producing"])
def test_a_connection_ends_with_its_token(site: Site, kind: str) -> None:
    """CVE-2023-31007: the same old token is shown again and again."""
    topic = site.topic()
    if kind == "consuming":
        _busy_consumer(site, topic)
        return
    busy = kind == "producing"
    at = site.audited()
    with site.client(site.token(lifetime=LIFETIME), operation_timeout_seconds=5) as client:
        producer = client.create_producer(topic, send_timeout_millis=3000)
        failed = threading.Event()
        if busy:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not failed.wait(0.01):
                producer.send_async(b"x", lambda result, _: failed.set() if result != pulsar.Result.Ok else None)
        site.gateway.wait_audit(over, event="closed", after=at)


LIFETIME = 6.0


def over(line: Line) -> bool:
    """Whether a connection was ended since its token was over."""
    return line["reason"] in ("session-expired", "authentication-unanswered")


def _busy_consumer(site: Site, topic: str) -> None:
    """Somebody else keeps the topic busy; the consumer whose token is over gets no more of it."""
    at = site.audited()
    stopping = threading.Event()
    with site.client() as other, site.client(site.token(lifetime=LIFETIME), operation_timeout_seconds=5) as client:
        producer = other.create_producer(topic, max_pending_messages=100)
        consumer = client.subscribe(topic, "app-sub", consumer_type=pulsar.ConsumerType.Shared)

        def produce() -> None:
            while not stopping.wait(0.005):
                producer.send_async(b"x", None)

        thread = threading.Thread(target=produce)
        thread.start()
        try:
            consumer.receive(RECEIVE_MS)
            site.gateway.wait_audit(over, event="closed", after=at)
            until(lambda: drained(consumer), what="the end of what it had got before")
            assert quiet(consumer)
        finally:
            stopping.set()
            thread.join()


def drained(consumer: pulsar.Consumer) -> bool:
    """Whether nothing comes behind as much as it may have kept."""
    return any(quiet(consumer) for _ in range(QUEUED))


QUEUED = 2000
"""A library keeps half as many by itself."""


def quiet(consumer: pulsar.Consumer) -> bool:
    try:
        consumer.receive(QUIET_MS)
    except pulsar.Timeout:
        return True
    return False


def test_a_withdrawn_grant_stops_a_consumer_and_a_producer(site: Site) -> None:
    topic = site.topic()
    old = site.gateway.policy_path.read_text()
    with site.client() as client:
        consumer = client.subscribe(topic, "app-sub")
        producer = client.create_producer(topic, send_timeout_millis=10_000)
        producer.send(b"before")
        assert receive(consumer, 1) == [b"before"]
        assert at_broker(site, topic) == (1, 1)
        at = site.audited()
        try:
            site.gateway.change_policy(old.replace("//public/default/app-*", "//public/default/none-*"))
            with pytest.raises(pulsar.PulsarException):
                producer.send(b"after")
            site.gateway.wait_audit(event="denied", after=at, resource=topic)
            with pytest.raises(pulsar.Timeout):
                consumer.receive(QUIET_MS)
            until(lambda: at_broker(site, topic) == (0, 0), what="the broker to have neither of them any more")
        finally:
            site.gateway.change_policy(old)


def at_broker(site: Site, topic: str) -> tuple[int, int]:
    """Producers, and consumers of app-sub, that the broker has."""
    stats = site.broker.admin("GET", f"/{topic.replace('://', '/')}/stats")
    return len(stats["publishers"]), len(stats["subscriptions"]["app-sub"]["consumers"])


def test_reconnects_when_a_bundle_unloads(site: Site) -> None:
    topic = site.topic()
    with site.client() as client:
        consumer = client.subscribe(topic, "app-sub")
        producer = client.create_producer(topic)
        producer.send(b"one")
        site.broker.admin("PUT", f"/persistent/public/default/{topic.rpartition('/')[2]}/unload")
        producer.send(b"two")
        assert set(receive(consumer, 2)) == {b"one", b"two"}


def test_a_flood_is_held_to_its_rate(site: Site) -> None:
    topic = site.topic()
    record = bytes(10_000)
    with site.client(site.token("slow")) as client:
        producer = client.create_producer(
            topic, block_if_queue_full=True, batching_enabled=False, max_pending_messages=20
        )
        began = time.monotonic()
        for _ in range(100):
            producer.send_async(record, None)
        producer.flush()
        seconds = time.monotonic() - began
    assert seconds > 2.5, "1 MB at 200 KiB/s, of which one second's worth is a burst"


def test_producers_of_a_principal_are_bounded(site: Site) -> None:
    with site.client(site.token("few"), operation_timeout_seconds=10) as client:
        kept = [client.create_producer(site.topic()) for _ in range(2)]
        with pytest.raises(pulsar.PulsarException):
            client.create_producer(site.topic())
        kept[0].close()
        client.create_producer(site.topic())


def test_consumers_and_connections_of_a_principal_are_bounded(site: Site) -> None:
    with site.client(site.token("few"), operation_timeout_seconds=10) as client:
        kept = [client.subscribe(site.topic(), "app-sub") for _ in range(2)]
        with pytest.raises(pulsar.PulsarException):
            client.subscribe(site.topic(), "app-sub")
        kept[0].close()
        client.subscribe(site.topic(), "app-sub")
    until(lambda: nobody_left(site, ":few"), what="the end of its connections")
    at = site.audited()
    with contextlib.ExitStack() as stack:
        for number in range(3):
            raw = stack.enter_context(RawPulsar(site.gateway.port(), site.gateway.ca_file))
            raw.connect(site.token("few"))
            assert raw.receive().name == ("connected" if number < 2 else "error")
    site.gateway.wait_audit(event="refused", after=at, reason="connections-of-principal")


def nobody_left(site: Site, principal: str) -> bool:
    """Whether every connection of a principal has ended."""
    lines = [line for line in site.gateway.audit() if str(line.get("principal", "")).endswith(principal)]
    ended = {line["connection"] for line in lines if line["event"] == "closed"}
    return {line["connection"] for line in lines if line["event"] == "authenticated"} <= ended


def test_messages_are_held_to_their_rate(site: Site) -> None:
    """Small ones: it is the number of requests that the policy bounds, and the gateway reads no faster."""
    with site.client(site.token("slow")) as client:
        producer = client.create_producer(
            site.topic(), block_if_queue_full=True, batching_enabled=False, max_pending_messages=50
        )
        began = time.monotonic()
        for _ in range(1500):
            producer.send_async(b"x", None)
        producer.flush()
        assert time.monotonic() - began > 1.5, "1,500 at 500/s, of which one second's worth is a burst"

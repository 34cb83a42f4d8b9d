"""librdkafka (confluent-kafka) through the gateway."""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from tests.real.site import ADDRESSED, App, Site, unique, until

pytestmark = ADDRESSED
BOTH = pytest.mark.parametrize("plain", [False, True], ids=["oauthbearer", "plain"])


def produce(settings: dict[str, Any], *topics: str, count: int = 10) -> dict[str, list[int | None]]:
    """Produce to each topic; the error codes (None: acknowledged) by topic."""
    outcome: dict[str, list[int | None]] = {topic: [] for topic in topics}
    producer = Producer({**settings, "message.timeout.ms": 60000})
    for number in range(count):
        for topic in topics:
            producer.produce(
                topic, f"{number}".encode(), key=f"{number}".encode(),
                on_delivery=lambda error, _, topic=topic: outcome[topic].append(error.code() if error else None),
            )  # fmt: skip
    assert producer.flush(90) == 0
    return outcome


def consume(settings: dict[str, Any], topics: list[str], count: int, seconds: float = 60.0) -> list[Any]:
    """Messages of a group, at least `count`; a message that is an error ends it."""
    consumer = Consumer({"auto.offset.reset": "earliest", "enable.auto.commit": False, **settings})
    found: list[Any] = []
    deadline = time.monotonic() + seconds
    try:
        consumer.subscribe(topics)
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is None:
                continue
            found.append(message)
            if message.error():
                break
        if found and not found[-1].error():
            consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return found


def admin(app: App) -> AdminClient:
    made = AdminClient(app.confluent())
    made.poll(0)
    return made


@BOTH
def test_produces_and_consumes_in_a_group(site: Site, plain: bool) -> None:
    app, topic, group = site.app(), site.topic(), unique("app-g")
    assert produce(app.confluent(plain=plain), topic) == {topic: [None] * 10}
    found = consume(app.confluent(plain=plain, **{"group.id": group}), [topic], 10)
    assert sorted(int(message.value()) for message in found) == list(range(10))


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_group_keeps_its_offsets(site: Site, protocol: str) -> None:
    """The second member of the group starts where the first one committed; in both group protocols (KIP-848)."""
    app, topic, group = site.app(), site.topic(), unique("app-g")
    settings = app.confluent(**{"group.id": group, "group.protocol": protocol})
    produce(app.confluent(), topic, count=5)
    assert len(consume(settings, [topic], 5)) == 5
    produce(app.confluent(), topic, count=3)
    again = consume(settings, [topic], 3)
    assert [message.error() for message in again] == [None] * 3
    assert sorted(int(message.value()) for message in again) == [0, 1, 2]


def test_a_regular_expression_is_not_passed_on(site: Site) -> None:
    """With KIP-848 the broker would evaluate it by the gateway's rights (trap 4)."""
    app = site.app()
    consumer = Consumer(app.confluent(**{"group.id": unique("app-g"), "group.protocol": "consumer"}))
    consumer.subscribe(["^app-.*"])
    try:
        message = consumer.poll(60)
        assert message is not None
        assert "regular expression" in message.error().str()
    finally:
        consumer.close()
    denied = site.gateway.wait_audit(event="denied", why="regular-expression")
    assert denied["api"] == "ConsumerGroupHeartbeat"


def test_idempotent_produce(site: Site) -> None:
    app, topic = site.app(), site.topic()
    assert produce(app.confluent(**{"enable.idempotence": True}), topic, count=50) == {topic: [None] * 50}
    found = consume(app.confluent(**{"group.id": unique("app-g")}), [topic], 50)
    assert sorted(int(message.value()) for message in found) == list(range(50))


def test_transactions_commit_and_abort(site: Site) -> None:
    app, topic = site.app(), site.topic()
    producer = Producer(app.confluent(**{"transactional.id": unique("app-t")}))
    producer.init_transactions(60)
    for outcome in ("aborted", "committed"):
        producer.begin_transaction()
        for _ in range(5):
            producer.produce(topic, outcome.encode())
        producer.flush(60)
        if outcome == "aborted":
            producer.abort_transaction(60)
        else:
            producer.commit_transaction(60)
    found = consume(app.confluent(**{"group.id": unique("app-g")}), [topic], 5)
    assert [message.value() for message in found] == [b"committed"] * 5


def test_a_transaction_carries_the_groups_offsets(site: Site) -> None:
    """Consume, transform, produce: the offsets are committed by the transaction (TxnOffsetCommit)."""
    app, source, target, group = site.app(), site.topic(), site.topic("app.copies"), unique("app-g")
    produce(app.confluent(), source, count=6)
    producer = Producer(app.confluent(**{"transactional.id": unique("app-t")}))
    consumer = Consumer(
        app.confluent(**{"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    )
    consumer.subscribe([source])
    read: list[Any] = []
    until(
        lambda: bool(read.append(consumer.poll(0.1)) or len([each for each in read if each]) == 6), what="six records"
    )
    producer.init_transactions(60)
    producer.begin_transaction()
    for message in filter(None, read):
        producer.produce(target, message.value())
    producer.send_offsets_to_transaction(
        consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 60
    )
    producer.commit_transaction(60)
    consumer.close()
    assert len(consume(app.confluent(**{"group.id": unique("app-g")}), [target], 6)) == 6
    assert consume(app.confluent(**{"group.id": group}), [source], 1, seconds=2) == []


def test_admin(site: Site) -> None:
    """Create, describe, grow, configure, delete topics; list and describe and delete groups."""
    app, name, group = site.app(), unique("app.made"), unique("app-g")
    client = admin(app)
    replicas = min(3, len(site.cluster.nodes))
    client.create_topics([NewTopic(name, 2, replicas)])[name].result(60)
    until(lambda: name in client.list_topics(timeout=60).topics, what="the new topic")
    site.cluster.wait_topic(name)  # any broker may be asked for its configuration
    entry = ConfigEntry("retention.ms", "86400000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    client.incremental_alter_configs([resource])[resource].result(60)
    client.create_partitions([NewPartitions(name, 3)])[name].result(60)
    until(
        lambda: client.describe_configs([ConfigResource(ResourceType.TOPIC, name)])[
            ConfigResource(ResourceType.TOPIC, name)
        ].result(60)["retention.ms"].value == "86400000",
        what="the new setting",
    )  # fmt: skip
    produce(app.confluent(), name, count=4)
    assert len(consume(app.confluent(**{"group.id": group}), [name], 4)) == 4
    assert group in [each.group_id for each in client.list_consumer_groups().result(60).valid]
    assert client.describe_consumer_groups([group])[group].result(60).group_id == group
    until(lambda: len(client.list_topics(name, timeout=60).topics[name].partitions) == 3, what="the third partition")
    site.cluster.wait_topic(name)
    ends = client.list_offsets({TopicPartition(name, each): OffsetSpec.latest() for each in range(3)})
    assert sum(each.result(60).offset for each in ends.values()) == 4
    client.delete_consumer_groups([group])[group].result(60)
    client.delete_topics([name])[name].result(60)
    until(lambda: name not in site.admin.list_topics(timeout=60).topics, what="the topic's end")


def test_describes_the_cluster_by_the_gateways_addresses(guarded: Site) -> None:
    client = admin(guarded.app())
    found = client.describe_cluster().result(60)
    assert sorted(node.id for node in found.nodes) == list(guarded.cluster.nodes)
    told = [(node.host, node.port) for node in sorted(found.nodes, key=lambda node: node.id)]
    assert told == guarded.addresses()


# --- denied


@BOTH
def test_a_denied_topic_raises_and_the_others_go_on(guarded: Site, plain: bool) -> None:
    allowed, denied, at = guarded.topic(), guarded.topic("closed.pay"), guarded.audited()
    outcome = produce(guarded.app().confluent(plain=plain), allowed, denied)
    assert outcome[allowed] == [None] * 10
    assert set(outcome[denied]) == {KafkaError.TOPIC_AUTHORIZATION_FAILED}
    line = guarded.denied(at, resource=denied)
    assert line["kind"] == "topic"
    assert line["decision"]


def test_consuming_a_denied_topic_raises_and_the_others_go_on(guarded: Site) -> None:
    allowed, denied, group = guarded.topic(), guarded.topic("closed.pay"), unique("app-g")
    app = guarded.app()
    produce(app.confluent(), allowed)
    consumer = Consumer(app.confluent(**{"group.id": group, "auto.offset.reset": "earliest"}))
    errors, values = set(), []
    consumer.subscribe([allowed, denied])
    try:
        deadline = time.monotonic() + 60
        while (len(values) < 10 or not errors) and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error():
                errors.add((message.topic(), message.error().code()))
            elif message is not None:
                values.append(message.value())
    finally:
        consumer.close()
    assert errors == {(denied, KafkaError.TOPIC_AUTHORIZATION_FAILED)}
    assert len(values) == 10


def test_a_deny_beats_an_allow_when_fetching(guarded: Site) -> None:
    """Assigned by hand, so that Fetch itself has to say no."""
    topic, at = guarded.topic("app.people.pii"), guarded.audited()
    consumer = Consumer(guarded.app().confluent(**{"group.id": unique("app-g")}))
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        message = None
        deadline = time.monotonic() + 60
        while message is None and time.monotonic() < deadline:
            message = consumer.poll(0.2)
    finally:
        consumer.close()
    assert message is not None
    assert message.error().code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert guarded.denied(at, resource=topic)["rule"]


def test_a_denied_group_raises(guarded: Site) -> None:
    topic = guarded.topic()
    found = consume(guarded.app().confluent(**{"group.id": unique("other")}), [topic], 1)
    assert [message.error().code() for message in found] == [KafkaError.GROUP_AUTHORIZATION_FAILED]


def test_a_denied_transactional_id_raises(guarded: Site) -> None:
    producer = Producer(guarded.app().confluent(**{"transactional.id": unique("other")}))
    with pytest.raises(KafkaException) as caught:
        producer.init_transactions(60)
    assert caught.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_a_reader_may_not_write(guarded: Site) -> None:
    topic, reader = guarded.topic(), guarded.app("svc-reader", ("readers",))
    produce(guarded.app().confluent(), topic, count=3)
    assert set(produce(reader.confluent(), topic, count=3)[topic]) == {KafkaError.TOPIC_AUTHORIZATION_FAILED}
    assert len(consume(reader.confluent(**{"group.id": unique("app-g")}), [topic], 3)) == 3


def test_admin_is_partly_allowed(guarded: Site) -> None:
    """Of two topics to create, the allowed one is made and the other raises; the same for deleting."""
    client, mine, other = admin(guarded.app()), unique("app.made"), unique("closed.made")
    made = client.create_topics([NewTopic(mine, 1, 1), NewTopic(other, 1, 1)])
    made[mine].result(60)
    with pytest.raises(KafkaException) as caught:
        made[other].result(60)
    assert caught.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert other not in guarded.admin.list_topics(timeout=60).topics
    closed = guarded.topic("closed.kept")
    until(lambda: mine in client.list_topics(timeout=60).topics, what="the new topic")
    gone = client.delete_topics([mine, closed])
    gone[mine].result(60)
    with pytest.raises(KafkaException) as caught:
        gone[closed].result(60)
    assert caught.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert closed in guarded.admin.list_topics(timeout=60).topics


def test_names_of_others_are_not_listed(guarded: Site) -> None:
    mine, other = guarded.topic(), guarded.topic("closed.hidden")
    client, group = admin(guarded.app()), unique("other")
    produce({"bootstrap.servers": guarded.cluster.bootstrap}, mine, count=1)
    consume({"bootstrap.servers": guarded.cluster.bootstrap, "group.id": group}, [mine], 1)
    topics = client.list_topics(timeout=60).topics
    assert mine in topics
    assert other not in topics
    assert group not in [each.group_id for each in client.list_consumer_groups().result(60).valid]
    with pytest.raises(KafkaException) as caught:
        client.describe_consumer_groups([group])[group].result(60)
    assert caught.value.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED


def test_somebody_without_a_binding_gets_nothing(guarded: Site) -> None:
    topic, stranger = guarded.topic(), guarded.app("stranger", ())
    assert set(produce(stranger.confluent(), topic, count=2)[topic]) == {KafkaError.TOPIC_AUTHORIZATION_FAILED}
    assert guarded.denied(0, resource=topic)["reason"]

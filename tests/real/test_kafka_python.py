"""kafka-python through the gateway."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from tests.real.site import ADDRESSED, Site, unique, until

with warnings.catch_warnings():  # it reads its schemas by importlib.resources.read_text, deprecated since Python 3.11
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import NewTopic
    from kafka.errors import (
        GroupAuthorizationFailedError,
        TopicAuthorizationFailedError,
        TransactionalIdAuthorizationFailedError,
    )

pytestmark = ADDRESSED
BOTH = pytest.mark.parametrize("plain", [False, True], ids=["oauthbearer", "plain"])


def produce(settings: dict[str, Any], topic: str, count: int = 10) -> None:
    producer = KafkaProducer(**settings)
    try:
        for future in [producer.send(topic, f"{number}".encode()) for number in range(count)]:
            future.get(60)
    finally:
        producer.close(10)


def consume(settings: dict[str, Any], topic: str, count: int, seconds: float = 60.0) -> list[bytes]:
    consumer = KafkaConsumer(topic, auto_offset_reset="earliest", consumer_timeout_ms=int(seconds * 1000), **settings)
    try:
        found = []
        for message in consumer:
            found.append(message.value)
            if len(found) == count:
                break
        if settings.get("group_id"):
            consumer.commit()
    finally:
        consumer.close()
    return found


@BOTH
def test_produces_and_consumes_in_a_group(site: Site, plain: bool) -> None:
    app, topic, group = site.app(), site.topic(), unique("app-g")
    produce(app.kafka_python(plain=plain), topic)
    found = consume(app.kafka_python(plain=plain, group_id=group), topic, 10)
    assert sorted(map(int, found)) == list(range(10))


def test_idempotent_produce(site: Site) -> None:
    app, topic = site.app(), site.topic()
    produce(app.kafka_python(enable_idempotence=True), topic, 20)
    assert len(consume(app.kafka_python(group_id=unique("app-g")), topic, 20)) == 20


def test_transactions_commit_and_abort(site: Site) -> None:
    app, topic = site.app(), site.topic()
    producer = KafkaProducer(**app.kafka_python(transactional_id=unique("app-t")))
    try:
        producer.init_transactions()
        for outcome in (b"aborted", b"committed"):
            producer.begin_transaction()
            for future in [producer.send(topic, outcome) for _ in range(5)]:
                future.get(60)
            if outcome == b"aborted":
                producer.abort_transaction()
            else:
                producer.commit_transaction()
    finally:
        producer.close(10)
    settings = app.kafka_python(group_id=unique("app-g"), isolation_level="read_committed")
    assert consume(settings, topic, 5) == [b"committed"] * 5


def test_admin(site: Site) -> None:
    app, name, group = site.app(), unique("app.made"), unique("app-g")
    client = KafkaAdminClient(**app.kafka_python())
    try:
        client.create_topics([NewTopic(name=name, num_partitions=2, replication_factor=1)])
        until(lambda: name in client.list_topics(), what="the new topic")
        site.cluster.wait_topic(name)  # any broker may be asked next
        produce(app.kafka_python(), name, 3)
        assert len(consume(app.kafka_python(group_id=group), name, 3)) == 3
        assert group in str(client.list_groups())
        assert group in str(client.describe_groups([group]))
        client.delete_topics([name])
        until(lambda: name not in client.list_topics(), what="the topic's end")
    finally:
        client.close()


# --- denied


@BOTH
def test_a_denied_topic_raises_and_the_others_go_on(guarded: Site, plain: bool) -> None:
    allowed, denied, at = guarded.topic(), guarded.topic("closed.pay"), guarded.audited()
    producer = KafkaProducer(**guarded.app().kafka_python(plain=plain))
    try:
        producer.send(allowed, b"before").get(60)
        with pytest.raises(TopicAuthorizationFailedError):
            producer.send(denied, b"x").get(60)
        producer.send(allowed, b"after").get(60)
    finally:
        producer.close(10)
    assert guarded.denied(at, resource=denied)["operation"]


def test_consuming_a_denied_topic_raises(guarded: Site) -> None:
    denied = guarded.topic("app.people.pii")
    consumer = KafkaConsumer(**guarded.app().kafka_python(group_id=None, consumer_timeout_ms=60000))
    try:
        consumer.assign([TopicPartition(denied, 0)])
        consumer.seek(TopicPartition(denied, 0), 0)
        with pytest.raises(TopicAuthorizationFailedError):
            next(consumer)
    finally:
        consumer.close()


def test_a_denied_group_raises(guarded: Site) -> None:
    topic = guarded.topic()
    consumer = KafkaConsumer(topic, **guarded.app().kafka_python(group_id=unique("other"), consumer_timeout_ms=60000))
    try:
        with pytest.raises(GroupAuthorizationFailedError):
            next(consumer)
    finally:
        consumer.close()


def test_a_denied_transactional_id_raises(guarded: Site) -> None:
    producer = KafkaProducer(**guarded.app().kafka_python(transactional_id=unique("other")))
    try:
        with pytest.raises(TransactionalIdAuthorizationFailedError):
            producer.init_transactions()
    finally:
        producer.close(5)


def test_admin_is_partly_allowed(guarded: Site) -> None:
    mine, other = unique("app.made"), unique("closed.made")
    client = KafkaAdminClient(**guarded.app().kafka_python())
    try:
        with pytest.raises(TopicAuthorizationFailedError):
            client.create_topics(
                [
                    NewTopic(name=mine, num_partitions=1, replication_factor=1),
                    NewTopic(name=other, num_partitions=1, replication_factor=1),
                ]
            )
        until(lambda: mine in client.list_topics(), what="the allowed topic")
        assert other not in client.list_topics()
    finally:
        client.close()

"""aiokafka through the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)

from tests.real.site import ADDRESSED, App, Site, unique

pytestmark = ADDRESSED
BOTH = pytest.mark.parametrize("plain", [False, True], ids=["oauthbearer", "plain"])


async def produce(settings: dict[str, Any], topic: str, count: int = 10) -> None:
    async with AIOKafkaProducer(**settings) as producer:
        for number in range(count):
            await producer.send_and_wait(topic, f"{number}".encode())


async def consume(settings: dict[str, Any], topic: str, count: int, seconds: float = 60.0) -> list[bytes]:
    async with AIOKafkaConsumer(topic, auto_offset_reset="earliest", **settings) as consumer:
        async with asyncio.timeout(seconds):
            found = [(await consumer.getone()).value for _ in range(count)]
        await consumer.commit()
    return found


async def admin(app: App) -> AIOKafkaAdminClient:
    client = AIOKafkaAdminClient(**app.aiokafka())
    await client.start()
    return client


@BOTH
async def test_produces_and_consumes_in_a_group(site: Site, plain: bool) -> None:
    app, topic, group = site.app(), site.topic(), unique("app-g")
    await produce(app.aiokafka(plain=plain), topic)
    found = await consume(app.aiokafka(plain=plain, group_id=group), topic, 10)
    assert sorted(map(int, found)) == list(range(10))


async def test_idempotent_produce(site: Site) -> None:
    app, topic = site.app(), site.topic()
    await produce(app.aiokafka(enable_idempotence=True), topic, 20)
    assert len(await consume(app.aiokafka(group_id=unique("app-g")), topic, 20)) == 20


async def test_transactions_commit_and_abort(site: Site) -> None:
    app, topic = site.app(), site.topic()
    async with AIOKafkaProducer(**app.aiokafka(transactional_id=unique("app-t"))) as producer:
        for outcome in (b"aborted", b"committed"):
            await producer.begin_transaction()
            for _ in range(5):
                await producer.send_and_wait(topic, outcome)
            if outcome == b"aborted":
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
    settings = app.aiokafka(group_id=unique("app-g"), isolation_level="read_committed")
    assert await consume(settings, topic, 5) == [b"committed"] * 5


async def test_admin(site: Site) -> None:
    app, name, group = site.app(), unique("app.made"), unique("app-g")
    client = await admin(app)
    try:
        made = await client.create_topics([NewTopic(name, 2, 1)])
        assert [each[1] for each in made.topic_errors] == [0]
        await _until_listed(client, name)
        site.cluster.wait_topic(name)  # any broker may be asked for its configuration
        resource = ConfigResource(ConfigResourceType.TOPIC, name, configs={"retention.ms": "86400000"})
        await client.alter_configs([resource])
        (answer,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        assert answer.resources[0][0] == 0
        await produce(app.aiokafka(), name, 3)
        await consume(app.aiokafka(group_id=group), name, 3)
        assert group in [each[0] for each in await client.list_consumer_groups()]
        offsets = await client.list_consumer_group_offsets(group)
        assert sum(each.offset for each in offsets.values()) == 3
        gone = await client.delete_topics([name])
        assert [each[1] for each in gone.topic_error_codes] == [0]
    finally:
        await client.close()


async def _until_listed(client: AIOKafkaAdminClient, name: str) -> None:
    async with asyncio.timeout(60):
        while name not in await client.list_topics():
            await asyncio.sleep(0.05)


# --- denied


@BOTH
async def test_a_denied_topic_raises_and_the_others_go_on(guarded: Site, plain: bool) -> None:
    allowed, denied, at = guarded.topic(), guarded.topic("closed.pay"), guarded.audited()
    async with AIOKafkaProducer(**guarded.app().aiokafka(plain=plain)) as producer:
        await producer.send_and_wait(allowed, b"before")
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait(denied, b"x")
        await producer.send_and_wait(allowed, b"after")
    assert guarded.denied(at, resource=denied)["operation"]


async def test_consuming_a_denied_topic_raises(guarded: Site) -> None:
    denied = guarded.topic("app.people.pii")
    async with AIOKafkaConsumer(**guarded.app().aiokafka(group_id=None)) as consumer:
        consumer.assign([TopicPartition(denied, 0)])
        consumer.seek(TopicPartition(denied, 0), 0)
        with pytest.raises(TopicAuthorizationFailedError):
            async with asyncio.timeout(60):
                await consumer.getone()


async def test_a_denied_group_raises(guarded: Site) -> None:
    topic = guarded.topic()
    consumer = AIOKafkaConsumer(topic, **guarded.app().aiokafka(group_id=unique("other")))
    try:
        with pytest.raises(GroupAuthorizationFailedError):
            await asyncio.wait_for(_first(consumer), 60)
    finally:
        await consumer.stop()


async def _first(consumer: AIOKafkaConsumer) -> Any:
    await consumer.start()
    return await consumer.getone()


async def test_a_denied_transactional_id_raises(guarded: Site) -> None:
    producer = AIOKafkaProducer(**guarded.app().aiokafka(transactional_id=unique("other")))
    try:
        with pytest.raises(TransactionalIdAuthorizationFailed):
            async with asyncio.timeout(60):
                await producer.start()
    finally:
        await producer.stop()


async def test_admin_is_partly_allowed(guarded: Site) -> None:
    mine, other = unique("app.made"), unique("closed.made")
    client = await admin(guarded.app())
    try:
        made = await client.create_topics([NewTopic(mine, 1, 1), NewTopic(other, 1, 1)])
        outcome = {each[0]: for_code(each[1]) for each in made.topic_errors}
        assert outcome[other] is TopicAuthorizationFailedError
        assert outcome[mine].errno == 0
        await _until_listed(client, mine)
        assert other not in await client.list_topics()
    finally:
        await client.close()

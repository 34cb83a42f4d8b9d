"""kafkajs through the gateway."""

from __future__ import annotations

from typing import Any

import pytest

from tests.real.node import kafkajs
from tests.real.site import ADDRESSED, Site, unique

pytestmark = [pytest.mark.node, ADDRESSED]
BOTH = pytest.mark.parametrize("plain", [False, True], ids=["oauthbearer", "plain"])
VALUES = [str(number) for number in range(10)]


def ok(answer: dict[str, Any]) -> Any:
    assert "ok" in answer, answer
    return answer["ok"]


def consume(client: dict[str, Any], topic: str, count: int, group: str | None = None) -> dict[str, Any]:
    return kafkajs(client, "consume", topic=topic, group=group or unique("app-g"), count=count, waitMs=60000)


@BOTH
def test_produces_and_consumes_in_a_group(site: Site, plain: bool) -> None:
    client, topic = site.app().kafkajs(plain=plain), site.topic()
    ok(kafkajs(client, "produce", topic=topic, values=VALUES))
    assert sorted(ok(consume(client, topic, 10))) == VALUES


def test_idempotent_produce(site: Site) -> None:
    client, topic = site.app().kafkajs(), site.topic()
    ok(kafkajs(client, "produce", topic=topic, values=VALUES, idempotent=True))
    assert len(ok(consume(client, topic, 10))) == 10


def test_transactions_commit_and_abort(site: Site) -> None:
    client, topic = site.app().kafkajs(), site.topic()
    for values, abort in ((["aborted"] * 3, True), (["committed"] * 3, False)):
        ok(
            kafkajs(
                client, "transaction", topic=topic, values=values, abort=abort, transactionalId=unique("app-t")
            )
        )  # fmt: skip
    assert ok(consume(client, topic, 3)) == ["committed"] * 3


def test_admin(site: Site) -> None:
    client, topic, group = site.app().kafkajs(), site.topic(), unique("app-g")
    ok(kafkajs(client, "produce", topic=topic, values=["1"]))
    ok(consume(client, topic, 1, group))
    shown = ok(kafkajs(client, "admin", topic=unique("app.made"), group=group))
    assert shown["created"] is True
    assert shown["listed"] is True
    assert shown["partitions"] == 2
    assert shown["configs"] > 5
    assert shown["groups"] == ["Empty"]
    if site.gateway:
        assert shown["brokers"] == [f"{host}:{port}" for host, port in site.addresses()]


# --- denied


@BOTH
def test_a_denied_topic_raises_and_the_others_go_on(guarded: Site, plain: bool) -> None:
    first, denied, last = guarded.topic(), guarded.topic("closed.pay"), guarded.topic()
    client, at = guarded.app().kafkajs(plain=plain), guarded.audited()
    outcome = ok(kafkajs(client, "produceEach", topics=[first, denied, last], values=VALUES))
    assert outcome == {first: "sent", denied: "TOPIC_AUTHORIZATION_FAILED", last: "sent"}
    assert guarded.denied(at, resource=denied)["operation"]


def test_consuming_a_denied_topic_raises(guarded: Site) -> None:
    answer = consume(guarded.app().kafkajs(), guarded.topic("closed.pay"), 1)
    assert answer["error"]["type"] == "TOPIC_AUTHORIZATION_FAILED"


def test_a_denied_group_raises(guarded: Site) -> None:
    """kafkajs says of every error of FindCoordinator, whatever it is, that no coordinator was found."""
    group, at = unique("other"), guarded.audited()
    answer = consume(guarded.app().kafkajs(), guarded.topic(), 1, group)
    assert answer["error"]["name"] == "KafkaJSGroupCoordinatorNotFound"
    assert guarded.denied(at, resource=group)["kind"] == "group"


def test_creating_elsewhere_raises(guarded: Site) -> None:
    answer = kafkajs(guarded.app().kafkajs(), "create", topic=unique("closed.made"))
    assert answer["error"]["type"] == "TOPIC_AUTHORIZATION_FAILED"

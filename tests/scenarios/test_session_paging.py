"""DescribeTopicPartitions of all topics, page by page: what is seen is what is allowed, each once, in order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from gateway.kafka import describing
from tests.scenarios.kafka_world import World, body_of, request, request_body, response

API = 75
ALLOWED = (("topic", "Describe", "a"),)


def page(world: World, number: int, limit: int, cursor: dict[str, Any] | None) -> tuple[list[str], Any]:
    """One page: a broker that tells of what it is asked for, at most `limit` of them. Names seen, and the cursor."""
    asked = {"topics": [], "responsePartitionLimit": limit, "cursor": cursor}
    seen = world.send(request(API, 0, number, asked))
    if not seen.up:
        return [topic["name"] for topic in body_of(API, 0, seen.answers[0])["topics"]], None
    sent = request_body(seen.requests[0])[1]
    names = [topic["name"] for topic in sent["topics"]]
    if cursor is not None and sent["cursor"] is not None:
        names = [name for name in names if name >= sent["cursor"]["topicName"]]
    told = names[:limit]
    topics = [{"errorCode": 0, "name": name, "topicId": b"i" * 16, "partitions": []} for name in told]
    following = {"topicName": names[limit], "partitionIndex": 0} if len(names) > limit else None
    answer = body_of(
        API, 0, world.reply(response(API, 0, number, {"topics": topics, "nextCursor": following})).answers[0]
    )
    return [topic["name"] for topic in answer["topics"]], answer["nextCursor"]


def all_pages(world: World, limit: int) -> list[str]:
    names, cursor = page(world, 3, limit, None)
    number = 4
    while cursor is not None:
        more, cursor = page(world, number, limit, cursor)
        names += more
        number += 1
    return names


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("limit", [1, 7, 2000])
def test_every_allowed_topic_is_on_one_page(share: float, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "PAGE_MAX", 10)
    dice = random.Random(f"{share} {limit}")
    known = [f"t{number:03}" for number in range(100)]
    allowed = [name for name in known if dice.random() < share]
    world = World(tuple(("topic", "Describe", name) for name in allowed))
    for index, name in enumerate(dice.sample(known, len(known))):
        world.state.topics.learn(name, (index + 1 << 8).to_bytes(16, "big"))
    world.login()
    assert all_pages(world, limit) == allowed
    assert world.ended is None


def test_no_more_is_asked_for_than_a_page_can_hold() -> None:
    world = World((("topic", "Describe", "*"),))
    for index in range(describing.PAGE_MAX + 500):
        world.state.topics.learn(f"t{index:05}", (index + 1 << 8).to_bytes(16, "big"))
    world.login()
    sent = request_body(world.send(request(API, 0, 3, {"topics": []})).requests[0])[1]
    known = ["a", "b", *(f"t{index:05}" for index in range(describing.PAGE_MAX))]
    assert [topic["name"] for topic in sent["topics"]] == known[: describing.PAGE_MAX]


def test_topics_that_come_and_go_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two slices another connection has a topic learned: it is gone through all of them again."""
    world = World((("topic", "Describe", "*"),))
    for index in range(500):
        world.state.topics.learn(f"t{index:05}", (index + 1 << 8).to_bytes(16, "big"))
    world.login()
    world.context.walks.seconds = 0.0
    world.context.walks.elements = 50
    learned = 0

    def between() -> None:
        nonlocal learned
        learned += 1
        if learned < 40:
            world.state.topics.learn(f"u{learned:05}", (1 << 90 | learned).to_bytes(16, "big"))

    world.between = between
    sent = request_body(world.send(request(API, 0, 3, {"topics": []})).requests[0])[1]
    names = [topic["name"] for topic in sent["topics"]]
    assert names[:502] == ["a", "b", *(f"t{index:05}" for index in range(500))]
    assert len(names) > 502

"""With the short way and without it, by the session or by the pump: the same octets, counters, audit and ends."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from gateway.core import audit
from gateway.core.identity import Identity
from gateway.core.meters import Cell
from gateway.core.rights import Quota
from gateway.core.settings import Limits
from gateway.kafka import codec, hot
from gateway.kafka.meters import REQUESTS
from gateway.kafka.plan import TopicFacts, TopicFactsWanted, TopicsToCreate
from gateway.kafka.remembered import METADATA
from tests.forms import FORMS
from tests.property.short_ways import GENERAL, PUMP, SESSION, ShortWorld, cut, picture
from tests.scenarios.kafka_world import (
    ALL_TOPICS,
    PLENTY,
    TOPIC_A,
    TOPIC_B,
    TOPIC_NEW,
    TablePolicy,
    TableRights,
    authenticate,
    batch,
    framed,
    handshake,
    heartbeat,
    produce,
    produced,
    request,
    response,
    versions,
)

TOPICS: dict[str, bytes] = {"a": TOPIC_A, "b": TOPIC_B, "c": b"c" * 16, "new": TOPIC_NEW}
ALLOWED = (*ALL_TOPICS, ("topic", "Read", "c"), ("topic", "Write", "c"))
FEWER = ALL_TOPICS
TIGHT = Quota(produce_bytes=3000.0, consume_bytes=3000.0, requests=8.0, connections=5)

Step = Callable[[ShortWorld, "Broker"], None]


def some_topics(dice: random.Random) -> list[str]:
    if dice.random() < 0.9:
        return dice.choice((["a"], ["a", "c"], ["c", "a", "a"]))
    return dice.sample(sorted(TOPICS), dice.randrange(3))


def named(topic: str, by_id: bool, field: str) -> dict[str, Any]:
    return {"topicId": TOPICS[topic]} if by_id else {field: topic}


def some_produce(dice: random.Random, number: int) -> bytes:
    version = dice.randrange(3, 14)
    flags = 0x10 if dice.random() < 0.05 else 0
    topics = some_topics(dice)
    data = [
        {
            **named(topic, version >= 13, "name"),
            "partitionData": [
                {"index": index, "records": dice.choice((batch(flags), batch(octets=300), None, b"xy"))}
                for index in range(dice.randrange(4))
            ],
        }
        for topic in topics
    ]
    body: dict[str, Any] = {"acks": dice.choice((-1, 1, 1)), "timeoutMs": 9, "topicData": data}
    if dice.random() < 0.05:
        body["transactionalId"] = "t"
    elif dice.random() < 0.25 and not flags and {"a", "c"}.issuperset(topics):
        body["acks"] = 0  # where it is denied the connection ends
    if version >= 9 and dice.random() < 0.05:
        body["_tags"] = {3: b"x"}
    return request(0, version, number, body, client_id=dice.choice(("test", "", "test", "café")))


def some_fetch(dice: random.Random, number: int) -> bytes:
    version = dice.randrange(4, 19)
    asked = [
        {
            **named(topic, version >= 13, "topic"),
            "partitions": [{"partition": index, "partitionMaxBytes": 9} for index in range(dice.randrange(3))],
        }
        for topic in some_topics(dice)
    ]
    body: dict[str, Any] = {"maxWaitMs": 1, "minBytes": 1, "topics": asked}
    if version >= 7 and dice.random() < 0.5:
        body |= {"sessionId": 7, "sessionEpoch": dice.choice((-1, 0, 5))}
    if version < 15 and dice.random() < 0.05:
        body["replicaId"] = 3
    return request(1, version, number, body)


def some_metadata(dice: random.Random, number: int) -> bytes:
    """Few forms, so that most were asked for before."""
    version = dice.choice((4, 12, 12, 12))
    names = None if dice.random() < 0.7 else dice.choice((["a", "c"], ["a", "c"], ["b"], []))
    topics = None if names is None else [{"name": name} for name in names]
    body: dict[str, Any] = {"topics": topics, "allowAutoTopicCreation": False}
    if version >= 9 and dice.random() < 0.03:
        body["_tags"] = {3: b"x"}
    return request(METADATA, version, number, body, client_id=dice.choice(("test", "test", "", "café")))


def some_request(dice: random.Random, number: int, wild: bool) -> bytes:
    """wild: what ends a connection is among them."""
    lot = dice.random()
    if lot < 0.5:
        return some_produce(dice, number)
    if lot < 0.7:
        return some_fetch(dice, number)
    if lot < 0.85:
        return some_metadata(dice, number)
    if lot < 0.92:
        return heartbeat(number)
    if lot < 0.98 or not wild:
        return versions(number)
    if lot < 0.985:
        return framed(dice.randbytes(dice.randrange(30)))
    broken = bytearray(some_produce(dice, number))
    broken[dice.randrange(4, len(broken))] ^= 1 << dice.randrange(8)
    return bytes(broken)


class Broker:
    """Answers what it was asked, each by lot, the same lot for the same request."""

    def __init__(self, seed: int, large: bool) -> None:
        self.seed = seed
        self.large = large
        self.asked: deque[bytes] = deque()
        self.rest = b""
        self.up = self.down = b""

    def take(self, octets: bytes) -> None:
        self.up += octets
        self.rest += octets
        while len(self.rest) >= 4 and len(self.rest) >= (stop := 4 + int.from_bytes(self.rest[:4], "big")):
            self.asked.append(self.rest[4:stop])
            self.rest = self.rest[stop:]

    def answers(self, count: int) -> bytes:
        made = b""
        while self.asked and count:
            answer = self._answer(self.asked.popleft())
            made += answer
            count -= bool(answer)
        return made

    def _answer(self, frame: bytes) -> bytes:
        header = codec.parse_request_header(memoryview(frame))
        body = codec.decode_request(header.api_key, header.api_version, frame[header.body_offset :])
        dice = random.Random(self.seed * 1000 + header.correlation_id)
        if header.api_key == 0:
            made = None if body["acks"] == 0 else self._produced(dice, header.api_version, body)
        elif header.api_key == 1:
            made = self._fetched(dice, header.api_version, body)
        elif header.api_key == METADATA:
            made = self._metadata(dice, body)
        else:
            made = {"throttleTimeMs": dice.choice((0, 3)), "errorCode": 0}
        if made is None:
            return b""
        correlation_id = header.correlation_id if self.seed % 3 != 1 or dice.random() > 0.003 else 77
        return response(header.api_key, header.api_version, correlation_id, made)

    def _produced(self, dice: random.Random, version: int, body: dict[str, Any]) -> dict[str, Any]:
        by_id = version >= 13
        code = dice.choice((0, 0, 0, 0, 0, 6, 100))
        return {
            "responses": [
                {
                    **({"topicId": topic["topicId"]} if by_id else {"name": topic["name"]}),
                    "partitionResponses": [
                        {"index": each["index"], "errorCode": code, "baseOffset": 5} for each in topic["partitionData"]
                    ],
                }
                for topic in body["topicData"]
            ],
            "throttleTimeMs": dice.choice((0, 0, 40)),
            **self._endpoints(dice, version >= 10),
        }

    def _metadata(self, dice: random.Random, body: dict[str, Any]) -> dict[str, Any]:
        """Two orders, so that the same comes again; seldom one that is written to the audit each time."""
        names = ["a", "b", "c"] if body["topics"] is None else [topic["name"] for topic in body["topics"]]
        nodes = [1, 2] if dice.random() < 0.97 else [1, 999_999]
        text = "x" * self.large * 30_000
        return {
            "throttleTimeMs": dice.choice((0, 0, 0, 9)),
            "brokers": [
                {"nodeId": node, "host": f"broker{node}.internal", "port": 19092, "rack": text} for node in nodes
            ],
            "controllerId": 1,
            "clusterId": text,
            "topics": [
                {
                    "name": name,
                    "topicId": TOPICS[name],
                    "partitions": [{"partitionIndex": 0, "leaderId": 1, "replicaNodes": [1, 2], "isrNodes": [1]}],
                }
                for name in (names if dice.random() < 0.7 else reversed(names))
            ],
        }

    def _fetched(self, dice: random.Random, version: int, body: dict[str, Any]) -> dict[str, Any]:
        by_id = version >= 13
        key = "topicId" if by_id else "topic"
        topics = [topic[key] for topic in body["topics"]]
        if dice.random() < 0.2:  # a fetch session's topics are in answers without being asked for again
            topics += [TOPICS[each] if by_id else each for each in dice.choice((["a"], ["c"], ["b"], ["new"]))]
        size = 200_000 if self.large else 40  # most of an answer goes on as it comes, then

        def partition(index: int) -> dict[str, Any]:
            code = dice.choice((0,) * 8 + (29, 100, 1))
            records = b"" if code else dice.choice((batch(), batch(octets=dice.randrange(size)), b""))
            records = batch(octets=size) if self.large and not code and dice.random() < 0.5 else records
            aborted = dice.choice((None, [], [{"producerId": 1, "firstOffset": 2}] * 3))
            return {"partitionIndex": index, "errorCode": code, "abortedTransactions": aborted, "records": records}

        return {
            "throttleTimeMs": dice.choice((0, 0, 40)),
            **({"sessionId": 7, "errorCode": 0} if version >= 7 else {}),
            "responses": [
                {key: topic, "partitions": [partition(index) for index in range(dice.randrange(4))]} for topic in topics
            ],
            **self._endpoints(dice, version >= 16 and not self.large),
        }

    def _endpoints(self, dice: random.Random, possible: bool) -> dict[str, Any]:
        if not possible or dice.random() < 0.8:
            return {}
        return {"nodeEndpoints": [{"nodeId": 2, "host": "broker2.internal", "port": 19093, "rack": None}]}


def script(seed: int, large: bool) -> list[Step]:
    """What happens, by lot; the same for each way."""
    dice = random.Random(seed)
    steps: list[Step] = []
    number = 10

    def sending(chunks: list[bytes]) -> Step:
        def step(world: ShortWorld, broker: Broker) -> None:
            for chunk in chunks:
                seen = world.send(chunk)
                broker.take(seen.up)
                broker.down += seen.down
                while seen.asks:
                    (ask,) = seen.asks
                    assert isinstance(ask, TopicFactsWanted | TopicsToCreate)
                    ids = ask.ids if isinstance(ask, TopicFactsWanted) else frozenset()
                    seen = world.tell(TopicFacts({}, ids, ask.names))
                    broker.take(seen.up)
                    broker.down += seen.down

        return step

    def replying(count: int, cut_by: int) -> Step:
        def step(world: ShortWorld, broker: Broker) -> None:
            for chunk in cut(random.Random(cut_by), broker.answers(count)):
                seen = world.reply(chunk)
                broker.take(seen.up)
                broker.down += seen.down

        return step

    def later(seconds: float) -> Step:
        def step(world: ShortWorld, broker: Broker) -> None:
            seen = world.advance(seconds)
            broker.take(seen.up)
            broker.down += seen.down

        return step

    for _ in range(dice.randrange(4, 30)):
        frames = []
        for _ in range(dice.randrange(1, 12)):
            number += 1
            frames.append(some_request(dice, number, seed % 3 == 1))
        steps.append(sending(cut(dice, b"".join(frames))))
        steps.append(replying(dice.randrange(1, 14), dice.randrange(1 << 30)))
        if dice.random() < 0.3:
            steps.append(later(dice.choice((0.01, 0.5, 3.0))))
        if dice.random() < 0.1:
            steps.append(lambda world, broker: world.tally.drain(0.0) and None)
        if dice.random() < 0.05:
            allowed = dice.choice((FEWER, ALLOWED))
            steps.append(
                lambda world, broker, allowed=allowed: setattr(world.policies, "current", TablePolicy(allowed))  # type: ignore[misc]
            )
    steps.append(replying(1000, 1))
    return steps


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("block", range(4))
def test_all_ways_do_the_same(form: hot.Form, large: bool, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    by_pump = 0
    if block % 2:  # the audit has fewer sums than are wanted, and gives them up now and then
        monkeypatch.setattr(audit, "ALLOWED_KEYS_OF_PRINCIPAL_MAX", 3)
    for seed in range(block * 4, block * 4 + 4):
        worlds = []
        quota = TIGHT if seed % 3 == 0 else PLENTY
        for way in (GENERAL, SESSION, PUMP):
            limits = Limits(in_flight_max=5 if seed % 4 == 0 else 100)
            worlds.append(
                (ShortWorld(way, form.short_way, allowed=ALLOWED, quota=quota, limits=limits), Broker(seed, large))
            )
            worlds[-1][0].state.topics.learn("c", TOPICS["c"])
            worlds[-1][0].login()
        for at, step in enumerate(script(seed, large)):
            for world, broker in worlds:
                if world.ended is None:
                    step(world, broker)
            (plain, base), *others = worlds
            for world, broker in others:
                where = (seed, at, world.way)
                if plain.ended and plain.ended.reason.code == "upstream-protocol-error":
                    continue
                if ended_by_what_was_withheld(world):
                    continue
                assert broker.up == base.up, where
                if not world.session.short_way.streaming:
                    assert broker.down == base.down, where
                    assert picture(world) == picture(plain), where
                else:
                    assert broker.down.startswith(base.down), where
        if plain.ended is None:
            summed = [sums(world) for world, _ in worlds if not ended_by_what_was_withheld(world)]
            assert summed == summed[:1] * len(summed), seed
        by_pump += worlds[2][0].by_pump
    assert by_pump > 1_000  # the short way did take something


def ended_by_what_was_withheld(world: ShortWorld) -> bool:
    """The one difference: records that may not be read stood in an answer whose front was on its way (record 14)."""
    if world.ended is None or world.ended.reason.code != "fetched-topic-withdrawn":
        return False
    assert world.ended.detail not in {name for _, operation, name in ALLOWED if operation == "Read"}
    assert world.lines("denied")
    return True


def sums(world: ShortWorld) -> list[tuple[object, ...]]:
    return sorted(tuple(event.fields.values()) for event in world.tally.drain(0.0))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("between", [False, True])
def test_fewer_rights_that_a_login_in_the_same_chunk_brings(form: hot.Form, between: bool) -> None:
    """What stands behind a new login is decided by what that brought, and what stands within it is a part of it."""
    some = [produce(12, "a"), handshake(13)]
    more = [*([produce(14, "a")] if between else []), authenticate("alice.60", 15)]
    seen = []
    for way in (GENERAL, SESSION, PUMP):
        world = ShortWorld(way, form.short_way, allowed=ALLOWED)
        world.policies.current = LessLater(ALLOWED)
        world.login()
        world.send(produce(10, "a"), produce(11, "c"))
        world.reply(produced(10, "a"), produced(11, "c"))
        world.advance(5)
        got = world.send(*some, *more, produce(16, "c"), produce(17, "c"))
        seen.append((got.up, got.down, world.ended and world.ended.reason.code))
        assert got.up == produce(12, "a")
    assert seen == seen[:1] * len(seen)


class LessLater(TablePolicy):
    """All of them for tokens that last; those of a minute may not write c."""

    def rights(self, identity: Identity, backend: str, wall: float) -> TableRights:
        lasting = identity.expires_at - wall > 100
        return super().rights(identity, backend, wall) if lasting else TableRights(frozenset(FEWER), PLENTY, "r1")


@pytest.mark.parametrize("form", FORMS)
def test_a_way_that_follows_nobody_takes_nothing(form: hot.Form) -> None:
    """Asked before the session has looked at anybody's rights, and after it has let go of them."""
    world = ShortWorld(SESSION, form.short_way)
    way = world.session.short_way
    fresh = form.short_way(world.session, world.context, world.session._queue, Cell(), Cell())
    for each in (fresh, way):
        each.follow(None, 1e9)
        each.brief(free=True, open=True, parked=False)
        data = memoryview(framed(b"\0" * 100))
        assert each.requests(data) == each.answers(data) == 0
    assert fresh.end_of_answer(memoryview(b"")) in (None, b"")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("version", [4, 12])
def test_metadata_that_was_answered_before_is_answered_in_place_of_the_brokers_answer(
    form: hot.Form, version: int
) -> None:
    world = ShortWorld(PUMP, form.short_way, allowed=ALLOWED)
    world.login()
    broker = Broker(0, False)
    answers = []
    for number in range(100, 140):
        broker.take(world.send(request(METADATA, version, number, {"topics": None})).up)
        (answer,) = world.reply(broker.answers(1)).answers
        assert answer[:4] == number.to_bytes(4, "big")
        assert b"internal" not in answer
        answers.append(answer[4:])
    assert world.instead > 20  # some told of a broker out of reach, or were the first of their kind
    assert len(set(answers)) < 10
    requests = {labels: value for meter, labels, value in world.meters.series() if meter.name == REQUESTS.name}
    assert requests["main", "Metadata"] == 40

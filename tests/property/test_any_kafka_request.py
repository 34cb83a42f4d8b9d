"""Whatever is asked with whatever rights: nothing denied is forwarded, and both ways everything can be written.

Rights are made by name: what begins with ``ok`` is allowed everything, the rest nothing. Then every topic, group,
transactional id and topic id in a forwarded request, wherever its schema puts it, must be one of the allowed.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.core.session import Endpoint
from gateway.kafka import codec
from gateway.kafka.authorize import plan
from gateway.kafka.plan import Answer, Body, Forward, Plan, Refuse, TopicId, TopicsToCreate, Wait
from gateway.kafka.schema.shape import Form, Shape
from gateway.kafka.table import OFFERED, TABLE
from tests.property.kafka_bodies import shape_of

SEEDS = 30
WAITS_MAX = 2
NAMES = ("ok-one", "ok-two", "no-one", "no-two", "no-such")
IDS = {bytes([index]) * 16: name for index, name in enumerate(NAMES[:4], 1)}
UNKNOWN_ID = b"\xee" * 16
ENTITIES = ("topicName", "groupId", "transactionalId")
NAMED_BY_FIELD = {"key", "coordinatorKeys", "resourceName", "topicName"}
PASSED = {
    (0, "transactionalId"): "decided where a batch says that it is transactional",
    (1, "forgottenTopicsData"): "what is forgotten is not read",
    (68, "topicPartitions"): "what a member says it has been given; it cannot ask for a topic by it",
}
VERSIONS = [(key, version) for key, (first, last) in OFFERED.items() for version in range(first, last + 1)]


class Topics:
    def name(self, topic_id: TopicId) -> str | None:
        return IDS.get(topic_id)

    def topic_id(self, name: str) -> TopicId | None:
        return next((topic_id for topic_id, known in IDS.items() if known == name), None)

    def names(self) -> Collection[str]:
        return list(IDS.values())


@dataclass
class View:
    cluster: bool
    auto_create_topics: bool
    backend: str = "prod"
    topics: Topics = Topics()  # noqa: RUF009 - it has no state
    missing_ids: Collection[TopicId] = ()
    missing_names: Collection[str] = ()

    def allowed(self, kind: str, operation: str, name: str) -> bool:
        return self.cluster if kind == "cluster" else name.startswith("ok")

    allowed_quietly = allowed

    def allowed_on_any(self, kind: str, operation: str) -> bool:
        return False

    def refused(self, kind: str, operation: str, name: str, why: str) -> None:
        """Nobody reads an audit here."""

    def address(self, node_id: int) -> Endpoint | None:
        return Endpoint("gateway", 9093) if node_id % 2 else None


@pytest.mark.parametrize(("key", "version"), VERSIONS, ids=lambda value: str(value))
def test_nothing_denied_is_forwarded_and_nothing_withheld_comes_back(key: int, version: int) -> None:
    for seed in range(SEEDS):
        dice = random.Random(f"{key} {version} {seed}")
        view = View(cluster=dice.random() < 0.2, auto_create_topics=dice.random() < 0.5)
        body = _body(shape_of(("request", key, version)), dice, names_from(dice))
        made = _settled(key, version, body, view)
        if isinstance(made, Answer):
            codec.encode_response(key, version, made.body)
        elif isinstance(made, Forward):
            _check_forward(key, version, body, made, view, dice)
        else:
            assert isinstance(made, Refuse)
            assert body["acks"] == 0


@pytest.mark.parametrize(("key", "version"), VERSIONS, ids=lambda value: str(value))
def test_what_is_wholly_allowed_goes_on_as_it_came(key: int, version: int) -> None:
    """No name but allowed ones: the client's own bytes are forwarded, but for what never goes on as it came."""
    for seed in range(SEEDS):
        dice = random.Random(f"{key} {version} {seed}")
        body = _body(shape_of(("request", key, version)), dice, ("ok-one", "ok-two"))
        _tame(body)
        made = _settled(key, version, body, View(cluster=True, auto_create_topics=False))
        if isinstance(made, Forward):
            assert made.body is None or TABLE[key].name in ("Metadata", "DescribeTopicPartitions"), body


def names_from(dice: random.Random) -> tuple[str, ...]:
    return tuple(dice.sample(NAMES, dice.randrange(1, len(NAMES))))


def _tame(body: Body) -> None:
    """Nothing that the gateway refuses or changes whatever the rights: replica ids, unknown types, name beside id."""
    for resource in body.get("resources", ()):
        resource["resourceType"] = 2
    if "topicNames" not in body and "timeoutMs" in body and "validateOnly" not in body and "acks" not in body:
        for topic in body.get("topics", ()):
            if "topicId" in topic:
                topic["name"] = None if topic["topicId"] != bytes(16) else "ok-one"
    if "replicaId" in body:
        body["replicaId"] = -1
    if "replicaState" in body:
        body["replicaState"] = {"replicaId": -1, "replicaEpoch": -1}


def _settled(key: int, version: int, body: Body, view: View) -> Plan:
    before = repr(body)
    for _ in range(WAITS_MAX + 1):
        made = plan(key, version, body, view)
        assert repr(body) == before, "the request was changed in place"
        if not isinstance(made, Wait):
            return made
        ask = made.ask
        view.missing_names = {*view.missing_names, *(name for name in ask.names if name not in IDS.values())}
        if isinstance(ask, TopicsToCreate):
            assert all(view.cluster or name.startswith("ok") for name in ask.names)
        else:
            view.missing_ids = {*view.missing_ids, *(each for each in ask.ids if each not in IDS)}
    raise AssertionError("it asks again and again")


def _check_forward(key: int, version: int, body: Body, made: Forward, view: View, dice: random.Random) -> None:
    asked_at = version if made.version is None else made.version
    forwarded = body if made.body is None else made.body
    codec.encode_request(key, asked_at, forwarded)
    if not view.cluster:
        for path, value in _named(shape_of(("request", key, asked_at)), forwarded):
            if (key, path[0]) in PASSED:
                continue
            name = IDS.get(value, "") if isinstance(value, bytes) else value
            assert name.startswith("ok") or value == bytes(16), (path, value, forwarded)
    answer = _body(shape_of(("response", key, asked_at)), dice, NAMES)
    codec.encode_response(key, asked_at, answer)
    if made.finish is None:
        assert not list(_addresses(answer))
        return
    finished = made.finish(answer)
    codec.encode_response(key, version, finished)
    assert set(_addresses(finished)) <= {("gateway", 9093), ("", -1)}
    if TABLE[key].name == "Fetch":
        _check_fetched(finished)


def _check_fetched(answer: Body) -> None:
    for topic in answer["responses"]:
        name = topic["topic"] if "topic" in topic else IDS.get(topic["topicId"], "")
        for partition in topic["partitions"]:
            assert name.startswith("ok") or not partition["records"]


def _named(shape: Shape, body: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every resource's name and topic id in a body, by what the schema says of its fields."""
    for place in (*shape.places, *shape.tagged):
        value, here = body.get(place.name), (*path, place.name)
        by_type = body.get("resourceType")
        if place.name == "resourceName" and by_type not in (2, 32):
            continue
        for each in value if isinstance(value, list) else [value]:
            nested = place.form.element.shape if place.form.element is not None else place.form.shape
            if isinstance(each, dict) and nested is not None:
                yield from _named(nested, each, here)
            elif each is not None and _names_something(place.name, place.entity):
                yield here, each


def _names_something(field: str, entity: str) -> bool:
    return entity in ENTITIES or field == "topicId" or field in NAMED_BY_FIELD


def _addresses(body: Any) -> Iterator[tuple[str, int]]:
    if isinstance(body, list):
        for each in body:
            yield from _addresses(each)
    elif isinstance(body, dict):
        if "host" in body and "port" in body:
            yield body["host"], body["port"]
        for each in body.values():
            yield from _addresses(each)


def _body(shape: Shape, dice: random.Random, names: tuple[str, ...]) -> Body:
    body: Body = {}
    for place in (*shape.places, *shape.tagged):
        body[place.name] = _value(place.name, place.entity, place.form, dice, names)
    if "acks" in body:
        body["acks"] = dice.choice((0, 1, -1))
    return body


def _value(field: str, entity: str, form: Form, dice: random.Random, names: tuple[str, ...]) -> Any:
    if form.nullable and dice.random() < 0.2:
        return None
    if form.shape is not None:
        return _body(form.shape, dice, names)
    if form.element is not None:
        return [_value(field, entity, form.element, dice, names) for _ in range(dice.randrange(4))]
    if form.kind == "string":
        return dice.choice(names) if _names_something(field, entity) else dice.choice(("", "host.inside", "text"))
    if form.kind == "uuid":
        ids = [topic_id for topic_id, name in IDS.items() if name in names]
        return dice.choice([*ids, UNKNOWN_ID, bytes(16)] if "no-such" in names or not ids else ids)
    if form.kind == "bytes":
        return dice.choice((b"", b"r" * 30))
    if form.kind == "bool":
        return dice.random() < 0.5
    if field == "keyType":
        return dice.choice((0, 1, 2, 9))
    if field == "resourceType":
        return dice.choice((2, 4, 8, 16, 32, 32, 2, 77))
    return dice.choice((-1, 0, 0, 1, 2, 100))

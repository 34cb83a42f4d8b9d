"""A tiny driver that performs the engine's plans: what the session does, without bytes, order and time."""

from __future__ import annotations

from collections.abc import Callable

from gateway.kafka import codec
from gateway.kafka.authorize import plan
from gateway.kafka.plan import Answer, Body, Forward, Refuse, TopicFactsWanted, TopicsToCreate, Wait
from tests.equivalence.acls import AclView
from tests.equivalence.wire import Closed, Connection

WAITS_MAX = 3


def through(
    broker: Connection, view: AclView, learn: Callable[[], None], key: int, version: int, body: Body
) -> Body | None:
    """Ask the broker through the engine. Bodies cross the codec where a session's would. Raises Closed."""
    body = codec.decode_request(key, version, codec.encode_request(key, version, body))
    for _ in range(WAITS_MAX):
        made = plan(key, version, body, view)
        if not isinstance(made, Wait):
            break
        _tell(broker, view, learn, made.ask)
    if isinstance(made, Refuse):
        raise Closed
    if isinstance(made, Answer):
        return _crossed(key, version, made.body)
    assert isinstance(made, Forward), made
    asked_at = version if made.version is None else made.version
    answered = not (key == 0 and body["acks"] == 0)
    answer = broker.ask(key, asked_at, body if made.body is None else made.body, answered=answered)
    if answer is None:
        return None
    return _crossed(key, version, answer if made.finish is None else made.finish(answer))


def _crossed(key: int, version: int, body: Body) -> Body:
    return codec.decode_response(key, version, codec.encode_response(key, version, body))


def _tell(broker: Connection, view: AclView, learn: Callable[[], None], ask: TopicFactsWanted | TopicsToCreate) -> None:
    if isinstance(ask, TopicsToCreate):
        topics = [{"name": name} for name in ask.names]
        broker.ask(3, 9, {"topics": topics, "allowAutoTopicCreation": True})
    learn()
    if isinstance(ask, TopicFactsWanted):
        view.missing_ids = {each for each in ask.ids if view.topics.name(each) is None}
    view.missing_names = {each for each in ask.names if view.topics.topic_id(each) is None}

"""What one command of a client needs: its names made whole, and the accesses that have to be allowed.

Pure: a command's body in, `Needs` out, or why it can be answered without asking the policy. Called by traffic.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.pulsar import names
from gateway.pulsar.commands import Body
from gateway.pulsar.handles import Access
from gateway.pulsar.table import INVALID_TOPIC_NAME, METADATA_ERROR, NOT_ALLOWED_ERROR, ROWS

REPLICATE = "Replicate"
"""What a client needs on a topic of which it would have anything told to other clusters."""
NO_PROPERTY = "a property that brokers keep for themselves"
BROKERS_OWN = "brokers-own"
"""Why of a denial: it is a topic that brokers keep for themselves, whatever the rules say."""


@dataclass(frozen=True, slots=True)
class Needs:
    accesses: tuple[Access, ...]
    topic: str = ""
    subscription: str = ""


@dataclass(frozen=True, slots=True)
class Unnameable:
    """A name that cannot be: answered with `code`."""

    code: int
    words: str


@dataclass(frozen=True, slots=True)
class BrokersOwn:
    """No rule can allow it."""

    access: Access


Asked = Needs | Unnameable | BrokersOwn


def of_topic(command: str, body: Body) -> Asked:
    """lookup, partitioned_metadata, get_schema, get_or_create_schema."""
    return _topic(body.topic, ROWS[command].needs)


def of_producer(body: Body) -> Asked:
    """Produce; to register a schema where one is brought; to subscribe where a first subscription is named."""
    if not names.properties([each.key for each in body.metadata]):
        return Unnameable(NOT_ALLOWED_ERROR, NO_PROPERTY)
    operations = ["Produce"]
    if body.HasField("schema"):
        operations.append("PutSchema")
    asked = _topic(body.topic, *operations)
    if not isinstance(asked, Needs) or not body.initial_subscription_name:
        return asked
    first = names.subscription(body.initial_subscription_name)
    if first is None:
        return Unnameable(NOT_ALLOWED_ERROR, "not a name for a subscription")
    more = (("topic", "Consume", asked.topic), ("subscription", "Subscribe", first))
    return Needs((*asked.accesses, *more), asked.topic)


def of_consumer(body: Body) -> Asked:
    """Consume the topic by the subscription; to have its position told to other clusters is a right of its own.

    A schema that a consumer brings is for the broker to check or register."""
    if not all(names.properties([each.key for each in said]) for said in (body.metadata, body.subscription_properties)):
        return Unnameable(NOT_ALLOWED_ERROR, NO_PROPERTY)
    asked = subscribed(body.topic, body.subscription)
    if not isinstance(asked, Needs) or not body.replicate_subscription_state:
        return asked
    return Needs((*asked.accesses, ("topic", REPLICATE, asked.topic)), asked.topic, asked.subscription)


def subscribed(topic: str, subscription: str) -> Asked:
    name = names.subscription(subscription)
    if name is None:
        return Unnameable(NOT_ALLOWED_ERROR, "not a name for a subscription")
    asked = _topic(topic, "Consume")
    if not isinstance(asked, Needs):
        return asked
    return Needs((*asked.accesses, ("subscription", "Subscribe", name)), asked.topic, name)


def produced(topic: str) -> Asked:
    return _topic(topic, "Produce")


def of_namespace(body: Body) -> Asked:
    name = names.namespace(body.namespace)
    if name is None:
        return Unnameable(METADATA_ERROR, "not a namespace")
    return Needs((("namespace", "ListTopics", name),), name)


def _topic(written: str, *operations: str) -> Asked:
    name = names.topic(written)
    if name is None:
        return Unnameable(INVALID_TOPIC_NAME, "not a topic's name")
    if names.brokers_own(name):
        return BrokersOwn(("topic", operations[0], name))
    return Needs(tuple(("topic", operation, name) for operation in operations), name)

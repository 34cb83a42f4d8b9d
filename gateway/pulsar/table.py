"""Every command of the protocol, what it is from a client and from a broker, and how a denial of it looks.

Closed: a command that has no row is no command (commands.decode), and tests compare the rows with schema.COMMANDS.
docs/pulsar-commands.md shows this table beside the broker's own checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class FromClient(Enum):
    """Which decider a client's command goes to."""

    NEVER = auto()
    """No client sends it: the connection ends."""
    OWN = auto()
    """For the gateway itself: login and keep-alive."""
    TOPIC = auto()
    """Names a topic, and needs `needs` on it."""
    NAMESPACE = auto()
    """Names a namespace."""
    PRODUCER = auto()
    """Opens a producer."""
    SUBSCRIBE = auto()
    """Opens a consumer."""
    OF_PRODUCER = auto()
    """Decided by what its producer id was opened for."""
    OF_CONSUMER = auto()
    """Likewise its consumer id; `needs` on the subscription besides."""
    OF_WATCHER = auto()
    TRANSACTION = auto()


class FromBroker(Enum):
    """Likewise a broker's."""

    NEVER = auto()
    OWN = auto()
    ANSWER = auto()
    """To the client's request of that id, or to one of the gateway's own."""
    OF_PRODUCER = auto()
    OF_CONSUMER = auto()
    OF_WATCHER = auto()
    DROPPED = auto()


UNKNOWN_ERROR = 0
METADATA_ERROR = 1
AUTHENTICATION_ERROR = 3
AUTHORIZATION_ERROR = 4
SERVICE_NOT_READY = 6
TOO_MANY_REQUESTS = 14
INVALID_TOPIC_NAME = 17
NOT_ALLOWED_ERROR = 22


@dataclass(frozen=True, slots=True)
class Denial:
    """The answer that says no: its command, the fields for code and words, and what else is in it."""

    command: str = "error"
    code: str = "error"
    words: str = "message"
    fixed: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    client: FromClient = FromClient.NEVER
    broker: FromBroker = FromBroker.NEVER
    needs: str = ""
    """The operation on its topic, subscription or namespace."""
    denial: Denial = Denial()


def _answered(command: str, code: str = "error", words: str = "message", **fixed: int) -> Denial:
    return Denial(command, code, words, tuple(fixed.items()))


_CODE = ("error_code", "error_message")
_CLIENT, _BROKER = FromClient, FromBroker

ROWS: Mapping[str, Row] = {
    "connect": Row(_CLIENT.OWN),
    "connected": Row(broker=_BROKER.OWN),
    "subscribe": Row(_CLIENT.SUBSCRIBE, needs="Subscribe"),
    "producer": Row(_CLIENT.PRODUCER, needs="Produce"),
    "send": Row(_CLIENT.OF_PRODUCER),
    "send_receipt": Row(broker=_BROKER.OF_PRODUCER),
    "send_error": Row(broker=_BROKER.OF_PRODUCER),
    "message": Row(broker=_BROKER.OF_CONSUMER),
    "ack": Row(_CLIENT.OF_CONSUMER),
    "flow": Row(_CLIENT.OF_CONSUMER),
    "unsubscribe": Row(_CLIENT.OF_CONSUMER, needs="Unsubscribe"),
    "success": Row(broker=_BROKER.ANSWER),
    "error": Row(broker=_BROKER.ANSWER),
    "close_producer": Row(_CLIENT.OF_PRODUCER, _BROKER.OF_PRODUCER),
    "close_consumer": Row(_CLIENT.OF_CONSUMER, _BROKER.OF_CONSUMER),
    "producer_success": Row(broker=_BROKER.ANSWER),
    "ping": Row(_CLIENT.OWN, _BROKER.OWN),
    "pong": Row(_CLIENT.OWN, _BROKER.OWN),
    "redeliver_unacknowledged_messages": Row(_CLIENT.OF_CONSUMER),
    "partitioned_metadata": Row(
        _CLIENT.TOPIC, needs="Lookup", denial=_answered("partitioned_metadata_response", response=1)
    ),
    "partitioned_metadata_response": Row(broker=_BROKER.ANSWER),
    "lookup": Row(_CLIENT.TOPIC, needs="Lookup", denial=_answered("lookup_response", response=2)),
    "lookup_response": Row(broker=_BROKER.ANSWER),
    "consumer_stats": Row(_CLIENT.OF_CONSUMER, needs="GetStats", denial=_answered("consumer_stats_response", *_CODE)),
    "consumer_stats_response": Row(broker=_BROKER.ANSWER),
    "reached_end_of_topic": Row(broker=_BROKER.OF_CONSUMER),
    "seek": Row(_CLIENT.OF_CONSUMER, needs="Seek"),
    "get_last_message_id": Row(_CLIENT.OF_CONSUMER),
    "get_last_message_id_response": Row(broker=_BROKER.ANSWER),
    "active_consumer_change": Row(broker=_BROKER.OF_CONSUMER),
    "get_topics_of_namespace": Row(_CLIENT.NAMESPACE, needs="ListTopics"),
    "get_topics_of_namespace_response": Row(broker=_BROKER.ANSWER),
    "get_schema": Row(_CLIENT.TOPIC, needs="GetSchema", denial=_answered("get_schema_response", *_CODE)),
    "get_schema_response": Row(broker=_BROKER.ANSWER),
    "auth_challenge": Row(broker=_BROKER.OWN),
    "auth_response": Row(_CLIENT.OWN),
    "ack_response": Row(broker=_BROKER.OF_CONSUMER),
    "get_or_create_schema": Row(
        _CLIENT.TOPIC, needs="PutSchema", denial=_answered("get_or_create_schema_response", *_CODE)
    ),
    "get_or_create_schema_response": Row(broker=_BROKER.ANSWER),
    "new_txn": Row(_CLIENT.TRANSACTION, denial=_answered("new_txn_response")),
    "new_txn_response": Row(broker=_BROKER.ANSWER),
    "add_partition_to_txn": Row(
        _CLIENT.TRANSACTION, needs="Produce", denial=_answered("add_partition_to_txn_response")
    ),
    "add_partition_to_txn_response": Row(broker=_BROKER.ANSWER),
    "add_subscription_to_txn": Row(
        _CLIENT.TRANSACTION, needs="Subscribe", denial=_answered("add_subscription_to_txn_response")
    ),
    "add_subscription_to_txn_response": Row(broker=_BROKER.ANSWER),
    "end_txn": Row(_CLIENT.TRANSACTION, denial=_answered("end_txn_response")),
    "end_txn_response": Row(broker=_BROKER.ANSWER),
    "end_txn_on_partition": Row(),
    "end_txn_on_partition_response": Row(),
    "end_txn_on_subscription": Row(),
    "end_txn_on_subscription_response": Row(),
    "tc_client_connect_request": Row(_CLIENT.TRANSACTION, denial=_answered("tc_client_connect_response")),
    "tc_client_connect_response": Row(broker=_BROKER.ANSWER),
    "watch_topic_list": Row(_CLIENT.NAMESPACE, needs="ListTopics"),
    "watch_topic_list_success": Row(broker=_BROKER.ANSWER),
    "watch_topic_update": Row(broker=_BROKER.OF_WATCHER),
    "watch_topic_list_close": Row(_CLIENT.OF_WATCHER),
    "topic_migrated": Row(broker=_BROKER.DROPPED),
}
"""Rows of answers that clients never get and requests that they never send have neither side: the connection ends."""

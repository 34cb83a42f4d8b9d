"""Pulsar's commands as tables of field numbers, and what makes messages of them.

The numbers are those of PulsarApi.proto as broker 4.0.8 has it; no other part of the gateway writes one. Google's
protobuf decodes by descriptors that are built from these tables at import. What a table does not name is an unknown
field and survives: it is written again as it came.

Every number is taken as a uint64 and every enumeration as its number, so that nothing a client can write is longer or
shorter when it is written again but what was written twice or in a roundabout way. The commands are one ``oneof``: of
two commands in one frame the last counts, and the other is not written again (commands.Command says why that matters).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

U64: Final = "u64"
BOOL: Final = "bool"
TEXT: Final = "text"
OCTETS: Final = "octets"

Fields = Mapping[str, tuple[int, str]]
"""Field -> (number, type). A type is one of the words above, or a message's name; a leading ``*``: repeated."""

PACKAGE = "gateway.pulsar"
BASE = "Base"
COMMAND = "command"

COMMANDS: Mapping[str, tuple[int, Fields]] = {
    "connect": (2, {
        "client_version": (1, TEXT), "auth_method": (2, U64), "auth_data": (3, OCTETS), "protocol_version": (4, U64),
        "auth_method_name": (5, TEXT), "proxy_to_broker_url": (6, TEXT), "original_principal": (7, TEXT),
        "original_auth_data": (8, TEXT), "original_auth_method": (9, TEXT), "feature_flags": (10, "FeatureFlags"),
        "proxy_version": (11, TEXT),
    }),
    "connected": (3, {
        "server_version": (1, TEXT), "protocol_version": (2, U64), "max_message_size": (3, U64),
        "feature_flags": (4, "FeatureFlags"),
    }),
    "subscribe": (4, {
        "topic": (1, TEXT), "subscription": (2, TEXT), "sub_type": (3, U64), "consumer_id": (4, U64),
        "request_id": (5, U64), "consumer_name": (6, TEXT), "priority_level": (7, U64), "durable": (8, BOOL),
        "start_message_id": (9, "MessageId"), "metadata": (10, "*KeyValue"), "read_compacted": (11, BOOL),
        "schema": (12, "Schema"), "initial_position": (13, U64), "replicate_subscription_state": (14, BOOL),
        "force_topic_creation": (15, BOOL), "start_message_rollback_duration_sec": (16, U64),
        "key_shared_meta": (17, OCTETS), "subscription_properties": (18, "*KeyValue"), "consumer_epoch": (19, U64),
    }),
    "producer": (5, {
        "topic": (1, TEXT), "producer_id": (2, U64), "request_id": (3, U64), "producer_name": (4, TEXT),
        "encrypted": (5, BOOL), "metadata": (6, "*KeyValue"), "schema": (7, "Schema"), "epoch": (8, U64),
        "user_provided_producer_name": (9, BOOL), "producer_access_mode": (10, U64), "topic_epoch": (11, U64),
        "txn_enabled": (12, BOOL), "initial_subscription_name": (13, TEXT),
    }),
    "send": (6, {
        "producer_id": (1, U64), "sequence_id": (2, U64), "num_messages": (3, U64), "txnid_least_bits": (4, U64),
        "txnid_most_bits": (5, U64), "highest_sequence_id": (6, U64), "is_chunk": (7, BOOL), "marker": (8, BOOL),
        "message_id": (9, "MessageId"),
    }),
    "send_receipt": (7, {"producer_id": (1, U64)}),
    "send_error": (8, {"producer_id": (1, U64), "sequence_id": (2, U64), "error": (3, U64), "message": (4, TEXT)}),
    "message": (9, {"consumer_id": (1, U64)}),
    "ack": (10, {
        "consumer_id": (1, U64), "ack_type": (2, U64), "message_id": (3, "*MessageId"), "validation_error": (4, U64),
        "properties": (5, "*KeyNumber"), "txnid_least_bits": (6, U64), "txnid_most_bits": (7, U64),
        "request_id": (8, U64),
    }),
    "flow": (11, {"consumer_id": (1, U64), "message_permits": (2, U64)}),
    "unsubscribe": (12, {"consumer_id": (1, U64), "request_id": (2, U64), "force": (3, BOOL)}),
    "success": (13, {"request_id": (1, U64)}),
    "error": (14, {"request_id": (1, U64), "error": (2, U64), "message": (3, TEXT)}),
    "close_producer": (15, {
        "producer_id": (1, U64), "request_id": (2, U64), "assigned_broker_url": (3, TEXT),
        "assigned_broker_url_tls": (4, TEXT),
    }),
    "close_consumer": (16, {
        "consumer_id": (1, U64), "request_id": (2, U64), "assigned_broker_url": (3, TEXT),
        "assigned_broker_url_tls": (4, TEXT),
    }),
    "producer_success": (17, {"request_id": (1, U64), "producer_name": (2, TEXT), "producer_ready": (6, BOOL)}),
    "ping": (18, {}),
    "pong": (19, {}),
    "redeliver_unacknowledged_messages": (20, {
        "consumer_id": (1, U64), "message_ids": (2, "*MessageId"), "consumer_epoch": (3, U64),
    }),
    "partitioned_metadata": (21, {
        "topic": (1, TEXT), "request_id": (2, U64), "original_principal": (3, TEXT), "original_auth_data": (4, TEXT),
        "original_auth_method": (5, TEXT), "metadata_auto_creation_enabled": (6, BOOL),
    }),
    "partitioned_metadata_response": (22, {
        "partitions": (1, U64), "request_id": (2, U64), "response": (3, U64), "error": (4, U64), "message": (5, TEXT),
    }),
    "lookup": (23, {
        "topic": (1, TEXT), "request_id": (2, U64), "authoritative": (3, BOOL), "original_principal": (4, TEXT),
        "original_auth_data": (5, TEXT), "original_auth_method": (6, TEXT), "advertised_listener_name": (7, TEXT),
        "properties": (8, "*KeyValue"),
    }),
    "lookup_response": (24, {
        "broker_url": (1, TEXT), "broker_url_tls": (2, TEXT), "response": (3, U64), "request_id": (4, U64),
        "authoritative": (5, BOOL), "error": (6, U64), "message": (7, TEXT), "proxy_through_service_url": (8, BOOL),
    }),
    "consumer_stats": (25, {"request_id": (1, U64), "consumer_id": (4, U64)}),
    "consumer_stats_response": (26, {
        "request_id": (1, U64), "error_code": (2, U64), "error_message": (3, TEXT), "address": (11, TEXT),
    }),
    "reached_end_of_topic": (27, {"consumer_id": (1, U64)}),
    "seek": (28, {
        "consumer_id": (1, U64), "request_id": (2, U64), "message_id": (3, "MessageId"),
        "message_publish_time": (4, U64),
    }),
    "get_last_message_id": (29, {"consumer_id": (1, U64), "request_id": (2, U64)}),
    "get_last_message_id_response": (30, {"request_id": (2, U64)}),
    "active_consumer_change": (31, {"consumer_id": (1, U64), "is_active": (2, BOOL)}),
    "get_topics_of_namespace": (32, {
        "request_id": (1, U64), "namespace": (2, TEXT), "mode": (3, U64), "topics_pattern": (4, TEXT),
        "topics_hash": (5, TEXT),
    }),
    "get_topics_of_namespace_response": (33, {
        "request_id": (1, U64), "topics": (2, "*text"), "filtered": (3, BOOL), "topics_hash": (4, TEXT),
        "changed": (5, BOOL),
    }),
    "get_schema": (34, {"request_id": (1, U64), "topic": (2, TEXT), "schema_version": (3, OCTETS)}),
    "get_schema_response": (35, {"request_id": (1, U64), "error_code": (2, U64), "error_message": (3, TEXT)}),
    "auth_challenge": (36, {"server_version": (1, TEXT), "challenge": (2, "AuthData"), "protocol_version": (3, U64)}),
    "auth_response": (37, {"client_version": (1, TEXT), "response": (2, "AuthData"), "protocol_version": (3, U64)}),
    "ack_response": (38, {"consumer_id": (1, U64), "request_id": (6, U64)}),
    "get_or_create_schema": (39, {"request_id": (1, U64), "topic": (2, TEXT), "schema": (3, "Schema")}),
    "get_or_create_schema_response": (40, {"request_id": (1, U64), "error_code": (2, U64), "error_message": (3, TEXT)}),
    "new_txn": (50, {"request_id": (1, U64), "txn_ttl_seconds": (2, U64), "tc_id": (3, U64)}),
    "new_txn_response": (51, {"request_id": (1, U64), "error": (4, U64), "message": (5, TEXT)}),
    "add_partition_to_txn": (52, {
        "request_id": (1, U64), "txnid_least_bits": (2, U64), "txnid_most_bits": (3, U64), "partitions": (4, "*text"),
    }),
    "add_partition_to_txn_response": (53, {"request_id": (1, U64), "error": (4, U64), "message": (5, TEXT)}),
    "add_subscription_to_txn": (54, {
        "request_id": (1, U64), "txnid_least_bits": (2, U64), "txnid_most_bits": (3, U64),
        "subscription": (4, "*Subscription"),
    }),
    "add_subscription_to_txn_response": (55, {"request_id": (1, U64), "error": (4, U64), "message": (5, TEXT)}),
    "end_txn": (56, {
        "request_id": (1, U64), "txnid_least_bits": (2, U64), "txnid_most_bits": (3, U64), "txn_action": (4, U64),
    }),
    "end_txn_response": (57, {"request_id": (1, U64), "error": (4, U64), "message": (5, TEXT)}),
    "end_txn_on_partition": (58, {"request_id": (1, U64)}),
    "end_txn_on_partition_response": (59, {"request_id": (1, U64)}),
    "end_txn_on_subscription": (60, {"request_id": (1, U64)}),
    "end_txn_on_subscription_response": (61, {"request_id": (1, U64)}),
    "tc_client_connect_request": (62, {"request_id": (1, U64), "tc_id": (2, U64)}),
    "tc_client_connect_response": (63, {"request_id": (1, U64), "error": (2, U64), "message": (3, TEXT)}),
    "watch_topic_list": (64, {
        "request_id": (1, U64), "watcher_id": (2, U64), "namespace": (3, TEXT), "topics_pattern": (4, TEXT),
        "topics_hash": (5, TEXT),
    }),
    "watch_topic_list_success": (65, {
        "request_id": (1, U64), "watcher_id": (2, U64), "topic": (3, "*text"), "topics_hash": (4, TEXT),
    }),
    "watch_topic_update": (66, {
        "watcher_id": (1, U64), "new_topics": (2, "*text"), "deleted_topics": (3, "*text"), "topics_hash": (4, TEXT),
    }),
    "watch_topic_list_close": (67, {"request_id": (1, U64), "watcher_id": (2, U64)}),
    "topic_migrated": (68, {"resource_id": (1, U64), "resource_type": (2, U64)}),
}  # fmt: skip
"""Command -> (its number, which is its field in the outer message and its type too; its fields)."""

PARTS: Mapping[str, Fields] = {
    "FeatureFlags": {
        "supports_auth_refresh": (1, BOOL), "supports_broker_entry_metadata": (2, BOOL),
        "supports_partial_producer": (3, BOOL), "supports_topic_watchers": (4, BOOL),
        "supports_get_partitioned_metadata_without_auto_creation": (5, BOOL),
        "supports_repl_dedup_by_lid_and_eid": (6, BOOL),
    },
    "AuthData": {"auth_method_name": (1, TEXT), "auth_data": (2, OCTETS)},
    "KeyValue": {"key": (1, OCTETS), "value": (2, OCTETS)},
    "KeyNumber": {"key": (1, TEXT), "value": (2, U64)},
    "MessageId": {
        "ledger_id": (1, U64), "entry_id": (2, U64), "partition": (3, U64), "batch_index": (4, U64),
        "batch_size": (6, U64), "first_chunk_message_id": (7, "MessageId"),
    },
    "Schema": {"name": (1, TEXT), "schema_data": (3, OCTETS), "type": (4, U64), "properties": (5, "*KeyValue")},
    "Subscription": {"topic": (1, TEXT), "subscription": (2, TEXT)},
}  # fmt: skip
"""The messages that are parts of commands."""

NAMES: Mapping[int, str] = {number: name for name, (number, _) in COMMANDS.items()}
NUMBERS: Mapping[str, int] = {name: number for name, (number, _) in COMMANDS.items()}

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    U64: _Field.TYPE_UINT64, BOOL: _Field.TYPE_BOOL, TEXT: _Field.TYPE_STRING, OCTETS: _Field.TYPE_BYTES,
}  # fmt: skip


def _message(name: str, fields: Fields) -> descriptor_pb2.DescriptorProto:
    made = descriptor_pb2.DescriptorProto(name=name)
    for field, (number, kind) in fields.items():
        plain = kind.removeprefix("*")
        label = _Field.LABEL_REPEATED if kind.startswith("*") else _Field.LABEL_OPTIONAL
        added = made.field.add(name=field, number=number, label=label)
        if plain in _TYPES:
            added.type = _TYPES[plain]
        else:
            added.type = _Field.TYPE_MESSAGE
            added.type_name = f".{PACKAGE}.{plain}"
    return made


def _base() -> descriptor_pb2.DescriptorProto:
    made = descriptor_pb2.DescriptorProto(name=BASE)
    made.field.add(name="type", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_UINT64)
    made.oneof_decl.add(name=COMMAND)
    for name, (number, _) in COMMANDS.items():
        type_name = f".{PACKAGE}.command_{name}"
        made.field.add(
            name=name, number=number, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_MESSAGE, type_name=type_name,
            oneof_index=0,
        )  # fmt: skip
    return made


def _build() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(
        name="gateway/pulsar.proto", package=PACKAGE, syntax="editions", edition=descriptor_pb2.EDITION_2023
    )  # with this edition a text that is no UTF-8 is no message; under proto2 it would come as bytes
    file.message_type.extend(_message(name, fields) for name, fields in PARTS.items())
    file.message_type.extend(_message(f"command_{name}", fields) for name, (_, fields) in COMMANDS.items())
    file.message_type.append(_base())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{BASE}"))


Base = _build()
"""The outer message. Made without arguments; `ParseFromString` reads one."""

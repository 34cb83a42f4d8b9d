"""What a request's body asks for besides its path: grants, first policies of a namespace, messages.

A body that is decided about is read strictly and written anew, so that the broker cannot read it otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.pulsar import names
from gateway.pulsar.handles import Access
from gateway.pulsar.rest import named
from gateway.pulsar.rest.results import Unreadable
from gateway.pulsar.rest.routes import Reads
from gateway.pulsar.rest.shapes import read

ENTRIES_MAX = 100
"""Grants of one request, and messages."""
_GRANT = frozenset({"topics", "roles", "role", "actions"})
_MESSAGES = frozenset({"keySchema", "valueSchema", "schemaVersion", "producerName", "messages"})
_POSITION = frozenset({"ledgerId", "entryId", "partitionIndex", "batchIndex", "batchSize", "excluded", "properties"})
_OWN_PROPERTIES = "pulsar."
_OWN_PROPERTY = frozenset({"migrated", "index"})
"""Where a topic went to another cluster, and its count of messages."""
_ALTER = ("namespace", "UpdatePolicies")
_REPLICATE, _OFFLOAD, _GRANT_IT = ("namespace", "Replicate"), ("namespace", "Offload"), ("namespace", "SetPermissions")
_CONFIGURE = ("brokers", "SetConfiguration")
_PLAIN = (
    "backlog_quota_map", "clusterDispatchRate", "topicDispatchRate", "subscriptionDispatchRate",
    "replicatorDispatchRate", "clusterSubscribeRate", "persistence", "deduplicationEnabled",
    "autoTopicCreationOverride", "autoSubscriptionCreationOverride", "publishMaxMessageRate",
    "latency_stats_sample_rate", "message_ttl_in_seconds", "subscription_expiration_time_minutes",
    "retention_policies", "deleted", "encryption_required", "inactive_topic_policies", "max_producers_per_topic",
    "max_consumers_per_topic", "max_consumers_per_subscription", "max_unacked_messages_per_consumer",
    "max_unacked_messages_per_subscription", "max_subscriptions_per_topic", "compaction_threshold",
    "max_topics_per_namespace", "schema_auto_update_compatibility_strategy", "schema_compatibility_strategy",
    "is_allow_auto_update_schema", "schema_validation_enforced", "deduplicationSnapshotIntervalSeconds",
    "subscription_types_enabled", "properties", "resource_group_name", "dispatcherPauseOnAckStatePersistentEnabled",
    "entryFilters", "clusterThatCanDeleteNamespace",
)  # fmt: skip
FIRST: Mapping[str, tuple[tuple[str, str], ...]] = {
    "bundles": (),
    **dict.fromkeys(("auth_policies", "subscription_auth_mode"), (_GRANT_IT,)),
    **dict.fromkeys(("replication_clusters", "allowed_clusters"), (_REPLICATE,)),
    "migrated": (_REPLICATE, _CONFIGURE),
    **dict.fromkeys(("offload_policies", "offload_deletion_lag_ms"), (_OFFLOAD,)),
    **dict.fromkeys(("offload_threshold", "offload_threshold_in_seconds"), (_OFFLOAD,)),
    "delayed_delivery_policies": (_ALTER, _CONFIGURE),
    "antiAffinityGroup": (("namespace", "ManageBundles"),),
    **dict.fromkeys(_PLAIN, (_ALTER,)),
}
"""Every field of a namespace's policies (4.0.8, and what clients write besides), and what saying it needs."""
_UNSET = {"offload_threshold": -1, "offload_threshold_in_seconds": -1}
_USUAL: Mapping[str, tuple[object, ...]] = {
    **dict.fromkeys(("deleted", "encryption_required", "schema_validation_enforced", "migrated"), (False,)),
    **dict.fromkeys(("backlog_quota_map", "properties", "latency_stats_sample_rate", "publishMaxMessageRate"), ({},)),
    **dict.fromkeys(("clusterDispatchRate", "topicDispatchRate", "clusterSubscribeRate"), ({},)),
    **dict.fromkeys(("subscriptionDispatchRate", "replicatorDispatchRate"), ({},)),
    "subscription_auth_mode": ("None",),
    "schema_compatibility_strategy": ("UNDEFINED",),
    "schema_auto_update_compatibility_strategy": ("Full",),
}
"""What clients write that leaves a policy as it is. Any other empty object is a policy of its defaults."""


@dataclass(frozen=True, slots=True)
class Asked:
    """accesses: what it needs; written: the body in one reading."""

    accesses: tuple[Access, ...]
    written: bytes


def asked(reads: Reads, body: bytes, values: Mapping[str, str]) -> Asked | None:
    """None for a body that cannot be decided about."""
    if reads in (Reads.PROPERTIES, Reads.POSITION) and not body:  # a topic without any, a subscription from now on
        return Asked((), b"")
    try:
        value = read(body)
    except Unreadable:
        return None
    accesses = _ASKED[reads](value, values)
    return None if accesses is None else Asked(accesses, json.dumps(value, separators=(",", ":")).encode())


def _permissions(value: Any, _: Mapping[str, str]) -> tuple[Access, ...] | None:
    """grantPermissionsOnTopics and its counterpart: a list of {topics, roles, actions}."""
    if not isinstance(value, list) or not 0 < len(value) <= ENTRIES_MAX:
        return None
    found: dict[Access, None] = {}
    for each in value:
        if not isinstance(each, dict) or not each.keys() <= _GRANT or not isinstance(each.get("topics"), list):
            return None
        for written in each["topics"]:
            name = names.topic(written) if isinstance(written, str) else None
            if name is None or names.brokers_own(name) or len(found) >= ENTRIES_MAX:
                return None
            found[("topic", "SetPermissions", name)] = None
    return tuple(found) or None


def _namespace(value: Any, values: Mapping[str, str]) -> tuple[Access, ...] | None:
    """Policies: each that is not what a namespace has anyway needs what it needs later. Unknown ones are refused."""
    if value is None:
        return ()
    if not isinstance(value, dict) or not value.keys() <= FIRST.keys():
        return None
    space = f"{values['tenant']}/{values['namespace']}"
    found: dict[Access, None] = {}
    for field, said in value.items():
        if not _usual(field, said):
            for kind, operation in FIRST[field]:
                found[(kind, operation, space if kind == "namespace" else named.BROKERS)] = None
    return tuple(found)


def _usual(field: str, said: Any) -> bool:
    """Whether a namespace has it without its being said. A number left out as null is 0 for the broker."""
    if field in _UNSET:
        return type(said) is int and said == _UNSET[field]
    return _empty(said) if field == "auth_policies" else said in (None, [], "") or said in _USUAL.get(field, ())


def _empty(said: Any) -> bool:
    return all(_empty(each) for each in said.values()) if isinstance(said, dict) else not said


def _messages(value: Any, _: Mapping[str, str]) -> tuple[Access, ...] | None:
    """Messages to be produced; the path names the topic. A replicator's name is not for clients."""
    if not isinstance(value, dict) or not value.keys() <= _MESSAGES:
        return None
    producer, messages = value.get("producerName") or "", value.get("messages")
    if not isinstance(producer, str) or producer.startswith(names.REPLICATOR) or not isinstance(messages, list):
        return None
    return () if 0 < len(messages) <= ENTRIES_MAX else None


def _properties(value: Any, _: Mapping[str, str]) -> tuple[Access, ...] | None:
    """A number of partitions, properties, or an object with both. What brokers keep for themselves could make the topic
    a shadow of any other (PULSAR.SHADOW_SOURCE), whose messages it would then show."""
    if value is None or type(value) is int:
        return ()
    if not isinstance(value, dict):
        return None
    inner = value.get("properties")
    every = [*value.items(), *(inner.items() if isinstance(inner, dict) else ())]
    plain = all(isinstance(said, str | int | None) or said is inner for _, said in every)
    return () if plain and not any(_brokers_own(key) for key, _ in every) else None


def _position(value: Any, _: Mapping[str, str]) -> tuple[Access, ...] | None:
    """The broker looks at no key of a new subscription's, which could name ledgers of its own for it."""
    if value in ("earliest", "latest"):
        return ()
    if not isinstance(value, dict) or not value.keys() <= _POSITION:
        return None
    plain = all(isinstance(said, int | bool | None) for key, said in value.items() if key != "properties")
    return _labels(value.get("properties") or {}, {}) if plain else None


def _labels(value: Any, _: Mapping[str, str]) -> tuple[Access, ...] | None:
    if not isinstance(value, dict) or not names.properties(value.keys()):
        return None
    return () if all(isinstance(said, str | None) for said in value.values()) else None


def _brokers_own(key: str) -> bool:
    return key.casefold().startswith(_OWN_PROPERTIES) or key in _OWN_PROPERTY


_ASKED: Mapping[Reads, Callable[[Any, Mapping[str, str]], tuple[Access, ...] | None]] = {
    Reads.PERMISSIONS: _permissions,
    Reads.NAMESPACE: _namespace,
    Reads.MESSAGES: _messages,
    Reads.PROPERTIES: _properties,
    Reads.POSITION: _position,
    Reads.LABELS: _labels,
}

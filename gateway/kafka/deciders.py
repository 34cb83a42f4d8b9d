"""How the members of a list are decided where it takes more than one operation on their name. Rows refer to these.

Each takes the work, the list's description, the member and its name, and gives None (allowed) or a denial. Whatever a
function here does not know by name it denies.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.core.slices import ordered, paced
from gateway.kafka.errors import (
    CLUSTER_AUTHORIZATION_FAILED,
    GROUP_AUTHORIZATION_FAILED,
    INVALID_REQUEST,
    MESSAGES,
    POLICY_VIOLATION,
    TOPIC_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    UNKNOWN_TOPIC_ID,
)
from gateway.kafka.plan import ZERO_ID
from gateway.kafka.rows import (
    CLUSTER,
    CLUSTER_NAME,
    GROUP,
    TOPIC,
    TRANSACTIONAL_ID,
    Denial,
    Items,
    Work,
    denial,
)

GROUP_KEY, TRANSACTION_KEY, SHARE_KEY = 0, 1, 2
"""What a coordinator is looked for (FindCoordinator's key_type)."""

SHARE_KEYS_FROM = 6

_CONFIG_RESOURCES: Mapping[int, tuple[str, int]] = MappingProxyType(
    {
        2: (TOPIC, TOPIC_AUTHORIZATION_FAILED),
        4: (CLUSTER, CLUSTER_AUTHORIZATION_FAILED),  # broker
        8: (CLUSTER, CLUSTER_AUTHORIZATION_FAILED),  # broker logger
        16: (CLUSTER, CLUSTER_AUTHORIZATION_FAILED),  # client metrics
        32: (GROUP, GROUP_AUTHORIZATION_FAILED),
    }
)
"""Resource type of the configuration APIs -> the kind whose right it takes, and the error without it."""

CONFIG_RESOURCE_TYPES = frozenset(_CONFIG_RESOURCES)
BROKER, BROKER_LOGGER = 4, 8
_DECIDED_BY_THE_BROKER = (BROKER, BROKER_LOGGER)
"""Of the other types the controller decides about changes, and its denials carry the error's words."""

_CONFIGS_REFUSED = ("sasl.jaas.config", ".class", ".class.name", ".classes", ".reporters", ".providers")
"""Endings of configuration names whose value makes a broker load code (CVE-2025-27818, CVE-2025-27819)."""


REFUSED_NAMED_MAX = 20
"""Of the configurations that are not altered, in the answer: a text has its longest length."""


def coordinator_key(work: Work, items: Items, item: Any, name: str | None) -> Denial | None:
    """FindCoordinator: what the key is of decides what right it takes."""
    key_type = work.body.get("keyType", GROUP_KEY)
    key = name or ""
    if key_type == GROUP_KEY:
        return None if work.view.allowed(GROUP, "Describe", key) else denial(GROUP_AUTHORIZATION_FAILED)
    if key_type == TRANSACTION_KEY:
        if work.view.allowed(TRANSACTIONAL_ID, "Describe", key):
            return None
        return denial(TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    if key_type == SHARE_KEY and work.version >= SHARE_KEYS_FROM:
        if work.view.allowed(CLUSTER, "ClusterAction", CLUSTER_NAME):
            return None
        return denial(CLUSTER_AUTHORIZATION_FAILED, errorMessage=MESSAGES[CLUSTER_AUTHORIZATION_FAILED])
    return denial(INVALID_REQUEST)


def config_resource(work: Work, items: Items, item: Any, name: str | None) -> Denial | None:
    """The configuration APIs: a resource type that is not known is denied, and so is what makes brokers load code."""
    known = _CONFIG_RESOURCES.get(item["resourceType"])
    if known is None or (item["resourceType"] == BROKER_LOGGER and work.row.name == "AlterConfigs"):
        return Denial(INVALID_REQUEST, f"Unknown resource type {item['resourceType']}")
    kind, error = known
    if not work.view.allowed(kind, items.operation, CLUSTER_NAME if kind == CLUSTER else name or ""):
        without_words = items.operation == "AlterConfigs" and item["resourceType"] in _DECIDED_BY_THE_BROKER
        return denial(error, errorMessage=None) if without_words else denial(error)
    configs = paced(item.get("configs", ()))
    refused = ordered([each["name"] for each in configs if f".{each['name'].lower()}".endswith(_CONFIGS_REFUSED)])
    if refused:
        for each in paced(refused):
            work.view.refused(known[0], "AlterConfigs", f"{name or CLUSTER_NAME}:{each}", "loads-code")
        more = ", and more" if len(refused) > REFUSED_NAMED_MAX else ""
        return Denial(
            POLICY_VIOLATION, f"Not altered through the gateway: {', '.join(refused[:REFUSED_NAMED_MAX])}{more}"
        )
    return None


def deletion(work: Work, items: Items, item: Any, name: str | None) -> Denial | None:
    """DeleteTopics: a topic named by id without the right to describe it keeps its name to itself."""
    by_id = not isinstance(item, str) and item["topicId"] != ZERO_ID
    if by_id and item["name"] is not None:
        return Denial(INVALID_REQUEST, "You may not specify both topic name and topic id.")
    if name is None:
        return (
            denial(UNKNOWN_TOPIC_ID) if by_id else Denial(INVALID_REQUEST, "Neither topic name nor id were specified.")
        )
    view = work.view
    if view.allowed_quietly(CLUSTER, "Delete", CLUSTER_NAME):
        return None
    describable = view.allowed(TOPIC, "Describe", name)
    if not view.allowed(TOPIC, "Delete", name):
        if by_id:
            return denial(TOPIC_AUTHORIZATION_FAILED, name=name if describable else None)
        return denial(TOPIC_AUTHORIZATION_FAILED)
    if not describable and not by_id:
        return denial(TOPIC_AUTHORIZATION_FAILED)
    return None

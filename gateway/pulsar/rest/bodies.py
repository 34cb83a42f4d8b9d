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
from gateway.pulsar.rest.results import Unreadable
from gateway.pulsar.rest.routes import Reads
from gateway.pulsar.rest.shapes import read

ENTRIES_MAX = 100
"""Grants of one request, and messages."""
_GRANT = frozenset({"topics", "roles", "role", "actions"})
_MESSAGES = frozenset({"keySchema", "valueSchema", "schemaVersion", "producerName", "messages"})


@dataclass(frozen=True, slots=True)
class Asked:
    """accesses: what it needs; written: the body in one reading."""

    accesses: tuple[Access, ...]
    written: bytes


def asked(reads: Reads, body: bytes, values: Mapping[str, str]) -> Asked | None:
    """None for a body that cannot be decided about."""
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
    """Policies: grants in them need SetPermissions, storage and other clusters what they need later."""
    if value is None:
        return ()
    if not isinstance(value, dict):
        return None
    name = f"{values['tenant']}/{values['namespace']}"
    return tuple(("namespace", operation, name) for field, operation in _FIRST.items() if _says(value.get(field)))


_FIRST = {
    "auth_policies": "SetPermissions",
    "subscription_auth_mode": "SetPermissions",
    "replication_clusters": "Replicate",
    "allowed_clusters": "Replicate",
    "migrated": "Replicate",
    "offload_policies": "Offload",
}


def _says(value: Any) -> bool:
    """Whether anything stands in it: clients write empty ones."""
    if isinstance(value, dict):
        return any(_says(each) for each in value.values())
    return bool(value) and value != "None"


def _messages(value: Any, _: Mapping[str, str]) -> tuple[Access, ...] | None:
    """Messages to be produced; the path names the topic. A replicator's name is not for clients."""
    if not isinstance(value, dict) or not value.keys() <= _MESSAGES:
        return None
    producer, messages = value.get("producerName") or "", value.get("messages")
    if not isinstance(producer, str) or producer.startswith(names.REPLICATOR) or not isinstance(messages, list):
        return None
    return () if 0 < len(messages) <= ENTRIES_MAX else None


_ASKED: Mapping[Reads, Callable[[Any, Mapping[str, str]], tuple[Access, ...] | None]] = {
    Reads.PERMISSIONS: _permissions,
    Reads.NAMESPACE: _namespace,
    Reads.MESSAGES: _messages,
}

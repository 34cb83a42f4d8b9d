"""Names of topics, namespaces and subscriptions in the one form that rules are about.

``orders`` and ``public/default/orders`` are ``persistent://public/default/orders``; a partition is its topic; what the
broker keeps for itself has no name here at all. The rules are those of the broker's TopicName and NamespaceName (4.0).
A partition's number in other digits than ASCII's, which Java's parseInt reads, is no name.
Names of the old form with a cluster in it (``tenant/cluster/namespace/topic``) are refused. A retry or dead-letter
topic is a topic of its own name. Called by authorize and relay.
"""

from __future__ import annotations

import re
from collections.abc import Collection

NAME_CHARS_MAX = 1000
"""Of a topic's name, whole."""
PARTITION = "-partition-"
PARTITIONS_MAX = 2**31 - 1
"""A number past Java's int is no partition's but part of the name."""
DOMAINS = frozenset({"persistent", "non-persistent"})
TRANSACTION_COORDINATORS = "persistent://pulsar/system/transaction_coordinator_assign"
"""Whom clients ask for by a lookup before their first transaction."""
_ENTITY = re.compile(r"[-=:.\w]+", re.ASCII)
_OWN_TENANT = "pulsar"
_OWN_PREFIX = "__"
_OWN_SUFFIX = "__transaction_pending_ack"
_OWN_SUBSCRIPTIONS = ("__", "pulsar.repl", "pulsar.dedup")
REPLICATOR = "pulsar.repl"
"""With this a producer's name begins that brokers take for another cluster."""
PROPERTIES_MAX = 500
"""Of one map of a producer's, a consumer's or a subscription's properties."""
_OWN_PROPERTIES = ("#", "pulsar.")
"""How keys begin that brokers keep beside those of clients: ``#pulsar.internal.`` names ledgers of delayed messages,
which a broker that finds it among a new subscription's properties would read, and delete."""


def topic(name: str) -> str | None:
    """The topic's whole name, without its partition; None if it can have none.

    >>> topic("orders-partition-3")
    'persistent://public/default/orders'
    """
    if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
        return None
    domain, colons, rest = name.partition("://")
    if not colons:
        domain, rest = "persistent", name if "/" in name else f"public/default/{name}"
    parts = rest.split("/")
    if domain not in DOMAINS or len(parts) != 3:
        return None
    tenant, space, local = parts
    if not (_ENTITY.fullmatch(tenant) and _ENTITY.fullmatch(space) and local) or _foreign_number(local):
        return None
    return f"{domain}://{tenant}/{space}/{whole(local)}"


def whole(local: str) -> str:
    """A topic's own name without a partition's number; leading zeros make it part of the name, as in the broker."""
    name, partition, number = local.rpartition(PARTITION)
    if not partition or not number.isascii() or not number.isdigit() or str(int(number)) != number:
        return local
    return name if int(number) <= PARTITIONS_MAX and name else local


def _foreign_number(local: str) -> bool:
    """Whether what may be a partition's number, with a sign or without, is written in other digits than ASCII's.

    The broker takes most such spellings for the partition of that number (``partition-U+FF13`` is its partition 3)."""
    _, partition, number = local.rpartition(PARTITION)
    return bool(partition) and not number.isascii() and number.lstrip("+-").isdecimal()


def namespace(name: str) -> str | None:
    """``tenant/namespace``; None if it is none."""
    tenant, slash, space = name.partition("/")
    sound = slash and len(name) <= NAME_CHARS_MAX and _ENTITY.fullmatch(tenant) and _ENTITY.fullmatch(space)
    return name if sound else None


def brokers_own(topic_name: str) -> bool:
    """Whether a topic (in its whole form) is one that brokers keep for themselves."""
    tenant, _, local = topic_name.partition("://")[2].split("/")
    return tenant == _OWN_TENANT or local.startswith(_OWN_PREFIX) or local.endswith(_OWN_SUFFIX)


def subscription(name: str) -> str | None:
    """The name, or None for one that cannot be or that brokers keep for themselves (compaction, replication)."""
    sound = 0 < len(name) <= NAME_CHARS_MAX and name.isprintable() and not name.startswith(_OWN_SUBSCRIPTIONS)
    return name if sound else None


def properties(keys: Collection[bytes | str]) -> bool:
    """Whether a client may name all of these properties: text in one reading, none that brokers keep for themselves."""
    return len(keys) <= PROPERTIES_MAX and all(map(_property, keys))


def _property(key: bytes | str) -> bool:
    try:
        text = key if isinstance(key, str) else key.decode()
    except UnicodeDecodeError:
        return False
    sound = len(text) <= NAME_CHARS_MAX and (text.isprintable() or not text)
    return sound and not text.casefold().startswith(_OWN_PROPERTIES)

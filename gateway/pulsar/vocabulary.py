"""Pulsar's words in the policy language: its resource kinds, operations, and what the common verbs mean.

A topic is named whole (``persistent://tenant/namespace/topic``), a namespace ``tenant/namespace``. A subscription is
named by its own name; to consume one needs the topic too. Reading and registering schemas are operations here
though the broker checks neither: whoever may produce registers, whoever may produce or consume reads.
"""

from __future__ import annotations

from types import MappingProxyType

from gateway.core.vocabulary import Kind, System

_LOOKUP = frozenset({"Lookup"})
_LOOKUP_SCHEMA = frozenset({"Lookup", "GetSchema"})

TOPIC = Kind(
    name="topic",
    operations=frozenset(
        {
            "Produce",
            "Consume",
            "Lookup",
            "GetSchema",
            "PutSchema",
            "DeleteSchema",
            "GetStats",
            "GetPolicies",
            "Create",
            "Delete",
            "UpdatePartitions",
            "UpdatePolicies",
            "Unload",
            "Compact",
            "Terminate",
        }
    ),
    verbs=MappingProxyType(
        {
            "produce": frozenset({"Produce", "PutSchema"}),
            "consume": frozenset({"Consume"}),
            "create": frozenset({"Create"}),
            "delete": frozenset({"Delete"}),
            "describe": frozenset({"Lookup", "GetSchema", "GetStats", "GetPolicies"}),
            "alter": frozenset({"UpdatePartitions", "UpdatePolicies"}),
        }
    ),
    implied=MappingProxyType(
        {
            "Produce": _LOOKUP_SCHEMA,
            "Consume": _LOOKUP_SCHEMA,
            "Create": _LOOKUP,
            "Delete": _LOOKUP,
            "UpdatePartitions": _LOOKUP,
            "UpdatePolicies": frozenset({"GetPolicies"}),
            "GetStats": _LOOKUP,
        }
    ),
    separators="/.-_:",
)

SUBSCRIPTION = Kind(
    name="subscription",
    operations=frozenset({"Subscribe", "Seek", "Unsubscribe", "Create", "GetStats"}),
    verbs=MappingProxyType(
        {
            "consume": frozenset({"Subscribe", "Seek"}),
            "create": frozenset({"Create"}),
            "delete": frozenset({"Unsubscribe"}),
            "describe": frozenset({"GetStats"}),
        }
    ),
    implied=MappingProxyType({"Subscribe": frozenset({"Create", "GetStats"})}),
    separators="/.-_:",
)

NAMESPACE = Kind(
    name="namespace",
    operations=frozenset({"ListTopics", "GetPolicies", "Create", "Delete", "UpdatePolicies"}),
    verbs=MappingProxyType(
        {
            "consume": frozenset({"ListTopics"}),
            "create": frozenset({"Create"}),
            "delete": frozenset({"Delete"}),
            "describe": frozenset({"ListTopics", "GetPolicies"}),
            "alter": frozenset({"UpdatePolicies"}),
        }
    ),
    implied=MappingProxyType({"UpdatePolicies": frozenset({"GetPolicies"})}),
    separators="/.-_",
)

TENANT = Kind(
    name="tenant",
    operations=frozenset({"Describe", "Create", "Delete", "Update"}),
    verbs=MappingProxyType(
        {
            "create": frozenset({"Create"}),
            "delete": frozenset({"Delete"}),
            "describe": frozenset({"Describe"}),
            "alter": frozenset({"Update"}),
        }
    ),
    implied=MappingProxyType({"Delete": frozenset({"Describe"}), "Update": frozenset({"Describe"})}),
    separators=".-_",
)

SYSTEM = System("pulsar", MappingProxyType({kind.name: kind for kind in (TOPIC, SUBSCRIPTION, NAMESPACE, TENANT)}))

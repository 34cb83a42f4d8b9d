"""Pulsar's words in the policy language: its resource kinds, operations, and what the common verbs mean.

A topic is named whole (``persistent://tenant/namespace/topic``), a namespace ``tenant/namespace``, a function, source
or sink ``tenant/namespace/name``, a package ``type://tenant/namespace/name``. A subscription is
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
            "Truncate",
            "Offload",
            "Replicate",
            "Peek",
            "ExpireMessages",
            "GetPermissions",
            "SetPermissions",
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
    operations=frozenset({"Subscribe", "Seek", "Unsubscribe", "Create", "GetStats", "Update"}),
    verbs=MappingProxyType(
        {
            "consume": frozenset({"Subscribe", "Seek"}),
            "create": frozenset({"Create"}),
            "delete": frozenset({"Unsubscribe"}),
            "describe": frozenset({"GetStats"}),
            "alter": frozenset({"Update"}),
        }
    ),
    implied=MappingProxyType({"Subscribe": frozenset({"Create", "GetStats"}), "Update": frozenset({"GetStats"})}),
    separators="/.-_:",
)

NAMESPACE = Kind(
    name="namespace",
    operations=frozenset(
        {
            "ListTopics",
            "GetPolicies",
            "Create",
            "Delete",
            "ForceDelete",
            "UpdatePolicies",
            "GetPermissions",
            "SetPermissions",
            "Replicate",
            "Offload",
            "ManageBundles",
            "ClearBacklog",
            "Unsubscribe",
        }
    ),
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
    operations=frozenset({"Describe", "Create", "Delete", "ForceDelete", "Update"}),
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

CLUSTER = Kind(
    name="cluster",
    operations=frozenset({"Describe", "Create", "Update", "Delete", "GetPlacement", "SetPlacement"}),
    verbs=MappingProxyType({"describe": frozenset({"Describe"})}),
    implied=MappingProxyType({}),
    separators=".-_",
)

BROKERS = Kind(
    name="brokers",
    operations=frozenset(
        {
            "Describe",
            "List",
            "ListTenants",
            "CheckHealth",
            "GetStats",
            "GetConfiguration",
            "SetConfiguration",
            "Shutdown",
            "GetBookies",
            "SetBookies",
            "GetQuotas",
            "SetQuotas",
            "GetTransactions",
            "AbortTransaction",
        }
    ),
    verbs=MappingProxyType({"describe": frozenset({"Describe"})}),
    implied=MappingProxyType({}),
    names=frozenset({"pulsar-brokers"}),
)


def _program(name: str, *more: str) -> Kind:
    """Runs clients' code beside the brokers: nothing of it has a common verb."""
    operations = ("List", "Describe", "Register", "Update", "Deregister", "Run", *more)
    return Kind(name, frozenset(operations), MappingProxyType({}), MappingProxyType({}), separators="/.-_")


FUNCTION = _program("function", "Download", "Trigger", "GetState", "PutState")
SOURCE = _program("source")
SINK = _program("sink")
PACKAGE = Kind(
    name="package",
    operations=frozenset({"List", "Describe", "Download", "Upload", "Update", "Delete"}),
    verbs=MappingProxyType({}),
    implied=MappingProxyType({}),
    separators="/.-_:",
)
WORKER = Kind(
    name="worker",
    operations=frozenset({"Describe", "Reload", "Drain"}),
    verbs=MappingProxyType({}),
    implied=MappingProxyType({}),
    names=frozenset({"pulsar-worker"}),
)

_KINDS = (TOPIC, SUBSCRIPTION, NAMESPACE, TENANT, CLUSTER, BROKERS, FUNCTION, SOURCE, SINK, PACKAGE, WORKER)
SYSTEM = System("pulsar", MappingProxyType({kind.name: kind for kind in _KINDS}))

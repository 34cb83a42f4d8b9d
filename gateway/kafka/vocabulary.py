"""Kafka's words in the policy language: its resource kinds, its operations, what the common verbs mean.

Operations are those of Kafka's own ACLs. Left out on purpose is ``ClusterAction``: it is for brokers, and a client
that had it could read as a follower does, so no policy can grant it.

A verb stands for few operations, because a *deny* of the verb denies just those; what an allow brings along is in
`implied`, as in Kafka's authorizer. On the cluster a common verb grants nothing that reaches past the topics named
beside it: ``Create`` and ``Delete`` on the cluster would let a principal create and delete any topic, whatever a
deny says of that topic, and ``Alter`` and ``AlterConfigs`` change brokers (CVE-2025-27818). Those are granted by
their own names only: ``kafka.AlterConfigs`` with ``cluster: [kafka-cluster]``.
"""

from __future__ import annotations

from types import MappingProxyType

from gateway.core.vocabulary import Kind, System

CLUSTER_NAME = "kafka-cluster"
"""The only name of the kind ``cluster``."""

_DESCRIBE = frozenset({"Describe"})
_SHOW = frozenset({"Describe", "DescribeConfigs"})
_CONFIGS = frozenset({"DescribeConfigs"})

TOPIC = Kind(
    name="topic",
    operations=frozenset({"Read", "Write", "Create", "Delete", "Alter", "Describe", "DescribeConfigs", "AlterConfigs"}),
    verbs=MappingProxyType(
        {
            "produce": frozenset({"Write"}),
            "consume": frozenset({"Read"}),
            "create": frozenset({"Create"}),
            "delete": frozenset({"Delete"}),
            "describe": _SHOW,
            "alter": frozenset({"Alter", "AlterConfigs"}),
        }
    ),
    implied=MappingProxyType(
        {"Read": _DESCRIBE, "Write": _DESCRIBE, "Delete": _DESCRIBE, "Alter": _DESCRIBE, "AlterConfigs": _CONFIGS}
    ),
    separators=".-_",
)

GROUP = Kind(
    name="group",
    operations=frozenset({"Read", "Delete", "Describe", "DescribeConfigs", "AlterConfigs"}),
    verbs=MappingProxyType(
        {
            "consume": frozenset({"Read"}),
            "delete": frozenset({"Delete"}),
            "describe": _SHOW,
            "alter": frozenset({"AlterConfigs"}),
        }
    ),
    implied=MappingProxyType({"Read": _DESCRIBE, "Delete": _DESCRIBE, "AlterConfigs": _CONFIGS}),
    separators=".-_:/",
)

TRANSACTIONAL_ID = Kind(
    name="transactional-id",
    operations=frozenset({"Write", "Describe", "TwoPhaseCommit"}),
    verbs=MappingProxyType({"produce": frozenset({"Write"}), "describe": _DESCRIBE}),
    implied=MappingProxyType({"Write": _DESCRIBE}),
    separators=".-_:/",
)

CLUSTER = Kind(
    name="cluster",
    operations=frozenset(
        {"Create", "Delete", "Alter", "Describe", "DescribeConfigs", "AlterConfigs", "IdempotentWrite"}
    ),
    verbs=MappingProxyType({"produce": frozenset({"IdempotentWrite"}), "describe": _SHOW}),
    implied=MappingProxyType({"Delete": _DESCRIBE, "Alter": _DESCRIBE, "AlterConfigs": _CONFIGS}),
    names=frozenset({CLUSTER_NAME}),
)

SYSTEM = System("kafka", MappingProxyType({kind.name: kind for kind in (TOPIC, GROUP, TRANSACTIONAL_ID, CLUSTER)}))

"""Namespaces, their settings, grants and bundles; tenants."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.pulsar.rest.routes import Answer, Reads, Row
from gateway.pulsar.rest.rows import BODY_BYTES_MAX, UNAUTHORIZED, row, setting

_ROOT = "/admin/v2/namespaces"
_GET, _SET = "namespace.GetPolicies", "namespace.UpdatePolicies"
_REPLICATE, _OFFLOAD = "namespace.Replicate", "namespace.Offload"
_GRANTS, _GRANT = "namespace.GetPermissions", "namespace.SetPermissions"
_BUNDLES = "namespace.ManageBundles"
# each of these has GET, POST and DELETE
_SETTINGS = (
    "autoSubscriptionCreation", "autoTopicCreation", "deduplication", "dispatchRate",
    "dispatcherPauseOnAckStatePersistent", "entryFilters", "inactiveTopicPolicies", "maxConsumersPerSubscription",
    "maxConsumersPerTopic", "maxProducersPerTopic", "maxSubscriptionsPerTopic", "maxTopicsPerNamespace",
    "maxUnackedMessagesPerConsumer", "maxUnackedMessagesPerSubscription", "messageTTL", "persistence",
    "publishRate", "replicatorDispatchRate", "retention", "subscribeRate", "subscriptionDispatchRate",
    "subscriptionExpirationTime", "subscriptionTypesEnabled",
)  # fmt: skip
_GET_POST = (
    "deduplicationSnapshotInterval", "encryptionRequired", "isAllowAutoUpdateSchema", "schemaValidationEnforced",
)  # fmt: skip
_GET_PUT = ("schemaAutoUpdateCompatibilityStrategy", "schemaCompatibilityStrategy")


def namespaces() -> Iterator[Row]:
    yield row("GET", f"{_ROOT}/{{tenant}}", "tenant.Describe", answer=Answer.NAMESPACES)
    one = f"{_ROOT}/{{tenant}}/{{namespace}}"
    yield row("GET", one, _GET, answer=Answer.POLICIES)
    yield row("PUT", one, "namespace.Create", body=BODY_BYTES_MAX, reads=Reads.NAMESPACE, denied=UNAUTHORIZED)
    gone = "namespace.ForceDelete"
    yield row("DELETE", one, "namespace.Delete", "force authoritative", forced=gone, denied=UNAUTHORIZED)
    topics = "mode includeSystemTopic"
    yield row("GET", f"{one}/topics", "namespace.ListTopics", topics, answer=Answer.TOPICS)
    yield from _settings(one)
    yield from _elsewhere(one)
    yield from _grants(one)
    yield from _bundles(one)
    yield from _subscriptions(one)


def _settings(one: str) -> Iterator[Row]:
    for name in _SETTINGS:
        yield from setting(f"{one}/{name}", _GET, _SET)
    for name in _GET_POST:
        yield from setting(f"{one}/{name}", _GET, _SET, "applied", methods="GET POST")
    for name in _GET_PUT:
        yield from setting(f"{one}/{name}", _GET, _SET, methods="GET PUT")
    yield from setting(f"{one}/delayedDelivery", _GET, _SET, methods="GET")
    of_all = f"{_SET} brokers.SetConfiguration"
    yield from setting(f"{one}/delayedDelivery", _GET, of_all, methods="POST DELETE", denied=UNAUTHORIZED)
    yield from setting(f"{one}/backlogQuota", _GET, _SET, "backlogQuotaType", methods="POST DELETE")
    yield from setting(f"{one}/backlogQuotaMap", _GET, _SET, methods="GET")
    yield from setting(f"{one}/compactionThreshold", _GET, _SET, methods="GET PUT DELETE")
    yield from setting(f"{one}/properties", _GET, _SET, methods="GET PUT DELETE", denied=UNAUTHORIZED)
    yield from setting(f"{one}/property/{{key}}", _GET, _SET, methods="GET DELETE", denied=UNAUTHORIZED)
    yield from setting(f"{one}/property/{{key}}/{{value}}", _GET, _SET, methods="PUT", denied=UNAUTHORIZED)
    yield from setting(f"{one}/resourcegroup", _GET, _SET, methods="GET DELETE")
    yield from setting(f"{one}/resourcegroup/{{resourcegroup}}", _GET, _SET, methods="POST")


def _elsewhere(one: str) -> Iterator[Row]:
    """What takes messages to other clusters or to storage, with its keys."""
    yield from setting(f"{one}/replication", _GET, _REPLICATE, methods="GET POST")
    yield from setting(f"{one}/allowedClusters", _GET, _REPLICATE, methods="GET POST")
    moved = f"{_REPLICATE} brokers.SetConfiguration"
    yield from setting(f"{one}/migration", _GET, moved, methods="POST", denied=UNAUTHORIZED)
    yield from setting(f"{one}/offloadPolicies", _OFFLOAD, _OFFLOAD, methods="GET POST")
    yield row("DELETE", f"{one}/removeOffloadPolicies", _OFFLOAD)
    yield from setting(f"{one}/offloadDeletionLagMs", _OFFLOAD, _OFFLOAD, methods="GET PUT DELETE")
    for name in ("offloadThreshold", "offloadThresholdInSeconds"):
        yield from setting(f"{one}/{name}", _OFFLOAD, _OFFLOAD, methods="GET PUT")
    yield row("GET", f"{one}/scanOffloadedLedgers", _OFFLOAD)


def _grants(one: str) -> Iterator[Row]:
    """The broker's own authorization."""
    granted, said = f"{one}/permissions", BODY_BYTES_MAX
    yield row("GET", granted, _GRANTS)
    yield row("GET", f"{granted}/subscription", _GRANTS)
    yield row("POST", f"{granted}/{{role}}", _GRANT, body=said)
    yield row("DELETE", f"{granted}/{{role}}", _GRANT)
    yield row("POST", f"{granted}/subscription/{{subscription}}", _GRANT, body=said)
    yield row("DELETE", f"{granted}/{{subscription}}/{{role}}", _GRANT)
    yield from setting(f"{one}/subscriptionAuthMode", _GRANTS, _GRANT, methods="GET POST")
    for path in ("grantPermissionsOnTopics", "revokePermissionsOnTopics"):
        yield row("POST", f"{_ROOT}/{path}", "", body=said, reads=Reads.PERMISSIONS)


def _bundles(one: str) -> Iterator[Row]:
    own, bundle = "authoritative", f"{one}/{{bundle}}"
    yield row("GET", f"{one}/bundles", _GET)
    yield row("DELETE", bundle, f"{_BUNDLES} namespace.Delete", f"force {own}", forced="namespace.ForceDelete")
    yield row("PUT", f"{one}/unload", _BUNDLES, denied=UNAUTHORIZED)
    yield row("PUT", f"{bundle}/unload", _BUNDLES, f"{own} destinationBroker", denied=UNAUTHORIZED)
    split = f"{own} unload splitAlgorithmName"
    yield row("PUT", f"{bundle}/split", _BUNDLES, split, body=BODY_BYTES_MAX, denied=UNAUTHORIZED)
    yield row("GET", f"{bundle}/topicHashPositions", f"{_BUNDLES} namespace.ListTopics", "topics")
    yield from setting(f"{one}/antiAffinity", _GET, _BUNDLES)
    yield row(
        "GET", f"{_ROOT}/{{cluster}}/antiAffinity/{{group}}", "tenant.Describe", "tenant", answer=Answer.NAMESPACES
    )
    affinity = f"{one}/persistence/bookieAffinity"
    yield from setting(affinity, _BUNDLES, _BUNDLES, denied=UNAUTHORIZED)
    quota = "/admin/v2/resource-quotas/{tenant}/{namespace}/{bundle}"
    yield from setting(quota, _BUNDLES, _BUNDLES, denied=UNAUTHORIZED)


def _subscriptions(one: str) -> Iterator[Row]:
    """Acts on a subscription, or on every one, of all topics, whatever rules say of them."""
    for at in (one, f"{one}/{{bundle}}"):
        yield row("POST", f"{at}/clearBacklog", "namespace.ClearBacklog", "authoritative")
        yield row("POST", f"{at}/clearBacklog/{{subscription}}", "namespace.ClearBacklog", "authoritative")
        yield row("POST", f"{at}/unsubscribe/{{subscription}}", "namespace.Unsubscribe", "authoritative")


def tenants() -> Iterator[Row]:
    root, said = "/admin/v2/tenants", BODY_BYTES_MAX
    yield row("GET", root, "brokers.ListTenants", answer=Answer.TENANTS)
    one = f"{root}/{{tenant}}"
    yield row("GET", one, "tenant.Describe")
    yield row("PUT", one, "tenant.Create", body=said)
    yield row("POST", one, "tenant.Update", body=said)
    yield row("DELETE", one, "tenant.Delete", "force", forced="tenant.ForceDelete")

"""Topics, their subscriptions, settings and schemas; lookup; transactions of one topic."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.pulsar.names import DOMAINS
from gateway.pulsar.rest.routes import Answer, Reads, Row
from gateway.pulsar.rest.rows import BODY_BYTES_MAX, FORBIDDEN, UNAUTHORIZED, row, setting

_LOCAL = "isGlobal authoritative"
_APPLIED = "applied isGlobal authoritative"
_STATS = (
    "authoritative getPreciseBacklog subscriptionBacklogSize getEarliestTimeInBacklog excludePublishers"
    " excludeConsumers"
)
_READ_BY_SUBSCRIPTION = "topic.Consume subscription.Subscribe"
_SEEK = "topic.Consume subscription.Seek"
_GET, _SET = "topic.GetPolicies", "topic.UpdatePolicies"
# each of these has GET, POST and DELETE
_SETTINGS = (
    "autoSubscriptionCreation", "compactionThreshold", "deduplicationEnabled", "deduplicationSnapshotInterval",
    "delayedDelivery", "dispatchRate", "dispatcherPauseOnAckStatePersistent", "entryFilters",
    "inactiveTopicPolicies", "maxConsumers", "maxConsumersPerSubscription", "maxProducers",
    "maxSubscriptionsPerTopic", "maxUnackedMessagesOnConsumer", "maxUnackedMessagesOnSubscription", "persistence",
    "publishRate", "replicatorDispatchRate", "retention", "subscribeRate", "subscriptionDispatchRate",
    "subscriptionTypesEnabled",
)  # fmt: skip


def topics() -> Iterator[Row]:
    for domain in sorted(DOMAINS):
        space = f"/admin/v2/{domain}/{{tenant}}/{{namespace}}"
        yield row("GET", space, "namespace.ListTopics", "bundle includeSystemTopic", answer=Answer.TOPICS)
        yield row("GET", f"{space}/partitioned", "namespace.ListTopics", "includeSystemTopic", answer=Answer.TOPICS)
        topic = f"{space}/{{topic}}"
        yield from _life(topic)
        yield from _shown(topic)
        yield from _messages(topic)
        yield from _subscriptions(f"{topic}/subscription/{{subName}}")
        yield from _settings(topic)
        yield from _produced(f"/topics/{domain}/{{tenant}}/{{namespace}}/{{topic}}")
    of_bundle = "/admin/v2/non-persistent/{tenant}/{namespace}/{bundle}"
    yield row("GET", of_bundle, "namespace.ListTopics", answer=Answer.TOPICS)
    yield from _lookups("/lookup/v2/topic/{topic-domain}/{tenant}/{namespace}/{topic}")
    yield from _schemas("/admin/v2/schemas/{tenant}/{namespace}/{topic}")
    yield from _transactions("/admin/v3/transactions")


def _life(topic: str) -> Iterator[Row]:
    own = "authoritative"
    yield row("PUT", topic, "topic.Create", own, body=BODY_BYTES_MAX, reads=Reads.PROPERTIES)
    yield row("DELETE", topic, "topic.Delete", f"force {own} deleteSchema")
    parts = f"{topic}/partitions"
    yield row("GET", parts, "topic.Lookup", f"{own} checkAllowAutoCreation")
    local = "createLocalTopicOnly"
    yield row("PUT", parts, "topic.Create", local, body=BODY_BYTES_MAX, reads=Reads.PROPERTIES)
    yield row("POST", parts, "topic.UpdatePartitions", f"updateLocalTopicOnly {own} force", body=BODY_BYTES_MAX)
    yield row("DELETE", parts, "topic.Delete", f"force {own} deleteSchema")
    yield row("POST", f"{topic}/createMissedPartitions", "topic.UpdatePartitions", denied=UNAUTHORIZED)
    yield row("PUT", f"{topic}/unload", "topic.Unload", own)
    yield row("POST", f"{topic}/terminate", "topic.Terminate", own)
    yield row("POST", f"{topic}/terminate/partitions", "topic.Terminate", own)
    yield row("DELETE", f"{topic}/truncate", "topic.Truncate", own)
    yield row("POST", f"{topic}/trim", "topic.Truncate", own)
    yield row("GET", f"{topic}/compaction", "topic.GetStats", own)
    yield row("PUT", f"{topic}/compaction", "topic.Compact", own)
    yield row("GET", f"{topic}/offload", "topic.Offload", own)
    yield row("PUT", f"{topic}/offload", "topic.Offload", own, body=BODY_BYTES_MAX)
    expire = f"{topic}/all_subscription/expireMessages/{{expireTimeInSeconds}}"
    yield row("POST", expire, "topic.ExpireMessages", own)


def _shown(topic: str) -> Iterator[Row]:
    own, stats = "authoritative", Answer.STATS
    yield row("GET", f"{topic}/stats", "topic.GetStats", _STATS, answer=stats)
    yield row("GET", f"{topic}/partitioned-stats", "topic.GetStats", f"perPartition {_STATS}", answer=stats)
    yield row("GET", f"{topic}/internalStats", "topic.GetStats", f"{own} metadata", answer=stats)
    yield row("GET", f"{topic}/partitioned-internalStats", "topic.GetStats", own, answer=stats)
    yield row("GET", f"{topic}/internal-info", "topic.GetStats", own, answer=stats)
    yield row("GET", f"{topic}/backlog", "topic.GetStats", own, answer=stats)
    yield row("PUT", f"{topic}/backlogSize", "topic.GetStats", own, body=BODY_BYTES_MAX)
    yield row("GET", f"{topic}/subscriptions", "topic.Consume", own, answer=Answer.SUBSCRIPTIONS)


def _messages(topic: str) -> Iterator[Row]:
    own = "authoritative"
    yield row("GET", f"{topic}/lastMessageId", "topic.Consume", own)
    yield row("GET", f"{topic}/messageid/{{timestamp}}", "topic.Consume", own)
    yield row("GET", f"{topic}/ledger/{{ledgerId}}/entry/{{entryId}}", "topic.Consume topic.Peek", own)
    examined = "initialPosition messagePosition authoritative"
    yield row("GET", f"{topic}/examinemessage", "topic.Consume topic.Peek", examined)


def _subscriptions(one: str) -> Iterator[Row]:
    own, said = "authoritative", BODY_BYTES_MAX
    yield row("PUT", one, "topic.Consume subscription.Create", f"{own} replicated", body=said, reads=Reads.POSITION)
    yield row("DELETE", one, "topic.Consume subscription.Unsubscribe", f"force {own}")
    yield row("GET", f"{one}/position/{{messagePosition}}", _READ_BY_SUBSCRIPTION, own)
    yield row("POST", f"{one}/analyzeBacklog", "topic.Consume subscription.GetStats", own, body=said)
    yield row("POST", f"{one}/expireMessages", _SEEK, own, body=said)
    yield row("POST", f"{one}/expireMessages/{{expireTimeInSeconds}}", _SEEK, own)
    yield row("POST", f"{one}/resetcursor", _SEEK, own, body=said)
    yield row("POST", f"{one}/resetcursor/{{timestamp}}", _SEEK, own)
    yield row("POST", f"{one}/skip/{{numMessages}}", _SEEK, own)
    yield row("POST", f"{one}/skip_all", _SEEK, own)
    for what in ("properties", "replicatedSubscriptionStatus"):
        yield row("GET", f"{one}/{what}", "topic.Consume subscription.GetStats", own)
    labels = "topic.Consume subscription.Update"
    yield row("PUT", f"{one}/properties", labels, own, body=said, reads=Reads.LABELS)
    replicated = f"{one}/replicatedSubscriptionStatus"
    yield row("POST", replicated, "topic.Consume topic.Replicate subscription.Update", own, body=said)


def _settings(topic: str) -> Iterator[Row]:
    for name in _SETTINGS:
        yield from setting(f"{topic}/{name}", _GET, _SET, _APPLIED)
    yield from setting(f"{topic}/maxMessageSize", _GET, _SET, _LOCAL, denied=UNAUTHORIZED)
    yield from setting(f"{topic}/messageTTL", _GET, _SET, _APPLIED, methods="GET DELETE")
    yield row("POST", f"{topic}/messageTTL", _SET, f"messageTTL {_LOCAL}")
    yield from setting(f"{topic}/backlogQuota", _GET, _SET, f"backlogQuotaType {_LOCAL}", methods="POST DELETE")
    yield from setting(f"{topic}/backlogQuotaMap", _GET, _SET, _APPLIED, methods="GET")
    strategy = f"{topic}/schemaCompatibilityStrategy"
    yield from setting(strategy, _GET, _SET, "applied authoritative", methods="GET PUT DELETE")
    yield from setting(f"{topic}/schemaValidationEnforced", _GET, _SET, "applied authoritative", methods="GET POST")
    own, said = f"{topic}/properties", BODY_BYTES_MAX
    yield row("GET", own, _GET, "authoritative", denied=UNAUTHORIZED)
    yield row("PUT", own, _SET, "authoritative", body=said, reads=Reads.PROPERTIES, denied=UNAUTHORIZED)
    yield row("DELETE", own, _SET, "key authoritative", denied=UNAUTHORIZED)
    yield from setting(f"{topic}/{{subName}}/dispatchRate", _GET, f"{_SET} subscription.Update", _APPLIED)
    yield row("DELETE", f"{topic}/policies", f"{_SET} topic.Replicate topic.Offload", "authoritative")
    yield from setting(f"{topic}/offloadPolicies", "topic.Offload", "topic.Offload", _APPLIED, denied=FORBIDDEN)
    yield from setting(f"{topic}/replication", _GET, "topic.Replicate", _APPLIED)
    shadows = f"{topic}/shadowTopics"
    yield from setting(shadows, "topic.Replicate", "topic.Replicate", "authoritative", methods="GET PUT DELETE")
    granted = f"{topic}/permissions"
    yield row("GET", granted, "topic.GetPermissions")
    yield row("POST", f"{granted}/{{role}}", "topic.SetPermissions", body=BODY_BYTES_MAX)
    yield row("DELETE", f"{granted}/{{role}}", "topic.SetPermissions")


def _produced(topic: str) -> Iterator[Row]:
    needs = "topic.Produce topic.PutSchema"
    for path in (topic, f"{topic}/partitions/{{partition}}"):
        yield row("POST", path, needs, "authoritative", body=BODY_BYTES_MAX, reads=Reads.MESSAGES)


def _lookups(topic: str) -> Iterator[Row]:
    yield row("GET", topic, "topic.Lookup", "authoritative listenerName", answer=Answer.LOOKUP)
    yield row("GET", f"{topic}/bundle", "topic.Lookup", denied=FORBIDDEN)


def _schemas(topic: str) -> Iterator[Row]:
    own, said = "authoritative", BODY_BYTES_MAX
    for path in ("schema", "schema/{version}", "schemas", "metadata"):
        yield row("GET", f"{topic}/{path}", "topic.GetSchema", own)
    yield row("POST", f"{topic}/schema", "topic.PutSchema", own, body=said)
    yield row("DELETE", f"{topic}/schema", "topic.DeleteSchema", f"{own} force")
    yield row("POST", f"{topic}/version", "topic.GetSchema", own, body=said)
    yield row("POST", f"{topic}/compatibility", "topic.GetSchema topic.GetPolicies", own, body=said)


def _transactions(root: str) -> Iterator[Row]:
    of_topic = "{tenant}/{namespace}/{topic}"
    described, both = "topic.GetStats", "topic.GetStats subscription.GetStats"
    buffer = f"{root}/transactionBufferStats/{of_topic}"
    yield row("GET", buffer, described, "authoritative lowWaterMarks segmentStats")
    yield row("GET", f"{root}/transactionBufferInternalStats/{of_topic}", described, "authoritative metadata")
    one = "{mostSigBits}/{leastSigBits}"
    yield row("GET", f"{root}/transactionInBufferStats/{of_topic}/{one}", described, "authoritative")
    pending = f"{of_topic}/{{subName}}"
    yield row("GET", f"{root}/pendingAckStats/{pending}", both, "authoritative lowWaterMarks")
    yield row("GET", f"{root}/pendingAckInternalStats/{pending}", both, "authoritative metadata")
    yield row("GET", f"{root}/transactionInPendingAckStats/{pending}/{one}", both, "authoritative")
    position = f"{root}/positionStatsInPendingAck/{pending}/{{ledgerId}}/{{entryId}}"
    yield row("GET", position, both, "authoritative batchIndex")

"""What a path's and a query's variables may be, and which resource of a kind they name together.

A variable that is not in PATH or QUERY has no values: the table's test notices it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from gateway.pulsar import names
from gateway.pulsar.rest.routes import Need, is_variable, parts

BROKERS = "pulsar-brokers"
WORKER = "pulsar-worker"
"""The one name that there is of its kind."""
TEXT_CHARS_MAX = 1000

_ENTITY = re.compile(r"[-=:.\w]{1,255}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)
_INDEX = re.compile(r"\d{1,10}", re.ASCII)
_BUNDLE = re.compile(r"0x[0-9a-fA-F]{8}_0x[0-9a-fA-F]{8}|LARGEST|HOT")
_BOOLEAN = re.compile(r"true|false")
_TEXT = re.compile(rf".{{1,{TEXT_CHARS_MAX}}}")
_PROPERTY = re.compile(rf"(?!(?i:pulsar\.)).{{1,{TEXT_CHARS_MAX}}}")
"""A topic's own; those that begin so make it a shadow, or are counted by brokers."""
_WORD = re.compile(r"[A-Za-z_]{1,60}")

PATH: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(("tenant", "namespace", "cluster", "clusterName"), _ENTITY),
    **dict.fromkeys(("functionName", "sinkName", "sourceName", "packageName", "version", "name"), _ENTITY),
    **dict.fromkeys(
        ("ledgerId", "entryId", "timestamp", "expireTimeInSeconds", "mostSigBits", "leastSigBits"), _NUMBER
    ),
    **dict.fromkeys(("messagePosition", "numMessages", "timeout"), _NUMBER),
    **dict.fromkeys(("partition", "instanceId", "coordinatorId"), _INDEX),
    "bundle": _BUNDLE,
    "topic-domain": re.compile("|".join(names.DOMAINS)),
    "type": re.compile("function|source|sink"),
    **dict.fromkeys(("topic", "subName", "subscription", "role", "key", "value", "group"), _TEXT),
    **dict.fromkeys(("domainName", "policyName", "broker", "brokerId", "bookie", "resourcegroup"), _TEXT),
    **dict.fromkeys(("configName", "configValue", "allocator"), _TEXT),
}
DROPPED = frozenset({"authoritative", "listenerName", "deleteSchema"})
"""Taken from clients and not passed on: the gateway itself follows redirects, and says the addresses; brokers read the
last no more, which pulsar-admin still sends."""
QUERY: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(
        ("authoritative", "force", "isGlobal", "applied", "metadata", "includeSystemTopic", "deleteSchema"), _BOOLEAN
    ),
    **dict.fromkeys(("checkAllowAutoCreation", "createLocalTopicOnly", "updateLocalTopicOnly", "replicated"), _BOOLEAN),
    **dict.fromkeys(("getPreciseBacklog", "subscriptionBacklogSize", "getEarliestTimeInBacklog"), _BOOLEAN),
    **dict.fromkeys(("excludePublishers", "excludeConsumers", "perPartition", "unload", "migrated"), _BOOLEAN),
    **dict.fromkeys(("lowWaterMarks", "segmentStats", "forcedTerminateTopic", "transform-function"), _BOOLEAN),
    **dict.fromkeys(("messageTTL", "messagePosition", "batchIndex"), _NUMBER),
    **dict.fromkeys(("coordinatorId", "maxConcurrentUnloadPerSec"), _INDEX),
    **dict.fromkeys(("backlogQuotaType", "mode", "initialPosition", "splitAlgorithmName", "topicVersion"), _WORD),
    "bundle": _BUNDLE,
    "tenant": _ENTITY,
    "key": _PROPERTY,
    **dict.fromkeys(("listenerName", "group", "destinationBroker", "brokerId", "workerId", "topics"), _TEXT),
}


def sound(values: Mapping[str, str], forms: Mapping[str, re.Pattern[str]]) -> bool:
    return all(name in forms and forms[name].fullmatch(value) for name, value in values.items())


def resource(need: Need, template: str, values: Mapping[str, str]) -> str | None:
    """The name of what a need is about; None for one that cannot be, or that brokers keep for themselves."""
    return _NAMED[need.kind](template, values)


def topic(template: str, values: Mapping[str, str]) -> str | None:
    domain = values.get("topic-domain") or next(
        (each for each in parts(template) if each in names.DOMAINS), "persistent"
    )
    if names.whole(values["topic"]) == "" or "/" in values["topic"]:
        return None
    return names.topic(f"{domain}://{values['tenant']}/{values['namespace']}/{values['topic']}")


def _subscription(_: str, values: Mapping[str, str]) -> str | None:
    return names.subscription(values.get("subName") or values["subscription"])


def _namespace(_: str, values: Mapping[str, str]) -> str | None:
    return names.namespace(f"{values['tenant']}/{values['namespace']}")


def _program(variable: str) -> Callable[[str, Mapping[str, str]], str | None]:
    def named(_: str, values: Mapping[str, str]) -> str:
        return f"{values['tenant']}/{values['namespace']}/{values.get(variable, '')}"

    return named


def _package(_: str, values: Mapping[str, str]) -> str:
    return f"{values['type']}://{values['tenant']}/{values['namespace']}/{values.get('packageName', '')}"


_NAMED: Mapping[str, Callable[[str, Mapping[str, str]], str | None]] = {
    "topic": topic,
    "subscription": _subscription,
    "namespace": _namespace,
    "tenant": lambda _, values: values.get("tenant"),
    "cluster": lambda _, values: values["cluster"],
    "brokers": lambda _, values: BROKERS,
    "worker": lambda _, values: WORKER,
    "function": _program("functionName"),
    "source": _program("sourceName"),
    "sink": _program("sinkName"),
    "package": _package,
}


def variables(template: str) -> list[str]:
    return [each[1:-1] for each in parts(template) if is_variable(each)]

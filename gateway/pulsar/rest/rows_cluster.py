"""What concerns whole clusters and their brokers: by name only, in a role's rules."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.pulsar.rest.routes import Answer, Row
from gateway.pulsar.rest.rows import BODY_BYTES_MAX, row, setting


def clusters() -> Iterator[Row]:
    root, said = "/admin/v2/clusters", BODY_BYTES_MAX
    yield row("GET", root, "", answer=Answer.CLUSTERS)
    one = f"{root}/{{cluster}}"
    yield row("GET", one, "cluster.Describe", answer=Answer.ADDRESSES)
    yield row("PUT", one, "cluster.Create", body=said)
    yield row("POST", one, "cluster.Update", body=said)
    yield row("DELETE", one, "cluster.Delete")
    get, change = "cluster.GetPlacement", "cluster.SetPlacement"
    yield from setting(f"{one}/peers", "cluster.Describe", "cluster.Update", methods="GET POST")
    yield row("GET", f"{one}/migrate", get)
    yield row("POST", f"{one}/migrate", "cluster.Update", "migrated", body=said)
    domains, policies = f"{one}/failureDomains", f"{one}/namespaceIsolationPolicies"
    for path in (domains, policies, f"{policies}/brokers", f"{policies}/brokers/{{broker}}"):
        yield row("GET", path, get)
    yield from setting(f"{domains}/{{domainName}}", get, change)
    yield from setting(f"{policies}/{{policyName}}", get, change)


def brokers() -> Iterator[Row]:
    root = "/admin/v2/brokers"
    for path in ("version", "ready"):
        yield row("GET", f"{root}/{path}", "brokers.Describe")
    for path in ("", "/{cluster}", "/leaderBroker", "/{clusterName}/{brokerId}/ownedNamespaces"):
        yield row("GET", f"{root}{path}", "brokers.List")
    yield row("GET", f"{root}/health", "brokers.CheckHealth", "topicVersion brokerId")
    yield row("GET", f"{root}/backlog-quota-check", "brokers.CheckHealth")
    for path in ("configuration", "configuration/runtime", "configuration/values", "internal-configuration"):
        yield row("GET", f"{root}/{path}", "brokers.GetConfiguration")
    change, one = "brokers.SetConfiguration", f"{root}/configuration/{{configName}}"
    yield row("POST", f"{one}/{{configValue}}", change)
    yield row("DELETE", one, change)
    ending = "maxConcurrentUnloadPerSec forcedTerminateTopic"
    yield row("POST", f"{root}/shutdown", "brokers.Shutdown", ending)
    yield from _statistics("/admin/v2/broker-stats")
    yield from _storage("/admin/v2/bookies")
    yield from _quotas()
    yield from _transactions("/admin/v3/transactions")


def _statistics(root: str) -> Iterator[Row]:
    paths = "allocator-stats/{allocator} bookieops load-report mbeans metrics topics"
    for path in (*paths.split(), "broker-resource-availability/{tenant}/{namespace}"):
        yield row("GET", f"{root}/{path}", "brokers.GetStats")


def _storage(root: str) -> Iterator[Row]:
    get, change, one = "brokers.GetBookies", "brokers.SetBookies", f"{root}/racks-info/{{bookie}}"
    for path in ("all", "racks-info"):
        yield row("GET", f"{root}/{path}", get)
    yield from setting(one, get, change, methods="GET DELETE")
    yield row("POST", one, change, "group", body=BODY_BYTES_MAX)


def _quotas() -> Iterator[Row]:
    get, change = "brokers.GetQuotas", "brokers.SetQuotas"
    yield from setting("/admin/v2/resource-quotas", get, change, methods="GET POST")
    groups = "/admin/v2/resourcegroups"
    yield row("GET", groups, get)
    one = f"{groups}/{{resourcegroup}}"
    yield from setting(one, get, change, methods="GET PUT DELETE")


def _transactions(root: str) -> Iterator[Row]:
    get, own, one = "brokers.GetTransactions", "authoritative", "{mostSigBits}/{leastSigBits}"
    yield row("GET", f"{root}/coordinators", get)
    yield row("GET", f"{root}/coordinatorStats", get, f"{own} coordinatorId")
    yield row("GET", f"{root}/coordinatorInternalStats/{{coordinatorId}}", get, f"{own} metadata")
    yield row("GET", f"{root}/slowTransactions/{{timeout}}", get, f"{own} coordinatorId")
    yield row("GET", f"{root}/transactionMetadata/{one}", get, own)
    yield row("POST", f"{root}/abortTransaction/{one}", "brokers.AbortTransaction", own)
    replicas = f"{root}/transactionCoordinator/replicas"
    yield row("POST", replicas, "brokers.SetConfiguration", body=BODY_BYTES_MAX)

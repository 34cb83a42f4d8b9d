"""Flaws that Pulsar's REST interface has had: each is closed here whatever release the broker is of."""

from __future__ import annotations

import pytest

from gateway.pulsar.rest import Passed, Refused
from gateway.pulsar.rest.table import ROWS
from gateway.pulsar.vocabulary import SYSTEM
from tests.real.pulsar.rest_asking import ADMIN, ASKED, CONSUME, NOBODY, PRODUCE, RestWorld, decided, worlds
from tests.unit.rest_world import ALL

ORDERS = "/admin/v2/persistent/acme/app/orders"
SPACE = "/admin/v2/namespaces/acme/app"
MESSAGE = b'{"messages":[{"payload":"eA=="}]}'


def of(role: str) -> RestWorld:
    return worlds()[role]


def test_cve_2023_30428_the_rest_producer_needs_produce() -> None:
    path = "/topics/persistent/acme/app/orders"
    for role in (NOBODY, CONSUME):
        for at in (path, f"{path}/partitions/0"):
            assert isinstance(of(role).decide("POST", at), Refused)
    produced = of(PRODUCE).decide("POST", path, MESSAGE)
    assert isinstance(produced, Passed)
    forged = b'{"producerName":"pulsar.repl.other","messages":[{"payload":"eA=="}]}'
    assert isinstance(of(PRODUCE).decide("POST", path, forged), Refused)


@pytest.mark.parametrize("kind", ["functions", "sources", "sinks"])
def test_cve_2023_37579_configurations_of_functions_are_not_shown(kind: str) -> None:
    """Nor to a tenant's administrator, unless a role names them."""
    for role in (NOBODY, PRODUCE, CONSUME, ADMIN):
        for path in ("", "/status", "/0/status"):
            assert isinstance(of(role).decide("GET", f"/admin/v3/{kind}/acme/app/mine{path}"), Refused)
    named = RestWorld([(kind[:-1], "Describe", "acme/app/mine")])
    assert isinstance(named.decide("GET", f"/admin/v3/{kind}/acme/app/mine"), Passed)
    assert isinstance(named.decide("GET", f"/admin/v3/{kind}/acme/app/theirs"), Refused)


def test_cve_2024_28098_topic_policies_are_not_for_who_produces_or_consumes() -> None:
    changing = [each for each in ASKED if any(need.operation == "UpdatePolicies" for need in each.row.needs)]
    assert len(changing) > 100
    for role in (PRODUCE, CONSUME):
        world = of(role)
        assert all(isinstance(decided(world, each), Refused) for each in changing)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", f"{ORDERS}/unload"), ("PUT", f"{ORDERS}/compaction"), ("POST", f"{ORDERS}/terminate"),
        ("DELETE", f"{ORDERS}/truncate"), ("POST", f"{ORDERS}/trim"), ("PUT", f"{ORDERS}/offload"),
        ("POST", f"{ORDERS}/partitions"), ("DELETE", f"{ORDERS}/partitions"), ("POST", f"{SPACE}/clearBacklog"),
        ("PUT", f"{SPACE}/unload"), ("PUT", f"{SPACE}/0x00000000_0x40000000/split"), ("GET", f"{SPACE}/bundles"),
        ("POST", f"{SPACE}/unsubscribe/sub"), ("POST", f"{SPACE}/permissions/me"), ("GET", f"{SPACE}/permissions"),
    ],
)  # fmt: skip
def test_cve_2024_29834_topics_and_namespaces_are_not_managed_by_who_produces_or_consumes(
    method: str, path: str
) -> None:
    for role in (PRODUCE, CONSUME):
        assert isinstance(of(role).decide(method, path), Refused)


@pytest.mark.parametrize("path", ["/proxy-stats/connections", "/proxy-stats/logging/2", "/admin/v2/proxy-stats/stats"])
def test_cve_2022_34321_no_proxy_statistics_and_no_log_levels(path: str) -> None:
    for method in ("GET", "POST"):
        assert isinstance(RestWorld(ALL).decide(method, path), Refused)


@pytest.mark.parametrize("path", ["/ws/v2/producer/persistent/acme/app/orders", "/ws/producer/x", "/ws"])
def test_cve_2023_37544_no_websocket(path: str) -> None:
    assert isinstance(RestWorld(ALL).decide("GET", path), Refused)


@pytest.mark.parametrize("path", ["/download?path=/etc/passwd", "/download?path=x", "/upload", "/leader/a/b/c"])
def test_cve_2024_27894_no_files_or_addresses_of_the_workers(path: str) -> None:
    for method in ("GET", "POST", "PUT"):
        assert isinstance(RestWorld(ALL).decide(method, f"/admin/v3/functions{path}"), Refused)


def test_cve_2021_41571_messages_by_their_ledger_need_a_right_of_their_own() -> None:
    for role in (NOBODY, PRODUCE, CONSUME):
        assert isinstance(of(role).decide("GET", f"{ORDERS}/ledger/1/entry/1"), Refused)


def test_no_common_verb_reaches_code_clusters_or_other_peoples_grants() -> None:
    """What changes the brokers, runs beside them or gives rights needs its own name in a rule."""
    by_verbs = {
        (kind.name, operation) for kind in SYSTEM.kinds.values() for given in kind.verbs.values() for operation in given
    }
    for row in ROWS:
        for need in row.needs:
            if need.kind in ("function", "source", "sink", "package", "worker") or need.operation == "SetPermissions":
                assert (need.kind, need.operation) not in by_verbs
            if need.kind in ("brokers", "cluster") and (need.kind, need.operation) in by_verbs:
                assert row.method == "GET"
                assert need.operation == "Describe"

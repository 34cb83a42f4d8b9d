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


SHADOW = b'"PULSAR.SHADOW_SOURCE":"persistent://hr/x/payroll"'


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", b"{%s}" % SHADOW), ("", b"{%s}" % SHADOW.lower()), ("/properties", b"{%s}" % SHADOW),
        ("/partitions", b'{"partitions":1,"properties":{%s}}' % SHADOW), ("/partitions", b"{%s}" % SHADOW),
        ("", b'{"a":"x","PULSAR\\u002eSHADOW_SOURCE":"y"}'), ("/properties", b'{"pulsar.topic.epoch":"1"}'),
        ("", b'{"a":"1","a":"2"}'), ("/partitions", b'{"partitions":1,"properties":{},"properties":{%s}}' % SHADOW),
        ("/partitions", b'"1"'), ("/partitions", b"1.5"), ("", b"[]"), ("", b'{"a":{"b":"c"}}'), ("", b"{"),
        ("/properties", b'{"migrated":"true"}'), ("/properties", b"[{%s}]" % SHADOW),
    ],
)  # fmt: skip
def test_no_topic_is_made_a_shadow_of_another_by_its_properties(path: str, body: bytes) -> None:
    """Its reader would read the other topic's messages."""
    for domain in ("persistent", "non-persistent"):
        answer = RestWorld(ALL).decide("PUT", f"/admin/v2/{domain}/acme/app/mine{path}", body)
        assert isinstance(answer, Refused)
        assert answer.status == 412


@pytest.mark.parametrize(
    ("path", "body", "written"),
    [
        ("", b"", b""), ("", b"null", b"null"), ("", b'{ "a": "b" }', b'{"a":"b"}'), ("/partitions", b" 3", b"3"),
        ("/partitions", b'{"partitions":3,"deleted":false,"properties":{"a":"b"}}', None),
        ("/partitions", b'{"partitions":3,"deleted":false,"properties":null}', None), ("/properties", b"{}", b"{}"),
    ],
)  # fmt: skip
def test_other_properties_pass_written_anew(path: str, body: bytes, written: bytes | None) -> None:
    answer = RestWorld(ALL).decide("PUT", f"/admin/v2/persistent/acme/app/mine{path}", body)
    assert isinstance(answer, Passed)
    assert answer.body == (body if written is None else written)


BUCKET = b'"#pulsar.internal.delayed.bucket_1":"7"'


@pytest.mark.parametrize(
    "body",
    [
        b'{"properties":{%s}}' % BUCKET, b'{"ledgerId":1,"entryId":2,"properties":{"a":"b",%s}}' % BUCKET, b"[]",
        b'{"properties":{"a":"1"},"properties":{%s}}' % BUCKET, b'{"other":1}', b'{"ledgerId":{}}', b'"somewhere"',
        b'{"properties":{"PULSAR.x":"1"}}', b'{"properties":{"a":{}}}', b'{"properties":[]}' * 2,
    ],
)  # fmt: skip
def test_no_subscription_is_made_with_properties_of_the_brokers(body: bytes) -> None:
    answer = RestWorld(ALL).decide("PUT", f"{ORDERS}/subscription/mine", body)
    assert isinstance(answer, Refused)
    assert answer.status == 412


@pytest.mark.parametrize(
    "body",
    [
        b"", b'"latest"', b'{"ledgerId":1,"entryId":-1,"excluded":false,"properties":null}',
        b'{"ledgerId":9223372036854775807,"entryId":9223372036854775807,"partitionIndex":-1,"batchIndex":-1,"batchSize":0}',
    ],
)  # fmt: skip
def test_where_a_subscription_begins_passes_written_anew(body: bytes) -> None:
    answer = RestWorld(ALL).decide("PUT", f"{ORDERS}/subscription/mine", body)
    assert isinstance(answer, Passed)
    assert answer.body == body


def test_a_subscriptions_own_properties_are_the_brokers() -> None:
    at = f"{ORDERS}/subscription/mine/properties"
    assert isinstance(RestWorld(ALL).decide("PUT", at, b'{"a":"b"}'), Passed)
    assert isinstance(RestWorld(ALL).decide("PUT", at, b"{%s}" % BUCKET), Refused)


def test_a_shadow_stays_one() -> None:
    world = RestWorld(ALL)
    assert isinstance(world.decide("DELETE", f"{ORDERS}/properties?key=mine"), Passed)
    assert isinstance(world.decide("DELETE", f"{ORDERS}/properties?key=PULSAR.SHADOW_SOURCE"), Refused)


@pytest.mark.parametrize(
    ("method", "path", "lacking"),
    [
        ("PUT", f"{ORDERS}/subscription/s?replicated=", ("topic", "Replicate", "persistent://acme/app/orders")),
        ("GET", f"{ORDERS}/internalStats?metadata=", ("brokers", "GetBookies", "pulsar-brokers")),
        ("GET", "/admin/v3/transactions/transactionBufferInternalStats/acme/app/orders?metadata=", None),
        ("GET", "/admin/v3/transactions/pendingAckInternalStats/acme/app/orders/s?metadata=", None),
    ],
)  # fmt: skip
def test_parameters_that_ask_for_more(method: str, path: str, lacking: tuple[str, str, str] | None) -> None:
    lacking = lacking or ("brokers", "GetBookies", "pulsar-brokers")
    body = b"" if method == "PUT" else None
    plain = RestWorld(ALL).decide(method, f"{path}false", body)
    assert isinstance(plain, Passed)
    assert lacking not in plain.checks
    assert isinstance(RestWorld(plain.checks).decide(method, f"{path}false", body), Passed)
    assert isinstance(RestWorld(plain.checks).decide(method, f"{path}true", body), Refused)
    assert isinstance(RestWorld([*plain.checks, lacking]).decide(method, f"{path}true", body), Passed)


def test_an_anti_affinity_group_needs_its_tenant_named() -> None:
    path = "/admin/v2/namespaces/c1/antiAffinity/g"
    assert isinstance(RestWorld(ALL).decide("GET", path), Refused)
    assert isinstance(RestWorld(ALL).decide("GET", f"{path}?tenant=acme"), Passed)


CREATE = ("namespace", "Create", "acme/new")
ALTER = ("namespace", "UpdatePolicies", "acme/new")


@pytest.mark.parametrize(
    ("said", "needs"),
    [
        ('"offload_threshold":0', [("namespace", "Offload", "acme/new")]),
        ('"offload_threshold":null', [("namespace", "Offload", "acme/new")]),
        ('"offload_threshold_in_seconds":""', [("namespace", "Offload", "acme/new")]),
        ('"offload_deletion_lag_ms":0', [("namespace", "Offload", "acme/new")]),
        ('"delayed_delivery_policies":{}', [ALTER, ("brokers", "SetConfiguration", "pulsar-brokers")]),
        ('"offload_policies":{}', [("namespace", "Offload", "acme/new")]), ('"retention_policies":{}', [ALTER]),
        ('"delayed_delivery_policies":null', []),
        (
            '"delayed_delivery_policies":{"active":true}',
            [ALTER, ("brokers", "SetConfiguration", "pulsar-brokers")],
        ),
        ('"resource_group_name":"other"', [ALTER]), ('"properties":{"a":"b"}', [ALTER]),
        ('"deduplicationEnabled":false', [ALTER]), ('"max_producers_per_topic":0', [ALTER]),
        ('"persistence":{"bookkeeperEnsemble":0}', [ALTER]), ('"schema_compatibility_strategy":"FULL"', [ALTER]),
        (
            '"migrated":true',
            [("namespace", "Replicate", "acme/new"), ("brokers", "SetConfiguration", "pulsar-brokers")],
        ),
        ('"antiAffinityGroup":"g"', [("namespace", "ManageBundles", "acme/new")]),
    ],
)  # fmt: skip
def test_each_first_policy_of_a_namespace_needs_what_it_needs_later(
    said: str, needs: list[tuple[str, str, str]]
) -> None:
    path, body = "/admin/v2/namespaces/acme/new", f"{{{said}}}".encode()
    assert isinstance(RestWorld([CREATE, *needs]).decide("PUT", path, body), Passed)
    for missing in needs:
        world = RestWorld({CREATE, *needs} - {missing})
        assert isinstance(world.decide("PUT", path, body), Refused)


USUAL = (
    b'{"auth_policies":{"namespace_auth":{},"destination_auth":{},"subscription_auth_roles":{}},'
    b'"replication_clusters":[],"allowed_clusters":[],"bundles":{"numBundles":16},"backlog_quota_map":{},'
    b'"clusterDispatchRate":{},"latency_stats_sample_rate":{},"deleted":false,"encryption_required":false,'
    b'"subscription_auth_mode":"None","offload_threshold":-1,"offload_threshold_in_seconds":-1,"persistence":null,'
    b'"schema_compatibility_strategy":"UNDEFINED","schema_validation_enforced":false,'
    b'"subscription_types_enabled":[],"properties":{},"migrated":false}'
)
"""As Pulsar's Java client writes them."""


def test_a_namespace_as_clients_make_it_needs_create_alone_and_brings_nothing_unknown() -> None:
    path = "/admin/v2/namespaces/acme/new"
    assert isinstance(RestWorld([CREATE]).decide("PUT", path, USUAL), Passed)
    for unknown in (b'{"unknown":1}', b'{"unknown":null}', b'{"Offload_Threshold":-1}'):
        assert isinstance(RestWorld(ALL).decide("PUT", path, unknown), Refused)

"""Every route of Pulsar's REST interface: the table against the broker's list, the reading of targets, decisions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.pulsar import reasons
from gateway.pulsar.names import DOMAINS
from gateway.pulsar.rest import Door, Needs, Passed, Refused, Unreadable, named
from gateway.pulsar.rest.routes import Reads, Row, parts
from gateway.pulsar.rest.rows import FILE_BYTES_MAX
from gateway.pulsar.rest.table import ROUTES, ROWS
from gateway.pulsar.rest.target import PARAMETERS_MAX, SEGMENTS_MAX, TARGET_BYTES_MAX, read, write
from gateway.pulsar.vocabulary import SYSTEM
from tests.unit.rest_world import ALL, RestWorld

FACTS = Path(__file__).with_name("pulsar_rest_routes.txt")
VALUES = {
    "bundle": "0x00000000_0x40000000", "topic-domain": "persistent", "type": "function", "topic": "orders",
    "tenant": "acme", "namespace": "app", "subName": "sub", "cluster": "c1",
    **dict.fromkeys(("ledgerId", "entryId", "timestamp", "expireTimeInSeconds", "mostSigBits", "leastSigBits"), "7"),
    **dict.fromkeys(("messagePosition", "numMessages", "timeout", "partition", "instanceId", "coordinatorId"), "7"),
}  # fmt: skip
ORDERS = "/admin/v2/persistent/acme/app/orders"
TOPIC = "persistent://acme/app/orders"
QUIET_LISTS = {"GET /admin/v2/clusters"}
"""Open to everybody at the broker, too; the answer is filtered."""


def shaped(template: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", template)


def facts() -> list[tuple[str, str, set[str]]]:
    lines = [line.split() for line in FACTS.read_text().splitlines() if not line.startswith("#")]
    return [(method, path, set(query)) for method, path, _, *query in lines]


def target(row: Row) -> str:
    return re.sub(r"\{([^}]*)\}", lambda match: VALUES.get(match[1], "x"), row.template)


def family_of(row: Row) -> str:
    return "/".join(parts(row.template)[:3])


BY_SHAPE = {(row.method, shaped(row.template)): row for row in ROWS}


def test_no_route_of_the_broker_is_forgotten_and_none_invented() -> None:
    known = set()
    for method, path, query in facts():
        if ROUTES.closed_by(parts(path)):
            continue
        row = BY_SHAPE.get((method, shaped(path)))
        assert row is not None, f"{method} {path} is in no row"
        assert query <= row.query, row.route
        assert row.query - query <= {"applied", "isGlobal", "authoritative", "deleteSchema"}, row.route
        known.add((method, shaped(path)))
    assert known == set(BY_SHAPE), "rows that the broker does not have"
    assert len(ROWS) == len(BY_SHAPE)


@pytest.mark.parametrize("family", sorted({family_of(row) for row in ROWS}))
def test_a_row_is_sound(family: str) -> None:
    """Its words are in the vocabulary, its variables have forms, and nobody without rights gets through it."""
    for row in ROWS:
        if family_of(row) == family:
            _sound(row)


def _sound(row: Row) -> None:
    for need in (*row.needs, *row.forced):
        assert need.operation in SYSTEM.kinds[need.kind].operations
    assert set(named.variables(row.template)) <= named.PATH.keys()
    assert row.query <= named.QUERY.keys()
    assert 0 <= row.body_max <= FILE_BYTES_MAX
    assert row.needs or row.reads is Reads.PERMISSIONS or row.route in QUIET_LISTS
    nobody, anybody = RestWorld(), RestWorld(ALL)
    body = b'[{"topics":["persistent://acme/app/orders"],"roles":["x"],"actions":["produce"]}]'
    query = "?tenant=acme" if "tenant" in row.query else ""
    answer = nobody.decide(row.method, target(row) + query)
    if isinstance(answer, Needs):
        answer = nobody.decide(row.method, target(row) + query, body)
    allowed = anybody.decide(row.method, target(row) + query)
    if row.route in QUIET_LISTS:
        assert isinstance(answer, Passed)
        assert answer.shape is not None
    else:
        assert isinstance(answer, Refused), answer
        assert answer.status == row.denied
        assert set(json.loads(answer.body)) == {"reason"}
        assert nobody.events[0].fields["api"] == row.route
    assert isinstance(allowed, Passed | Needs), allowed
    if isinstance(allowed, Passed):
        assert allowed.route == row.route, "another row took it"
        assert allowed.target.decode() == (target(row) + query)


@pytest.mark.parametrize("family", sorted({family_of(row) for row in ROWS}))
def test_each_need_of_a_row_is_needed(family: str) -> None:
    for row in ROWS:
        if family_of(row) == family:
            _each_needed(row)


def _each_needed(row: Row) -> None:
    whole = RestWorld(ALL).decide(row.method, target(row) + ("?tenant=acme" if "tenant" in row.query else ""))
    if not isinstance(whole, Passed):
        return
    for missing in whole.checks:
        world = RestWorld(set(whole.checks) - {missing})
        answer = world.decide(row.method, target(row) + ("?tenant=acme" if "tenant" in row.query else ""))
        assert isinstance(answer, Refused), missing
        assert world.events[0].fields["operation"] == missing[1]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PATCH", "CONNECT", "get", "GET ", ""])
def test_other_methods_are_refused(method: str) -> None:
    answer = RestWorld(ALL).decide(method, f"{ORDERS}/stats")
    assert isinstance(answer, Refused)
    assert answer.status == 405


@pytest.mark.parametrize("path", [path for _, path, _ in facts() if ROUTES.closed_by(parts(path))])
def test_what_is_closed_is_refused_to_whoever_may_do_everything(path: str) -> None:
    written = re.sub(r"\{[^}]*\}", "x", path)
    for method in ("GET", "PUT", "POST", "DELETE"):
        world = RestWorld(ALL)
        answer = world.decide(method, written)
        assert isinstance(answer, Refused)
        assert (answer.status, answer.reason) == (403, reasons.REST_CLOSED)
        assert world.events[0].fields["why"] == "closed"


@pytest.mark.parametrize(
    "written",
    [
        "/", "", "*", "admin/v2/clusters", "http://broker:8080/admin/v2/clusters", "//admin/v2/clusters",
        "/admin//v2/clusters", "/admin/v2/clusters/", "/admin/v2/./clusters", "/admin/v2/x/../clusters",
        "/admin/v2/%2e%2e/clusters", "/admin/v2/%2E/clusters", "/admin/v2/clusters;a=b", "/admin;x/v2/clusters",
        "/admin/v2/clusters%3Ba", "/admin/v2/clusters%00", "/admin/v2/clusters%0d%0a", "/admin/v2/clusters%",
        "/admin/v2/clusters%2", "/admin/v2/clusters%zz", "/admin/v2/clusters%u0041", "/admin/v2/clusters#x",
        "/admin/v2/clusters\\x", "/admin/v2/a%5Cb", "/admin/v2/a%2Fb", "/admin/v2/a%252Fb", "/admin/v2/a%25b",
        "/admin/v2/a+b", "/admin/v2/a%2Bb", "/admin/v2/a b", "/admin/v2/caf\u00e9", "/admin/v2/%C3", "/admin/v2/%C0%AF",
        "/admin/v2/%ED%A0%80", "/admin/v2/a%7Fb", "/admin/v2/a%E2%80%AEb", "/admin/v2/clusters?", "/admin/v2/x?a",
        "/admin/v2/clusters?a=1&a=2", "/admin/v2/clusters?a=1&", "/admin/v2/clusters?a=1;b=2", "/admin/v2/clusters?a=+",
        "/admin/v2/clusters?%61=1", "/admin/v2/clusters?a=%00", "/admin/v2/clusters?a=%FF", "/admin/v2/clusters?a=1?#",
        "/admin/v2/<x>", '/admin/v2/"x"', "/admin/v2/{x}", "/admin/v2/x|y", "/admin/v2/x^y", "/admin/v2/`x`",
        "/" + "/".join("a" * (SEGMENTS_MAX + 1)), "/" + "a" * TARGET_BYTES_MAX,
        "/a?" + "&".join(f"{'x' * (each + 1)}=1" for each in range(PARAMETERS_MAX + 1)),
    ],
)  # fmt: skip
def test_what_two_readers_could_read_in_two_ways_is_refused(written: str) -> None:
    assert read(written.encode()) is None
    answer = RestWorld(ALL).decide("GET", written)
    assert isinstance(answer, Refused)
    assert (answer.status, answer.reason) == (400, reasons.REST_TARGET)


@pytest.mark.parametrize(
    ("written", "anew"),
    [
        ("/admin/v2/clusters", "/admin/v2/clusters"),
        ("/%61dmin/v2/c%6Custers", "/admin/v2/clusters"),
        ("/lookup/v2/topic/persistent/a/b/caf%c3%a9", "/lookup/v2/topic/persistent/a/b/caf%C3%A9"),
        ("/a/x:y=z@w?force=true&mode=ALL", "/a/x%3Ay%3Dz%40w?force=true&mode=ALL"),
        ("/a/b%20c?k=%20v%26%3D%2B", "/a/b%20c?k=%20v%26%3D%2B"),
        ("/" + "/".join("a" * SEGMENTS_MAX), "/" + "/".join("a" * SEGMENTS_MAX)),
        ("/" + "a" * (TARGET_BYTES_MAX - 1), "/" + "a" * (TARGET_BYTES_MAX - 1)),
    ],
)
def test_a_target_is_written_anew(written: str, anew: str) -> None:
    found = read(written.encode())
    assert found is not None
    assert write(found.segments, found.parameters).decode() == anew
    assert read(anew.encode()) == found


def test_decoded_once_the_row_and_the_rule_see_what_the_broker_will() -> None:
    world = RestWorld([("topic", "GetStats", TOPIC)])
    answer = world.decide(
        "GET", "/admin/v2/persistent/acme/app/%6Frders/stats?authoritative=true&getPreciseBacklog=true"
    )
    assert isinstance(answer, Passed)
    assert answer.target == b"/admin/v2/persistent/acme/app/orders/stats?getPreciseBacklog=true"
    assert isinstance(world.decide("GET", "/admin/v2/persistent/acme/app/%256Frders/stats"), Refused)


def test_a_partition_is_its_topic_and_stays_what_it_was_on_the_way() -> None:
    world = RestWorld([("topic", "GetStats", TOPIC)])
    answer = world.decide("GET", f"{ORDERS}-partition-3/stats")
    assert isinstance(answer, Passed)
    assert answer.checks == (("topic", "GetStats", TOPIC),)
    assert answer.target == f"{ORDERS}-partition-3/stats".encode()


@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_the_domain_is_part_of_the_topic(domain: str) -> None:
    world = RestWorld([("topic", "GetStats", f"{domain}://acme/app/orders")])
    for asked in DOMAINS:
        answer = world.decide("GET", f"/admin/v2/{asked}/acme/app/orders/stats")
        assert isinstance(answer, Passed) is (asked == domain)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/v2/persistent/pulsar/system/transaction_coordinator_assign/stats"),
        ("GET", "/admin/v2/persistent/acme/app/__change_events/stats"),
        ("DELETE", "/admin/v2/persistent/acme/app/__change_events-partition-0"),
        ("GET", "/admin/v2/persistent/acme/app/x__transaction_pending_ack/internalStats"),
        ("GET", "/lookup/v2/topic/persistent/pulsar/system/x"),
        ("GET", "/admin/v2/namespaces/pulsar/system"),
        ("DELETE", "/admin/v2/namespaces/pulsar/system"),
        ("DELETE", "/admin/v2/tenants/pulsar"),
        ("DELETE", "/admin/v2/persistent/acme/app/orders/subscription/__compaction"),
        ("POST", "/admin/v2/persistent/acme/app/orders/subscription/pulsar.repl.other/skip_all"),
    ],
)
def test_what_brokers_keep_for_themselves_is_nobodys(method: str, path: str) -> None:
    assert isinstance(RestWorld(ALL).decide(method, path), Refused)


@pytest.mark.parametrize(
    "path",
    [
        "/admin/v2/persistent/acme/app/orders/stats?unknown=1",
        "/admin/v2/persistent/acme/app/orders/stats?getPreciseBacklog=maybe",
        "/admin/v2/persistent/acme/app/orders/stats?force=true",
        "/admin/v2/persistent/ac%20me/app/orders/stats",
        "/admin/v2/persistent/acme/app/orders/ledger/1/entry/x",
        "/admin/v2/persistent/acme/app/orders/messageid/yesterday",
        "/admin/v2/non-persistent/acme/app/0x0_0x1",
    ],
)
def test_names_and_parameters_out_of_form_are_refused(path: str) -> None:
    answer = RestWorld(ALL).decide("GET", path)
    assert isinstance(answer, Refused)
    assert answer.status == 412


def test_a_path_of_two_templates_goes_the_plainly_more_literal_way_or_nowhere() -> None:
    world = RestWorld(ALL)
    listed = world.decide("GET", "/admin/v2/persistent/acme/app/partitioned")
    assert isinstance(listed, Passed)
    assert listed.route == "GET /admin/v2/persistent/{tenant}/{namespace}/partitioned"
    assert isinstance(world.decide("DELETE", "/admin/v2/persistent/acme/app/partitioned"), Refused)
    # {tenant}/{namespace}/retention and {cluster}/antiAffinity/{group}: neither is plainly the one
    both = world.decide("GET", "/admin/v2/namespaces/acme/antiAffinity/retention")
    assert isinstance(both, Refused)
    assert both.status == 404


def test_force_on_what_holds_more_than_itself_needs_its_own_name() -> None:
    space = "/admin/v2/namespaces/acme/app"
    world = RestWorld([("namespace", "Delete", "acme/app")])
    assert isinstance(world.decide("DELETE", space), Passed)
    assert isinstance(world.decide("DELETE", f"{space}?force=true"), Refused)
    assert isinstance(world.decide("DELETE", f"{space}?force=false"), Passed)


def test_looking_up_partitions_makes_no_topic_for_who_may_only_describe() -> None:
    path = f"{ORDERS}/partitions?checkAllowAutoCreation=true"
    described = RestWorld([("topic", "Lookup", TOPIC)]).decide("GET", path)
    produced = RestWorld([("topic", "Lookup", TOPIC), ("topic", "Produce", TOPIC)]).decide("GET", path)
    assert isinstance(described, Passed)
    assert isinstance(produced, Passed)
    assert described.target == f"{ORDERS}/partitions?checkAllowAutoCreation=false".encode()
    assert produced.target == path.encode()


# --- bodies


def test_grants_are_asked_for_topic_by_topic() -> None:
    path = "/admin/v2/namespaces/grantPermissionsOnTopics"
    other = "persistent://acme/app/payroll"
    body = json.dumps([{"topics": [TOPIC, other], "roles": ["x"], "actions": ["consume"]}]).encode()
    assert isinstance(RestWorld().decide("POST", path), Needs)
    one = RestWorld([("topic", "SetPermissions", TOPIC)])
    assert isinstance(one.decide("POST", path, body), Refused)
    both = RestWorld([("topic", "SetPermissions", TOPIC), ("topic", "SetPermissions", other)])
    answer = both.decide("POST", path, body)
    assert isinstance(answer, Passed)
    assert answer.body is not None
    assert json.loads(answer.body) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"null", b"[1]", b'[{"topics":[]}]', b'[{"topics":["persistent://pulsar/system/x"]}]',
        b'[{"topics":["persistent://acme/app/orders"],"topics":["x"]}]', b"[{}]}{", b'[{"topics":["a"],"more":1}]',
        b'[]}, "x": {"": []', b"[NaN]", b"\xff", b"[" * 100,
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_decided_about_is_refused(body: bytes) -> None:
    answer = RestWorld(ALL).decide("POST", "/admin/v2/namespaces/revokePermissionsOnTopics", body)
    assert isinstance(answer, Refused)
    assert answer.status == 412


def test_a_new_namespace_brings_no_grants_that_were_not_asked_for() -> None:
    space, created = "/admin/v2/namespaces/acme/new", [("namespace", "Create", "acme/new")]
    world = RestWorld(created)
    assert isinstance(RestWorld().decide("PUT", space), Refused)
    assert isinstance(world.decide("PUT", space), Needs)
    plain = b'{"auth_policies":{"namespace_auth":{},"destination_auth":{}},"replication_clusters":[],"bundles":null}'
    assert isinstance(world.decide("PUT", space, plain), Passed)
    assert isinstance(world.decide("PUT", space, b"null"), Passed)
    granting = b'{"auth_policies":{"namespace_auth":{"mallory":["produce"]}}}'
    assert isinstance(world.decide("PUT", space, granting), Refused)
    granted = RestWorld([*created, ("namespace", "SetPermissions", "acme/new")])
    assert isinstance(granted.decide("PUT", space, granting), Passed)
    assert isinstance(world.decide("PUT", space, b'{"replication_clusters":["elsewhere"]}'), Refused)
    assert isinstance(world.decide("PUT", space, b'{"offload_policies":{"offloadersDirectory":"x"}}'), Refused)


# --- answers


def seen(world: RestWorld, path: str, answer: object) -> object:
    decision = world.decide("GET", path)
    assert isinstance(decision, Passed)
    assert decision.shape is not None
    return json.loads(b"".join(decision.shape(200, json.dumps(answer).encode())))


def test_lists_hold_what_the_principal_may_see() -> None:
    world = RestWorld(
        [
            ("namespace", "ListTopics", "acme/app"), ("topic", "Lookup", TOPIC), ("tenant", "Describe", "acme"),
            ("brokers", "ListTenants", "pulsar-brokers"), ("cluster", "Describe", "c1"), ("topic", "Consume", TOPIC),
            ("subscription", "GetStats", "mine"),
        ]
    )  # fmt: skip
    names = [TOPIC, f"{TOPIC}-partition-1", "persistent://acme/app/payroll", "persistent://acme/app/__change_events"]
    for path in ("/admin/v2/persistent/acme/app", "/admin/v2/namespaces/acme/app/topics"):
        assert seen(world, path, names) == names[:2]
    assert seen(world, "/admin/v2/namespaces/acme", ["acme/app", "acme/hidden"]) == ["acme/app"]
    assert seen(world, "/admin/v2/tenants", ["acme", "other"]) == ["acme"]
    assert seen(world, "/admin/v2/clusters", ["c1", "c2"]) == ["c1"]
    assert seen(world, f"{ORDERS}/subscriptions", ["mine", "theirs", "__compaction"]) == ["mine"]


def test_statistics_without_addresses_and_without_others_subscriptions() -> None:
    world = RestWorld([("topic", "GetStats", TOPIC), ("subscription", "GetStats", "mine")])
    told = {
        "msgInCounter": 3, "ownerBroker": "10.0.0.9:8080",
        "publishers": [{"producerId": 1, "address": "/10.0.0.7:1234"}],
        "subscriptions": {
            "mine": {"consumers": [{"address": "/10.0.0.8:1", "consumerName": "c"}], "msgBacklog": 1},
            "theirs": {"consumers": []}, "pulsar.repl.other": {},
        },
    }  # fmt: skip
    assert seen(world, f"{ORDERS}/stats", told) == {
        "msgInCounter": 3, "publishers": [{"producerId": 1}],
        "subscriptions": {"mine": {"consumers": [{"consumerName": "c"}], "msgBacklog": 1}},
    }  # fmt: skip


def test_policies_without_grants_and_keys_of_storage() -> None:
    path = "/admin/v2/namespaces/acme/app"
    told = {"bundles": None, "auth_policies": {"a": 1}, "offload_policies": {"secret": "x"}}
    see = ("namespace", "GetPolicies", "acme/app")
    assert seen(RestWorld([see]), path, told) == {"bundles": None}
    assert seen(RestWorld(ALL), path, told) == told


def test_a_cluster_without_addresses_and_secrets() -> None:
    told = {"serviceUrl": "http://broker:8080", "brokerClientTlsTrustStorePassword": "x", "peerClusterNames": ["c2"]}
    assert seen(RestWorld(ALL), "/admin/v2/clusters/c1", told) == {"peerClusterNames": ["c2"]}


LOOKUP = "/lookup/v2/topic/persistent/acme/app/orders"


def test_a_lookup_leads_back_to_the_gateway() -> None:
    told = {
        "brokerUrl": "pulsar://broker1:6650", "brokerUrlTls": "", "httpUrl": "http://broker1:8080",
        "nativeUrl": "pulsar://broker1:6650",
    }  # fmt: skip
    world = RestWorld([("topic", "Lookup", TOPIC)])
    found = seen(world, f"{LOOKUP}?listenerName=internal", told)
    here = "pulsar+ssl://broker1.b.gw.test:6651"
    assert found == {
        "brokerUrl": here, "brokerUrlTls": here, "httpUrl": "https://gw.test:8443",
        "httpUrlTls": "https://gw.test:8443", "nativeUrl": here,
    }  # fmt: skip


@pytest.mark.parametrize("unnamed", [{}, {"brokerUrl": ""}, {"brokerUrlTls": "pulsar+ssl://b:1"}, {"brokerUrl": 7}])
def test_a_lookup_without_the_brokers_address_does_not_pass(unnamed: dict[str, str]) -> None:
    with pytest.raises(Unreadable):
        seen(RestWorld([("topic", "Lookup", TOPIC)]), LOOKUP, unnamed)


def test_a_lookup_for_a_broker_that_cannot_be_named_does_not_pass() -> None:
    world = RestWorld([("topic", "Lookup", TOPIC)])
    world.door = Door("gw.test", lambda _: None, plaintext=True)
    with pytest.raises(Unreadable):
        seen(world, LOOKUP, {"brokerUrl": "pulsar://broker1:6650"})


def test_a_lookup_that_would_lead_nowhere_is_refused() -> None:
    world = RestWorld([("topic", "Lookup", TOPIC)])
    world.door = None
    decision = world.decide("GET", LOOKUP)
    assert isinstance(decision, Refused)
    assert (decision.status, decision.reason) == (501, reasons.REST_LOOKUP)
    denied = RestWorld()
    denied.door = None
    decision = denied.decide("GET", LOOKUP)
    assert isinstance(decision, Refused)
    assert decision.status == 401, "who may not look up learns nothing of it"


def test_anybody_may_ask_who_coordinates_transactions() -> None:
    """As by the binary protocol; nothing else of that namespace."""
    world = RestWorld()
    own = "pulsar/system/transaction_coordinator_assign"
    for topic in (own, f"{own}-partition-0"):
        assert isinstance(world.decide("GET", f"/lookup/v2/topic/persistent/{topic}"), Passed)
    asked = world.decide("GET", f"/admin/v2/persistent/{own}/partitions?checkAllowAutoCreation=true")
    assert isinstance(asked, Passed)
    assert asked.target.endswith(b"checkAllowAutoCreation=false")
    for method, path in (
        ("GET", f"/lookup/v2/topic/non-persistent/{own}"),
        ("GET", "/lookup/v2/topic/persistent/pulsar/system/other"),
        ("GET", f"/admin/v2/persistent/{own}/stats"),
        ("DELETE", f"/admin/v2/persistent/{own}/partitions"),
    ):
        assert isinstance(world.decide(method, path), Refused), path


def test_a_name_that_no_utf8_can_write_does_not_pass() -> None:
    decision = RestWorld(ALL).decide("GET", "/admin/v2/tenants")
    assert isinstance(decision, Passed)
    assert decision.shape is not None
    with pytest.raises(Unreadable):
        decision.shape(200, b'["acme","\\ud800"]')


@pytest.mark.parametrize("answer", [b"", b"{", b"[1]", b'{"a":1}', b'["x"] ["y"]', b'["x"],"y":["z"]', b"\xff"])
def test_an_answer_that_cannot_be_read_does_not_pass(answer: bytes) -> None:
    decision = RestWorld(ALL).decide("GET", "/admin/v2/persistent/acme/app")
    assert isinstance(decision, Passed)
    assert decision.shape is not None
    with pytest.raises(Unreadable):
        decision.shape(200, answer)
    assert decision.shape(404, answer) == [answer]

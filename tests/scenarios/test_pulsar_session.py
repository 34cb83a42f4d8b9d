"""A Pulsar session by scenarios: login, what may pass, what is denied and how, and what brokers may tell clients."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest

from gateway.core import session_reasons
from gateway.core.failed_logins import FailedLogins
from gateway.core.identity import Certificate
from gateway.core.limits import Quotas
from gateway.core.session import Endpoint, KeysRefreshed, Unavailable
from gateway.pulsar import commands, reasons, schema
from gateway.pulsar.asks import BrokerFound, BrokerWanted
from gateway.pulsar.broker_names import BrokerNames
from gateway.pulsar.keepalive import PING_SECONDS, SILENCE_SECONDS_MAX
from gateway.pulsar.names import PROPERTIES_MAX, properties
from gateway.pulsar.replies import NO_REQUEST
from gateway.pulsar.requests import OWN_IDS
from gateway.pulsar.table import ROWS, FromBroker, FromClient
from tests.scenarios.kafka_world import PLENTY
from tests.scenarios.pulsar_world import (
    BROKER,
    OF_APP,
    ORDERS,
    PAYROLL,
    SUBSCRIPTION,
    PulsarWorld,
    found,
    message_frame,
    names,
    only,
    send_frame,
)

NOT_AUTHORIZED = 4


# ---- login --------------------------------------------------------------------------------------------------------


def test_the_broker_is_told_who_the_client_is_by_the_gateways_own_role() -> None:
    world = PulsarWorld()
    told = only(world.greet("alice").up)
    assert (told.auth_method_name, told.auth_data, told.original_principal) == ("token", b"own-token", "alice")
    assert not told.proxy_to_broker_url
    assert world.session.parked


def test_versions_and_flags_are_what_all_three_have() -> None:
    world = PulsarWorld()
    flags = {"supports_auth_refresh": True, "supports_topic_watchers": True, "supports_partial_producer": True}
    told = only(world.greet(protocol_version=99, feature_flags=flags).up)
    assert told.protocol_version == 21
    answer = only(
        world.say(
            "connected", server_version="secret 4.0.8", protocol_version=19, max_message_size=1000,
            feature_flags={"supports_topic_watchers": True, "supports_repl_dedup_by_lid_and_eid": True},
        ).down
    )  # fmt: skip
    assert answer.protocol_version == 19
    assert answer.max_message_size == 1000
    assert answer.feature_flags.supports_topic_watchers
    assert not answer.feature_flags.supports_partial_producer
    assert not answer.feature_flags.supports_repl_dedup_by_lid_and_eid
    assert "4.0.8" not in answer.server_version


@pytest.mark.parametrize("field", ["proxy_version", "original_principal", "original_auth_data", "original_auth_method"])
def test_nobody_speaks_for_somebody_else(field: str) -> None:
    world = PulsarWorld()
    seen = world.greet(**{field: "admin"})
    assert seen.close is not None
    assert seen.close.reason is reasons.COMMAND_FORGED
    assert not seen.up


@pytest.mark.parametrize("name", ["gw", "admin"])
def test_no_client_has_a_role_of_the_gateways_own(name: str) -> None:
    seen = PulsarWorld().greet(name)
    assert seen.close is not None
    assert seen.close.reason is reasons.PRINCIPAL_IS_GATEWAY_ACCOUNT
    assert not seen.up


def test_a_bad_token_is_told_no_more_than_that() -> None:
    world = PulsarWorld()
    seen = world.greet("bad")
    said = only(seen.down)
    assert (said.request_id, said.error, said.message) == (NO_REQUEST, 3, "Unable to authenticate")
    assert seen.close is not None
    assert not seen.up
    assert [line.fields["reason"] for line in world.lines("refused")] == ["test-bad-token"]


def test_a_failed_login_is_told_later_and_a_good_one_never_waits() -> None:
    world = PulsarWorld(failures=FailedLogins())
    for _ in range(3):
        seen = world.greet("bad")
        assert (seen.down, seen.close) == (b"", None)
        assert world.session.parked
        assert world.session.refused
        seen = world.advance(5)
        assert only(seen.down).error == 3
        assert seen.close is not None
        world.connect()
    told_in = [line.fields["told_in"] for line in world.lines("refused")]
    assert told_in == sorted(set(told_in))
    world.login()


def test_the_time_to_log_in_begins_at_the_handshake_however_late_the_first_word_comes() -> None:
    world = PulsarWorld()
    world.connect(greeted=world.clock.monotonic() - world.limits.authentication_timeout + 5.0)
    world.advance(4.9)
    assert world.ended is None
    world.advance(0.2)
    assert world.ended is not None
    assert world.ended.reason is session_reasons.AUTHENTICATION_TIMEOUT


def test_who_says_nothing_has_no_lines() -> None:
    world = PulsarWorld()
    assert world.session.silent
    world.advance(world.limits.authentication_timeout)
    assert world.ended is not None
    assert not world.events
    world.connect()
    world.greet()
    assert [line.event for line in world.events] == ["connected", "authenticated"]


def test_a_key_that_is_not_there_is_waited_for_once() -> None:
    world = PulsarWorld()
    seen = world.greet("newkey")
    assert len(seen.asks) == 1
    assert world.session.parked
    world.tokens.keys_come = True
    assert names(world.tell(KeysRefreshed("corp")).up) == ["connect"]


def test_a_key_that_never_comes_ends_it() -> None:
    world = PulsarWorld()
    world.greet("newkey")
    seen = world.tell(KeysRefreshed("corp"))
    assert seen.close is not None
    assert seen.close.reason is reasons.FACT_UNAVAILABLE


def test_a_certificate_is_enough_where_it_is_asked_for() -> None:
    certificate = Certificate("CN=svc", "svc", ("spiffe://corp/svc",), (), "ab" * 32, 3e9)
    world = PulsarWorld(issuers=(), certificate=certificate)
    told = only(world.greet(auth_method_name="tls", auth_data=b"").up)
    assert told.original_principal == "spiffe://corp/svc"


def test_no_proof_is_no_login() -> None:
    seen = PulsarWorld().greet(auth_method_name="none", auth_data=b"")
    assert seen.close is not None
    assert seen.close.reason is reasons.AUTHENTICATION_METHOD


@pytest.mark.parametrize("named", ["169.254.169.254:80", "broker1.internal:6650", "broker7.internal:6650"])
def test_only_brokers_that_brokers_named_are_dialled(named: str) -> None:
    """CVE-2022-24280."""
    world = PulsarWorld()
    seen = world.greet(proxy_to_broker_url=named)
    assert seen.close is not None
    assert seen.close.reason is reasons.BROKER_NOT_DISCOVERED
    assert not seen.up


def test_a_lookup_leads_back_through_the_gateway() -> None:
    world = PulsarWorld()
    world.login()
    world.ask("lookup", topic="orders", request_id=1)
    seen = world.say("lookup_response", request_id=1, response=1, broker_url="pulsar://broker7.internal:6650")
    answer = only(seen.down)
    assert answer.proxy_through_service_url
    assert b"internal" not in seen.down
    world.connect()
    world.login(proxy_to_broker_url=answer.broker_url_tls.removeprefix("pulsar+ssl://"))
    assert str(world.session.upstream_endpoint()) == "broker7.internal:6650"


BROKER7 = Endpoint("broker7.internal", 6650)


def test_a_client_says_by_the_name_it_dials_which_broker_it_means() -> None:
    """As those do that looked up by HTTP; one that names a broker in CONNECT means that one."""
    world = PulsarWorld()
    label = world.backend.names.label(BROKER7)
    assert label is not None
    world.connect(f"{label.upper()}.b.gw.test")
    world.login()
    assert world.session.upstream_endpoint() == BROKER7
    other = world.backend.names.name(Endpoint("broker8.internal", 6650))
    world.connect(f"{label}.b.gw.test")
    world.login(proxy_to_broker_url=other)
    assert str(world.session.upstream_endpoint()) == "broker8.internal:6650"


def test_only_brokers_that_brokers_named_are_dialled_by_a_name() -> None:
    world = PulsarWorld()
    label = BrokerNames(b"another key" * 3, "main", world.clock).label(BROKER7)
    world.connect(f"{label}.b.gw.test")
    seen = world.greet()
    assert seen.close is not None
    assert seen.close.reason is reasons.BROKER_NOT_DISCOVERED
    assert not seen.up


@pytest.mark.parametrize("ending", ["gw.test", "c.gw.test", "x.b.gw.test", "b.gw.test.evil.test"])
def test_a_label_under_another_name_names_no_broker(ending: str) -> None:
    world = PulsarWorld()
    world.connect(f"{world.backend.names.label(BROKER7)}.{ending}")
    world.login()
    assert world.session.upstream_endpoint() == BROKER


def test_the_gateways_own_name_under_the_wildcard_is_any_broker() -> None:
    world = PulsarWorld()
    world.connect("gw.b.gw.test")
    world.login()
    assert world.session.upstream_endpoint() == BROKER


def test_a_lookup_that_is_sent_on_is_followed_by_the_gateway() -> None:
    world = PulsarWorld()
    world.login()
    for request in (1, 2, 3):
        world.ask("lookup", topic="orders", request_id=request)
    asks = []
    for request in (1, 2):
        seen = world.say("lookup_response", request_id=request, response=0, broker_url="pulsar://b2:6650")
        assert not seen.down
        asks += seen.asks
    assert asks == [BrokerWanted("main", Endpoint("b2", 6650), "orders", "alice", False)] * 2
    assert world.ask("lookup", topic="orders", request_id=1).close is not None, "its id is still in use"
    world = PulsarWorld()
    world.login()
    world.ask("lookup", topic="orders", request_id=1)
    (ask,) = world.say("lookup_response", request_id=1, response=0, broker_url="pulsar://b2:6650").asks
    answer = only(world.tell(BrokerFound(ask, Endpoint("b3", 6650))).down)
    assert (answer.request_id, answer.response) == (1, 1)
    assert world.backend.names.broker(answer.broker_url.removeprefix("pulsar://")) == Endpoint("b3", 6650)
    world.ask("lookup", topic="orders", request_id=4)
    (ask,) = world.say("lookup_response", request_id=4, response=0, broker_url="pulsar://b2:6650").asks
    answer = only(world.tell(Unavailable(ask)).down)
    assert (answer.request_id, answer.response, answer.error) == (4, 2, 6)


def test_the_clients_own_token_is_passed_on_where_that_is_set() -> None:
    world = PulsarWorld(tokens_passed=True)
    told = only(world.greet("alice").up)
    assert (told.auth_method_name, told.auth_data) == ("token", b"alice")
    assert not told.HasField("original_principal")
    world.say("connected", server_version="x", protocol_version=21)
    seen = world.say("auth_challenge", server_version="x", challenge={"auth_method_name": "token"})
    assert only(seen.up).response.auth_data == b"alice"


def test_the_broker_refuses_the_gateway() -> None:
    world = PulsarWorld()
    world.greet()
    seen = world.say("error", request_id=1, error=3, message="no")
    assert seen.close is not None
    assert seen.close.reason is reasons.UPSTREAM_REFUSED


def test_nothing_goes_to_the_broker_before_it_has_answered() -> None:
    world = PulsarWorld()
    greeting = commands.framed(
        "connect", client_version="x", protocol_version=21, auth_method_name="token", auth_data=b"alice"
    )
    asked = commands.framed("lookup", topic="orders", request_id=1)
    assert names(world.send(greeting, asked).up) == ["connect"]
    assert names(world.say("connected", server_version="x", protocol_version=21).up) == ["lookup"]


def test_connections_of_a_principal_are_counted_and_given_back() -> None:
    world = PulsarWorld(quota=replace(PLENTY, connections=1))
    world.login()
    first = world.session
    world.connect()
    seen = world.greet()
    assert seen.close is not None
    assert seen.close.reason is reasons.CONNECTIONS_OF_PRINCIPAL
    first.closed(reasons.SESSION_EXPIRED, "")
    world.connect()
    world.login()


# ---- tokens that end ----------------------------------------------------------------------------------------------


def test_a_token_is_renewed_in_place() -> None:
    world = PulsarWorld()
    world.login("alice.40")
    challenge = only(world.advance(20).down)
    assert challenge.challenge.auth_data == b"PulsarAuthRefresh"
    seen = world.ask("auth_response", response={"auth_method_name": "token", "auth_data": b"alice.1000"})
    assert seen.close is None
    assert not seen.up
    assert world.advance(25).close is None
    assert [line.event for line in world.lines("authenticated", "reauthenticated")] == [
        "authenticated",
        "reauthenticated",
    ]


def test_a_challenge_without_an_answer_ends_with_the_token() -> None:
    """CVE-2023-31007."""
    world = PulsarWorld()
    world.login("alice.20")
    seen = world.advance(19.9)
    assert seen.close is None
    seen = world.advance(0.2)
    assert seen.close is not None
    assert seen.close.reason is reasons.AUTHENTICATION_UNANSWERED


def test_a_busy_connection_ends_with_its_token_too() -> None:
    world = PulsarWorld()
    world.login("alice.20", feature_flags={})
    world.produce_to()
    world.clock.now += 20.1
    seen = world.send(send_frame())
    assert not seen.up
    assert seen.close is not None
    assert seen.close.reason is reasons.SESSION_EXPIRED


@pytest.mark.parametrize("token", [b"bad", b"bob"])
def test_a_renewal_needs_a_good_token_of_the_same_principal(token: bytes) -> None:
    world = PulsarWorld()
    world.login("alice.40")
    world.advance(20)
    seen = world.ask("auth_response", response={"auth_method_name": "token", "auth_data": token})
    assert seen.close is not None


def test_nobody_answers_a_challenge_that_was_not_sent() -> None:
    world = PulsarWorld()
    world.login()
    seen = world.ask("auth_response", response={"auth_method_name": "token", "auth_data": b"alice"})
    assert seen.close is not None


def test_the_broker_is_shown_the_gateways_token_again() -> None:
    world = PulsarWorld()
    world.login()
    world.account.secret = "newer-token"
    seen = world.say("auth_challenge", server_version="x", challenge={"auth_method_name": "token"})
    assert only(seen.up).response.auth_data == b"newer-token"
    assert not seen.down


# ---- keep-alive ---------------------------------------------------------------------------------------------------


def test_pings_are_answered_at_once_on_both_sides() -> None:
    world = PulsarWorld()
    world.login()
    seen = world.ask("ping")
    assert (names(seen.down), seen.up) == (["pong"], b"")
    seen = world.say("ping")
    assert (names(seen.up), seen.down) == (["pong"], b"")


def test_the_silent_are_asked_and_then_let_go() -> None:
    world = PulsarWorld()
    world.login()
    seen = world.advance(PING_SECONDS)
    assert (names(seen.down), names(seen.up)) == (["ping"], ["ping"])
    world.say("pong")
    seen = world.advance(SILENCE_SECONDS_MAX - PING_SECONDS + 0.1)
    assert seen.close is not None
    assert (seen.close.reason, seen.close.detail) == (reasons.PEER_SILENT, "the client")


# ---- producers ----------------------------------------------------------------------------------------------------


def test_records_pass_as_they_came() -> None:
    world = PulsarWorld()
    world.login()
    world.produce_to("orders-partition-2")
    frame = send_frame()
    assert world.send(frame, frame).up == frame + frame


def test_a_denied_producer_is_told_so_and_the_connection_goes_on() -> None:
    world = PulsarWorld()
    world.login()
    seen = world.produce_to(PAYROLL, request=7)
    said = only(seen.down)
    assert (said.request_id, said.error) == (7, NOT_AUTHORIZED)
    assert not seen.up
    (line,) = world.lines("denied")
    assert (line.fields["resource"], line.fields["operation"], line.fields["api"]) == (PAYROLL, "Produce", "producer")
    assert not world.send(send_frame()).up
    assert names(world.produce_to(request=8).up) == ["producer"]


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({"schema": {"name": "s", "type": 2}}, ("topic", "PutSchema", ORDERS)),
        ({"initial_subscription_name": SUBSCRIPTION}, ("subscription", "Subscribe", SUBSCRIPTION)),
        ({"initial_subscription_name": SUBSCRIPTION}, ("topic", "Consume", ORDERS)),
    ],
)
def test_a_producer_needs_more_for_more(more: dict[str, Any], missing: tuple[str, str, str]) -> None:
    world = PulsarWorld()
    world.login()
    assert names(world.produce_to(**more).up) == ["producer"]
    world = PulsarWorld([each for each in OF_APP if each != missing])
    world.login()
    assert only(world.produce_to(**more).down).error == NOT_AUTHORIZED


def test_an_id_cannot_be_opened_for_something_else() -> None:
    """The broker would answer with the old producer, and its records would be decided by the new name."""
    world = PulsarWorld((*OF_APP, ("topic", "Produce", PAYROLL)))
    world.login()
    world.produce_to(PAYROLL, request=1)
    seen = world.produce_to(ORDERS, request=2)
    assert not seen.up
    assert only(seen.down).error == 22


def test_a_closed_producer_sends_no_more_and_its_id_is_free_when_the_broker_says_so() -> None:
    world = PulsarWorld((*OF_APP, ("topic", "Produce", PAYROLL)))
    world.login()
    world.produce_to()
    assert names(world.ask("close_producer", producer_id=1, request_id=5).up) == ["close_producer"]
    assert not world.send(send_frame()).up
    assert only(world.produce_to(PAYROLL, request=6).down).error == 6
    world.say("success", request_id=5)
    assert names(world.produce_to(PAYROLL, request=7).up) == ["producer"]


def test_a_producer_the_broker_refused_is_not_open() -> None:
    world = PulsarWorld()
    world.login()
    world.ask("producer", topic=ORDERS, producer_id=1, request_id=1)
    assert only(world.say("error", request_id=1, error=16, message="busy").down).error == 16
    assert not world.send(send_frame()).up


def test_markers_and_replicators_names_are_brokers_own() -> None:
    world = PulsarWorld()
    world.login()
    world.produce_to()
    seen = world.send(send_frame(marker=True))
    assert not seen.up
    assert seen.close is not None
    assert seen.close.reason is reasons.COMMAND_FORGED
    world.connect()
    world.login()
    seen = world.produce_to(producer_name="pulsar.repl.west")
    assert seen.close is not None


# ---- consumers ----------------------------------------------------------------------------------------------------


def test_a_consumer_needs_the_topic_and_the_subscription() -> None:
    world = PulsarWorld()
    world.login()
    assert names(world.subscribe_to().up) == ["subscribe"]
    assert only(world.subscribe_to(subscription="somebodys", consumer=2, request=3).down).error == NOT_AUTHORIZED
    assert only(world.subscribe_to(PAYROLL, consumer=3, request=4).down).error == NOT_AUTHORIZED
    frame = message_frame()
    assert world.reply(frame, frame).down == frame + frame
    assert not world.reply(message_frame(2)).down


OWN_KEYS = [b"#pulsar.internal.delayed.bucket_1", b"pulsar.replicated.subscription", b"PULSAR.x", b"#", b"\xff", b"\0"]


@pytest.mark.parametrize("key", OWN_KEYS)
@pytest.mark.parametrize("field", ["metadata", "subscription_properties", "of a producer"])
def test_no_client_writes_properties_that_brokers_keep_for_themselves(field: str, key: bytes) -> None:
    """A broker looks at no key of a new subscription's: one could name ledgers of its own to read and delete."""
    world = PulsarWorld()
    world.login()
    if field == "of a producer":
        command = commands.make("producer", topic=ORDERS, producer_id=1, request_id=1)
        properties = command.body.metadata
    else:
        command = commands.make("subscribe", topic=ORDERS, subscription=SUBSCRIPTION, consumer_id=1, request_id=1)
        properties = getattr(command.body, field)
    properties.add(key=b"application", value=b"x")
    command.changed()
    passed = world.send(b"".join(map(bytes, command.parts()))).up
    assert [each.key for each in getattr(only(passed), "metadata" if "of a" in field else field)] == [b"application"]
    world.connect()
    world.login()
    properties.add(key=key, value=b"x")
    command.changed()
    seen = world.send(b"".join(map(bytes, command.parts())))
    assert not seen.up
    assert only(seen.down).error == 22


def test_so_many_properties_and_no_more() -> None:
    most = [str(number) for number in range(PROPERTIES_MAX)]
    assert properties(most)
    assert not properties([*most, "one"])
    assert properties([])


def test_a_position_told_to_other_clusters_is_a_right_of_its_own() -> None:
    """Brokers ask for nothing more than `consume` there."""
    world = PulsarWorld()
    world.login()
    denied = world.subscribe_to(replicate_subscription_state=True)
    assert (only(denied.down).error, denied.up) == (NOT_AUTHORIZED, b"")
    passed = only(world.subscribe_to(replicate_subscription_state=False, request=3).up)
    assert not passed.HasField("replicate_subscription_state"), "what clients say unasked is no order to end it"
    world.allow(("topic", "Replicate", ORDERS))
    for number, said in enumerate((True, False)):
        seen = world.subscribe_to(replicate_subscription_state=said, consumer=5 + number, request=5 + number)
        assert only(seen.up).replicate_subscription_state is said
    world.allow(without=[("topic", "Replicate", ORDERS)])
    seen = world.send(commands.framed("ping"))
    assert "close_consumer" in names(seen.down), "a right withdrawn ends it"


@pytest.mark.parametrize("command", ["flow", "ack", "redeliver_unacknowledged_messages"])
def test_what_carries_an_id_alone_is_decided_by_what_it_was_opened_for(command: str) -> None:
    world = PulsarWorld()
    world.login()
    world.subscribe_to()
    more = {"message_permits": 10} if command == "flow" else {}
    assert names(world.ask(command, consumer_id=1, **more).up) == [command]
    assert not world.ask(command, consumer_id=2, **more).up


@pytest.mark.parametrize(
    ("command", "operation"), [("seek", "Seek"), ("unsubscribe", "Unsubscribe"), ("consumer_stats", "GetStats")]
)
def test_some_need_more_of_the_subscription(command: str, operation: str) -> None:
    access = ("subscription", operation, SUBSCRIPTION)
    world = PulsarWorld({*OF_APP, access})
    world.login()
    world.subscribe_to()
    assert names(world.ask(command, consumer_id=1, request_id=9).up) == [command]
    world = PulsarWorld([each for each in OF_APP if each != access])
    world.login()
    world.subscribe_to()
    seen = world.ask(command, consumer_id=1, request_id=9)
    assert not seen.up
    said = only(seen.down)
    assert NOT_AUTHORIZED in (getattr(said, "error", None), getattr(said, "error_code", None))


@pytest.mark.parametrize("name", ["__compaction", "pulsar.repl.west", "pulsar.dedup", "", "a\nb"])
def test_brokers_own_subscriptions_are_nobodys(name: str) -> None:
    world = PulsarWorld({*OF_APP, ("subscription", "Subscribe", "*")})
    world.login()
    assert only(world.subscribe_to(subscription=name).down).error == 22


@pytest.mark.parametrize("topic", ["__change_events", "persistent://pulsar/system/x", "a-sub__transaction_pending_ack"])
def test_brokers_own_topics_are_nobodys(topic: str) -> None:
    world = PulsarWorld({("topic", "*", "*"), ("topic", "Produce", "*")})
    world.login()
    assert only(world.produce_to(topic).down).error == NOT_AUTHORIZED
    assert world.lines("denied")[0].fields["why"] == "brokers-own"


# ---- withdrawn grants ---------------------------------------------------------------------------------------------


def test_a_withdrawn_grant_closes_on_both_sides_and_reopening_is_denied() -> None:
    world = PulsarWorld()
    world.login()
    world.produce_to()
    world.subscribe_to()
    world.allow(without=[("topic", "Consume", ORDERS)])
    seen = world.reply(message_frame())
    assert names(seen.down) == ["close_consumer"]
    assert only(seen.down).request_id == NO_REQUEST
    closing = only(seen.up)
    assert closing.consumer_id == 1
    assert closing.request_id >= OWN_IDS
    assert not world.say("success", request_id=closing.request_id).down
    assert only(world.subscribe_to(request=11).down).error == NOT_AUTHORIZED
    assert world.send(send_frame()).up


def test_a_producer_in_the_middle_of_its_work_is_closed_too() -> None:
    world = PulsarWorld()
    world.login()
    world.produce_to()
    world.allow(without=[("topic", "Produce", ORDERS)])
    seen = world.send(send_frame())
    assert names(seen.up) == ["close_producer"]
    assert names(seen.down) == ["close_producer"]


# ---- lookups, lists, schemas --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("lookup", "error"),
        ("partitioned_metadata", "error"),
        ("get_schema", "error_code"),
        ("get_or_create_schema", "error_code"),
    ],
)
def test_denials_are_the_protocols_own(command: str, code: str) -> None:
    world = PulsarWorld()
    world.login()
    seen = world.ask(command, topic=PAYROLL, request_id=3)
    ((answer, _),) = found(seen.down)
    assert answer.name == f"{command}_response"
    assert (answer.body.request_id, getattr(answer.body, code)) == (3, NOT_AUTHORIZED)
    assert names(world.ask(command, topic=ORDERS, request_id=4).up) == [command]


@pytest.mark.parametrize("topic", ["", "a/b", "persistent://a/b", "other://a/b/c", "a/b/c/d", "a//c", "x\0y"])
def test_what_is_no_topic_is_told_so(topic: str) -> None:
    world = PulsarWorld({("topic", "Lookup", "*")})
    world.login()
    assert only(world.ask("lookup", topic=topic, request_id=1).down).error == 17


def test_a_lookup_in_somebody_elses_name_ends_it() -> None:
    world = PulsarWorld()
    world.login()
    seen = world.ask("lookup", topic=ORDERS, request_id=1, original_principal="admin")
    assert seen.close is not None


def test_asking_for_partitions_makes_no_topic_for_those_who_may_only_look() -> None:
    world = PulsarWorld()
    world.login()
    seen = world.ask("partitioned_metadata", topic=ORDERS, request_id=1, metadata_auto_creation_enabled=True)
    assert only(seen.up).metadata_auto_creation_enabled
    world = PulsarWorld([("topic", "Lookup", ORDERS)])
    world.login()
    body = only(world.ask("partitioned_metadata", topic=ORDERS, request_id=1).up)
    assert body.HasField("metadata_auto_creation_enabled")
    assert not body.metadata_auto_creation_enabled


def test_a_list_of_topics_has_only_what_may_be_consumed() -> None:
    world = PulsarWorld()
    world.login()
    asked = only(world.ask("get_topics_of_namespace", request_id=1, namespace="public/default", topics_hash="h").up)
    assert not asked.topics_hash
    seen = world.say(
        "get_topics_of_namespace_response", request_id=1, topics_hash="h",
        topics=[ORDERS, PAYROLL, f"{ORDERS}-partition-0", "persistent://public/default/__change_events"],
    )  # fmt: skip
    assert list(only(seen.down).topics) == [ORDERS, f"{ORDERS}-partition-0"]
    assert not only(seen.down).HasField("topics_hash")


def test_a_watcher_is_told_only_of_what_may_be_consumed() -> None:
    world = PulsarWorld()
    world.login()
    world.ask("watch_topic_list", request_id=1, watcher_id=5, namespace="public/default", topics_pattern=".*")
    seen = world.say("watch_topic_list_success", request_id=1, watcher_id=5, topic=[ORDERS, PAYROLL], topics_hash="h")
    assert list(only(seen.down).topic) == [ORDERS]
    seen = world.say("watch_topic_update", watcher_id=5, new_topics=[PAYROLL, ORDERS], topics_hash="i")
    assert list(only(seen.down).new_topics) == [ORDERS]
    assert not world.say("watch_topic_update", watcher_id=5, new_topics=[PAYROLL], topics_hash="j").down
    assert not world.say("watch_topic_update", watcher_id=6, new_topics=[ORDERS], topics_hash="j").down


def test_a_namespace_is_listed_by_right_only() -> None:
    world = PulsarWorld()
    world.login()
    assert (
        only(world.ask("get_topics_of_namespace", request_id=1, namespace="secret/place").down).error == NOT_AUTHORIZED
    )


# ---- what brokers may not tell ------------------------------------------------------------------------------------


def test_addresses_of_brokers_do_not_reach_clients() -> None:
    world = PulsarWorld()
    world.login()
    world.produce_to()
    world.subscribe_to()
    moved = {
        "assigned_broker_url": "pulsar://b2.internal:6650",
        "assigned_broker_url_tls": "pulsar+ssl://b2.internal:1",
    }
    for kind in ("producer", "consumer"):
        seen = world.say(f"close_{kind}", **{f"{kind}_id": 1}, request_id=NO_REQUEST, **moved)
        assert b"internal" not in seen.down
        assert names(seen.down) == [f"close_{kind}"]
    assert not world.say("topic_migrated", resource_id=1, resource_type=0).down


def test_what_only_clients_send_is_nothing_a_broker_says() -> None:
    for name, row in ROWS.items():
        if row.broker is FromBroker.NEVER and name not in ("ping", "pong"):
            world = PulsarWorld()
            world.login()
            seen = world.say(name)
            assert seen.close is not None, name
            assert seen.close.reason is reasons.UPSTREAM_PROTOCOL, name
            assert not seen.down, name


def test_what_only_brokers_send_is_nothing_a_client_says() -> None:
    for name, row in ROWS.items():
        if row.client is FromClient.NEVER:
            world = PulsarWorld()
            world.login()
            seen = world.ask(name)
            assert not seen.up, name
            assert seen.close is not None, name
            assert seen.close.reason is reasons.COMMAND_NOT_FOR_CLIENTS, name


def test_every_command_has_a_row() -> None:
    assert set(ROWS) == set(schema.COMMANDS)


# ---- transactions -------------------------------------------------------------------------------------------------


def test_transactions_need_each_topic_and_subscription() -> None:
    world = PulsarWorld()
    world.login()
    assert names(world.ask("new_txn", request_id=1, tc_id=0).up) == ["new_txn"]
    assert names(world.ask("add_partition_to_txn", request_id=2, partitions=[ORDERS]).up) == ["add_partition_to_txn"]
    seen = world.ask("add_partition_to_txn", request_id=3, partitions=[ORDERS, PAYROLL])
    assert not seen.up
    assert only(seen.down).error == NOT_AUTHORIZED


def test_without_a_principal_at_the_broker_there_are_no_transactions() -> None:
    world = PulsarWorld(account=False)
    world.login()
    seen = world.ask("new_txn", request_id=1, tc_id=0)
    assert not seen.up
    assert only(seen.down).error == 22


# ---- frames that cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not-pulsar-http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", "not-pulsar-tls"),
        (struct.pack(">II", 4, 0), "frame-length-invalid"),
        (struct.pack(">II", 10, 7) + bytes(6), "frame-length-invalid"),
        (struct.pack(">II", 1 << 30, 4), "frame-too-large-unauthenticated"),
        (struct.pack(">II", 8, 4) + b"\xff\xff\xff\xff", "request-malformed"),
        (commands.framed("lookup", topic="orders", request_id=1), "connect-expected"),
    ],
)
def test_strangers_are_named(data: bytes, code: str) -> None:
    seen = PulsarWorld().send(data)
    assert seen.close is not None
    assert seen.close.reason.code == code
    assert not seen.up


def test_a_frame_past_the_largest_message_is_not_waited_for() -> None:
    world = PulsarWorld()
    world.login()
    seen = world.send(struct.pack(">II", (5 << 20) + (10 << 10) + 1, 20))
    assert seen.close is not None
    assert seen.close.reason is reasons.FRAME_TOO_LARGE


def test_request_ids_of_the_gateways_own_are_out_of_reach() -> None:
    world = PulsarWorld()
    world.login()
    seen = world.ask("lookup", topic=ORDERS, request_id=OWN_IDS)
    assert seen.close is not None
    world.connect()
    world.login()
    world.ask("lookup", topic=ORDERS, request_id=1)
    assert world.ask("lookup", topic=ORDERS, request_id=1).close is not None


def test_of_two_commands_in_one_frame_the_broker_sees_the_one_that_was_decided() -> None:
    world = PulsarWorld()
    world.login()
    base = schema.Base(type=5)  # type: ignore[call-arg]
    base.producer.topic = ORDERS  # type: ignore[attr-defined]
    base.producer.producer_id = 1  # type: ignore[attr-defined]
    base.producer.request_id = 1  # type: ignore[attr-defined]
    once = base.SerializeToString()
    base.producer.topic = PAYROLL  # type: ignore[attr-defined]
    twice = base.SerializeToString() + once[2:]
    up = world.send(b"".join(bytes(each) for each in commands.frame(twice))).up
    assert PAYROLL.encode() not in up
    assert only(up).topic == ORDERS


def test_unknown_fields_survive() -> None:
    world = PulsarWorld()
    world.login()
    body = commands.make("lookup", topic=ORDERS, request_id=1).encoded
    assert body is not None
    inner = body[5:] + b"\xfa\x3f\x03new"  # behind type (2 octets), tag (2) and length (1)
    seen = world.send(b"".join(bytes(each) for each in commands.frame(body[:4] + bytes([len(inner)]) + inner)))
    assert b"\xfa\x3f\x03new" in seen.up


# ---- limits -------------------------------------------------------------------------------------------------------


def test_producers_of_a_principal_are_counted_over_its_connections() -> None:
    world = PulsarWorld(quota=replace(PLENTY, producers=1), quotas=Quotas())
    world.login()
    world.produce_to()
    first = world.session
    world.connect()
    world.login()
    assert only(world.produce_to().down).error == 14
    first.closed(reasons.SESSION_EXPIRED, "")
    assert names(world.produce_to(request=2).up) == ["producer"]


def test_a_flood_is_held_back_and_not_lost() -> None:
    world = PulsarWorld(quota=replace(PLENTY, produce_bytes=1000))
    world.login()
    world.produce_to()
    frame = send_frame(payload=bytes(600))
    seen = world.send(frame * 5)
    assert 0 < len(seen.up) < 5 * len(frame)
    assert seen.mute_until > world.clock.now
    for _ in range(10):
        seen += world.advance(2)
        world.say("pong")
    assert seen.up == frame * 5
    assert world.lines("throttled")


@pytest.mark.parametrize("chunk", [1, 7])
def test_bytes_come_as_they_come(chunk: int) -> None:
    whole, parted = PulsarWorld(), PulsarWorld()
    data = [
        commands.framed("producer", topic=ORDERS, producer_id=1, request_id=1),
        send_frame(), send_frame(payload=bytes(3000)), commands.framed("ping"), send_frame(2),
        commands.framed("lookup", topic=PAYROLL, request_id=2),
    ]  # fmt: skip
    for world in (whole, parted):
        world.login()
    one, other = whole.send(*data), parted.send(*data, chunk=chunk)
    assert (one.up, one.down) == (other.up, other.down)
    back = [commands.framed("producer_success", request_id=1, producer_name="p"), message_frame(), send_frame(1)[:0]]
    one, other = whole.reply(*back), parted.reply(*back, chunk=chunk)
    assert (one.up, one.down) == (other.up, other.down)

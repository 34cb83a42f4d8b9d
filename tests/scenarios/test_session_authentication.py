"""When this arrives before, during or after authentication, expect that."""

from __future__ import annotations

import struct

import pytest

from gateway.core.identity import Certificate
from gateway.core.limits import Quotas
from gateway.core.rights import Quota
from gateway.core.session import KeysRefreshed, KeysWanted, Unavailable
from gateway.core.settings import Limits
from gateway.kafka import reasons
from tests.scenarios.kafka_world import (
    BAD_TOKEN,
    GONE,
    World,
    authenticate,
    bearer,
    beaten,
    body_of,
    fetch,
    fetched,
    framed,
    handshake,
    heartbeat,
    id_of,
    plain,
    request,
    versions,
)

CERTIFICATE = Certificate("CN=ops", "ops", ("spiffe://bank/ops/1",), (), "ab" * 32, 1_800_000_000.0 + 500)


def test_the_usual_beginning() -> None:
    world = World()
    seen = world.send(versions(1))
    assert seen.up == b""
    assert body_of(18, 3, seen.answers[0])["errorCode"] == 0
    seen = world.send(handshake(2, "OAUTHBEARER"))
    assert body_of(17, 1, seen.answers[0]) == {"errorCode": 0, "mechanisms": ["OAUTHBEARER", "PLAIN"]}
    seen = world.send(authenticate(bearer("alice"), 3))
    answer = body_of(36, 2, seen.answers[0])
    assert (answer["errorCode"], answer["sessionLifetimeMs"]) == (0, 3_600_000)
    assert str(world.session.principal) == "jwt:corp:alice"
    (line,) = world.lines("authenticated")
    assert line.fields["mechanism"] == "OAUTHBEARER"
    assert line.fields["client_software"] == "test-client/1.0"
    assert line.fields["claims"] == {"team": "payments"}
    assert "never written" not in repr(world.events)


@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
def test_any_chunking_of_the_beginning(chunk: int) -> None:
    def run(size: int) -> tuple[bytes, bytes]:
        world = World()
        seen = world.send(versions(1), handshake(2), authenticate("alice", 3), heartbeat(4), chunk=size)
        return seen.up, seen.down

    assert run(chunk) == run(0)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_the_lifetime_is_never_longer_than_the_token(version: int) -> None:
    world = World()
    world.send(handshake(1))
    seen = world.send(authenticate("alice.90", 2, version))
    answer = body_of(36, version, seen.answers[0])
    assert answer.get("sessionLifetimeMs") == (None if version == 0 else 90_000)


def test_the_lifetime_is_never_longer_than_the_session() -> None:
    world = World(session_max=10)
    seen = world.login()
    assert body_of(36, 2, seen.answers[1])["sessionLifetimeMs"] == 10_000


def test_a_token_that_ends_within_a_millisecond_is_refused() -> None:
    world = World()
    seen = world.send(handshake(1), authenticate("alice.0.0001", 2))
    assert body_of(36, 2, seen.answers[1])["errorCode"] == 58
    assert world.ended is not None


@pytest.mark.parametrize("mechanism", ["PLAIN", "OAUTHBEARER"])
def test_a_refused_token(mechanism: str) -> None:
    world = World()
    token = plain("bad") if mechanism == "PLAIN" else bearer("bad")
    seen = world.send(handshake(1, mechanism), authenticate(token, 2))
    if mechanism == "OAUTHBEARER":
        challenge = body_of(36, 2, seen.answers[1])
        assert (challenge["errorCode"], bytes(challenge["authBytes"])) == (0, b'{"status":"invalid_token"}')
        assert world.ended is None
        seen = world.send(authenticate(b"\x01", 3))
    assert body_of(36, 2, seen.answers[-1])["errorCode"] == 58
    assert world.ended is not None
    assert world.ended.reason is BAD_TOKEN
    (line,) = world.lines("refused")
    assert line.fields["reason"] == BAD_TOKEN.code
    assert world.session.principal is None


def test_refusals_look_alike() -> None:
    def shown(token: str) -> dict[str, object]:
        world = World()
        return body_of(36, 2, world.send(handshake(1), authenticate(token, 2)).answers[-1])

    assert shown("bad") == shown("bad-too")


def test_a_mechanism_that_is_not_offered() -> None:
    world = World()
    seen = world.send(handshake(1, "SCRAM-SHA-512"))
    assert body_of(17, 1, seen.answers[0]) == {"errorCode": 33, "mechanisms": ["OAUTHBEARER", "PLAIN"]}
    assert world.ended is not None
    assert world.ended.reason is reasons.MECHANISM_UNSUPPORTED


def test_bare_tokens_after_handshake_v0() -> None:
    world = World()
    world.send(handshake(1, "OAUTHBEARER", version=0))
    seen = world.send(framed(bearer("alice")))
    assert seen.down == struct.pack(">i", 0)
    assert world.session.principal is not None
    assert world.send(heartbeat(2)).up == heartbeat(2)


def test_a_bad_bare_token_ends_without_an_answer() -> None:
    world = World()
    seen = world.send(handshake(1, "PLAIN", version=0), framed(plain("bad")))
    assert len(seen.answers) == 1
    assert world.ended is not None
    assert world.ended.reason is BAD_TOKEN


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (heartbeat(1), reasons.NOT_AUTHENTICATED),
        (request(3, 9, 1, {"topics": None}), reasons.NOT_AUTHENTICATED),
        (authenticate("alice", 1), reasons.NOT_AUTHENTICATED),
        (framed(struct.pack(">hhih", 999, 0, 1, -1)), reasons.NOT_AUTHENTICATED),
        (framed(struct.pack(">hhih", 17, 2, 1, -1)), reasons.VERSION_NOT_OFFERED),
        (framed(struct.pack(">hhih", 17, 1, 1, -1)), reasons.REQUEST_MALFORMED),
        (handshake(1)[:-1] + b"xy", reasons.REQUEST_MALFORMED),
        (struct.pack(">i", -1), reasons.FRAME_LENGTH_INVALID),
        (struct.pack(">i", 9), reasons.FRAME_LENGTH_INVALID),
        (struct.pack(">i", (64 << 10) + 1), reasons.FRAME_TOO_LARGE_UNAUTHENTICATED),
        (b"GET / HTTP/1.1\r\n", reasons.NOT_KAFKA_HTTP),
        (b"\x16\x03\x01\x02\x00", reasons.NOT_KAFKA_TLS),
    ],
)
def test_what_ends_a_connection_before_authentication(frame: bytes, why: object) -> None:
    world = World()
    if frame[:4] == handshake(1)[:4] and len(frame) != len(handshake(1)):
        frame = struct.pack(">i", len(frame) - 4) + frame[4:]
    seen = world.send(frame)
    assert world.ended is not None
    assert world.ended.reason is why
    assert seen.up == b""


def test_the_largest_frame_before_authentication_is_waited_for() -> None:
    world = World()
    world.send(struct.pack(">i", 64 << 10))
    assert world.ended is None
    assert world.session.client_wanted == 4 + (64 << 10)


def test_anything_but_a_token_during_the_exchange() -> None:
    world = World()
    seen = world.send(handshake(1), handshake(2))
    assert body_of(17, 1, seen.answers[1])["errorCode"] == 34
    assert world.ended is not None
    assert world.ended.reason is reasons.ILLEGAL_SASL_STATE


def test_a_second_api_versions_before_the_handshake_ends_it() -> None:
    world = World()
    world.send(versions(1), versions(2))
    assert world.ended is not None
    assert world.ended.reason is reasons.ILLEGAL_SASL_STATE


def test_a_version_fallback_is_no_second_api_versions() -> None:
    world = World()
    seen = world.send(framed(struct.pack(">hhih", 18, 99, 1, -1) + b"\0\0\0"), versions(2))
    assert body_of(18, 0, seen.answers[0])["errorCode"] == 35
    assert body_of(18, 3, seen.answers[1])["errorCode"] == 0
    assert world.ended is None


def ends_within(world: World, seconds: float) -> None:
    """The time to authenticate ends then, and not before."""
    world.advance(seconds - 0.1)
    assert world.ended is None
    world.advance(0.2)
    assert world.ended is not None
    assert world.ended.reason is reasons.AUTHENTICATION_TIMEOUT


def test_the_time_to_authenticate_ends() -> None:
    world = World()
    world.send(versions(1))
    ends_within(world, 20.0)


def test_a_key_is_waited_for() -> None:
    world = World()
    seen = world.send(handshake(1), authenticate("newkey", 2), heartbeat(3))
    assert seen.asks == [KeysWanted("corp", "kid-2")]
    assert world.session.parked
    assert seen.up == b""
    world.tokens.keys_come = True
    seen = world.tell(KeysRefreshed("corp"))
    assert body_of(36, 2, seen.answers[0])["errorCode"] == 0
    assert seen.up == heartbeat(3)
    assert not world.session.parked


@pytest.mark.parametrize("had", [True, False])
def test_a_key_that_does_not_come(had: bool) -> None:
    world = World()
    world.send(handshake(1), authenticate("newkey", 2))
    fact = KeysRefreshed("corp") if had else Unavailable(KeysWanted("corp", "kid-2"))
    seen = world.tell(fact)
    assert body_of(36, 2, seen.answers[0])["errorCode"] == 58
    assert world.ended is not None


def test_the_deadline_holds_while_a_key_is_waited_for() -> None:
    world = World()
    world.send(handshake(1), authenticate("newkey", 2))
    world.advance(21)
    assert world.ended is not None
    assert world.ended.reason is reasons.AUTHENTICATION_TIMEOUT


def test_the_session_ends_idle() -> None:
    world = World()
    world.login("alice.90")
    world.advance(89.9)
    assert world.ended is None
    world.advance(0.2)
    assert world.ended is not None
    assert world.ended.reason is reasons.SESSION_EXPIRED


def test_the_session_ends_busy() -> None:
    world = World()
    world.login("alice.90")
    world.send(fetch(3, "a"))
    world.clock.now += 91  # no tick came yet: what arrives late is not decided any more
    seen = world.send(heartbeat(4))
    assert seen.up == b""
    assert world.ended is not None
    assert world.ended.reason is reasons.SESSION_EXPIRED


def test_no_answer_after_the_sessions_end() -> None:
    world = World()
    world.login("alice.90")
    world.send(fetch(3, "a"))
    world.clock.now += 91
    seen = world.reply(fetched(3, "a"))
    assert seen.down == b""
    assert world.ended is not None
    assert world.ended.reason is reasons.SESSION_EXPIRED


def test_the_session_ends_parked() -> None:
    world = World()
    world.login("alice.90")
    seen = world.send(fetch(3, b"Z" * 16, version=13))
    assert seen.asks
    assert world.session.parked
    world.advance(91)
    assert world.ended is not None
    assert world.ended.reason is reasons.SESSION_EXPIRED


def test_the_session_ends_when_the_clock_was_set_past_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.login()
    monkeypatch.setattr(world.clock, "wall", lambda: 1_800_000_000.0 + 7200)
    assert world.send(heartbeat(3)).up == b""
    assert world.ended is not None
    assert world.ended.reason is reasons.SESSION_EXPIRED


def test_re_authentication_extends_the_session() -> None:
    world = World()
    world.login("alice.90")
    world.advance(60)
    seen = world.send(handshake(3), authenticate("alice.90", 4))
    assert body_of(36, 2, seen.answers[1])["sessionLifetimeMs"] == 90_000
    world.advance(60)
    assert world.ended is None
    assert world.send(heartbeat(5)).up == heartbeat(5)
    assert [event.event for event in world.lines("authenticated", "reauthenticated")] == [
        "authenticated",
        "reauthenticated",
    ]
    world.advance(31)
    assert world.ended is not None


def test_re_authentication_waits_its_turn_behind_answers() -> None:
    world = World()
    world.login("alice.90")
    seen = world.send(heartbeat(3), handshake(4), authenticate("alice.90", 5), heartbeat(6))
    assert seen.up == heartbeat(3) + heartbeat(6)
    assert seen.down == b""
    seen = world.reply(beaten(3), beaten(6))
    assert [id_of(answer) for answer in seen.answers] == [3, 4, 5, 6]


def test_re_authentication_as_somebody_else() -> None:
    world = World()
    world.login()
    seen = world.send(handshake(3), authenticate("bob", 4))
    assert body_of(36, 2, seen.answers[1])["errorCode"] == 58
    assert world.ended is not None
    assert world.ended.reason is reasons.PRINCIPAL_CHANGED


def test_re_authentication_by_another_mechanism() -> None:
    world = World()
    world.login()
    seen = world.send(handshake(3, "OAUTHBEARER"), authenticate(bearer("alice"), 4))
    assert [id_of(answer) for answer in seen.answers] == [3]
    assert world.ended is not None
    assert world.ended.reason is reasons.MECHANISM_CHANGED


def test_a_failed_re_authentication_is_told_after_earlier_answers() -> None:
    world = World()
    world.login()
    seen = world.send(heartbeat(3), handshake(4), authenticate("bad", 5), heartbeat(6))
    assert seen.up == heartbeat(3)
    assert world.ended is None
    seen = world.reply(beaten(3))
    assert [id_of(answer) for answer in seen.answers] == [3, 4, 5]
    assert seen.close is not None
    assert seen.close.reason is BAD_TOKEN


def test_a_failed_re_authentication_does_not_wait_for_ever() -> None:
    world = World()
    world.login()
    world.send(heartbeat(3), handshake(4), authenticate("bad", 5))
    world.advance(6)
    assert world.ended is not None
    assert world.ended.reason is BAD_TOKEN


def test_other_requests_during_re_authentication_end_it() -> None:
    world = World()
    world.login()
    seen = world.send(handshake(3), heartbeat(4))
    assert seen.up == b""
    assert world.ended is not None
    assert world.ended.reason is reasons.ILLEGAL_SASL_STATE


def test_a_handshake_within_a_second_of_the_last_re_authentication() -> None:
    world = World()
    world.login()
    seen = world.send(handshake(3), authenticate("alice", 4), handshake(5))
    assert body_of(17, 1, seen.answers[2])["errorCode"] == 34
    assert world.ended is None
    world.advance(1.1)
    seen = world.send(handshake(6), authenticate("alice", 7))
    assert body_of(36, 2, seen.answers[1])["errorCode"] == 0


def test_sasl_authenticate_after_authentication() -> None:
    world = World()
    world.login()
    answer = body_of(36, 2, world.send(authenticate("alice", 3)).answers[0])
    assert answer["errorCode"] == 34
    assert answer["errorMessage"] == "SaslAuthenticate request received after successful authentication"
    assert world.ended is None


def test_a_certificate_is_enough() -> None:
    world = World(certificate=CERTIFICATE)
    seen = world.send(heartbeat(1))
    assert seen.up == heartbeat(1)
    assert str(world.session.principal) == "certificate:clients:spiffe://bank/ops/1"
    world.advance(501)
    assert world.ended is not None
    assert world.ended.reason is reasons.SESSION_EXPIRED


def test_a_certificate_is_admitted_before_it_speaks() -> None:
    world = World(certificate=CERTIFICATE)
    world.advance(0)
    assert [event.event for event in world.events] == ["connected", "authenticated"]
    world.advance(100)
    assert world.ended is None


def test_a_certificate_and_then_a_token() -> None:
    world = World(certificate=CERTIFICATE)
    seen = world.send(versions(1), handshake(2), authenticate("alice", 3), heartbeat(4))
    assert body_of(36, 2, seen.answers[2])["errorCode"] == 0
    assert seen.up == heartbeat(4)
    assert str(world.session.principal) == "jwt:corp:alice"
    last = world.lines("authenticated")[-1]
    assert last.principal is not None
    assert last.principal.name == "alice"


def test_a_token_beside_a_certificate_ends_with_the_earlier_of_both() -> None:
    world = World(certificate=CERTIFICATE)
    world.send(versions(1), handshake(2), authenticate("alice", 3))
    world.advance(501)
    assert world.ended is not None
    assert world.ended.reason is reasons.SESSION_EXPIRED


def test_a_token_after_the_first_request_of_a_certificate_is_too_late() -> None:
    world = World(certificate=CERTIFICATE)
    seen = world.send(heartbeat(1), handshake(2))
    seen += world.reply(beaten(1))
    assert body_of(17, 1, seen.answers[1])["errorCode"] == 34
    assert str(world.session.principal) == "certificate:clients:spiffe://bank/ops/1"


def test_no_tokens_where_no_issuer_is_configured() -> None:
    world = World(certificate=CERTIFICATE, issuers=())
    seen = world.send(handshake(1))
    assert body_of(17, 1, seen.answers[0])["errorCode"] == 34


def test_connections_of_one_principal() -> None:
    quotas = Quotas()
    one = Quota(1e9, 1e9, 1e9, connections=1)
    first = World(quota=one, quotas=quotas)
    first.login()
    second = World(quota=one, quotas=quotas)
    seen = second.send(handshake(1), authenticate("alice", 2))
    assert [id_of(answer) for answer in seen.answers] == [1]
    assert second.ended is not None
    assert second.ended.reason is reasons.CONNECTIONS_OF_PRINCIPAL
    first.session.closed(GONE, "")
    third = World(quota=one, quotas=quotas)
    third.login()


def test_nothing_is_answered_before_a_broker_was_reached() -> None:
    world = World()
    world.state.set_brokers({})
    world.send(versions(1))
    assert world.ended is not None
    assert world.ended.reason is reasons.BACKEND_NOT_READY


def test_the_time_to_log_in_begins_at_the_handshake_however_late_the_first_word_comes() -> None:
    world = World(limits=Limits(authentication_timeout=20.0))
    world.connect(greeted=world.clock.monotonic() - 15.0)
    world.send(versions(1))
    ends_within(world, 5.0)


def test_the_deadline_is_configured() -> None:
    world = World(limits=Limits(authentication_timeout=3.0))
    world.advance(3.1)
    assert world.ended is not None

"""When a login fails its refusal waits, and nobody else's; what is told then is what would have been told at once."""

from __future__ import annotations

from collections.abc import Collection

from gateway.core.failed_logins import FailedLogins
from gateway.core.session import Unavailable
from gateway.core.tokens import KeyMissing, Outcome
from gateway.core.tokens.reasons import KEYS_UNAVAILABLE
from tests.scenarios.kafka_world import (
    BAD_TOKEN,
    World,
    authenticate,
    bearer,
    beaten,
    body_of,
    handshake,
    heartbeat,
    plain,
)


def world(failures: FailedLogins | None = None) -> World:
    made = World()
    made.context.failures = failures if failures is not None else FailedLogins()
    return made


def refused_at_once(*parts: bytes) -> list[bytes]:
    return World().send(*parts).answers


def test_a_refused_password_is_told_later_in_the_same_words() -> None:
    failing = world()
    parts = handshake(1, "PLAIN"), authenticate(plain("bad"), 2)
    seen = failing.send(*parts)
    assert len(seen.answers) == 1, "the handshake's alone"
    assert failing.session.refused
    assert failing.session.parked
    (line,) = failing.lines("refused")
    assert (line.fields["reason"], line.fields["told_in"]) == (BAD_TOKEN.code, 0.1)
    assert failing.advance(0.09).answers == []
    seen = failing.advance(0.02)
    assert seen.answers == refused_at_once(*parts)[1:]
    assert failing.ended is not None
    assert failing.ended.reason is BAD_TOKEN
    assert len(failing.lines("refused")) == 1


def test_oauthbearer_waits_in_the_first_of_its_two_steps() -> None:
    failing = world()
    assert len(failing.send(handshake(1, "OAUTHBEARER"), authenticate(bearer("bad"), 2)).answers) == 1
    challenge = body_of(36, 2, failing.advance(0.2).answers[0])
    assert (challenge["errorCode"], bytes(challenge["authBytes"])) == (0, b'{"status":"invalid_token"}')
    assert failing.ended is None
    seen = failing.send(authenticate(b"\x01", 3))
    assert body_of(36, 2, seen.answers[0])["errorCode"] == 58
    assert failing.ended is not None
    assert len(failing.lines("refused")) == 1


def test_bare_tokens_end_later_too() -> None:
    failing = world()
    failing.send(handshake(1, "PLAIN", version=0))
    failing.send(len(plain("bad")).to_bytes(4, "big") + plain("bad"))
    assert failing.ended is None
    failing.advance(0.2)
    assert failing.ended is not None
    assert failing.ended.reason is BAD_TOKEN


def test_it_grows_over_connections_and_a_valid_login_never_waits() -> None:
    failures = FailedLogins()
    waits = []
    for _ in range(6):
        failing = world(failures)
        failing.send(handshake(1, "PLAIN"), authenticate(plain("bad"), 2))
        waits.append(failing.lines("refused")[0].fields["told_in"])
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    good = world(failures)
    good.login("alice")
    assert good.session.principal is not None


def test_what_comes_behind_a_refused_login_is_not_looked_at() -> None:
    failing = world()
    failing.send(handshake(1, "PLAIN"), authenticate(plain("bad"), 2), heartbeat(3), heartbeat(4))
    seen = failing.advance(1.0)
    assert len(seen.answers) == 1
    assert seen.up == b""
    assert failing.ended is not None


def test_a_failed_reauthentication_waits_and_the_brokers_answers_do_not() -> None:
    def refused(failing: World) -> list[bytes]:
        failing.login("alice")
        failing.advance(2.0)
        sent = failing.send(heartbeat(9))
        seen = failing.send(handshake(10, "PLAIN"), authenticate(plain("bad"), 11))
        assert sent.up
        assert seen.up == b""
        seen = failing.reply(beaten(9))
        if failing.context.failures is not None:
            assert len(seen.answers) == 2, "the broker's answer and the handshake's"
            assert failing.ended is None
            assert not failing.session.refused, "it is somebody, and keeps its place"
            assert failing.send(heartbeat(12)).up == b"", "nothing more is taken"
            seen += failing.advance(0.2)
        assert failing.ended is not None
        return seen.answers

    assert refused(world()) == refused(World())


def test_the_refusal_comes_before_the_time_is_over() -> None:
    failures = FailedLogins()
    for _ in range(9):
        failures.delay(world().session._log._peer.address, "", 0.0, 5.0)
    failing = world(failures)
    late = failing.limits.authentication_timeout - 3.0
    failing.advance(late)
    failing.send(handshake(1, "PLAIN"), authenticate(plain("bad"), 2))
    seen = failing.advance(2.5)
    assert body_of(36, 2, seen.answers[0])["errorCode"] == 58
    assert failing.ended is not None
    assert failing.ended.reason is BAD_TOKEN


class NoKeys:
    """The issuer's keys could not be fetched yet."""

    def validate(self, token: str | bytes, issuers: Collection[str], wall: float) -> Outcome:
        return KeyMissing("corp", "kid-1", no_keys=True)


def test_missing_keys_are_not_the_clients_failure() -> None:
    failures = FailedLogins()
    failing = world(failures)
    failing.context.validator = NoKeys()  # type: ignore[assignment]
    (ask,) = failing.send(handshake(1, "PLAIN"), authenticate(plain("alice"), 2)).asks
    seen = failing.tell(Unavailable(ask))
    assert body_of(36, 2, seen.answers[0])["errorCode"] == 58, "told at once"
    assert failing.lines("refused")[0].fields["reason"] == KEYS_UNAVAILABLE.code
    assert len(failures) == 0

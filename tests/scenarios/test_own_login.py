"""The gateway's own login on a client's upstream connection: renewed between the client's requests, unseen by it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.core.accounts import ACCOUNT_UNAVAILABLE, Credential, LoginFailed, Proven
from gateway.core.exchange import ExchangeFailed
from gateway.core.identity import Certificate
from gateway.core.reasons import Reason
from gateway.core.session import NEVER
from gateway.kafka import login_reasons, reasons
from gateway.kafka.login import CORRELATION_ID, Login, login
from gateway.kafka.renewal import ANSWER_SECONDS
from gateway.kafka.session import KafkaSession
from tests.scenarios.kafka_world import (
    World,
    authenticate,
    beaten,
    fetch,
    fetched,
    framed,
    handshake,
    heartbeat,
    id_of,
    request_body,
    response,
)

SECRET = "not-to-be-seen"


@dataclass
class HandMadeAccount:
    now: Credential | None = field(default_factory=lambda: Credential("PLAIN", "gw", SECRET))
    names: frozenset[str] = frozenset({"gw"})
    refusals: list[Reason] = field(default_factory=list)
    renewals: int = 0

    def credential(self) -> Credential | None:
        return self.now

    def renewed(self) -> None:
        self.renewals += 1

    def refused(self, failed: LoginFailed) -> None:
        self.refusals.append(failed.reason)


def world(account: HandMadeAccount | None = None, **more: Any) -> tuple[World, HandMadeAccount]:
    account = account or HandMadeAccount()
    made = World(**more)
    made.context = replace(made.context, account=account)
    made.connect()
    return made, account


def open_world(lifetime: float = 100.0) -> tuple[World, HandMadeAccount]:
    """A client that is authenticated, with its upstream open."""
    made, account = world()
    made.login()
    made.session.upstream_proven(made.clock.now + lifetime)
    made._take()
    return made, account


def due(made: World) -> Any:
    """Time passes to the next thing that has a time."""
    assert made.session.deadline < made.clock.now + 86
    return made.advance(made.session.deadline - made.clock.now)


def handshaken(error: int = 0) -> bytes:
    return response(17, 1, CORRELATION_ID, {"errorCode": error, "mechanisms": ["PLAIN"]})


def proven(lifetime_ms: int = 100_000, error: int = 0, data: bytes = b"") -> bytes:
    body = {"errorCode": error, "errorMessage": "words", "authBytes": data, "sessionLifetimeMs": lifetime_ms}
    return response(36, 2, CORRELATION_ID, body)


def keys(seen: Any) -> list[int]:
    return [request_body(each)[0].api_key for each in seen.requests]


def test_an_idle_connection_is_renewed() -> None:
    made, account = open_world()
    assert made.advance(69).up == b""
    seen = due(made)
    assert keys(seen) == [17]
    assert made.session.parked
    assert not made.session.idle
    seen = made.reply(handshaken())
    (asked,) = seen.requests
    header, body = request_body(asked)
    assert (header.api_key, header.api_version) == (36, 2)
    assert bytes(body["authBytes"]) == b"\0gw\0" + SECRET.encode()
    assert seen.down == b""
    seen = made.reply(proven())
    assert (seen.up, seen.down) == (b"", b"")
    assert not made.session.parked
    assert made.session.idle
    assert account.renewals == 1
    assert keys(due(made)) == [17]  # and so on
    assert SECRET not in repr(made.events)


def test_no_request_is_sent_between() -> None:
    """What came before is answered before; what comes meanwhile waits, whole and in order."""
    made, _ = open_world()
    assert made.send(heartbeat(1), heartbeat(2)).up == heartbeat(1) + heartbeat(2)
    assert keys(due(made)) == [17]
    assert made.send(heartbeat(3), fetch(4, "a")).up == b""
    seen = made.reply(beaten(1), beaten(2), handshaken())
    assert seen.down == beaten(1) + beaten(2)
    assert keys(seen) == [36]
    seen = made.reply(proven())
    assert seen.down == b""
    assert seen.up == heartbeat(3) + fetch(4, "a")
    seen = made.reply(beaten(3), fetched(4, "a"))
    assert [id_of(each) for each in seen.answers] == [3, 4]


@pytest.mark.parametrize("chunk", [1, 2, 5, 33])
def test_any_chunking_of_the_brokers_answers(chunk: int) -> None:
    made, _ = open_world()
    made.send(heartbeat(1))
    due(made)
    made.send(heartbeat(2))
    seen = made.reply(beaten(1), handshaken(), chunk=chunk)
    assert (seen.down, keys(seen)) == (beaten(1), [36])
    seen = made.reply(proven(), chunk=chunk)
    assert (seen.down, seen.up) == (b"", heartbeat(2))


def test_a_slow_request_before_it_may_take_its_time() -> None:
    """A JoinGroup or a long fetch holds the broker's answers up; the renewal's time begins when it is next."""
    made, _ = open_world()
    made.send(fetch(1, "a"))
    due(made)
    made.advance(10 * ANSWER_SECONDS)
    assert made.ended is None
    made.reply(fetched(1, "a"))
    made.advance(ANSWER_SECONDS - 0.1)
    assert made.ended is None
    made.advance(0.2)
    assert made.ended is not None
    assert made.ended.reason is login_reasons.ACCOUNT_RENEWAL_TIMEOUT


def test_a_broker_without_sessions_is_never_asked_again() -> None:
    made, _ = open_world(NEVER)
    assert made.advance(3000).up == b""
    made, _ = open_world()
    due(made)
    made.reply(handshaken())
    made.reply(proven(0))
    assert made.advance(3000).up == b""


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (handshaken(33), b"", login_reasons.ACCOUNT_MECHANISM),
        (handshaken(34), b"", login_reasons.ACCOUNT_MECHANISM),
        (handshaken(), proven(error=58), login_reasons.ACCOUNT_REFUSED),
        (handshaken(), proven(error=34), login_reasons.ACCOUNT_PROTOCOL),
        (handshaken(), proven(data=b"more"), login_reasons.SERVER_UNPROVEN),
        (framed(handshaken()[4:] + b"\x7f"), b"", login_reasons.ACCOUNT_PROTOCOL),
        (beaten(9), b"", reasons.UPSTREAM_PROTOCOL),
    ],
)
def test_a_refused_renewal_ends_the_connection_by_name(first: bytes, second: bytes, reason: object) -> None:
    made, account = open_world()
    due(made)
    made.reply(first)
    if second:
        made.reply(second)
    assert made.ended is not None
    assert made.ended.reason is reason
    assert account.refusals == ([] if reason is reasons.UPSTREAM_PROTOCOL else [reason])
    (line,) = made.lines("closed")
    assert SECRET not in repr(made.events)
    assert line.fields["reason"] == made.ended.reason.code


def test_without_a_credential_it_waits_to_the_end_of_the_login() -> None:
    made, account = open_world()
    account.now = None
    made.advance(99)
    assert made.ended is None
    account.now = Credential("PLAIN", "gw", SECRET)
    assert keys(made.advance(0.9)) == [17]
    made, account = open_world()
    account.now = None
    made.advance(101)
    assert made.ended is not None
    assert made.ended.reason is ACCOUNT_UNAVAILABLE


def test_a_lifetime_of_less_than_kafka_permits() -> None:
    """Kafka refuses a second login within a second; it is not tried."""
    made, _ = open_world(0.5)
    assert made.advance(1.0).up == b""
    assert keys(made.advance(0.2)) == [17]


@pytest.mark.parametrize("known", ["certificate", "token"])
def test_a_principal_of_the_accounts_name_is_refused(known: str) -> None:
    certificate = Certificate("CN=gw", "gw", ("gw",), (), "ab" * 32, 1_800_000_000.0 + 500)
    made, _ = world(certificate=certificate if known == "certificate" else None)
    if known == "token":
        made.send(*_login_of("gw"))
    else:
        made.advance(1)
    assert made.ended is not None
    assert made.ended.reason is reasons.PRINCIPAL_IS_GATEWAY_ACCOUNT
    assert made.lines("refused")
    assert not made.lines("authenticated")


def test_a_principal_of_the_certificates_name_is_refused() -> None:
    made = World()
    made.context = replace(made.context, own_names=frozenset({"CN=gateway"}))
    made.session = KafkaSession(made.session._log._peer, made.context)
    made.send(*_login_of("CN=gateway"))
    assert made.ended is not None
    assert made.ended.reason is reasons.PRINCIPAL_IS_GATEWAY_ACCOUNT


def _login_of(name: str) -> tuple[bytes, bytes]:
    return handshake(1), authenticate(name, 2)


# The same exchange on a new connection


class Broker:
    """Answers a login frame by frame."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []

    async def call(self, frame: bytes) -> bytes:
        self.asked.append(frame)
        if not self.answers:
            raise ExchangeFailed("gone")
        return self.answers.pop(0)[4:]

    def close(self) -> None: ...


async def test_a_new_connection_logs_in() -> None:
    broker = Broker(handshaken(), proven(5000))
    assert await login(broker, Credential("PLAIN", "gw", SECRET)) == Proven(5.0)
    assert [request_body(each)[0].api_key for each in broker.asked] == [17, 36]


async def test_a_refused_token_is_heard_to_its_end() -> None:
    broker = Broker(handshaken(), proven(data=b'{"status":"invalid_token"}'), proven(error=58))
    with pytest.raises(LoginFailed) as caught:
        await login(broker, Credential("OAUTHBEARER", "", "a.b.c"))
    assert caught.value.reason is login_reasons.ACCOUNT_REFUSED
    assert bytes(request_body(broker.asked[2])[1]["authBytes"]) == b"\x01"


async def test_a_server_that_skips_its_proof_is_refused() -> None:
    """SCRAM: success without a signature is none, at either message."""
    for answers in ((handshaken(), proven()), (handshaken(), proven(data=b"v=AAAA"))):
        with pytest.raises(LoginFailed) as caught:
            await login(Broker(*answers), Credential("SCRAM-SHA-512", "gw", SECRET))
        assert caught.value.reason is login_reasons.SERVER_UNPROVEN


def test_an_endless_exchange_ends() -> None:
    steps = Login(Credential("OAUTHBEARER", "", "a.b.c"))
    steps.begin()
    steps.answered(handshaken()[4:])
    steps.answered(proven(data=b"x")[4:])
    with pytest.raises(LoginFailed):
        steps.answered(proven(data=b"x")[4:])

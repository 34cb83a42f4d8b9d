"""The gateway's own account: its secret's files, how often a refused one is shown, its tokens, its certificate."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.core.accounts import ACCOUNT_UNAVAILABLE, Credential, LoginFailed, Proven
from gateway.core.audit import AuditEvent
from gateway.core.exchange import Exchange, ExchangeFailed
from gateway.core.meters import Meters
from gateway.core.reasons import Reason
from gateway.core.session import Endpoint
from gateway.core.settings import Backend, BackendTls, OauthAccount
from gateway.edge import reasons
from gateway.edge.accounts import AccountKeeper, names, subject_of
from gateway.edge.clock import SystemClock
from gateway.edge.exchange import RenewedExchange
from gateway.edge.login_gate import PAUSE_SECONDS_MAX, LoginGate
from gateway.edge.own_tokens import OwnToken, TokenFailed, TokenKeeper
from gateway.edge.private_files import SECRET_BYTES_MAX, secret_of_environment, secret_of_file
from gateway.edge.process import DialFailed
from gateway.edge.reasons import StartRefused
from gateway.edge.upstream import Dialer
from tests.certificates import make_ca
from tests.edge import until
from tests.tokens import TokenIssuer

ONE, TWO = Endpoint("one", 1), Endpoint("two", 2)
REFUSED = Reason("test-refused", "x", "x", "x")  # made here, so that the register does not know it


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0 + self.now


def private(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


# Settings


PASSWORD = {"username": "gw", "password_env": "X"}
TOKENS = {"token_url": "https://t.test/", "client_id": "gw", "client_secret_env": "X"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"account": {}},
        {"account": {"plain": PASSWORD, "scram": PASSWORD}},
        {"account": {"plain": {"username": "gw"}}},
        {"account": {"plain": {**PASSWORD, "password_file": "f"}}},
        {"account": {"plain": {"username": "", "password_env": "X"}}},
        {"account": {"plain": {"username": "gw", "password": "in the open"}}},
        {"account": {"scram": {**PASSWORD, "mechanism": "SCRAM-SHA-1"}}},
        {"account": {"oauth": {}}},
        {"account": {"oauth": {**TOKENS, "token_file": "f"}}},
        {"account": {"oauth": {**TOKENS, "token_url": "http://t.test/"}}},
        {"account": {"oauth": {"token_url": "https://t.test/", "client_id": "gw"}}},
        {"account": {"oauth": {**TOKENS, "client_secret_file": "f"}}},
        {"account": {"oauth": {"token_file": "f", "scope": "s"}}},
        {"account": {"plain": PASSWORD}, "insecure_plaintext": True},
        {"account": {"oauth": TOKENS}, "insecure_plaintext": True},
        {"tls": {"certificate": "c"}},
        {"tls": {"key": "k"}},
        {"tls": {"certificate": "c", "key": "k"}, "insecure_plaintext": True},
    ],
)
def test_what_no_account_is(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Backend(name="b", bootstrap=("one:1",), **wrong)


@pytest.mark.parametrize(
    "good",
    [
        {"account": {"scram": PASSWORD}, "insecure_plaintext": True},
        {"account": {"plain": PASSWORD, "over_plaintext": True}, "insecure_plaintext": True},
        {"account": {"oauth": TOKENS, "over_plaintext": True}, "insecure_plaintext": True},
        {"account": {"scram": PASSWORD}, "tls": {"certificate": "c", "key": "k"}},
    ],
)
def test_what_an_account_is(good: dict[str, Any]) -> None:
    assert Backend(name="b", bootstrap=("one:1",), **good).account is not None


def test_what_brokers_may_call_it() -> None:
    backend = Backend(
        name="b", bootstrap=("one:1",), account={"plain": PASSWORD, "also_known_as": ("CN=gw",)}  # type: ignore[arg-type]
    )  # fmt: skip
    assert backend.account is not None
    assert names(backend.account) == {"gw", "CN=gw"}
    assert subject_of(TokenIssuer().token("gw-own")) == {"gw-own"}
    for other in ("", "a.b", "a.!.c", "a.e30.c", "a.W10.c", "opaque"):
        assert subject_of(other) == frozenset()


# Secrets


def test_a_secret_is_read_without_the_lines_end(tmp_path: Path) -> None:
    assert secret_of_file(private(tmp_path / "a", "pass word \n")) == "pass word "
    assert secret_of_file(private(tmp_path / "b", "pass\r\n")) == "pass"
    assert secret_of_file(private(tmp_path / "c", "pass", 0o440)) == "pass"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o601, 0o660, 0o777])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(StartRefused) as caught:
        secret_of_file(private(tmp_path / "a", "pass", mode))
    assert caught.value.reason is reasons.SECRET_EXPOSED
    assert "0440" in str(caught.value)
    assert "pass" not in caught.value.detail.replace(str(tmp_path), "")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xff", b"x" * (SECRET_BYTES_MAX + 1)])
def test_what_is_no_secret(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StartRefused) as caught:
        secret_of_file(str(path))
    assert caught.value.reason is reasons.SECRET_UNREADABLE


def test_a_secret_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartRefused):
        secret_of_file(str(tmp_path / "none"))
    monkeypatch.delenv("GATEWAY_NO_SECRET", raising=False)
    with pytest.raises(StartRefused):
        secret_of_environment("GATEWAY_NO_SECRET")
    monkeypatch.setenv("GATEWAY_NO_SECRET", "now")
    assert secret_of_environment("GATEWAY_NO_SECRET") == "now"


# The gate


def test_a_good_account_is_never_held_back() -> None:
    gate = LoginGate(HandClock())
    for _ in range(100):
        assert gate.enter(ONE) == 0.0
        gate.took(ONE)


def test_a_refused_account_is_shown_less_and_less() -> None:
    clock = HandClock()
    gate = LoginGate(clock)
    shown = 0
    for _ in range(3600 * 10):
        clock.now += 0.1
        for broker in (ONE, TWO):
            if gate.enter(broker) == 0.0:
                shown += 1
                gate.refused(broker)
    assert shown < 3600 / PAUSE_SECONDS_MAX * 1.4 + 10


def test_one_try_at_a_time() -> None:
    clock = HandClock()
    gate = LoginGate(clock)
    gate.enter(ONE)
    gate.refused(ONE)
    clock.now += 2
    assert gate.enter(ONE) == 0.0
    assert gate.enter(TWO) > 0
    gate.left(ONE)
    assert gate.enter(TWO) == 0.0
    gate.took(TWO)
    assert not gate.failing
    assert gate.enter(ONE) == 0.0


def test_one_bad_broker_does_not_close_the_good_ones() -> None:
    clock = HandClock()
    gate = LoginGate(clock)
    gate.enter(ONE)
    gate.took(ONE)
    gate.enter(TWO)
    gate.refused(TWO)
    assert gate.enter(ONE) == 0.0
    gate.took(ONE)
    assert gate.enter(TWO) > 0
    assert gate.failing


def test_a_refused_renewal_lets_nobody_storm() -> None:
    gate = LoginGate(HandClock())
    gate.enter(ONE)
    gate.took(ONE)
    gate.distrust()
    assert gate.enter(ONE) > 0
    gate.reset()
    assert gate.enter(ONE) == 0.0


# The account


class Silent:
    async def call(self, frame: bytes) -> bytes:
        raise ExchangeFailed("silent")

    def close(self) -> None: ...


class Account:
    """A keeper with a login made by hand."""

    def __init__(self, account: dict[str, Any]) -> None:
        self.events: list[AuditEvent] = []
        self.clock = HandClock()
        self.shown: list[Credential] = []
        self.failure: Exception | None = None
        backend = Backend(name="b", bootstrap=("one:1",), account=account)  # type: ignore[arg-type]
        assert backend.account is not None
        self.meters = Meters()
        self.keeper = AccountKeeper(backend, backend.account, self.login, self.events.append, self.clock, self.meters)

    async def login(self, exchange: Exchange, credential: Credential) -> Proven:
        self.shown.append(credential)
        if self.failure is not None:
            raise self.failure
        return Proven(30.0)

    async def prove(self, endpoint: Endpoint = ONE) -> float | Reason:
        try:
            self.keeper.check(endpoint)
            return await self.keeper.prove(Silent(), endpoint)
        except DialFailed as failed:
            return failed.reason


async def test_the_new_password_is_used_at_once(tmp_path: Path) -> None:
    file = private(tmp_path / "password", "old-secret")
    account = Account({"scram": {"username": "gw", "password_file": file}})
    assert await account.prove() == account.clock.now + 30
    account.failure = LoginFailed(REFUSED, "words")
    assert await account.prove() is REFUSED
    assert await account.prove() is reasons.ACCOUNT_HELD_BACK
    assert "not taken" in account.keeper.trouble()[0]
    account.failure = None
    private(tmp_path / "password", "new-secret")
    await account.keeper.reload()
    assert await account.prove() == account.clock.now + 30
    assert account.keeper.trouble() == []
    assert [each.secret for each in account.shown] == ["old-secret", "old-secret", "new-secret"]
    states = [event.fields["state"] for event in account.events]
    assert states == ["account-refused", "account-changed", "account-taken"]
    assert "secret" not in repr(account.events)


async def test_a_new_file_that_cannot_be_used_leaves_the_old_secret(tmp_path: Path) -> None:
    file = private(tmp_path / "password", "old-secret")
    account = Account({"plain": {"username": "gw", "password_file": file}})
    for _ in range(3):
        private(tmp_path / "password", "exposed", 0o644)
        await account.keeper.reload()
    assert "secret-exposed" in account.keeper.notes()[0]
    assert len(account.events) == 1
    await account.prove()
    assert account.shown[0].secret == "old-secret"
    private(tmp_path / "password", "good", 0o600)
    await account.keeper.reload()
    assert account.keeper.notes() == []


async def test_a_broker_that_hangs_up_is_no_refusal(tmp_path: Path) -> None:
    account = Account({"plain": {"username": "gw", "password_file": private(tmp_path / "p", "x")}})
    account.failure = ExchangeFailed("gone")
    assert await account.prove() is reasons.ACCOUNT_UNANSWERED
    assert await account.prove() is reasons.ACCOUNT_UNANSWERED
    assert account.keeper.trouble() == []


async def test_a_token_file_names_the_principal(tmp_path: Path) -> None:
    token = TokenIssuer().token("gw-own")
    account = Account({"oauth": {"token_file": private(tmp_path / "t", f" {token}\n")}})
    assert account.keeper.names == {"gw-own"}
    credential = account.keeper.credential()
    assert credential is not None
    assert (credential.mechanism, credential.secret) == ("OAUTHBEARER", token)


async def test_without_a_token_nothing_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_TEST_SECRET", "client-secret")
    account = Account({"oauth": {**TOKENS, "client_secret_env": "GATEWAY_TEST_SECRET"}})
    assert await account.prove() is ACCOUNT_UNAVAILABLE
    assert account.shown == []
    assert "no token" in account.keeper.trouble()[0]


# Tokens of its own


class HandMadeEndpoint:
    def __init__(self, *answers: OwnToken | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def fetch(self) -> OwnToken:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def keeper(endpoint: HandMadeEndpoint, told: Callable[[str], None] = lambda _: None) -> TokenKeeper:
    made = TokenKeeper(endpoint, SystemClock(), told)  # type: ignore[arg-type]
    await made.start()
    return made


async def test_a_token_is_fetched_anew_before_it_ends() -> None:
    endpoint = HandMadeEndpoint(OwnToken("one", 1.6), OwnToken("two", 600))
    made = await keeper(endpoint)
    seen = {made.current}
    await until(lambda: seen.add(made.current) or endpoint.asked == 2)  # type: ignore[func-returns-value]
    assert made.current == "two"
    assert seen == {"one", "two"}
    await made.close()


async def test_the_last_good_token_lasts_as_long_as_it_says() -> None:
    told: list[str] = []
    made = await keeper(HandMadeEndpoint(OwnToken("one", 1.5), TokenFailed("HTTP status 500")), told.append)
    await until(lambda: "HTTP status 500" in told)
    assert made.current == "one"
    await until(lambda: made.current is None)
    await made.close()


async def test_a_changed_secret_is_tried_at_once() -> None:
    endpoint = HandMadeEndpoint(TokenFailed("HTTP status 401"), OwnToken("two", 600))
    made = await keeper(endpoint)
    assert made.current is None
    made.fetch_soon()
    await until(lambda: made.current == "two")
    await made.close()


def test_a_token_is_in_no_representation() -> None:
    assert "hidden" not in repr(OwnToken("hidden", 1.0))
    with pytest.raises(ValidationError):
        OauthAccount(token_url="https://t.test/")


# The certificate


async def test_a_changed_certificate_is_used_and_a_bad_one_is_not(tmp_path: Path) -> None:
    ca = make_ca(tmp_path / "ca")
    first, first_key = ca.client(common_name="one")
    second, second_key = ca.client(common_name="two")
    certificate, key = tmp_path / "own.pem", tmp_path / "own-key.pem"

    def put(one: Path, other: Path) -> None:
        certificate.write_bytes(one.read_bytes())
        key.write_bytes(other.read_bytes())
        key.chmod(0o600)

    put(first, first_key)
    tls = BackendTls(ca=str(ca.path), certificate=str(certificate), key=str(key))
    dialer = Dialer(Backend(name="b", bootstrap=("one:1",), tls=tls))
    assert set(dialer.files) == {str(ca.path), str(certificate), str(key)}
    before = dialer._trust
    put(second, first_key)
    await dialer.reload()
    assert dialer._trust is before
    assert "upstream-certificate-unusable" in dialer.trouble
    put(second, second_key)
    await dialer.reload()
    assert dialer._trust is not before
    assert dialer.trouble == ""
    os.chmod(key, 0o644)
    with pytest.raises(StartRefused) as caught:
        Dialer(Backend(name="b", bootstrap=("one:1",), tls=tls))
    assert caught.value.reason is reasons.SECRET_EXPOSED


# The control connection


async def test_a_kept_exchange_is_renewed_before_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("gateway.edge.exchange.time.monotonic", lambda: now[0])
    calls: list[str] = []

    class Open:
        async def call(self, frame: bytes) -> bytes:
            calls.append("ask")
            return b""

        def close(self) -> None:
            calls.append("close")

    async def renew(exchange: Exchange, endpoint: Endpoint) -> float:
        calls.append("renew")
        if now[0] > 200:
            raise DialFailed(REFUSED, "words")
        return now[0] + 10

    kept = RenewedExchange(Open(), ONE, 110.0, renew)  # type: ignore[arg-type]
    await kept.call(b"")
    now[0] = 106.0
    await kept.call(b"")
    await kept.call(b"")
    assert calls == ["ask", "renew", "ask", "ask"]
    now[0] = 201.0
    with pytest.raises(ExchangeFailed, match="test-refused"):
        await kept.call(b"")
    assert calls[-1] == "close"

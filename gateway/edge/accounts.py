"""The gateway's own account towards one backend: its secret as it is now, and every login with it.

The secret comes from a private file (read anew when it changes, the old one kept while the new one cannot be read),
from the environment, or from a token endpoint. A login happens on each new connection, after TLS was verified and
before anything of a client's is sent; edge.login_gate bounds how often a refused account is shown. What goes wrong is
audited once per change, counted, and named by /readyz. Nothing secret is logged. Composed by ops.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.core.accounts import ACCOUNT_UNAVAILABLE, Credential, LoginFailed, Proven
from gateway.core.audit import Audit, AuditEvent
from gateway.core.clock import Clock
from gateway.core.exchange import Exchange, ExchangeFailed
from gateway.core.meters import Meters
from gateway.core.session import Endpoint
from gateway.core.settings import Backend, OwnAccount
from gateway.edge import meters as named
from gateway.edge import reasons
from gateway.edge.exchange import FrameExchange
from gateway.edge.login_gate import LoginGate
from gateway.edge.private_files import secret
from gateway.edge.process import Dial, DialFailed
from gateway.edge.reasons import StartRefused
from gateway.edge.streams import Stream

if TYPE_CHECKING:
    from gateway.edge.own_tokens import TokenKeeper

Login = Callable[[Exchange, Credential], Awaitable[Proven]]
"""The protocol's own login over an open exchange. Raises LoginFailed, ExchangeFailed."""

log = logging.getLogger(__name__)


class AccountKeeper:
    """One backend's account. `core.accounts.UpstreamAccount`."""

    def __init__(
        self, backend: Backend, account: OwnAccount, login: Login, audit: Audit, clock: Clock, meters: Meters
    ) -> None:
        """Raises StartRefused."""
        self._backend = backend
        self._login = login
        self._audit = audit
        self._clock = clock
        self._meters = meters
        self._gate = LoginGate(clock)
        self._mechanism, self._username = _who(account)
        self._file, self._variable = _where(account)
        self._names = names(account)
        self._read = ""
        self._subject: frozenset[str] = frozenset()
        self._secret = secret(self._file, self._variable)
        self._tokens: TokenKeeper | None = None
        if account.oauth is not None and account.oauth.token_url is not None:
            from gateway.edge.own_tokens import TokenEndpoint, TokenKeeper  # noqa: PLC0415 - an HTTP client, where needed

            self._tokens = TokenKeeper(TokenEndpoint(account.oauth, lambda: self._secret), clock, self._token_told)
        self.file_trouble = ""
        self.token_trouble = ""
        self.login_trouble = ""

    async def start(self) -> None:
        if self._tokens is not None:
            await self._tokens.start()

    async def close(self) -> None:
        if self._tokens is not None:
            await self._tokens.close()

    def credential(self) -> Credential | None:
        text = self._secret if self._tokens is None else self._tokens.current
        return Credential(self._mechanism, self._username, text.strip() if self._is_token else text) if text else None

    @property
    def names(self) -> frozenset[str]:
        """What brokers may call the account, `User:` and one of these; a token's subject among them."""
        credential = self.credential() if self._is_token else None
        if credential is not None and credential.secret != self._read:
            self._read, self._subject = credential.secret, subject_of(credential.secret)
        return self._names | self._subject

    @property
    def _is_token(self) -> bool:
        return self._mechanism == "OAUTHBEARER"

    async def reload(self) -> None:
        """The secret's file may have changed."""
        try:
            found = await asyncio.to_thread(secret, self._file, self._variable)
        except StartRefused as refused:
            words = f"{refused.reason.code}: {refused.detail}"
            if self.file_trouble != words:
                self.file_trouble = words
                self._tell("account-file-refused", reason=refused.reason.code, detail=refused.detail)
            return
        self.file_trouble = ""
        if found != self._secret:
            self._secret = found
            self._gate.reset()
            self._tell("account-changed")
            if self._tokens is not None:
                self._tokens.fetch_soon()

    def trouble(self) -> list[str]:
        """For /readyz."""
        name = self._backend.name
        found = []
        if self.login_trouble:
            found.append(f"backend {name}: the gateway's own account is not taken ({self.login_trouble})")
        if self.credential() is None:
            found.append(f"backend {name}: no token of the gateway's own ({self.token_trouble or 'none was had yet'})")
        return found

    def notes(self) -> list[str]:
        """What is not as it should be, though the account works."""
        words = [self.file_trouble, self.token_trouble if self.credential() is not None else ""]
        return [f"backend {self._backend.name}: {each}" for each in words if each]

    # ---- logins -----------------------------------------------------------------------------------------------

    async def prove(self, exchange: Exchange, endpoint: Endpoint) -> float:
        """Log in on an open connection; until when it lasts (monotonic). Raises DialFailed."""
        credential = self.credential()
        if credential is None:
            raise self._failed(DialFailed(ACCOUNT_UNAVAILABLE, self.token_trouble))
        self._hold_back(endpoint, self._gate.enter(endpoint))
        try:
            proven = await self._login(exchange, credential)
        except LoginFailed as failed:
            self._gate.refused(endpoint)
            self._refused(f"{endpoint}: {failed}")
            raise self._failed(DialFailed(failed.reason, f"{endpoint}: {failed.detail}")) from None
        except ExchangeFailed as failed:
            self._gate.left(endpoint)
            raise self._failed(DialFailed(reasons.ACCOUNT_UNANSWERED, str(failed))) from None
        except BaseException:
            self._gate.left(endpoint)
            raise
        self._gate.took(endpoint)
        self.renewed()
        self._meters.cell(named.LOGINS, self._backend.name, "ok").value += 1
        return self._clock.monotonic() + proven.lifetime

    def check(self, endpoint: Endpoint) -> None:
        """Before dialling: whether a login may be tried at all. Raises DialFailed."""
        if self.credential() is None:
            raise self._failed(DialFailed(ACCOUNT_UNAVAILABLE, self.token_trouble))
        self._hold_back(endpoint, self._gate.pause(endpoint))

    def _hold_back(self, endpoint: Endpoint, pause: float) -> None:
        if pause:
            detail = f"{endpoint}, for {pause:.1f} s; {self.login_trouble}"
            raise self._failed(DialFailed(reasons.ACCOUNT_HELD_BACK, detail))

    def renewed(self) -> None:
        if self.login_trouble and not self._gate.failing:
            self.login_trouble = ""
            self._tell("account-taken")

    def refused(self, failed: LoginFailed) -> None:
        """On a connection that is open; the next login will meet the same."""
        self._gate.distrust()
        self._refused(str(failed))

    def _refused(self, words: str) -> None:
        if not self.login_trouble:
            self._tell("account-refused", detail=words)
            log.warning("backend %s does not take the gateway's own account: %s", self._backend.name, words)
        self.login_trouble = words

    def _failed(self, failed: DialFailed) -> DialFailed:
        self._meters.cell(named.LOGINS, self._backend.name, failed.reason.code).value += 1
        return failed

    def _token_told(self, words: str) -> None:
        if bool(words) is not bool(self.token_trouble):
            self._tell("account-token-failed" if words else "account-token-fetched", detail=words)
        if words:
            log.warning("no new token of the gateway's own for backend %s: %s", self._backend.name, words)
        self.token_trouble = words

    def _tell(self, state: str, **fields: str) -> None:
        told = {"backend": self._backend.name, "state": state, **fields}
        self._audit(AuditEvent("upstream", self._clock.wall(), fields=MappingProxyType(dict(told))))


class LoggedInDial:
    """Dials, and proves the account before anybody else has the connection. `edge.process.Dial`."""

    def __init__(self, dial: Dial, account: AccountKeeper, request_timeout: float) -> None:
        self._dial = dial
        self._account = account
        self._timeout = request_timeout

    async def __call__(self, endpoint: Endpoint) -> Stream:
        """Raises DialFailed."""
        self._account.check(endpoint)
        stream = await self._dial(endpoint)
        exchange = FrameExchange(stream, endpoint, self._timeout)
        try:
            stream.proven_until = await self._account.prove(exchange, endpoint)
            return exchange.release()
        except ExchangeFailed as failed:
            raise DialFailed(reasons.ACCOUNT_UNANSWERED, str(failed)) from None
        except BaseException:
            exchange.close()
            raise


def names(account: OwnAccount) -> frozenset[str]:
    """What the configuration calls the account."""
    found = {_who(account)[1], *account.also_known_as}
    if account.oauth is not None and account.oauth.client_id is not None:
        found.add(account.oauth.client_id)
    return frozenset(found - {""})


def secret_files(account: OwnAccount) -> tuple[str, ...]:
    """The files that an account's secret is read from, and read anew when they change."""
    file, _ = _where(account)
    return (file,) if file is not None else ()


def subject_of(token: str) -> frozenset[str]:
    """`sub` of a token of our own, unverified: the broker's name for whom it shows. None of one that is no JWT."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return frozenset()
    subject = claims.get("sub") if isinstance(claims, dict) else None
    return frozenset({subject}) if isinstance(subject, str) and subject else frozenset()


def _who(account: OwnAccount) -> tuple[str, str]:
    """Mechanism and user name."""
    if account.plain is not None:
        return "PLAIN", account.plain.username
    if account.scram is not None:
        return account.scram.mechanism, account.scram.username
    return "OAUTHBEARER", ""


def _where(account: OwnAccount) -> tuple[str | None, str | None]:
    """The secret's file, or its environment variable."""
    by_password = account.plain or account.scram
    if by_password is not None:
        return by_password.password_file, by_password.password_env
    assert account.oauth is not None
    return account.oauth.token_file or account.oauth.client_secret_file, account.oauth.client_secret_env

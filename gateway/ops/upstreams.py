"""One backend's way upstream put together: its dialer, the gateway's own account, and the files both come from.

Files are watched, and read anew when they change (symlink swaps and renames included): connections made from then on
use what is new, connections that are open stay. When the configuration changes, `prepare` makes the new way, or says
why it cannot be made, and `use` puts it in the old one's place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.accounts import ACCOUNT_UNAVAILABLE, Credential, LoginFailed, Proven
from gateway.core.audit import Audit
from gateway.core.clock import Clock
from gateway.core.exchange import Exchange
from gateway.core.meters import Cell, Meter, Meters
from gateway.core.session import Endpoint
from gateway.core.settings import Backend
from gateway.edge.accounts import AccountKeeper, LoggedInDial, Login, secret_files
from gateway.edge.exchange import Renew
from gateway.edge.process import Dial
from gateway.edge.streams import Stream
from gateway.edge.upstream import Dialer
from gateway.edge.watch import Fingerprint, Watch, fingerprint
from gateway.ops.own_names import names_of_certificate

FILES_POLL = 1.0
"""Seconds between two looks at the files."""
DIALLED = Meter("gateway_upstream_dials_total", "Connections to brokers, by result.", ("backend", "result"))


@dataclass(frozen=True, slots=True)
class Way:
    """How one backend is reached under one configuration. `seen`: what its files were before they were read."""

    backend: Backend
    dialer: Dialer
    web: Dialer | None
    """To the HTTP interface, where the backend has one."""
    account: AccountKeeper | None
    dial: Dial
    names: frozenset[str]
    files: tuple[str, ...]
    seen: Fingerprint

    @property
    def trouble(self) -> str:
        """Why files as they are now cannot be used, "" if they can."""
        return self.dialer.trouble or (self.web.trouble if self.web is not None else "")


def _certificates(backend: Backend) -> list[str]:
    """The gateway's own towards it."""
    tls = [backend.tls, backend.of_web.tls] if backend.web is not None else [backend.tls]
    return [each.certificate for each in tls if each.certificate is not None]


def _names(backend: Backend) -> frozenset[str]:
    """What it may call the gateway by them."""
    return frozenset().union(*map(names_of_certificate, _certificates(backend)))


class Upstream:
    """One backend's. `dial` opens connections with the account already proven."""

    def __init__(
        self,
        backend: Backend,
        login: Login | None,
        audit: Audit,
        clock: Clock,
        meters: Meters,
        renamed: Callable[[], None] = lambda: None,
    ) -> None:
        """login: None where sessions show the account by themselves. `renamed` is called when `names` have become
        others. Raises StartRefused."""
        self._login = login
        self._audit = audit
        self._clock = clock
        self._meters = meters
        self._renamed = renamed
        self._way: Way | None = None
        self._way = way = self.prepare(backend)
        self.names = way.names
        """What brokers may call the gateway by its certificate."""
        self._retired: list[AccountKeeper] = []
        self._watch = Watch(way.files, self._changed, FILES_POLL, way.seen)

    @property
    def way(self) -> Way:
        assert self._way is not None
        return self._way

    @property
    def account(self) -> AccountKeeper | None:
        return self.way.account

    @property
    def renew(self) -> Renew | None:
        """How a connection that is kept proves the account again."""
        return self.account.prove if self.account is not None and self._login is not None else None

    async def dial(self, endpoint: Endpoint) -> Stream:
        """Raises DialFailed."""
        return await self.way.dial(endpoint)

    async def dial_web(self, endpoint: Endpoint) -> Stream:
        """To the backend's HTTP interface. Raises DialFailed."""
        assert self.way.web is not None
        return await self.way.web(endpoint)

    def prepare(self, backend: Backend) -> Way:
        """The way that this configuration makes; the account of the present one where it is the same. Reads files.
        Raises StartRefused."""
        tls, present = backend.tls, self._way
        files = tuple(each for each in (tls.ca, tls.certificate, tls.key) if each is not None)
        web_tls = backend.of_web.tls if backend.web is not None else tls
        files += tuple(each for each in (web_tls.ca, web_tls.certificate, web_tls.key) if each and each not in files)
        files += secret_files(backend.account) if backend.account is not None else ()
        seen = fingerprint(files)  # before they are read, so that no change in between goes unnoticed
        account: AccountKeeper | None = None
        if present is not None and present.backend.account == backend.account:
            account = present.account
        elif backend.account is not None:
            account = AccountKeeper(
                backend, backend.account, self._login or _by_sessions, self._audit, self._clock, self._meters
            )

        def dialled(result: str) -> Cell:
            return self._meters.cell(DIALLED, backend.name, result)

        dialer = Dialer(backend, dialled)
        web = Dialer(backend.of_web, dialled) if backend.web is not None else None
        dial: Dial = dialer
        if account is not None and self._login is not None:
            dial = LoggedInDial(dialer, account, backend.request_timeout)
        return Way(backend, dialer, web, account, dial, _names(backend), files, seen)

    def use(self, way: Way) -> None:
        """Connections go this way from now on. `settle` has to follow."""
        before, self._way = self.way, way
        if before.account is not None and before.account is not way.account:
            self._retired.append(before.account)
        self.names = way.names
        self._watch.use(way.files, FILES_POLL, way.seen)

    async def begin(self, way: Way) -> str:
        """Let a way that was prepared get its account's token. Why there is none, "" if there is."""
        if way.account is None or way.account is self.account:
            return ""
        await way.account.start()
        return "; ".join(way.account.trouble())

    async def abandon(self, way: Way) -> None:
        """A way that was prepared is not used after all."""
        if way.account is not None and way.account is not self.account:
            await way.account.close()

    async def settle(self) -> None:
        """End what belonged to an account that is gone."""
        retired, self._retired = self._retired, []
        for account in retired:
            await account.close()

    async def start(self) -> None:
        await self._watch.start()
        if self.account is not None:
            await self.account.start()

    async def close(self) -> None:
        await self._watch.close()
        for account in (*self._retired, self.account):
            if account is not None:
                await account.close()

    async def _changed(self, _: str) -> None:
        way = self.way
        await way.dialer.reload()
        if way.web is not None:
            await way.web.reload()
        if way.account is not None:
            await way.account.reload()
        if _certificates(way.backend) and not way.trouble and way is self.way:
            names = _names(way.backend)
            if names != self.names:
                self.names = names
                self._renamed()

    def missing(self) -> list[str]:
        return self.account.trouble() if self.account is not None else []

    def notes(self) -> list[str]:
        found = self.account.notes() if self.account is not None else []
        if self.way.trouble:
            found.append(f"backend {self.way.backend.name}: {self.way.trouble}")
        return found


async def _by_sessions(exchange: Exchange, credential: Credential) -> Proven:
    """Nobody logs in ahead of such a session."""
    del exchange, credential
    raise LoginFailed(ACCOUNT_UNAVAILABLE, "sessions of this protocol log in by themselves")

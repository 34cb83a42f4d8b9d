"""One backend's way upstream put together: its dialer, the gateway's own account, and the files both come from.

Files are watched, and read anew when they change (symlink swaps and renames included): connections made from then on
use what is new, connections that are open stay.
"""

from __future__ import annotations

from gateway.core.audit import Audit
from gateway.core.clock import Clock
from gateway.core.meters import Meter, Meters
from gateway.core.settings import Backend
from gateway.edge.accounts import AccountKeeper, LoggedInDial, Login
from gateway.edge.process import Dial
from gateway.edge.upstream import Dialer
from gateway.edge.watch import Watch
from gateway.ops.own_names import names_of_certificate

FILES_POLL = 1.0
"""Seconds between two looks at the files."""
DIALLED = Meter("gateway_upstream_dials_total", "Connections to brokers, by result.", ("backend", "result"))


class Upstream:
    """One backend's. `dial` opens connections with the account already proven."""

    def __init__(self, backend: Backend, login: Login, audit: Audit, clock: Clock, meters: Meters) -> None:
        """Raises StartRefused."""
        self._backend = backend
        self._dialer = Dialer(backend, lambda result: meters.cell(DIALLED, backend.name, result))
        self.dial: Dial = self._dialer
        self.account: AccountKeeper | None = None
        own = backend.tls.certificate
        self.names = frozenset[str]() if own is None else names_of_certificate(own)
        """What brokers may call the gateway by its certificate."""
        files = list(self._dialer.files)
        if backend.account is not None:
            self.account = AccountKeeper(backend, backend.account, login, audit, clock, meters)
            self.dial = LoggedInDial(self._dialer, self.account, backend.request_timeout)
            files += self.account.files
        self._watch = Watch(files, self._changed, FILES_POLL)

    async def start(self) -> None:
        await self._watch.start()
        if self.account is not None:
            await self.account.start()

    async def close(self) -> None:
        await self._watch.close()
        if self.account is not None:
            await self.account.close()

    async def _changed(self, _: str) -> None:
        await self._dialer.reload()
        if self.account is not None:
            await self.account.reload()

    def missing(self) -> list[str]:
        return self.account.trouble() if self.account is not None else []

    def notes(self) -> list[str]:
        found = self.account.notes() if self.account is not None else []
        if self._dialer.trouble:
            found.append(f"backend {self._backend.name}: {self._dialer.trouble}")
        return found

"""The admin port and the health port of one gateway, open from before its first connection until after its last.

Refused at start: ports that cannot be bound, and a credential that is named but cannot be used. Where the gateway makes
its own credential and has no place for it (a file system that is read-only throughout), it serves without: everything
can be read, nothing changed, and the log says so. The port's certificate is read anew when its files change.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from gateway.core.audit import Audit, AuditEvent
from gateway.core.clock import Clock
from gateway.core.meters import Meters
from gateway.core.settings import Admin
from gateway.edge.reasons import ADMIN_TOKEN_UNUSABLE, StartRefused
from gateway.edge.watch import Watch
from gateway.ops import admin, admin_token, differences, metrics
from gateway.ops.admin import Missing, Status
from gateway.ops.admin_certificate import AdminCertificate
from gateway.ops.admin_changes import Changes, CloseOf, Level, Reload, Running
from gateway.ops.admin_sockets import admin_sockets
from gateway.ops.own_log import set_log_level
from gateway.ops.status import status

if TYPE_CHECKING:
    from gateway.ops.composition import Gateway

CERTIFICATE_POLL_SECONDS = 1.0

log = logging.getLogger("gateway.admin")


@dataclass(frozen=True, slots=True)
class Spoken:
    """What the ports show and change, of one process or of several. `count`: see admin.application."""

    admin: Admin
    audit: Audit
    clock: Clock
    meters: Meters
    missing: Missing
    notes: Missing
    status: Status
    running: Running
    close: CloseOf
    reload: Reload
    exposition: metrics.Exposition
    level: Level = set_log_level
    count: Callable[[], Awaitable[None]] | None = None
    certificate: AdminCertificate | None = None


def spoken(gateway: Gateway) -> Spoken:
    """Of a gateway of one process."""
    return Spoken(
        gateway.settings.admin,
        gateway.audit,
        gateway.clock,
        gateway.meters,
        gateway.missing,
        gateway.notes,
        lambda: status(gateway),
        lambda: differences.described(gateway.settings, gateway.policies.loaded, gateway.configuration.revision),
        gateway.server.close_principal,
        gateway.reloaded,
        metrics.exposition(gateway.meters, gateway.readings),
        certificate=gateway.admin_certificate,
    )


@contextlib.asynccontextmanager
async def serving(said: Spoken, sockets: Sequence[socket.socket] | None = None) -> AsyncIterator[None]:
    """Serve both ports, on sockets that are bound already if they are given. Raises StartRefused."""
    settings = said.admin
    async with contextlib.AsyncExitStack() as ending:
        if sockets is None:
            sockets = admin_sockets(settings)
            for sock in sockets:
                ending.callback(sock.close)
        token = _token(settings)
        if token is not None:
            ending.callback(admin_token.remove, settings, token)
        server = admin.server(_application(said, token), settings.tls)
        await ending.enter_async_context(_served(server, sockets[0], "admin port"))
        if said.certificate is not None:
            await ending.enter_async_context(_certificate_watched(server, said.certificate))
        if settings.health is not None:
            apart = admin.server(admin.health(said.missing))
            await ending.enter_async_context(_served(apart, sockets[1], "health port"))
        yield


def _token(settings: Admin) -> str | None:
    try:
        return admin_token.at_start(settings)
    except admin_token.Unusable as error:
        if settings.token_file is not None:
            raise StartRefused(ADMIN_TOKEN_UNUSABLE, str(error)) from None
        log.warning("nothing can be changed by the admin port, for want of a credential: %s", error)
        return None


def _application(said: Spoken, token: str | None) -> Starlette:
    settings = said.admin

    def announce(fields: Mapping[str, str | int]) -> None:
        said.audit(AuditEvent("admin", said.clock.wall(), fields=MappingProxyType(dict(fields))))

    changes = Changes(token, announce, said.close, said.running, said.reload, said.clock, said.meters, said.level)
    return admin.application(
        said.missing,
        said.notes,
        said.exposition,
        status=said.status,
        changes=changes.routes(),
        guard=None if settings.on_loopback else changes.guard,
        hosts=() if settings.on_loopback else (settings.bind, *settings.hosts),
        count=said.count,
    )


@contextlib.asynccontextmanager
async def _served(server: admin.AdminServer, sock: socket.socket, name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(server.serve(sockets=[sock]), name=name)
    try:
        yield
    finally:
        server.end()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _certificate_watched(server: admin.AdminServer, certificate: AdminCertificate) -> AsyncIterator[None]:
    async def changed(trigger: str) -> None:
        del trigger
        certificate.renew(server.config.ssl)

    tls = certificate.tls
    watch = Watch([tls.certificate, tls.key], changed, CERTIFICATE_POLL_SECONDS)
    await watch.start()
    try:
        yield
    finally:
        await watch.close()

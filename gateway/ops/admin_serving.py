"""The admin port and the health port of one gateway, open from before its first connection until after its last.

Refused at start: ports that cannot be bound, and a credential that is named but cannot be used. Where the gateway makes
its own credential and has no place for it (a file system that is read-only throughout), it serves without: everything
can be read, nothing changed, and the log says so. The port's certificate is read anew when its files change.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from starlette.applications import Starlette

from gateway.core.audit import AuditEvent
from gateway.core.settings import Admin, AdminTls
from gateway.edge.reasons import ADMIN_TOKEN_UNUSABLE, BIND_ADDRESS, PORT_IN_USE, StartRefused
from gateway.edge.watch import Watch
from gateway.ops import admin, admin_token, differences, metrics
from gateway.ops.admin_changes import Changes
from gateway.ops.status import status

if TYPE_CHECKING:
    from gateway.ops.composition import Gateway

CERTIFICATE_POLL_SECONDS = 1.0
CHANGES_SHOWN_MAX = 1000
"""Of one reload; the rest is counted."""

log = logging.getLogger("gateway.admin")


@contextlib.asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[None]:
    """Serve both ports. Raises StartRefused."""
    settings = gateway.settings.admin
    async with contextlib.AsyncExitStack() as ending:
        ports = [(settings.bind, settings.port, "admin")]
        if settings.health is not None:
            ports.append((settings.health.bind, settings.health.port, "admin.health"))
        sockets = [_bound(*each) for each in ports]
        for sock in sockets:
            ending.callback(sock.close)
        token = _token(settings)
        if token is not None:
            ending.callback(admin_token.remove, settings, token)
        server = admin.server(_application(gateway, token), settings.tls)
        await ending.enter_async_context(_served(server, sockets[0], "admin port"))
        if settings.tls is not None:
            await ending.enter_async_context(_certificate_watched(server, settings.tls))
        if settings.health is not None:
            apart = admin.server(admin.health(gateway.missing))
            await ending.enter_async_context(_served(apart, sockets[1], "health port"))
        yield


def _bound(address: str, port: int, name: str) -> socket.socket:
    try:
        return admin.bind(address, port)
    except OSError as error:
        detail = f"{name} port {port} on {address}: {error.strerror or type(error).__name__}"
        reason = PORT_IN_USE if error.errno in (errno.EADDRINUSE, errno.EACCES) else BIND_ADDRESS
        raise StartRefused(reason, detail) from None


def _token(settings: Admin) -> str | None:
    try:
        return admin_token.at_start(settings)
    except admin_token.Unusable as error:
        if settings.token_file is not None:
            raise StartRefused(ADMIN_TOKEN_UNUSABLE, str(error)) from None
        log.warning("nothing can be changed by the admin port, for want of a credential: %s", error)
        return None


def _application(gateway: Gateway, token: str | None) -> Starlette:
    settings = gateway.settings.admin

    def announce(fields: Mapping[str, str | int]) -> None:
        gateway.audit(AuditEvent("admin", gateway.clock.wall(), fields=MappingProxyType(dict(fields))))

    def running() -> Mapping[str, object]:
        return differences.described(gateway.settings, gateway.policies.loaded, gateway.configuration.revision)

    changes = Changes(
        token,
        announce,
        gateway.server.close_principal,
        running,
        lambda: reloaded(gateway),
        gateway.clock,
        gateway.meters,
    )
    return admin.application(
        gateway.missing,
        gateway.notes,
        metrics.registry(gateway.meters, gateway.readings),
        status=lambda: status(gateway),
        changes=changes.routes(),
        guard=None if settings.on_loopback else changes.guard,
        hosts=() if settings.on_loopback else (settings.bind, *settings.hosts),
    )


async def reloaded(gateway: Gateway) -> Mapping[str, object]:
    """Look at everything now; what came of it, for ``gateway reload``."""
    outcome = await gateway.reload_all("gateway reload")
    refused = [*gateway.policies.notes(), *gateway.certificates.notes()]
    return {
        "result": outcome.result,
        "revision": gateway.configuration.revision,
        "changes": outcome.done.changes[:CHANGES_SHOWN_MAX],
        "changes_more": max(0, len(outcome.done.changes) - CHANGES_SHOWN_MAX),
        "waiting": outcome.done.waiting,
        "closed": outcome.done.closed,
        "leaving": outcome.done.leaving,
        "mistakes": outcome.mistakes,
        "policy_revision": gateway.policies.current.revision,
        "refused": refused,
    }


@contextlib.asynccontextmanager
async def _served(server: admin.AdminServer, sock: socket.socket, name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(server.serve(sockets=[sock]), name=name)
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def _certificate_watched(server: admin.AdminServer, tls: AdminTls) -> AsyncIterator[None]:
    async def changed(trigger: str) -> None:
        del trigger
        renew(server, tls)

    watch = Watch([tls.certificate, tls.key], changed, CERTIFICATE_POLL_SECONDS)
    await watch.start()
    try:
        yield
    finally:
        await watch.close()


def renew(server: admin.AdminServer, tls: AdminTls) -> bool:
    """Show the new certificate from the next connection on; a pair that does not fit leaves the old one in use."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key)
        if server.config.ssl is not None:
            server.config.ssl.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        log.error("the admin port keeps its certificate; the new files are refused: %s", type(error).__name__)
        return False
    log.info("the admin port has a new certificate")
    return True

"""A connection's way through the front: accepted, its handshake, its session, its end.

While `ready` of a listener names something missing (no broker was reached yet), its ports are bound, but connections
are reset as they come, with the reason `listener-not-ready`: clients see a reset, which they retry with backoff, and
not a handshake that leads nowhere; /readyz says what is missing. Connections over a limit are reset in the same way,
before any TLS work. Their audit lines are summed (edge.refusals). One per process, made by edge.server.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from types import MappingProxyType

from gateway.core.audit import Audit, AuditEvent
from gateway.core.identity import Address, Certificate
from gateway.core.meters import Cell, Meters
from gateway.core.reasons import Reason
from gateway.core.session import Peer
from gateway.core.settings import Limits
from gateway.edge import meters as named
from gateway.edge import reasons
from gateway.edge.admission import Admission
from gateway.edge.arrival import Arrival
from gateway.edge.buffers import Outbox
from gateway.edge.connections import Connections, Open
from gateway.edge.ending import Ending
from gateway.edge.engine import ServerTls, SocketTls
from gateway.edge.front import Front
from gateway.edge.listener import BoundPort
from gateway.edge.process import Process
from gateway.edge.pump import Pump
from gateway.edge.refusals import INTERVAL, Refusals
from gateway.edge.streams import abort, tune
from gateway.wire.proxy_protocol import Header


class Reception:
    """Takes connections from when it is made; `connections` is kept here."""

    def __init__(self, process: Process, connections: Connections, audit: Audit, meters: Meters) -> None:
        self._process = process
        self._connections = connections
        self._audit = audit
        self._meters = meters
        self._admission = Admission(process.limits, meters.cell(named.UNAUTHENTICATED))
        self._refusals = Refusals(audit, process.clock)
        self._ids = count(1)
        self._prefix = secrets.token_hex(4)
        """Makes ids of connections unique over restarts."""
        self._stopping = False
        self._reporting: asyncio.TimerHandle = process.loop.call_later(INTERVAL, self._report)

    def use(self, limits: Limits) -> None:
        """These limits hold for connections that come from now on; nobody is closed for a lowered number."""
        self._process = replace(self._process, limits=limits)
        self._admission.use(limits)

    @property
    def unauthenticated(self) -> int:
        return self._admission.unauthenticated

    def stop(self) -> None:
        """The gateway stops: handshakes end, and a session that begins now is drained at once."""
        self._stopping = True
        for line in list(self._connections):
            if line.arrival is not None:
                line.arrival.abort(reasons.SHUTTING_DOWN)

    def close(self) -> None:
        """Everything has ended: the last sums are written."""
        self._reporting.cancel()
        self._refusals.write()

    def _report(self) -> None:
        self._refusals.write()
        self._reporting = self._process.loop.call_later(INTERVAL, self._report)

    # ---- a connection's way -----------------------------------------------------------------------------------

    def take(self, front: Front, bound: BoundPort, sock: socket.socket, address: Address) -> None:
        """An accepted connection: refuse it at once, or begin its handshake."""
        front.accepted.value += 1
        missing = front.setup.ready()
        balancer = front.balancers.named(address)
        refused = reasons.LISTENER_NOT_READY if missing else front.balancers.refused(balancer)
        refused = refused or self._admission.enter(address, balancer)
        if refused is not None:
            abort(sock)
            self._refuse(front, refused, address, missing)
            return
        process = self._process
        line = Open(f"{self._prefix}-{next(self._ids)}", front.name, address, process.clock.wall())
        self._connections.add(line)
        front.open.value += 1
        try:
            tune(sock)
            tls: ServerTls = SocketTls(process.loop, sock, front.context)
        except Exception:
            self._forget(front, line)
            raise
        line.arrival = Arrival(
            process.loop,
            sock,
            tls,
            process.limits.handshake_timeout,
            lambda stream, certificate: self._arrived(front, bound, line, stream, certificate),
            lambda reason, detail, alert: self._handshake_failed(front, line, tls, reason, detail, alert),
            front.balancers.gate(sock) if balancer else None,
            lambda header: self._proxied(line, header),
        )

    def _proxied(self, line: Open, header: Header) -> Reason | None:
        """A balancer's header: from here on the connection is the client's."""
        if header.client is None:
            return None
        line.through, line.address, line.endpoint = line.address, header.client, header.endpoint
        return self._admission.move(line.through, line.address)

    def _refuse(self, front: Front, reason: Reason, address: Address, detail: str) -> None:
        self._meters.cell(named.REFUSED, front.name, reason.code).value += 1
        self._refusals.add(front.name, reason, str(address), detail)

    def _handshake_failed(
        self, front: Front, line: Open, tls: ServerTls, reason: Reason, detail: str, alert: bool
    ) -> None:
        line.arrival = None
        self._refuse(front, reason, line.address, detail)
        if not alert:
            tls.close()
            self._forget(front, line)
            return
        process = self._process
        nothing, to_nobody = (Outbox(process.budget, Cell(), lambda: None) for _ in range(2))
        nothing.stream = tls
        self._end(front, line, Ending(process.loop, process.scratch, tls, nothing, None, to_nobody))
        assert line.ending is not None
        line.ending.start(client_gone=False)

    def _arrived(
        self,
        front: Front,
        bound: BoundPort,
        line: Open,
        stream: ServerTls,
        certificate: Certificate | None,
    ) -> None:
        """The handshake is complete: begin a session."""
        line.arrival = None
        line.certificate = certificate
        self._meters.cell(named.HANDSHAKES, front.name, stream.version, stream.group).value += 1
        name = stream.server_name
        at = (line.connection, line.address, bound.port)
        peer = Peer(*at, certificate, name, stream.version, line.through, line.endpoint)
        try:
            session = front.factory(bound, name)(peer)
        except Exception as error:
            stream.close()
            self._process.exceptions.value += 1
            self._refuse(front, reasons.SESSION_FAILED, line.address, type(error).__name__)
            self._forget(front, line)
            return
        line.session = session
        line.pump = Pump(
            self._process,
            front.port,
            stream,
            session,
            lambda: self._authenticated(line),
            lambda reason, ending: self._ended(front, line, reason, ending),
        )
        if self._stopping:
            line.pump.drain()
        else:
            line.pump.start()

    def _authenticated(self, line: Open) -> None:
        line.authenticated = True
        self._admission.authenticated()

    def _ended(self, front: Front, line: Open, reason: Reason, ending: Ending) -> None:
        self._meters.cell(named.CLOSED, front.name, reason.code).value += 1
        line.pump = None
        self._end(front, line, ending)

    def _end(self, front: Front, line: Open, ending: Ending) -> None:
        """The connection keeps its place among the counted until its sockets are closed."""
        line.ending = ending
        ending.when_done = lambda: self._forget(front, line)

    def _forget(self, front: Front, line: Open) -> None:
        line.ending = None
        if self._connections.remove(line):
            front.open.value -= 1
            self._admission.leave(line.address, line.authenticated)

    def accept_paused(self, words: str) -> None:
        """No file descriptor was left for a moment."""
        self._meters.cell(named.ACCEPT_PAUSES).value += 1
        fields: Mapping[str, str] = {"warning": "no connection can be accepted for a moment", "detail": words}
        self._audit(AuditEvent("warning", self._process.clock.wall(), fields=MappingProxyType(dict(fields))))

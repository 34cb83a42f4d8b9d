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
from functools import partial
from itertools import count
from types import MappingProxyType

from gateway.core.audit import Audit, AuditEvent
from gateway.core.identity import Address, Certificate
from gateway.core.meters import Cell, Meters
from gateway.core.reasons import Reason
from gateway.core.session import Peer, Stranger, offered
from gateway.core.settings import Limits
from gateway.edge import meters as named
from gateway.edge import reasons
from gateway.edge.admission import Admission, Others, Place, origin
from gateway.edge.arrival import Arrival, Outcome
from gateway.edge.buffers import Outbox
from gateway.edge.connections import Connections, Open
from gateway.edge.ending import Ending
from gateway.edge.engine import ServerTls, SocketTls
from gateway.edge.front import Front
from gateway.edge.listener import BoundPort
from gateway.edge.process import Process
from gateway.edge.pump import Pump
from gateway.edge.refusals import INTERVAL, PROBES_INTERVAL, Refusals
from gateway.edge.streams import abort
from gateway.edge.turns import Turns
from gateway.wire.proxy_protocol import Header


class Reception:
    """Takes connections from when it is made; `connections` is kept here."""

    def __init__(
        self, process: Process, connections: Connections, audit: Audit, meters: Meters, others: Others | None = None
    ) -> None:
        self._process = process
        self._connections = connections
        self._audit = audit
        self._meters = meters
        self._admission = Admission(process.limits, meters.cell(named.UNAUTHENTICATED), others)
        self._turns = Turns(process.loop)
        self._refusals = Refusals(audit, process.clock)
        self._probes = Refusals(audit, process.clock, "probed")
        self._ids = count(1)
        self._prefix = secrets.token_hex(4)
        """Makes ids of connections unique over restarts."""
        self._stopping = False
        self._reporting: dict[Refusals, asyncio.TimerHandle] = {}
        self._report_later(self._refusals, INTERVAL)
        self._report_later(self._probes, PROBES_INTERVAL)

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
        for sums, timer in self._reporting.items():
            timer.cancel()
            sums.write()

    def _report(self, sums: Refusals, interval: float) -> None:
        sums.write()
        self._report_later(sums, interval)

    def _report_later(self, sums: Refusals, interval: float) -> None:
        self._reporting[sums] = self._process.loop.call_later(interval, self._report, sums, interval)

    # ---- a connection's way -----------------------------------------------------------------------------------

    def take(self, front: Front, bound: BoundPort, sock: socket.socket, address: Address) -> None:
        """An accepted connection: refuse it at once, or wait for its first bytes."""
        front.accepted.value += 1
        sock.setblocking(False)
        missing = front.setup.ready()
        balancer = front.balancers.named(address)
        refused = reasons.LISTENER_NOT_READY if missing else front.balancers.refused(balancer)
        if refused is not None:
            abort(sock)
            self._refuse(front, refused, address, missing)
            return
        clock = self._process.clock
        place = Place(origin(address, balancer), clock.monotonic())
        refused = self._admission.enter(place)
        if refused is not None:
            abort(sock)
            self._refuse(front, refused, address, "")
            return
        line = Open(f"{self._prefix}-{next(self._ids)}", front.name, address, clock.wall(), place)
        place.shed = partial(self._shed, front, line)
        self._connections.add(line)
        front.open.value += 1
        line.arrival = Arrival(
            self._process.loop,
            sock,
            lambda sock: SocketTls(self._process.loop, sock, front.context),
            self._turns,
            self._process.limits.handshake_timeout,
            Outcome(
                partial(self._arrived, front, bound, line),
                partial(self._failed, front, line),
                partial(self._proxied, line),
            ),
            front.balancers.gate(sock) if balancer else None,
        )

    def _proxied(self, line: Open, header: Header) -> Reason | None:
        """A balancer's header: from here on the connection is the client's."""
        if header.client is None:
            return None
        line.through, line.address, line.endpoint = line.address, header.client, header.endpoint
        return self._admission.move(line.place, line.address, self._process.clock.monotonic())

    def _failed(self, front: Front, line: Open, reason: Reason, detail: str, stream: ServerTls | None) -> None:
        """It did not come to a session. `stream`: an alert is still to reach the client."""
        line.arrival = None
        if reason is reasons.TCP_PROBE:
            self._probed(front, line, reason)
        else:
            self._refuse(front, reason, line.address, detail)
        if stream is None:
            self._forget(front, line)
            return
        process = self._process
        nothing, to_nobody = (Outbox(process.budget, Cell(), lambda: None) for _ in range(2))
        nothing.stream = stream
        ending = Ending(process.loop, process.scratch, stream, nothing, None, to_nobody)
        self._end(front, line, ending)
        ending.start(client_gone=False)

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
        peer = Peer(*at, certificate, name, stream.version, line.through, line.endpoint, stream.alpn)
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
            lambda: self._admission.authenticated(line.place),
            lambda: self._admission.spend(line.place),
            partial(self._ended, front, line),
        )
        if self._stopping:
            line.pump.drain()
        else:
            line.pump.start()

    def _ended(self, front: Front, line: Open, reason: Reason, detail: str, ending: Ending) -> None:
        """The session was told its end. One that never heard a word wrote nothing: it is summed here."""
        line.pump = None
        session = line.session
        stranger = offered(session, Stranger) if session is not None else None
        if stranger is None or not stranger.silent:
            self._meters.cell(named.CLOSED, front.name, reason.code).value += 1
        elif reason in (reasons.CLIENT_DISCONNECTED, reasons.CLIENT_LOST):
            self._probed(front, line, reasons.TLS_PROBE)
        else:
            self._refuse(front, reason, line.address, detail)
        self._end(front, line, ending)

    def _shed(self, front: Front, line: Open, limit: str) -> None:
        """It makes room for another, at once."""
        self._meters.cell(named.SHED, front.name, limit).value += 1
        if line.arrival is not None:
            line.arrival.abort(reasons.SHED, limit)
        if line.pump is not None:
            line.pump.abort(reasons.SHED, limit)
        if line.ending is not None:
            line.ending.abort()

    def _refuse(self, front: Front, reason: Reason, address: Address, detail: str) -> None:
        self._meters.cell(named.REFUSED, front.name, reason.code).value += 1
        self._refusals.add(front.name, reason, str(address), detail)

    def _probed(self, front: Front, line: Open, reason: Reason) -> None:
        self._meters.cell(named.PROBES, front.name, reason.code).value += 1
        self._probes.add(front.name, reason, str(line.address))

    def _end(self, front: Front, line: Open, ending: Ending) -> None:
        """The connection keeps its place among the counted until its sockets are closed."""
        line.ending = ending
        self._admission.spend(line.place)
        ending.when_done = lambda: self._forget(front, line)

    def _forget(self, front: Front, line: Open) -> None:
        line.ending = None
        if self._connections.remove(line):
            front.open.value -= 1
            self._admission.leave(line.place)

    def accept_paused(self, words: str) -> None:
        """No file descriptor was left for a moment."""
        self._meters.cell(named.ACCEPT_PAUSES).value += 1
        fields: Mapping[str, str] = {"warning": "no connection can be accepted for a moment", "detail": words}
        self._audit(AuditEvent("warning", self._process.clock.wall(), fields=MappingProxyType(dict(fields))))

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
from gateway.edge.admission import Admission, Others, Place, nobody, origin
from gateway.edge.arrival import Arrival, Lobby
from gateway.edge.buffers import Outbox
from gateway.edge.connections import Connections, Open
from gateway.edge.ending import Ending
from gateway.edge.engine import ServerTls, SocketTls
from gateway.edge.front import Front
from gateway.edge.listener import BoundPort
from gateway.edge.process import Process
from gateway.edge.pump import Pump
from gateway.edge.refusals import INTERVAL, PROBES_INTERVAL, Refusals
from gateway.edge.streams import RECORD, abort
from gateway.edge.turns import HandshakeTurns
from gateway.edge.waits import Waits
from gateway.wire.proxy_protocol import Header


class Reception:
    """Takes connections from when it is made; `connections` is kept here."""

    def __init__(
        self, process: Process, connections: Connections, audit: Audit, meters: Meters, others: Others | None = None
    ) -> None:
        self.process = process
        self._connections = connections
        self._audit = audit
        self._meters = meters
        self._admission = Admission(process.limits, meters.cell(named.UNAUTHENTICATED), others)
        self._turns = HandshakeTurns(process.loop)
        self._lobby = self._made_lobby()
        self._refusals = Refusals(audit, process.clock)
        self._probes = Refusals(audit, process.clock, "probed")
        self._ids = count(1)
        self._prefix = secrets.token_hex(4)
        """Makes ids of connections unique over restarts."""
        self._stopping = False
        self._reporting: dict[Refusals, asyncio.TimerHandle] = {}
        self._report_later(self._refusals, INTERVAL)
        self._report_later(self._probes, PROBES_INTERVAL)

    def _made_lobby(self) -> Lobby:
        """With other timeouts it is another one: in each all wait equally long."""
        process = self.process
        return Lobby(
            process.loop,
            self._turns,
            Waits(process.loop, process.limits.handshake_timeout),
            Waits(process.loop, process.limits.authentication_timeout),
            process.scratch[:RECORD],
        )

    def use(self, limits: Limits) -> None:
        """These limits hold for connections that come from now on; nobody is closed for a lowered number."""
        self.process = replace(self.process, limits=limits)
        self._admission.use(limits)
        self._lobby = self._made_lobby()

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
        self._reporting[sums] = self.process.loop.call_later(interval, self._report, sums, interval)

    # ---- a connection's way -----------------------------------------------------------------------------------

    def take(self, front: Front, bound: BoundPort, sock: socket.socket, address: Address) -> None:
        """An accepted connection: refuse it at once, or wait for its first bytes."""
        front.accepted.value += 1
        missing = front.setup.ready()
        balancer = front.balancers.named(address)
        refused = reasons.LISTENER_NOT_READY if missing else front.balancers.refused(balancer)
        if refused is not None:
            abort(sock)
            self.refuse(front, refused, address, missing)
            return
        clock = self.process.clock
        place = Place(origin(address, balancer), clock.monotonic())
        refused = self._admission.enter(place)
        if refused is not None:
            abort(sock)
            self.refuse(front, refused, address, "")
            return
        sock.setblocking(False)
        way = Way(self, front, bound)
        line = way.line = Open(f"{self._prefix}-{next(self._ids)}", front.name, address, clock.wall(), place)
        place.shed = way.shed
        self._connections.add(line)
        front.open.value += 1
        line.arrival = Arrival(self._lobby, sock, way, front.balancers.gate(sock) if balancer else None)

    def move(self, line: Open, header: Header) -> Reason | None:
        """A balancer's header: from here on the connection is the client's."""
        if header.client is None:
            return None
        line.through, line.address, line.endpoint = line.address, header.client, header.endpoint
        return self._admission.move(line.place, line.address, self.process.clock.monotonic())

    def begin(self, way: Way, line: Open, stream: ServerTls, certificate: Certificate | None) -> Pump | None:
        """A session, and the pump that serves it; None if it could not be made."""
        front = way.front
        line.certificate = certificate
        name = stream.server_name
        at = (line.connection, line.address, way.bound.port)
        told = (line.through, line.endpoint, stream.alpn)
        peer = Peer(*at, certificate, name, stream.version, *told, greeted=way.greeted_at)
        try:
            session = front.factory(way.bound, name)(peer)
        except Exception as error:
            stream.close()
            self.process.exceptions.value += 1
            self.refuse(front, reasons.SESSION_FAILED, line.address, type(error).__name__)
            self.forget(front, line)
            return None
        line.session = session
        place, admission = line.place, self._admission
        pump = Pump(
            self.process,
            front.port,
            stream,
            session,
            lambda: admission.authenticated(place),
            lambda: admission.spend(place),
            way.ended,
        )
        line.pump = pump
        return pump

    @property
    def stopping(self) -> bool:
        return self._stopping

    # ---- what is counted --------------------------------------------------------------------------------------

    def shook_hands(self, front: Front, stream: ServerTls) -> None:
        front.count(named.HANDSHAKES, stream.version, stream.group)

    def closed(self, front: Front, reason: Reason) -> None:
        front.count(named.CLOSED, reason.code)

    def shed(self, front: Front, limit: str) -> None:
        front.count(named.SHED, limit)

    def refuse(self, front: Front, reason: Reason, address: Address, detail: str) -> None:
        front.count(named.REFUSED, reason.code)
        self._refusals.add(front.name, reason, address, detail)

    def silent(self, front: Front, line: Open, reason: Reason, detail: str) -> None:
        """It shook hands and said nothing: a probe if it went by itself."""
        if reason in (reasons.CLIENT_DISCONNECTED, reasons.CLIENT_LOST):
            self.probed(front, line, reasons.TLS_PROBE)
        else:
            self.refuse(front, reason, line.address, detail)

    def probed(self, front: Front, line: Open, reason: Reason) -> None:
        front.count(named.PROBES, reason.code)
        self._probes.add(front.name, reason, line.address)

    def end(self, front: Front, line: Open, ending: Ending) -> None:
        """The connection keeps its place among the counted until its sockets are closed."""
        line.ending = ending
        self._admission.spend(line.place)
        ending.when_done = partial(self.forget, front, line)

    def forget(self, front: Front, line: Open) -> None:
        line.ending = None
        line.place.shed = nobody  # cut the circle: nothing of an ended connection waits for the collector
        if self._connections.remove(line):
            front.open.value -= 1
            self._admission.leave(line.place)

    def accept_paused(self, words: str) -> None:
        """No file descriptor was left for a moment."""
        self._meters.cell(named.ACCEPT_PAUSES).value += 1
        fields: Mapping[str, str] = {"warning": "no connection can be accepted for a moment", "detail": words}
        self._audit(AuditEvent("warning", self.process.clock.wall(), fields=MappingProxyType(dict(fields))))


class Way:
    """One connection's way: whom its arrival and its pump tell (arrival.Host)."""

    __slots__ = ("_reception", "bound", "front", "greeted_at", "line")

    line: Open
    greeted_at: float
    """Monotonic time of the end of its handshake."""

    def __init__(self, reception: Reception, front: Front, bound: BoundPort) -> None:
        self._reception = reception
        self.front = front
        self.bound = bound

    def secure(self, sock: socket.socket, arrival: Arrival) -> ServerTls:
        return SocketTls(self._reception.process.loop, sock, self.front.context, arrival.ready)

    def proxied(self, header: Header) -> Reason | None:
        return self._reception.move(self.line, header)

    def greeted(self, stream: ServerTls) -> None:
        self.greeted_at = self._reception.process.clock.monotonic()
        self._reception.shook_hands(self.front, stream)

    def arrived(self, stream: ServerTls, certificate: Certificate | None, octets: int) -> None:
        self.line.arrival = None
        pump = self._reception.begin(self, self.line, stream, certificate)
        if pump is None:
            return
        if self._reception.stopping:
            pump.drain()
        else:
            pump.start(octets)

    def failed(self, reason: Reason, detail: str, stream: ServerTls | None) -> None:
        reception, front, line = self._reception, self.front, self.line
        line.arrival = None
        if reason is reasons.TCP_PROBE:
            reception.probed(front, line, reason)
        else:
            reception.refuse(front, reason, line.address, detail)
        if stream is None:
            reception.forget(front, line)
            return
        process = reception.process
        nothing, to_nobody = (Outbox(process.budget, Cell(), lambda: None) for _ in range(2))
        nothing.stream = stream
        ending = Ending(process.loop, process.scratch, stream, nothing, None, to_nobody)
        reception.end(front, line, ending)
        ending.start(client_gone=False)

    def silent(self, reason: Reason, detail: str) -> None:
        self.line.arrival = None
        self._reception.silent(self.front, self.line, reason, detail)
        self._reception.forget(self.front, self.line)

    def ended(self, reason: Reason, detail: str, ending: Ending) -> None:
        """The session was told its end. One that never heard a word wrote nothing: it is summed by the reception."""
        reception, front, line = self._reception, self.front, self.line
        line.pump = None
        stranger = offered(line.session, Stranger) if line.session is not None else None
        if stranger is not None and stranger.silent:
            reception.silent(front, line, reason, detail)
        else:
            reception.closed(front, reason)
        reception.end(front, line, ending)

    def shed(self, limit: str) -> None:
        """It makes room for another, at once."""
        line = self.line
        self._reception.shed(self.front, limit)
        if line.arrival is not None:
            line.arrival.abort(reasons.SHED, limit)
        if line.pump is not None:
            line.pump.abort(reasons.SHED, limit)
        if line.ending is not None:
            line.ending.abort()

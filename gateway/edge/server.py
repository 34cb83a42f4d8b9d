"""The gateway's front: listeners, the connections on them, and how it stops.

    server = Server(setups, limits, audit, meters, clock, answer)
    server.bind()            # every port of every listener, or StartRefused; nothing is accepted yet
    server.start()           # from here on connections are taken
    await server.shutdown()  # stop accepting, let answers out within limits.shutdown_timeout, close the rest

While `ready` of a listener names something missing (no broker was reached yet), its ports are bound, but connections
are reset as they come, with the reason `listener-not-ready`: clients see a reset, which they retry with backoff, and
not a handshake that leads nowhere; /readyz says what is missing. Connections over a limit are reset in the same way,
before any TLS work. Their audit lines are summed (edge.refusals). Composed by ops.run.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType

from OpenSSL import SSL

from gateway.core import settings
from gateway.core.audit import Audit, AuditEvent
from gateway.core.clock import Clock
from gateway.core.identity import Address, Certificate, Principal
from gateway.core.meters import Cell, Meters
from gateway.core.reasons import Reason
from gateway.core.session import Peer, Session, SessionFactory
from gateway.edge import meters as named
from gateway.edge import reasons
from gateway.edge.admission import Admission
from gateway.edge.arrival import Arrival
from gateway.edge.budget import Budget
from gateway.edge.buffers import SCRATCH, Outbox
from gateway.edge.ending import Ending
from gateway.edge.engine import ServerTls, SocketTls
from gateway.edge.listener import Acceptor, BoundPort, bind
from gateway.edge.process import Answer, Dial, Port, Process
from gateway.edge.pump import Pump
from gateway.edge.reasons import StartRefused
from gateway.edge.refusals import INTERVAL, Refusals
from gateway.edge.spares import Spares
from gateway.edge.streams import abort, tune


@dataclass(frozen=True, slots=True)
class ListenerSetup:
    """One listener, composed: `factory` gives the session factory of a port (node id; None: bootstrap port)."""

    settings: settings.Listener
    context: SSL.Context
    factory: Callable[[int | None], SessionFactory]
    dial: Dial
    ready: Callable[[], str]
    """What is missing before clients can be served; "" when nothing is."""


@dataclass(slots=True)
class Open:
    """One line of the table of connections."""

    connection: str
    listener: str
    address: Address
    since: float
    """Wall time."""
    session: Session | None = None
    pump: Pump | None = None
    arrival: Arrival | None = None
    ending: Ending | None = None
    authenticated: bool = False
    certificate: Certificate | None = None

    @property
    def principal(self) -> Principal | None:
        return self.session.principal if self.session is not None else None


class _Front:
    """A listener's ports and what is counted for it."""

    def __init__(self, setup: ListenerSetup, meters: Meters) -> None:
        self.setup = setup
        self.name = name = setup.settings.name
        self.context = setup.context
        self.bound: list[BoundPort] = []
        self.acceptors: list[Acceptor] = []
        self.meters = meters
        self.accepted = meters.cell(named.ACCEPTED, name)
        self.open = meters.cell(named.OPEN, name)
        self.port = Port(
            name,
            setup.dial,
            meters.cell(named.FROM_CLIENTS, name),
            meters.cell(named.TO_CLIENTS, name),
            meters.cell(named.FROM_UPSTREAM, name),
            meters.cell(named.TO_UPSTREAM, name),
        )


class Server:
    """All listeners of the process. Its loop is the one that runs when `start` is called."""

    def __init__(
        self,
        setups: Sequence[ListenerSetup],
        limits: settings.Limits,
        audit: Audit,
        meters: Meters,
        clock: Clock,
        answer: Answer,
    ) -> None:
        """Raises StartRefused if the limits contradict each other."""
        self._limits = limits
        self._audit = audit
        self._meters = meters
        self._clock = clock
        self._answer = answer
        self._fronts = [_Front(setup, meters) for setup in setups]
        self._budget = Budget(limits.buffered_bytes_max, self._soon)
        if limits.frame_bytes_max > self._budget.large_max:
            detail = f"frame_bytes_max {limits.frame_bytes_max}, buffered_bytes_max {limits.buffered_bytes_max}"
            raise StartRefused(reasons.BUFFER_BUDGET_TOO_SMALL, detail)
        self._admission = Admission(limits, meters.cell(named.UNAUTHENTICATED))
        self._refusals = Refusals(audit, clock)
        self._connections: dict[str, Open] = {}
        self._ids = count(1)
        self._prefix = secrets.token_hex(4)
        """Makes ids of connections unique over restarts."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process: Process | None = None
        self._reporting: asyncio.TimerHandle | None = None
        self._stopping = False
        self._emptied: asyncio.Event | None = None

    # ---- start ------------------------------------------------------------------------------------------------

    def bind(self) -> None:
        """Bind every port, or none. Raises StartRefused."""
        try:
            for front in self._fronts:
                front.bound = bind(front.setup.settings)
        except StartRefused:
            for front in self._fronts:
                for bound in front.bound:
                    bound.sock.close()
                front.bound = []
            raise

    def start(self) -> None:
        """Accept from now on. Needs a running loop."""
        loop = self._loop = asyncio.get_running_loop()
        self._process = Process(
            loop,
            self._clock,
            self._limits,
            self._budget,
            Spares(),
            memoryview(bytearray(SCRATCH)),
            self._answer,
            self._meters.cell(named.EXCEPTIONS),
        )
        for front in self._fronts:
            for bound in front.bound:
                front.acceptors.append(Acceptor(loop, bound.sock, self._taker(front, bound), self._accept_paused))
        self._reporting = loop.call_later(INTERVAL, self._report)

    def _soon(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon(call)

    def _report(self) -> None:
        assert self._loop is not None
        self._refusals.write()
        self._reporting = self._loop.call_later(INTERVAL, self._report)

    def sample(self) -> None:
        """Bring the gauges up to date that nothing else does; ops.metrics calls it before it reads the meters."""
        self._meters.cell(named.BUFFERED).value = self._budget.used
        self._meters.cell(named.BUFFER_WAITS).value = self._budget.waits

    # ---- a connection's way -----------------------------------------------------------------------------------

    def _taker(self, front: _Front, bound: BoundPort) -> Callable[[socket.socket, Address], None]:
        factory = front.setup.factory(bound.node_id)
        return lambda sock, address: self._take(front, bound, factory, sock, address)

    def _take(
        self, front: _Front, bound: BoundPort, factory: SessionFactory, sock: socket.socket, address: Address
    ) -> None:
        """An accepted connection: refuse it at once, or begin its handshake."""
        front.accepted.value += 1
        missing = front.setup.ready()
        refused = reasons.LISTENER_NOT_READY if missing else self._admission.enter(address)
        if refused is not None:
            abort(sock)
            self._refuse(front, refused, address, missing)
            return
        line = Open(f"{self._prefix}-{next(self._ids)}", front.name, address, self._clock.wall())
        self._connections[line.connection] = line
        front.open.value += 1
        assert self._loop is not None
        try:
            tune(sock)
            tls: ServerTls = SocketTls(self._loop, sock, front.context)
        except Exception:
            self._forget(front, line)
            raise
        line.arrival = Arrival(
            self._loop,
            sock,
            tls,
            self._limits.handshake_timeout,
            lambda stream, certificate: self._arrived(front, bound, factory, line, stream, certificate),
            lambda reason, detail, alert: self._handshake_failed(front, line, tls, reason, detail, alert),
        )

    def _refuse(self, front: _Front, reason: Reason, address: Address, detail: str) -> None:
        self._meters.cell(named.REFUSED, front.name, reason.code).value += 1
        self._refusals.add(front.name, reason, str(address), detail)

    def _handshake_failed(
        self, front: _Front, line: Open, tls: ServerTls, reason: Reason, detail: str, alert: bool
    ) -> None:
        line.arrival = None
        self._refuse(front, reason, line.address, detail)
        if not alert:
            tls.close()
            self._forget(front, line)
            return
        process = self._process
        assert process is not None
        nothing, to_nobody = (Outbox(self._budget, Cell(), lambda: None) for _ in range(2))
        nothing.stream = tls
        self._end(front, line, Ending(process.loop, process.scratch, tls, nothing, None, to_nobody))
        assert line.ending is not None
        line.ending.start(client_gone=False)

    def _arrived(
        self,
        front: _Front,
        bound: BoundPort,
        factory: SessionFactory,
        line: Open,
        stream: ServerTls,
        certificate: Certificate | None,
    ) -> None:
        """The handshake is complete: begin a session."""
        line.arrival = None
        line.certificate = certificate
        assert self._process is not None
        self._meters.cell(named.HANDSHAKES, front.name, stream.version, stream.group).value += 1
        peer = Peer(line.connection, line.address, bound.port, certificate, stream.server_name, stream.version)
        try:
            session = factory(peer)
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

    def _ended(self, front: _Front, line: Open, reason: Reason, ending: Ending) -> None:
        self._meters.cell(named.CLOSED, front.name, reason.code).value += 1
        line.pump = None
        self._end(front, line, ending)

    def _end(self, front: _Front, line: Open, ending: Ending) -> None:
        """The connection keeps its place among the counted until its sockets are closed."""
        line.ending = ending
        ending.when_done = lambda: self._forget(front, line)

    def _forget(self, front: _Front, line: Open) -> None:
        line.ending = None
        if self._connections.pop(line.connection, None) is not None:
            front.open.value -= 1
            self._admission.leave(line.address, line.authenticated)
            if not self._connections and self._emptied is not None:
                self._emptied.set()

    def _accept_paused(self, words: str) -> None:
        self._meters.cell(named.ACCEPT_PAUSES).value += 1
        fields: Mapping[str, str] = {"warning": "no connection can be accepted for a moment", "detail": words}
        self._audit(AuditEvent("warning", self._clock.wall(), fields=MappingProxyType(dict(fields))))

    # ---- what others look at ----------------------------------------------------------------------------------

    def connections(self) -> Iterator[Open]:
        """The open connections, oldest first."""
        yield from self._connections.values()

    @property
    def budget(self) -> Budget:
        return self._budget

    def missing(self) -> list[str]:
        """What keeps listeners from being ready, for /readyz."""
        found = [(front.name, front.setup.ready()) for front in self._fronts]
        return [f"listener {name}: {missing}" for name, missing in found if missing]

    # ---- stop -------------------------------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """Stop accepting, let answers that are under way out, close what is left after limits.shutdown_timeout."""
        self._stopping = True
        for front in self._fronts:
            for acceptor in front.acceptors:
                acceptor.close()
            for bound in front.bound:
                bound.sock.close()
        for line in list(self._connections.values()):
            if line.arrival is not None:
                line.arrival.abort(reasons.SHUTTING_DOWN)
            elif line.pump is not None:
                line.pump.drain()
        if self._connections:
            self._emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), self._limits.shutdown_timeout)
        for line in list(self._connections.values()):
            if line.pump is not None:
                line.pump.abort(reasons.SHUTTING_DOWN, "its answers did not come in time")
            if line.ending is not None:
                line.ending.abort()
        if self._reporting is not None:
            self._reporting.cancel()
        self._refusals.write()

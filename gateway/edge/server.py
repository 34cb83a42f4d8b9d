"""The gateway's front: listeners, the connections on them, and how it stops.

    server = Server(setups, limits, audit, meters, clock, answer)
    server.bind()            # every port of every listener, or StartRefused; nothing is accepted yet
    server.start()           # from here on connections are taken
    await server.shutdown()  # stop accepting, let answers out within limits.shutdown_timeout, close the rest; the
                             # closes are spread over the first half, so that clients do not return all at once

A listener is edge.front, a connection's way from its acceptance edge.reception, the table of connections
edge.connections. Composed by ops.run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType

from OpenSSL import SSL

from gateway.core import settings
from gateway.core.audit import Audit, AuditEvent
from gateway.core.clock import Clock
from gateway.core.identity import Address, Principal
from gateway.core.meters import Meters
from gateway.core.reasons import Reason
from gateway.edge import meters as named
from gateway.edge import reasons
from gateway.edge.admission import Others
from gateway.edge.budget import Budget
from gateway.edge.buffers import SCRATCH
from gateway.edge.connections import Connections, Open
from gateway.edge.front import Front, ListenerSetup
from gateway.edge.listener import Acceptor, BoundPort, Held, bind_more, close_new
from gateway.edge.open_files import permitted
from gateway.edge.process import Answer, Process
from gateway.edge.reasons import StartRefused
from gateway.edge.reception import Reception
from gateway.edge.resets import Resets
from gateway.edge.spares import Spares
from gateway.edge.turns import Turns

DRAIN_SHARE = 0.5
"""The part of limits.shutdown_timeout over which the closes of a stopping gateway are spread."""
DRAIN_PACE_SECONDS = 0.02
"""Between two such closes, in whichever worker; less where there are so many that they would not fit."""
Ports = dict[str, list[BoundPort]]
"""By listener."""
_random = random.SystemRandom()

log = logging.getLogger(__name__)


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
        others: Others | None = None,
        workers: int = 1,
    ) -> None:
        """`others`: the other workers of this gateway; `workers`: how many there are with this one.

        Raises StartRefused if the limits contradict each other.
        """
        self._limits = limits
        self._asked = limits.connections_max
        self._audit = audit
        self._meters = meters
        self._clock = clock
        self._answer = answer
        self._others = others
        self._workers = workers
        self._fronts = [Front(setup, meters) for setup in setups]
        self._budget = Budget(limits.buffered_bytes_max, self._soon)
        if limits.frame_bytes_max > self._budget.large_max:
            detail = f"frame_bytes_max {limits.frame_bytes_max}, buffered_bytes_max {limits.buffered_bytes_max}"
            raise StartRefused(reasons.BUFFER_BUDGET_TOO_SMALL, detail)
        self._connections = Connections()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reception: Reception | None = None
        self._stopping = False

    # ---- start ------------------------------------------------------------------------------------------------

    def bind(self, given: Held = MappingProxyType({})) -> None:
        """Bind every port, or none, but for `given`, which a supervisor has bound. Raises StartRefused."""
        ports = self._prepare([front.setup.settings for front in self._fronts], given)
        for front in self._fronts:
            front.bound = ports[front.name]
        try:
            self._limits = self.fitting(self._limits)
        except StartRefused:
            for front in self._fronts:
                for bound in front.bound:
                    bound.sock.close()
                front.bound = []
            raise

    def fitting(self, limits: settings.Limits) -> settings.Limits:
        """These limits, with as many connections as open files permit. Raises StartRefused."""
        connections = permitted(limits.connections_max)
        self._meters.cell(named.CONNECTIONS_MAX).value = connections
        return limits.model_copy(update={"connections_max": connections})

    def _tell_if_lowered(self) -> None:
        fitting = self._limits.connections_max
        if fitting < self._asked:
            detail = f"{fitting} client connections instead of limits.connections_max: {self._asked}"
            log.warning("%s: open files permit %s", reasons.OPEN_FILES_FEW.code, detail)
            fields = MappingProxyType({"reason": reasons.OPEN_FILES_FEW.code, "detail": detail})
            self._audit(AuditEvent("warning", self._clock.wall(), fields=fields))

    def start(self) -> None:
        """Accept from now on. Needs a running loop."""
        self._tell_if_lowered()
        loop = self._loop = asyncio.get_running_loop()
        process = Process(
            loop,
            self._clock,
            self._limits,
            self._budget,
            Spares(),
            memoryview(bytearray(SCRATCH)),
            self._answer,
            self._meters.cell(named.EXCEPTIONS),
            Turns(loop),
            Resets(loop),
        )
        reception = self._reception = Reception(process, self._connections, self._audit, self._meters, self._others)
        for front in self._fronts:
            self._accept(front, reception, loop)

    def _accept(self, front: Front, reception: Reception, loop: asyncio.AbstractEventLoop) -> None:
        front.acceptors = [
            Acceptor(loop, bound.sock, _taker(reception, front, bound), reception.accept_paused)
            for bound in front.bound
        ]

    def _soon(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon(call)

    # ---- another configuration --------------------------------------------------------------------------------

    def prepare(self, listeners: Sequence[settings.Listener]) -> Ports:
        """Every port of these listeners: those that are bound already, and the others bound now, or none of them.

        `use` puts them in force; `abandon` gives the new ones back. Raises StartRefused.
        """
        return self._prepare(listeners, self._held())

    def _prepare(self, listeners: Sequence[settings.Listener], held: Held) -> Ports:
        ports: Ports = {}
        try:
            for listener in listeners:
                ports[listener.name] = bind_more(listener, held, together=self._workers > 1)
        except StartRefused:
            for bound in ports.values():
                close_new(bound, held)
            raise
        return ports

    def abandon(self, ports: Ports) -> None:
        """Nothing comes of what was prepared."""
        for bound in ports.values():
            close_new(bound, self._held())

    def _held(self) -> Held:
        held: dict[tuple[str, int], list[socket.socket]] = {}
        for front in self._fronts:
            for bound in front.bound:
                held.setdefault((front.setup.settings.bind, bound.port), []).append(bound.sock)
        return held

    def use(self, setups: Sequence[ListenerSetup], limits: settings.Limits, ports: Ports) -> None:
        """These are the listeners and limits for whoever connects from now on. `ports` are those of `prepare`; what no
        listener has any more is given back. Connections that are open go on, those in a handshake too, unless their
        listener is gone."""
        reception, loop = self._reception, self._loop
        assert reception is not None
        assert loop is not None
        before = {front.name: front for front in self._fronts}
        for front in before.values():
            for acceptor in front.acceptors:
                acceptor.release()
        kept = {bound.sock for each in ports.values() for bound in each}
        for socks in self._held().values():
            for sock in socks:
                if sock not in kept:
                    sock.close()
        self._fronts = [before.get(setup.settings.name) or Front(setup, self._meters) for setup in setups]
        self._limits = limits
        self._budget.resize(limits.buffered_bytes_max)
        reception.use(limits)
        for front, setup in zip(self._fronts, setups, strict=True):
            front.use(setup)
            front.bound = ports[front.name]
            self._accept(front, reception, loop)
        for line in list(self._connections):
            if line.arrival is not None and line.listener not in ports:
                line.arrival.abort(reasons.LISTENER_GONE)

    async def let_go(self, lines: Sequence[Open], reason: Reason) -> None:
        """Drain these connections as a stopping gateway does, and close what is left at the end of that time."""
        if not lines:
            return
        ends = self._clock.monotonic() + self._limits.shutdown_timeout
        await self._drain(lines, reason)
        await asyncio.sleep(max(0.0, ends - self._clock.monotonic()))
        for line in lines:
            if line.pump is not None:
                line.pump.abort(reason, "its answers did not come in time")

    # ---- what others look at ----------------------------------------------------------------------------------

    def sample(self) -> None:
        """Bring the gauges up to date that nothing else does; ops.metrics calls it before it reads the meters."""
        self._meters.cell(named.BUFFERED).value = self._budget.used
        self._meters.cell(named.BUFFER_WAITS).value = self._budget.waits

    def connections(self) -> Iterator[Open]:
        """The open connections, oldest first."""
        yield from self._connections

    @property
    def budget(self) -> Budget:
        return self._budget

    def use_context(self, listener: str, context: SSL.Context) -> None:
        """New handshakes of a listener take this context; connections stay with theirs."""
        for front in self._fronts:
            if front.name == listener:
                front.context = context

    def missing(self) -> list[str]:
        """What keeps listeners from being ready, for /readyz."""
        found = [(front.name, front.setup.ready()) for front in self._fronts]
        draining = [f"draining: {len(self._connections)} connections are left"] if self._stopping else []
        return draining + [f"listener {name}: {missing}" for name, missing in found if missing]

    @property
    def unauthenticated(self) -> int:
        return self._reception.unauthenticated if self._reception is not None else 0

    def close_principal(self, principal: Principal, detail: str) -> int:
        """Close what is open of a principal now, for an operator; returns how many connections that were."""
        theirs = [line for line in self._connections if line.pump is not None and line.principal == principal]
        for line in theirs:
            if line.pump is not None:
                line.pump.abort(reasons.CLOSED_BY_OPERATOR, detail)
        return len(theirs)

    # ---- stop -------------------------------------------------------------------------------------------------

    async def shutdown(self) -> None:
        """Stop accepting, let answers that are under way out, close what is left after limits.shutdown_timeout."""
        self._stopping = True
        for front in self._fronts:
            for acceptor in front.acceptors:
                acceptor.close()
            for bound in front.bound:
                bound.sock.close()
        if self._reception is None:
            return
        self._reception.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.shutdown_timeout):
                await self._drain(list(self._connections), reasons.SHUTTING_DOWN)
                await self._connections.emptied()
        for line in list(self._connections):
            if line.pump is not None:
                line.pump.abort(reasons.SHUTTING_DOWN, "its answers did not come in time")
            if line.ending is not None:
                line.ending.abort()
        self._reception.close()
        self._reception.process.resets.close()

    async def _drain(self, lines: Sequence[Open], reason: Reason) -> None:
        """Drain one connection after the other, in no order that a client could share; until then it is served."""
        waiting = list(lines)
        _random.shuffle(waiting)
        begun = self._clock.monotonic()
        pace = min(
            DRAIN_PACE_SECONDS * self._workers, self._limits.shutdown_timeout * DRAIN_SHARE / max(1, len(waiting))
        )
        for index, line in enumerate(waiting):
            early = begun + index * pace - self._clock.monotonic()
            if early > 0:  # a turn that came late is made up for: the time stated holds
                await asyncio.sleep(early)
            if line.pump is not None:
                line.pump.drain(reason)


def _taker(reception: Reception, front: Front, bound: BoundPort) -> Callable[[socket.socket, Address], None]:
    return lambda sock, address: reception.take(front, bound, sock, address)

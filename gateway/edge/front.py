"""One listener as the server holds it: what it was composed of, its bound ports, and what is counted for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from OpenSSL import SSL

from gateway.core import settings
from gateway.core.meters import Cell, Meter, Meters
from gateway.core.session import SessionFactory
from gateway.edge import meters as named
from gateway.edge.listener import Acceptor, BoundPort
from gateway.edge.process import Dial, Port
from gateway.edge.proxied import Balancers


@dataclass(frozen=True, slots=True)
class ListenerSetup:
    """One listener, composed: `factory` gives the session factory of a port (node id; None: bootstrap port)."""

    settings: settings.Listener
    context: SSL.Context
    factory: Callable[[int | None], SessionFactory]
    dial: Dial
    ready: Callable[[], str]
    """What is missing before clients can be served; "" when nothing is."""


class Front:
    """A listener's ports and what is counted for it. Made by edge.server."""

    def __init__(self, setup: ListenerSetup, meters: Meters) -> None:
        self.name = name = setup.settings.name
        self.factories: dict[int | None, SessionFactory] = {}
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
        self._counted: dict[tuple[str, str, str], Cell] = {}
        self.use(setup)

    def count(self, meter: Meter, label: str, other: str = "") -> None:
        """Add one to a meter of this listener's, with one or two labels more. Their number is bounded by `Meters`."""
        key = (meter.name, label, other)
        cell = self._counted.get(key)
        if cell is None:
            labels = (self.name, label, other)[: len(meter.labels)]
            cell = self._counted[key] = self.meters.cell(meter, *labels)
        cell.value += 1

    def use(self, setup: ListenerSetup) -> None:
        """What connections get that come from now on. The ports are the server's matter."""
        self.setup = setup
        self.context = setup.context
        sni = setup.settings.sni
        self.nodes = sni.hosts() if sni is not None else None
        """Server name -> broker, where names tell the brokers apart; any other name is the bootstrap's."""
        self.factories = {}
        self.balancers = Balancers(setup.settings.proxy_protocol)
        self.port = replace(self.port, dial=setup.dial)

    def factory(self, bound: BoundPort, server_name: str) -> SessionFactory:
        node_id = bound.node_id if self.nodes is None else self.nodes.get(server_name.lower())
        if node_id not in self.factories:
            self.factories[node_id] = self.setup.factory(node_id)
        return self.factories[node_id]

"""A view whose rights are a table written by hand, for the decisions about REST requests."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from ipaddress import ip_address
from itertools import count

from gateway.core.audit import AuditEvent
from gateway.core.session import Peer
from gateway.pulsar.rest import Decision, Door, decide
from gateway.pulsar.view import View
from tests.scenarios.kafka_world import PLENTY, TableRights
from tests.scenarios.pulsar_world import Access, PulsarWorld
from tests.unit.policies import person

ALL = "*"


class Everything(frozenset[Access]):
    """A table of rights that holds all there is."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Access]:
        return iter(())


class RestWorld:
    """Ask for decisions; see what the audit was told."""

    def __init__(self, allowed: Collection[Access] | str = ()) -> None:
        world = PulsarWorld()
        self.events: list[AuditEvent] = []
        world.pulsar.audit = self.events.append
        table = Everything() if isinstance(allowed, str) else frozenset(allowed)
        identity = person()
        account = world.quotas.account(identity.principal, PLENTY, 0.0)
        rights = TableRights(table, PLENTY, "r1")
        self.door: Door | None = Door("gw.test:8443", lambda broker: f"{broker.host}.b.gw.test:6651", plaintext=True)
        self.view = View(
            world.pulsar, Peer("c1", ip_address("192.0.2.7"), 51000), identity, rights, account, count(1)
        )  # fmt: skip

    def decide(self, method: str, target: str | bytes, body: bytes | None = None) -> Decision:
        written = target.encode() if isinstance(target, str) else target
        return decide(method, written, self.view, door=self.door, body=body)

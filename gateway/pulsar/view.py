"""One connection's view: its principal's rights on its backend, and where denials and allowed access are written."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core import denials
from gateway.core.denials import Denials, shown
from gateway.core.identity import Identity
from gateway.core.limits import Account
from gateway.core.rights import Decision, Rights
from gateway.core.session import Peer
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.handles import Access, Handle, sums
from gateway.pulsar.meters import DENIALS

SYSTEM = "pulsar"
WHYS = denials.WHYS | {"brokers-own", "closed"}
"""What can keep an action from being allowed here, apart from a deny rule's own id."""


class View:
    """Made when the connection is authenticated; `use` replaces the rights (a new policy revision, a new token)."""

    def __init__(
        self,
        context: ListenerContext,
        peer: Peer,
        identity: Identity,
        rights: Rights,
        account: Account,
        decisions: Iterator[int],
    ) -> None:
        self._context = context
        self._backend = context.backend.name
        self.identity = identity
        self.rights = rights
        self.denials = Denials(
            SYSTEM, self._backend, peer, account, context.audit, context.clock, self._count, decisions, WHYS
        )
        self.denials.use(identity.principal, rights.revision)

    def _count(self, why: str) -> None:
        self._context.meters.cell(DENIALS, self._backend, why).value += 1

    def use(self, identity: Identity, rights: Rights) -> None:
        self.identity = identity
        self.rights = rights
        self.denials.use(identity.principal, rights.revision)

    def allowed(self, *accesses: Access) -> bool:
        """Whether all of it is; what is not is written. What is allowed is summed."""
        for kind, operation, name in accesses:
            decision = self.rights.decide(kind, operation, name)
            if not decision.allowed:
                self.denials.deny(decision, kind, operation, name)
                return False
        for kind, operation, name in accesses:
            self._context.tally.add(self.identity.principal, SYSTEM, self._backend, operation, kind, shown(name))
        return True

    def quietly(self, kind: str, operation: str, name: str) -> bool:
        """Whether it is, for lists that leave out what is not."""
        return self.rights.decide(kind, operation, name).allowed

    def refused(self, kind: str, operation: str, name: str, why: str) -> None:
        """Something that no rule can allow."""
        self.denials.deny(Decision(False, "", why), kind, operation, name)

    def passed(self, handle: Handle, octets: int, frames: int = 1) -> None:
        """Records passed for a producer or consumer."""
        counts = sums(handle, self._context.tally, self.identity.principal, SYSTEM, self._backend)
        counts[0] += frames
        counts[1] += octets

"""One connection's view: its principal's rights on its backend, as the engine asks for them.

A connection has one view. `begin` is called for every request and every answer that is finished, so that a denial is
counted once per request and resource (core.denials has how it is written). `use` replaces the rights (a new policy
revision, a re-authentication).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from types import MappingProxyType

from gateway.core import denials
from gateway.core.audit import AuditEvent, FieldValue
from gateway.core.denials import Denials, shown
from gateway.core.identity import Identity, Principal
from gateway.core.limits import Account
from gateway.core.rights import Decision, Rights
from gateway.core.session import Endpoint, Peer
from gateway.core.slices import paced
from gateway.kafka.context import ListenerContext
from gateway.kafka.meters import DENIALS
from gateway.kafka.plan import TopicId, Topics
from gateway.kafka.reasons import NODE_OUTSIDE_RANGE

SYSTEM = "kafka"
Sums = tuple[int, list[list[int]]]
"""The generation of the audit's sums, and the live pairs of what was allowed."""
WHYS = denials.WHYS | {"regular-expression", "loads-code"}
"""What can keep an action from being allowed here, apart from a deny rule's own id."""


class SessionView:
    """Implements plan.View. Made when the connection is authenticated; `decisions` numbers the connection's denials."""

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
        self._identity = identity
        self.rights = rights
        self.backend = context.backend.name
        self.topics: Topics = context.backend.topics
        self.auto_create_topics = context.backend.auto_create_topics
        self.missing_ids: Collection[TopicId] = ()
        self.missing_names: Collection[str] = ()
        self._denials = Denials(
            SYSTEM, self.backend, peer, account, context.audit, context.clock, self._count, decisions, WHYS
        )
        self._denials.use(identity.principal, rights.revision)
        self.told = 0
        """How often something was denied, or a broker lost: of which the audit may have to be told again next time."""
        self._allowed: list[tuple[str, str, str]] = []
        self._summing = True

    def _count(self, why: str) -> None:
        self._context.meters.cell(DENIALS, self.backend, why).value += 1

    def use(self, identity: Identity, rights: Rights) -> None:
        self._identity = identity
        self.rights = rights
        self._denials.use(identity.principal, rights.revision)

    def begin(
        self,
        api: str,
        missing_ids: Collection[TopicId] = (),
        missing_names: Collection[str] = (),
        *,
        again: bool = False,
        answer: bool = False,
    ) -> None:
        """A request is looked at, or its answer. Whatever is allowed or denied from now on belongs to it.

        missing_*: what was told about it since it waited. again: it was looked at before it waited, so that what was
        denied then is not written a second time. answer: what is allowed in it was summed with the request.
        """
        self._denials.begin(api, again=again)
        self.auto_create_topics = self._context.backend.auto_create_topics
        self.missing_ids = missing_ids
        self.missing_names = missing_names
        self._summing = not answer
        self._allowed.clear()

    def sums(self) -> Sums:
        """What was allowed, as the audit's live sums; to be handed to `end`, with which it counts."""
        generation = self._context.tally.generation
        return generation, [self.tally_pair(*access) for access in paced(self._allowed)]

    def end(self, sums: Sums | None = None) -> None:
        """Sum what was allowed, unless the request has to wait (None); count denials not written one by one."""
        if sums is not None:
            generation, pairs = sums
            if generation != self._context.tally.generation:  # they were taken away since
                pairs = [self.tally_pair(*access) for access in self._allowed]
            for pair in pairs:
                pair[0] += 1
        self._denials.end()

    @property
    def principal(self) -> Principal:
        return self._identity.principal

    @property
    def accesses(self) -> tuple[tuple[str, str, str], ...]:
        """(operation, kind, name) of what was allowed in the request that was begun last."""
        return tuple(self._allowed)

    def close(self) -> None:
        """The connection ends, or another view takes its place: leave no denial uncounted."""
        self._denials.close()

    def allowed(self, kind: str, operation: str, name: str) -> bool:
        decision = self.rights.decide(kind, operation, name)
        if not decision.allowed:
            self.told += 1
            self._denials.deny(decision, kind, operation, name)
        elif self._summing:
            self._allowed.append((operation, kind, name))
        return decision.allowed

    def allowed_quietly(self, kind: str, operation: str, name: str) -> bool:
        return self.rights.decide(kind, operation, name).allowed

    def allowed_on_any(self, kind: str, operation: str) -> bool:
        return self.rights.decide_any(kind, operation).allowed

    def refused(self, kind: str, operation: str, name: str, why: str) -> None:
        self.told += 1
        self._denials.deny(Decision(False, "", why), kind, operation, name)

    def address(self, node_id: int) -> Endpoint | None:
        address = self._context.listener.broker_address(node_id)
        if address is None:
            self.told += 1
            self._warn_of(node_id)
            return None
        return Endpoint(*address)

    def tally_pair(self, operation: str, kind: str, name: str) -> list[int]:
        """The live [requests, bytes] of an allowed access, for the fast path to add to."""
        return self._context.tally.entry(self._identity.principal, SYSTEM, self.backend, operation, kind, shown(name))

    def _warn_of(self, node_id: int) -> None:
        """A broker that clients of this listener cannot reach: told once, if the backend really has it."""
        listener, backend = self._context.listener.name, self._context.backend
        if node_id not in backend.brokers or (listener, node_id) in backend.warned:
            return
        backend.warned.add((listener, node_id))
        fields: dict[str, FieldValue] = {
            "reason": NODE_OUTSIDE_RANGE.code,
            "listener": listener,
            "backend": self.backend,
            "node_id": node_id,
        }
        self._context.audit(AuditEvent("warning", self._context.clock.wall(), fields=MappingProxyType(fields)))

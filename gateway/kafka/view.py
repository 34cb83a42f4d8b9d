"""One connection's view: its principal's rights on its backend, as the engine asks for them.

A connection has one view. `begin` is called for every request and every answer that is finished, so that a denial is
counted once per request and resource; one that repeats is written now and then (kafka.repeats). `use` replaces the
rights (a new policy revision, a re-authentication).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from types import MappingProxyType

from gateway.core.audit import AuditEvent, FieldValue
from gateway.core.identity import Identity
from gateway.core.limits import Account
from gateway.core.rights import Decision, Rights
from gateway.core.session import Endpoint, Peer
from gateway.kafka.context import ListenerContext
from gateway.kafka.meters import DENIALS
from gateway.kafka.plan import TopicId, Topics
from gateway.kafka.reasons import NODE_OUTSIDE_RANGE, NOT_ALLOWED
from gateway.kafka.repeats import Repeats

DENIALS_AUDITED_MAX = 100
"""Denials of one request written one by one; the rest of them is counted in one more line."""
MORE_INTERVAL = 1.0
"""Seconds between two lines of one connection that count those that were not written."""
RESOURCE_CHARS_MAX = 300
"""Of a resource's name in the audit and its sums; no topic's name is as long, but requests may say anything."""
SYSTEM = "kafka"


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
        self._peer = peer
        self._identity = identity
        self._account = account
        self.rights = rights
        self.backend = context.backend.name
        self.topics: Topics = context.backend.topics
        self.auto_create_topics = context.backend.auto_create_topics
        self.missing_ids: Collection[TopicId] = ()
        self.missing_names: Collection[str] = ()
        self.api = ""
        self._denied: set[tuple[str, str, str]] = set()
        self._repeats = Repeats()
        self._unwritten = 0
        self._more_at = -MORE_INTERVAL
        self._allowed: list[tuple[str, str, str]] = []
        self._summing = True
        self._decisions = decisions

    def use(self, identity: Identity, rights: Rights) -> None:
        self._identity = identity
        self.rights = rights
        self._repeats.forget()

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
        self.api = api
        self.auto_create_topics = self._context.backend.auto_create_topics
        self.missing_ids = missing_ids
        self.missing_names = missing_names
        self._summing = not answer
        self._allowed.clear()
        if not again and self._denied:
            self._denied.clear()

    def end(self, decided: bool = True) -> None:
        """Sum what was allowed, unless the request has to wait; count denials that were not written one by one."""
        if decided:
            for access in self._allowed:
                self.tally_pair(*access)[0] += 1
        if self._unwritten and self._context.clock.monotonic() - self._more_at >= MORE_INTERVAL:
            self.write_more()

    def close(self) -> None:
        """The connection ends, or another view takes its place: leave no denial uncounted."""
        self._repeats.forget()
        self.write_more()

    def write_more(self) -> None:
        """Count the denials that were not written."""
        self._unwritten += self._repeats.take_untold()
        if self._unwritten:
            self._more_at = self._context.clock.monotonic()
            self._write("*more*", {"more": self._unwritten})
            self._unwritten = 0

    def allowed(self, kind: str, operation: str, name: str) -> bool:
        decision = self.rights.decide(kind, operation, name)
        if not decision.allowed:
            self._deny(decision, kind, operation, name)
        elif self._summing:
            self._allowed.append((operation, kind, name))
        return decision.allowed

    def allowed_quietly(self, kind: str, operation: str, name: str) -> bool:
        return self.rights.decide(kind, operation, name).allowed

    def allowed_on_any(self, kind: str, operation: str) -> bool:
        return self.rights.decide_any(kind, operation).allowed

    def refused(self, kind: str, operation: str, name: str, why: str) -> None:
        self._deny(Decision(False, "", why), kind, operation, name)

    def address(self, node_id: int) -> Endpoint | None:
        listener = self._context.listener
        if listener.broker_ports.port(node_id) is None:
            self._warn_of(node_id)
            return None
        base = listener.advertised_broker_base
        return Endpoint(listener.advertised, (listener.broker_ports.base if base is None else base) + node_id)

    def tally_pair(self, operation: str, kind: str, name: str) -> list[int]:
        """The live [requests, bytes] of an allowed access, for the fast path to add to."""
        shown = _shown(name)
        return self._context.tally.entry(self._identity.principal, SYSTEM, self.backend, operation, kind, shown)

    def _deny(self, decision: Decision, kind: str, operation: str, name: str) -> None:
        key = (kind, operation, name)
        if key in self._denied:
            return
        self._denied.add(key)
        why = decision.why if decision.why in _WHYS else "rule"
        self._context.meters.cell(DENIALS, self.backend, why).value += 1
        now = self._context.clock.monotonic()
        if self._repeats.repeated(key, now):
            return
        if len(self._denied) > DENIALS_AUDITED_MAX or not self._account.may_write_denial(now):
            self._unwritten += 1
            return
        fields: dict[str, str | int] = {
            "operation": operation, "kind": kind, "rule": decision.rule, "why": decision.why,
        }  # fmt: skip
        repeats = self._repeats.written(key, now)
        if repeats:
            fields["repeats"] = repeats
        self._write(name, fields)

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

    def _write(self, resource: str, fields: dict[str, str | int]) -> None:
        self._context.audit(
            AuditEvent(
                "denied",
                self._context.clock.wall(),
                self._peer.connection,
                self._identity.principal,
                MappingProxyType(
                    {
                        "decision": f"{self._peer.connection}-{next(self._decisions)}",
                        "reason": NOT_ALLOWED.code,
                        "revision": self.rights.revision,
                        "system": SYSTEM,
                        "backend": self.backend,
                        "api": self.api,
                        "address": str(self._peer.address),
                        "resource": _shown(resource),
                        **fields,
                    }
                ),
            )
        )


def _shown(name: str) -> str:
    return name if len(name) <= RESOURCE_CHARS_MAX else f"{name[:RESOURCE_CHARS_MAX]}..."


_WHYS = frozenset({"no-rule", "no-binding", "network", "expired", "regular-expression", "loads-code"})
"""What can keep an action from being allowed, apart from a deny rule's own id (no label may be that)."""

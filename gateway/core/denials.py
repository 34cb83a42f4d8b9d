"""One connection's denials, as the audit and the meters have them.

A denial is counted once per request and resource; one that repeats is written now and then (core.repeats), and what a
principal may have written in a second is bounded. What was not written one by one is counted in a line of its own.
Made by a protocol's session when its client is authenticated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MappingProxyType

from gateway.core.audit import Audit, AuditEvent
from gateway.core.clock import Clock
from gateway.core.identity import Principal
from gateway.core.limits import Account
from gateway.core.repeats import Repeats
from gateway.core.rights import Decision
from gateway.core.session import Peer
from gateway.core.session_reasons import NOT_ALLOWED

WRITTEN_OF_REQUEST_MAX = 100
"""Denials of one request written one by one; the rest of them is counted in one more line."""
MORE_INTERVAL = 1.0
"""Seconds between two lines of one connection that count those that were not written."""
RESOURCE_CHARS_MAX = 300
"""Of a resource's name in the audit and its sums; no topic's name is as long, but requests may say anything."""
WHYS = frozenset({"no-rule", "no-binding", "network", "expired"})
"""What can keep an action from being allowed, apart from a deny rule's own id (no label may be that)."""


class Denials:
    """`count` is told what kept each denied action; `decisions` numbers the connection's denials."""

    def __init__(
        self,
        system: str,
        backend: str,
        peer: Peer,
        account: Account,
        audit: Audit,
        clock: Clock,
        count: Callable[[str], None],
        decisions: Iterator[int],
        whys: frozenset[str] = WHYS,
    ) -> None:
        self._system = system
        self._backend = backend
        self._peer = peer
        self._account = account
        self._audit = audit
        self._clock = clock
        self._count = count
        self._decisions = decisions
        self._whys = whys
        self._denied: set[tuple[str, str, str]] = set()
        self._repeats = Repeats()
        self._unwritten = 0
        self._more_at = -MORE_INTERVAL
        self.principal: Principal | None = None
        self.revision = ""
        self.api = ""
        """What the request at hand is called."""

    def use(self, principal: Principal, revision: str) -> None:
        """The rights are others: every denial is news again."""
        self.principal = principal
        self.revision = revision
        self._repeats.forget()

    def begin(self, api: str, *, again: bool = False) -> None:
        """A request is looked at. again: it was before, so that what was denied then is not written a second time."""
        self.api = api
        if not again and self._denied:
            self._denied.clear()

    def end(self) -> None:
        """The request was decided: count denials that were not written one by one."""
        if self._unwritten and self._clock.monotonic() - self._more_at >= MORE_INTERVAL:
            self.write_more()

    def close(self) -> None:
        """The connection ends, or another identity takes its place: leave no denial uncounted."""
        self._repeats.forget()
        self.write_more()

    def write_more(self) -> None:
        """Count the denials that were not written."""
        self._unwritten += self._repeats.take_untold()
        if self._unwritten:
            self._more_at = self._clock.monotonic()
            self._write("*more*", {"more": self._unwritten})
            self._unwritten = 0

    def deny(self, decision: Decision, kind: str, operation: str, name: str) -> None:
        key = (kind, operation, name)
        if key in self._denied:
            return
        self._denied.add(key)
        self._count(decision.why if decision.why in self._whys else "rule")
        now = self._clock.monotonic()
        if self._repeats.repeated(key, now):
            return
        if len(self._denied) > WRITTEN_OF_REQUEST_MAX or not self._account.may_write_denial(now):
            self._unwritten += 1
            return
        fields: dict[str, str | int] = {
            "operation": operation, "kind": kind, "rule": decision.rule, "why": decision.why,
        }  # fmt: skip
        repeats = self._repeats.written(key, now)
        if repeats:
            fields["repeats"] = repeats
        self._write(name, fields)

    def _write(self, resource: str, fields: dict[str, str | int]) -> None:
        self._audit(
            AuditEvent(
                "denied",
                self._clock.wall(),
                self._peer.connection,
                self.principal,
                MappingProxyType(
                    {
                        "decision": f"{self._peer.connection}-{next(self._decisions)}",
                        "reason": NOT_ALLOWED.code,
                        "revision": self.revision,
                        "system": self._system,
                        "backend": self._backend,
                        "api": self.api,
                        "address": str(self._peer.address),
                        "resource": shown(resource),
                        **fields,
                    }
                ),
            )
        )


def shown(name: str) -> str:
    """A resource's name as the audit has it."""
    return name if len(name) <= RESOURCE_CHARS_MAX else f"{name[:RESOURCE_CHARS_MAX]}..."

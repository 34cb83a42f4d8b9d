"""What happened, as values. Sessions and the edge write them; edge.audit carries them out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from gateway.core.identity import Principal

Event = Literal[
    "started", "stopping", "config-revision", "config-refused", "policy-revision", "policy-refused",
    "connected", "authenticated", "refused", "reauthenticated", "probed",
    "denied", "throttled", "closed", "allowed", "upstream", "keys", "warning", "admin", "worker",
]  # fmt: skip

FieldValue = str | int | float | bool | None | tuple[str, ...] | Mapping[str, object]


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One line of the audit log.

    `at` is wall time in seconds since the epoch. `connection` is the connection's id, "" for events of the
    process. `fields` holds the event's own words; a denial carries decision, rule, revision, reason, operation,
    kind and resource. No value is ever a token, key, password or payload.
    """

    event: Event
    at: float
    connection: str = ""
    principal: Principal | None = None
    fields: Mapping[str, FieldValue] = field(default_factory=lambda: MappingProxyType({}))


Audit = Callable[[AuditEvent], None]
"""Takes an event at once and never blocks or raises; a full queue counts a drop."""


ALLOWED_KEYS_MAX = 20_000
"""Distinct (principal, operation, resource) sums held at one time; the rest is summed as ``*other*``."""


ALLOWED_KEYS_OF_PRINCIPAL_MAX = 2_000
"""Of these, one principal's: whoever names thousands of resources must not hide what the others do."""


Sum = tuple[Principal, str, str, str, str, str]
"""(principal, system, backend, operation, kind, resource)"""


class AllowedTally:
    """Allowed access, summed between two flushes instead of written one by one. One per process.

    What is added to stays the same from flush to flush, so that nobody has to look it up anew. Only where somebody
    was left without a sum of his own, and others had one that they did not use, are all sums given up (`generation`).
    """

    __slots__ = ("_counts", "_crowded", "_sums", "generation")

    def __init__(self) -> None:
        self.generation = 0
        self._counts: dict[Principal, int] = {}
        self._sums: dict[Sum, list[int]] = {}
        self._crowded = False

    def entry(
        self, principal: Principal, system: str, backend: str, operation: str, kind: str, resource: str
    ) -> list[int]:
        """The live [requests, bytes] pair of a key, for callers that add to it themselves.

        `drain` may give the pairs up: a caller that keeps one compares `generation` and fetches it again.
        """
        key = (principal, system, backend, operation, kind, resource)
        pair = self._sums.get(key)
        if pair is None:
            full = len(self._sums) >= ALLOWED_KEYS_MAX
            count = self._counts.get(principal, 0)
            if full or count >= ALLOWED_KEYS_OF_PRINCIPAL_MAX:
                self._crowded = True
                key = (principal, system, backend, operation, kind, "*other*")
                if full and key not in self._sums:
                    key = (Principal("jwt", "*other*", "*other*"), system, backend, operation, kind, "*other*")
                return self._sums.setdefault(key, [0, 0])
            pair = self._sums[key] = [0, 0]
            self._counts[principal] = count + 1
        return pair

    def add(
        self,
        principal: Principal,
        system: str,
        backend: str,
        operation: str,
        kind: str,
        resource: str,
        requests: int = 1,
        octets: int = 0,
    ) -> None:
        pair = self.entry(principal, system, backend, operation, kind, resource)
        pair[0] += requests
        pair[1] += octets

    def drain(self, at: float) -> Iterator[AuditEvent]:
        """One ``allowed`` event per key with anything in it. All sums begin at nothing again, now.

        The events are made as they are taken, which may be on another thread.
        """
        taken = [(key, pair[0], pair[1]) for key, pair in self._sums.items() if pair[0] or pair[1]]
        if self._crowded and len(taken) < len(self._sums):
            self._sums = {}
            self._counts.clear()
            self._crowded = False
            self.generation += 1
        else:
            for pair in self._sums.values():
                pair[0] = pair[1] = 0
        return (_allowed(at, *each) for each in taken)


def _allowed(at: float, key: Sum, requests: int, octets: int) -> AuditEvent:
    principal, system, backend, operation, kind, resource = key
    return AuditEvent(
        "allowed",
        at,
        "",
        principal,
        MappingProxyType(
            {
                "system": system, "backend": backend, "operation": operation, "kind": kind,
                "resource": resource, "requests": requests, "bytes": octets,
            }
        ),
    )  # fmt: skip

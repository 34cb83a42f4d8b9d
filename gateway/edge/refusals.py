"""Audit lines for connections of which nothing came, a flood of them in few lines.

The first of a kind (listener, reason, address) is written at once; later ones are summed and written at intervals. At
most `KINDS_MAX` kinds are told apart, the rest is summed per listener and reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from gateway.core.audit import Audit, AuditEvent, Event
from gateway.core.clock import Clock
from gateway.core.identity import Address
from gateway.core.reasons import Reason

INTERVAL = 10.0
PROBES_INTERVAL = 600.0
"""Of health checks, which come for ever: a line each ten minutes and balancer."""
KINDS_MAX = 500


_Kind = tuple[str, str, Address | None]
"""Listener, the reason's code, address."""


@dataclass(slots=True)
class _Sum:
    count: int = 0
    detail: str = ""


class Refusals:
    """One per process and event; edge.reception calls `write` at its interval and at the end."""

    def __init__(self, audit: Audit, clock: Clock, event: Event = "refused") -> None:
        self._audit = audit
        self._clock = clock
        self._event: Event = event
        self._sums: dict[_Kind, _Sum] = {}

    def add(self, listener: str, reason: Reason, address: Address, detail: str = "") -> None:
        key = (listener, reason.code, address)
        known = self._sums.get(key)
        if known is None and len(self._sums) < KINDS_MAX:
            self._sums[key] = _Sum()
            self._write(key, 1, detail)
            return
        if known is None:
            known = self._sums.setdefault((listener, reason.code, None), _Sum())
        known.count += 1
        known.detail = detail

    def write(self) -> None:
        """Write the sums; a kind of which nothing more came is forgotten, and new again next time."""
        sums, self._sums = self._sums, {}
        for key, each in sums.items():
            if each.count:
                self._sums[key] = _Sum()
                self._write(key, each.count, each.detail)

    def _write(self, key: _Kind, count: int, detail: str) -> None:
        listener, code, address = key
        shown = "*other*" if address is None else str(address)
        fields: dict[str, str | int] = {"listener": listener, "reason": code, "address": shown, "connections": count}
        if detail:
            fields["detail"] = detail
        self._audit(AuditEvent(self._event, self._clock.wall(), fields=MappingProxyType(fields)))

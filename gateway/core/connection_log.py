"""What a connection writes to the audit and the meters about itself: from connected to closed.

One per connection, made by its protocol's session with that protocol's own meters. Nothing here holds a token, a key
or a payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.core.audit import Audit, AuditEvent, Event, FieldValue
from gateway.core.clock import Clock
from gateway.core.identity import Identity, Principal
from gateway.core.meters import Meter, Meters
from gateway.core.reasons import Reason
from gateway.core.rights import PolicySource
from gateway.core.session import Peer
from gateway.core.session_reasons import THROTTLED

THROTTLED_INTERVAL = 10.0
"""Seconds between two ``throttled`` lines of one connection."""
CERTIFICATE = "CERTIFICATE"
"""The mechanism of those who are known by their certificate alone."""


@dataclass(frozen=True, slots=True)
class ConnectionMeters:
    """A protocol's own meters: connections now and in all, their ends by reason, authentications by result."""

    connections: Meter
    connections_total: Meter
    closed: Meter
    authentications: Meter


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the connections of one port are: the same for all of them."""

    system: str
    listener: str
    backend: str
    audit: Audit
    policies: PolicySource
    meters: Meters
    clock: Clock
    named: ConnectionMeters


class ConnectionLog:
    """One connection's lines."""

    def __init__(
        self, around: Surroundings, peer: Peer, fields: Mapping[str, FieldValue], *, silent: bool = False
    ) -> None:
        """`fields`: what the protocol adds to the line about the connection's begin. `silent`: nothing is written
        before `heard`, and if that is never called, nothing at all: the edge sums such connections
        (core.session.Stranger)."""
        self._around = around
        self._peer = peer
        self._principal: Principal | None = None
        self._throttled_at = -THROTTLED_INTERVAL
        self._began = around.clock.monotonic()
        self._connections = around.meters.cell(around.named.connections, around.listener)
        self._connections.value += 1
        around.meters.cell(around.named.connections_total, around.listener).value += 1
        self._at = around.clock.wall()
        self._fields = fields
        self.silent = True
        """Nothing was written yet, and nothing came from the client."""
        if not silent:
            self.heard()

    def heard(self) -> None:
        """The client speaks: from now on the connection has lines of its own, beginning with ``connected``."""
        if not self.silent:
            return
        self.silent = False
        peer = self._peer
        self._write_at(
            self._at,
            "connected",
            {
                "port": peer.port,
                **self._fields,
                "server_name": peer.server_name,
                "tls_version": peer.tls_version,
                "certificate": peer.certificate.fingerprint if peer.certificate else "",
            },
        )

    def authenticated(self, identity: Identity, mechanism: str, software: str, again: bool) -> None:
        """Who it is. Of the claims only those that policies refer to."""
        self._principal = identity.principal
        self._count(mechanism, "accepted")
        self._write(
            "reauthenticated" if again else "authenticated",
            {
                "mechanism": mechanism,
                "issuer": identity.principal.issuer,
                "client_software": software,
                "token_id": identity.token_id,
                "expires_at": identity.expires_at if identity.expires_at != float("inf") else None,
                "claims": self._around.policies.current.claims_for_audit(identity.claims),
            },
        )

    def refused(self, reason: Reason, detail: str, mechanism: str, software: str, told_in: float = 0.0) -> None:
        """Authentication, or the connection before it, was refused. Of a silent client the edge tells. `told_in`: the
        seconds for which the client's answer is held back."""
        if self.silent:
            return
        self._count(mechanism or "none", "refused")
        fields: dict[str, FieldValue] = {"reason": reason.code, "detail": detail}
        fields |= {"mechanism": mechanism, "client_software": software}
        self._write("refused", fields | ({"told_in": round(told_in, 3)} if told_in else {}))

    def throttled(self, seconds: float, now: float) -> bool:
        """At most one line per interval. True if one was written."""
        if now - self._throttled_at < THROTTLED_INTERVAL:
            return False
        self._throttled_at = now
        self._write("throttled", {"reason": THROTTLED.code, "seconds": round(seconds, 3)})
        return True

    def closed(self, reason: Reason, detail: str, counts: Mapping[str, int | str]) -> None:
        around = self._around
        self._connections.value -= 1
        around.meters.cell(around.named.closed, around.listener, reason.code).value += 1
        if self.silent:
            return
        seconds = round(around.clock.monotonic() - self._began, 3)
        self._write("closed", {"reason": reason.code, "detail": detail, "seconds": seconds, **counts})

    def _count(self, mechanism: str, result: str) -> None:
        around = self._around
        around.meters.cell(around.named.authentications, around.listener, mechanism, result).value += 1

    def _write(self, event: Event, fields: Mapping[str, FieldValue]) -> None:
        self._write_at(self._around.clock.wall(), event, fields)

    def _write_at(self, at: float, event: Event, fields: Mapping[str, FieldValue]) -> None:
        around, peer = self._around, self._peer
        around.audit(
            AuditEvent(
                event,
                at,
                peer.connection,
                self._principal,
                MappingProxyType(
                    {
                        "system": around.system,
                        "listener": around.listener,
                        "backend": around.backend,
                        "address": str(peer.address),
                        **({"through": str(peer.through)} if peer.through is not None else {}),
                        **({"endpoint": peer.endpoint} if peer.endpoint else {}),
                        **fields,
                    }
                ),
            )
        )

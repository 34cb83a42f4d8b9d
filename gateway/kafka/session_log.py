"""What a Kafka connection writes to the audit and the meters about itself: from connected to closed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.core.audit import AuditEvent, Event, FieldValue
from gateway.core.identity import Identity, Principal
from gateway.core.reasons import Reason
from gateway.core.session import Peer
from gateway.kafka import meters
from gateway.kafka.context import ListenerContext
from gateway.kafka.reasons import THROTTLED

THROTTLED_INTERVAL = 10.0
"""Seconds between two ``throttled`` lines of one connection."""
CERTIFICATE = "CERTIFICATE"


class SessionLog:
    """One connection's lines. Nothing here holds a token, a key or a payload."""

    def __init__(self, context: ListenerContext, peer: Peer) -> None:
        self._context = context
        self._peer = peer
        self._principal: Principal | None = None
        self._throttled_at = -THROTTLED_INTERVAL
        self._began = context.clock.monotonic()
        name = context.listener.name
        self._connections = context.meters.cell(meters.CONNECTIONS, name)
        self._connections.value += 1
        context.meters.cell(meters.CONNECTIONS_TOTAL, name).value += 1
        self.silent = True
        """Nothing was written yet, and nothing came from the client."""
        self._at = context.clock.wall()

    def heard(self) -> None:
        """The client has sent something: from now on the connection has lines of its own, from ``connected`` on."""
        if self.silent:
            self.silent = False
            self._write_at(
                self._at,
                "connected",
                {
                    "port": self._peer.port,
                    "node_id": self._context.node_id,
                    "server_name": self._peer.server_name,
                    "tls_version": self._peer.tls_version,
                    "certificate": self._peer.certificate.fingerprint if self._peer.certificate else "",
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
                "claims": self._context.policies.current.claims_for_audit(identity.claims),
            },
        )

    def refused(self, reason: Reason, detail: str, mechanism: str, software: str) -> None:
        """Authentication, or the connection before it, was refused. Of a silent one the edge tells."""
        if self.silent:
            return
        self._count(mechanism or "none", "refused")
        self._write(
            "refused",
            {"reason": reason.code, "detail": detail, "mechanism": mechanism, "client_software": software},
        )

    def throttled(self, seconds: float, now: float) -> bool:
        """At most one line per interval. True if one was written."""
        if now - self._throttled_at < THROTTLED_INTERVAL:
            return False
        self._throttled_at = now
        self._write("throttled", {"reason": THROTTLED.code, "seconds": round(seconds, 3)})
        return True

    def closed(self, reason: Reason, detail: str, counts: Mapping[str, int | str]) -> None:
        self._connections.value -= 1
        self._context.meters.cell(meters.CLOSED, self._context.listener.name, reason.code).value += 1
        if self.silent:
            return
        seconds = round(self._context.clock.monotonic() - self._began, 3)
        self._write("closed", {"reason": reason.code, "detail": detail, "seconds": seconds, **counts})

    def _count(self, mechanism: str, result: str) -> None:
        name = self._context.listener.name
        self._context.meters.cell(meters.AUTHENTICATIONS, name, mechanism, result).value += 1

    def _write(self, event: Event, fields: Mapping[str, FieldValue]) -> None:
        self._write_at(self._context.clock.wall(), event, fields)

    def _write_at(self, at: float, event: Event, fields: Mapping[str, FieldValue]) -> None:
        self._context.audit(
            AuditEvent(
                event,
                at,
                self._peer.connection,
                self._principal,
                MappingProxyType(
                    {
                        "system": "kafka",
                        "listener": self._context.listener.name,
                        "backend": self._context.backend.name,
                        "address": str(self._peer.address),
                        **({"through": str(self._peer.through)} if self._peer.through is not None else {}),
                        **({"endpoint": self._peer.endpoint} if self._peer.endpoint else {}),
                        **fields,
                    }
                ),
            )
        )

"""From what a client proved to its identity: a validated token, a verified certificate, or both.

Called by every protocol's session.
"""

from __future__ import annotations

from gateway.core import certificates
from gateway.core.identity import Identity
from gateway.core.session import Peer
from gateway.core.tokens import Accepted


def by_token(accepted: Accepted, peer: Peer, session_max: float, wall: float) -> Identity:
    """Who a token's bearer is on this connection. It ends with the token, with the certificate where one was shown
    (bindings may go by it as well), and after `session_max` seconds."""
    expires_at = min(accepted.expires_at, wall + session_max)
    if peer.certificate is not None:
        expires_at = min(expires_at, peer.certificate.not_after)
    return Identity(
        principal=accepted.principal,
        address=peer.address,
        claims=accepted.claims,
        certificate=peer.certificate,
        expires_at=expires_at,
        token_id=accepted.token_id,
        endpoint=peer.endpoint,
    )


def by_certificate(peer: Peer, client_ca_name: str) -> Identity | None:
    """Who a verified client certificate says the peer is; None without one."""
    certificate = peer.certificate
    if certificate is None:
        return None
    return Identity(
        principal=certificates.principal(certificate, client_ca_name),
        address=peer.address,
        certificate=certificate,
        expires_at=certificate.not_after,
        endpoint=peer.endpoint,
    )

"""Whose request it is: one Bearer token, or the client certificate. Each request is looked at by itself.

Refused: two Authorization headers, any scheme but Bearer, headers by which proxies speak for others. A token's checks
are core.tokens' own, and so is its memory of what was verified; bad tokens are refused with the same words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.core import proofs
from gateway.core.connection_log import CERTIFICATE
from gateway.core.identity import Identity
from gateway.core.session import Close, KeysWanted, Peer
from gateway.core.tokens import Accepted, KeyMissing
from gateway.core.tokens import Refused as TokenRefused
from gateway.http.messages import Request
from gateway.pulsar import reasons as pulsar_reasons
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.web import reasons

TOKEN = "token"  # noqa: S105 - the method's name
_BEARER = re.compile(rb"(?i:bearer) ([A-Za-z0-9._~+/-]+=*)")
"""RFC 6750, 2.1."""
_OF_PROXIES = (b"x-original-", b"proxy-authorization")
"""How their headers begin. (X-Pulsar-Auth-Method-Name, which Java's client sends, says nothing and stays here.)"""
_PRINCIPAL = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""What can stand in a header and be read in one way only."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Not taken. issuer: the configured one that a bad token claims to be of; None: it was no failed login."""

    status: int
    close: Close
    issuer: str | None = None


@dataclass(frozen=True, slots=True)
class Proven:
    identity: Identity
    mechanism: str
    token: bytes = b""


class WebLogin:
    """One connection's. The last token's identity is kept, so that one token is one identity."""

    def __init__(self, context: ListenerContext, peer: Peer) -> None:
        self._context = context
        self._peer = peer
        self._accepted: Accepted | None = None
        self._proven: Proven | None = None

    def look(self, request: Request, wall: float, *, waited: bool) -> Proven | KeysWanted | Failed:
        """waited: the key that its token needs was asked for already."""
        if any(name.startswith(_OF_PROXIES) for name, _ in request.headers):
            return Failed(403, Close(reasons.HTTP_FORGED))
        shown = request.values(b"authorization")
        if not shown:
            return self._by_certificate(wall)
        bearer = _BEARER.fullmatch(shown[0]) if len(shown) == 1 else None
        validator = self._context.validator
        if bearer is None or validator is None:
            return Failed(401, Close(reasons.HTTP_UNAUTHENTICATED, "not one Bearer token"))
        token = bearer[1]
        outcome = validator.validate(token, self._context.listener.authentication.issuers, wall)
        if isinstance(outcome, KeyMissing):
            if not waited:
                return KeysWanted(outcome.issuer, outcome.kid)
            return Failed(401, Close(pulsar_reasons.FACT_UNAVAILABLE, "key"))
        if isinstance(outcome, TokenRefused):
            return Failed(401, Close(outcome.reason, outcome.detail), outcome.issuer)
        known = self._proven
        if (
            known is not None
            and known.token == token
            and outcome == self._accepted
            and known.identity.expires_at > wall
        ):
            return known
        session_max = self._context.listener.authentication.session_max
        self._accepted = outcome
        self._proven = Proven(proofs.by_token(outcome, self._peer, session_max, wall), TOKEN, token)
        return self._proven

    def _by_certificate(self, wall: float) -> Proven | Failed:
        identity = proofs.by_certificate(self._peer, self._context.listener.tls.client_ca_name)
        if identity is None or self._context.tokens_passed:
            return Failed(401, Close(reasons.HTTP_UNAUTHENTICATED, "no credential"))
        if identity.expires_at <= wall:
            return Failed(401, Close(pulsar_reasons.SESSION_EXPIRED))
        if self._proven is None or self._proven.mechanism != CERTIFICATE:
            self._proven = Proven(identity, CERTIFICATE)
        return self._proven


def may_be_named(name: str) -> bool:
    """Whether brokers can be told this name in a header."""
    return _PRINCIPAL.fullmatch(name) is not None

"""SASL on one connection: the states that Kafka's SaslServerAuthenticator has, and what is permitted in each.

    INITIAL -> (ApiVersions) -> HANDSHAKE -> (SaslHandshake) -> TOKENS -> COMPLETE -> (SaslHandshake) -> TOKENS ...
                    INITIAL -> (SaslHandshake) -> TOKENS                        or -> OTHER_MECHANISM -> end

SaslHandshake v1 wraps tokens in SaslAuthenticate, v0 means that bare tokens follow, framed by length alone. After
COMPLETE a SaslHandshake begins a re-authentication (KIP-368): the same mechanism and the same principal, or the end.
What a state does not permit is answered with ILLEGAL_SASL_STATE where the broker does so, and the connection ends.
The mechanisms themselves are in kafka.sasl. Nothing here is forwarded; the session is the one caller.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto

from gateway.core import proofs
from gateway.core.identity import Identity
from gateway.core.reasons import Reason
from gateway.core.session import Close, KeysWanted, Peer
from gateway.core.tokens import Accepted
from gateway.core.tokens.reasons import KEYS_UNAVAILABLE
from gateway.kafka import codec, reasons
from gateway.kafka.api_versions import (
    API_VERSIONS,
    OWN_RANGES,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    framed,
    respond,
)
from gateway.kafka.context import ListenerContext
from gateway.kafka.plan import Body
from gateway.kafka.sasl import Done, Failed, NeedKeys, SaslExchange

UNSUPPORTED_SASL_MECHANISM = 33
ILLEGAL_SASL_STATE = 34
SASL_AUTHENTICATION_FAILED = 58

VERSION_REQUESTS_MAX = 10
"""ApiVersions before authentication that were answered by an error; a client needs one to find the version."""
REAUTHENTICATION_INTERVAL_MIN = 1.0
"""Kafka takes a SaslHandshake sooner after the last one for an ordinary request, which fails."""


class State(Enum):
    INITIAL = auto()
    HANDSHAKE = auto()
    TOKENS = auto()
    OTHER_MECHANISM = auto()
    COMPLETE = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """What one frame came to. Any part may be absent.

    refused: why the token was refused, while the exchange still goes on (OAUTHBEARER tells it in two steps).
    failed: the login failed; the configured issuer that its token claims to be of, "" for none of them.
    close: the connection ends, after `answer`.
    """

    answer: bytes | None = None
    proven: Identity | None = None
    ask: KeysWanted | None = None
    refused: Close | None = None
    failed: str | None = None
    close: Close | None = None


class Authentication:
    """One connection's SASL."""

    def __init__(self, context: ListenerContext, peer: Peer) -> None:
        self._context = context
        self._peer = peer
        self.state = State.INITIAL
        self.mechanism = ""
        """The last handshake's mechanism, "" where a certificate alone was shown."""
        self.software = ""
        self._established: Identity | None = None
        self._proven_by = ""
        self._exchange: SaslExchange | None = None
        self._headers = False
        self._version_requests = 0
        self._began = -REAUTHENTICATION_INTERVAL_MIN

    @property
    def complete(self) -> bool:
        return self.state is State.COMPLETE

    @property
    def reauthenticating(self) -> bool:
        return self._established is not None and not self.complete

    @property
    def bare_tokens(self) -> bool:
        """Tokens come framed by their length alone (SaslHandshake v0)."""
        return self.state is State.TOKENS and not self._headers

    def by_certificate(self) -> None:
        """The client's certificate is enough; a token may still be shown before the first other request."""
        self.state = State.COMPLETE

    def receive(self, frame: memoryview) -> Step:
        """One frame (without its length) before authentication is complete. Raises codec.Malformed."""
        if self.bare_tokens:
            return self._token(bytes(frame), None)
        if len(frame) < 8:
            raise codec.Malformed("a frame too short for a request header")
        api_key, version, correlation_id = struct.unpack_from(">hhi", frame, 0)
        if self.state is State.OTHER_MECHANISM:
            return _end(reasons.MECHANISM_CHANGED)
        if self.state is State.TOKENS:
            if api_key != SASL_AUTHENTICATE:
                return self._illegal(api_key, version, correlation_id)
            body = self._body(frame, api_key, version)
            if body is None:
                return _end(reasons.VERSION_NOT_OFFERED, f"SaslAuthenticate v{version}")
            return self._token(bytes(body["authBytes"]), (version, correlation_id))
        if api_key == API_VERSIONS:
            return self._versions(frame)
        if api_key == SASL_HANDSHAKE:
            return self._handshake(frame, version, correlation_id)
        return _end(reasons.NOT_AUTHENTICATED, f"API key {api_key}")

    def again(self, frame: memoryview, now: float, untouched: bool) -> Step:
        """A SASL request after authentication: a re-authentication, or ILLEGAL_SASL_STATE. Raises codec.Malformed.

        untouched: nothing but ApiVersions was asked yet, so that a client known by certificate may show a token.
        """
        api_key, version, correlation_id = struct.unpack_from(">hhi", frame, 0)
        body = self._body(frame, api_key, version)
        if body is None:
            return _end(reasons.VERSION_NOT_OFFERED, f"API key {api_key} v{version}")
        if api_key == SASL_AUTHENTICATE:
            message = "SaslAuthenticate request received after successful authentication"
            failed: Body = {"errorCode": ILLEGAL_SASL_STATE, "errorMessage": message, "authBytes": b""}
            return Step(framed(api_key, version, correlation_id, failed))
        by_token = self._established is not None
        takes_tokens = bool(self._context.listener.authentication.issuers)
        soon = now - self._began < REAUTHENTICATION_INTERVAL_MIN
        if (by_token and soon) or (not by_token and not (untouched and takes_tokens)):
            answer = framed(api_key, version, correlation_id, {"errorCode": ILLEGAL_SASL_STATE, "mechanisms": []})
            return Step(answer)
        if by_token:
            self._began = now
        self._headers = False
        return self._handshake(frame, version, correlation_id)

    def _versions(self, frame: memoryview) -> Step:
        if self.state is not State.INITIAL or self.reauthenticating:
            return _end(reasons.ILLEGAL_SASL_STATE, "a second ApiVersions before SaslHandshake")
        if not self._context.backend.ready:
            return _end(reasons.BACKEND_NOT_READY)
        self._version_requests += 1
        if self._version_requests > VERSION_REQUESTS_MAX:
            return _end(reasons.ILLEGAL_SASL_STATE, "ApiVersions again and again")
        reply = respond(frame, self._context.backend, self._context.node_id)
        if reply.good:
            self.software = reply.software
            self.state = State.HANDSHAKE
        return Step(reply.answer)

    def _handshake(self, frame: memoryview, version: int, correlation_id: int) -> Step:
        body = self._body(frame, SASL_HANDSHAKE, version)
        if body is None:
            return _end(reasons.VERSION_NOT_OFFERED, f"SaslHandshake v{version}")
        settings = self._context.listener.authentication
        offered = list(settings.mechanisms)
        mechanism = body["mechanism"]
        validator = self._context.validator
        if mechanism not in offered or validator is None or not settings.issuers:
            failed: Body = {"errorCode": UNSUPPORTED_SASL_MECHANISM, "mechanisms": offered if settings.issuers else []}
            reason = reasons.MECHANISM_UNSUPPORTED if settings.issuers else reasons.NO_SASL_HERE
            return Step(framed(SASL_HANDSHAKE, version, correlation_id, failed), close=Close(reason))
        answer = framed(SASL_HANDSHAKE, version, correlation_id, {"errorCode": 0, "mechanisms": offered})
        if self._proven_by and mechanism != self._proven_by:
            self.state = State.OTHER_MECHANISM
            return Step(answer)
        self._headers = version >= 1
        self._exchange = SaslExchange(mechanism, validator, settings.issuers)
        self.mechanism = mechanism
        self.state = State.TOKENS
        return Step(answer)

    def _token(self, token: bytes, wrapped: tuple[int, int] | None) -> Step:
        """One SASL token; `wrapped` is SaslAuthenticate's version and correlation id."""
        exchange = self._exchange
        assert exchange is not None
        wall = self._context.clock.wall()
        outcome = exchange.step(token, wall)  # a key that was waited for is waited for once
        if isinstance(outcome, NeedKeys):
            return Step(ask=outcome.wanted)
        if isinstance(outcome, Done):
            return self._done(outcome, wall, wrapped)
        if isinstance(outcome, Failed):
            return self._failed(outcome.reason, outcome.detail, outcome.message, wrapped, outcome.issuer)
        refused = outcome.refused
        close = Close(refused.reason, refused.detail)
        return Step(_reply(wrapped, outcome.data, 0), refused=close, failed=_blamed(refused.reason, refused.issuer))

    def _done(self, done: Done, wall: float, wrapped: tuple[int, int] | None) -> Step:
        accepted: Accepted = done.accepted
        before = self._established
        if before is not None and before.principal != accepted.principal:
            issuer = accepted.principal.issuer
            return self._failed(reasons.PRINCIPAL_CHANGED, str(accepted.principal), "", wrapped, issuer)
        identity = proofs.by_token(accepted, self._peer, self._context.listener.authentication.session_max, wall)
        lifetime_ms = int((identity.expires_at - wall) * 1000)
        if lifetime_ms <= 0:  # 0 would mean 'never ends' (KIP-368)
            return self._failed(reasons.SESSION_EXPIRED, "the token ended while it was looked at", "", wrapped)
        self._established = identity
        self._proven_by = self.mechanism
        self._exchange = None
        self.state = State.COMPLETE
        return Step(_reply(wrapped, done.data, lifetime_ms), proven=identity)

    def _failed(
        self, reason: Reason, detail: str, message: str, wrapped: tuple[int, int] | None, issuer: str = ""
    ) -> Step:
        """Outwardly failures are alike, in the words of Kafka's broker; `message` where the mechanism has its own."""
        close, failed = Close(reason, detail), _blamed(reason, issuer)
        self._exchange = None
        if wrapped is None:
            return Step(close=close, failed=failed)
        version, correlation_id = wrapped
        during = "re-authentication" if self._established is not None else "authentication"
        if not message:
            message = f"Authentication failed during {during} due to invalid credentials with SASL mechanism "
            message += self.mechanism
        body: Body = {"errorCode": SASL_AUTHENTICATION_FAILED, "errorMessage": message, "authBytes": b""}
        return Step(framed(SASL_AUTHENTICATE, version, correlation_id, body), close=close, failed=failed)

    def _illegal(self, api_key: int, version: int, correlation_id: int) -> Step:
        close = Close(reasons.ILLEGAL_SASL_STATE, f"API key {api_key} where SaslAuthenticate was due")
        low, high = OWN_RANGES.get(api_key, (0, -1))
        if not low <= version <= high:
            return Step(close=close)
        empty: Body = {"apiKeys": []} if api_key == API_VERSIONS else {"mechanisms": []}
        answer = framed(api_key, version, correlation_id, {"errorCode": ILLEGAL_SASL_STATE, **empty})
        return Step(answer, close=close)

    def _body(self, frame: memoryview, api_key: int, version: int) -> Body | None:
        """The request's body, None for a version that the gateway does not know."""
        low, high = OWN_RANGES[api_key]
        if not low <= version <= high:
            return None
        header = codec.parse_request_header(frame)
        return codec.decode_request(api_key, version, frame[header.body_offset :])


def _blamed(reason: Reason, issuer: str) -> str | None:
    """The issuer that a failed login counts for; None where the gateway itself had no keys to see by."""
    return None if reason is KEYS_UNAVAILABLE else issuer


def _end(reason: Reason, detail: str = "") -> Step:
    return Step(close=Close(reason, detail))


def _reply(wrapped: tuple[int, int] | None, token: bytes, lifetime_ms: int) -> bytes:
    if wrapped is None:
        return struct.pack(">i", len(token)) + token
    version, correlation_id = wrapped
    body: Body = {"errorCode": 0, "errorMessage": None, "authBytes": token}
    if version >= 1:
        body["sessionLifetimeMs"] = lifetime_ms
    return framed(SASL_AUTHENTICATE, version, correlation_id, body)

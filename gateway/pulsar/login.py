"""Who the client is, and who the gateway is for the broker: CONNECT, CONNECTED, and the refreshing of tokens.

    client  -- CONNECT (token, or a certificate in TLS) -->  gateway  -- CONNECT (own role, original_principal) --> ...
    client <-- CONNECTED (what both sides have in common) --  gateway <-- CONNECTED ----------------------- ... broker

Refused: a CONNECT that speaks for somebody else (proxy_version, original_*), an authentication method the listener does
not take, a broker that nobody but the client named. All bad tokens are refused with the same words. No I/O; the session
is the one caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core import proofs
from gateway.core.accounts import UpstreamAccount
from gateway.core.connection_log import CERTIFICATE
from gateway.core.identity import Identity, Principal
from gateway.core.session import Close, Endpoint, KeysWanted, Peer
from gateway.core.tokens import KeyMissing, Refused
from gateway.pulsar import flags, reasons, replies
from gateway.pulsar.broker_names import may_be_label
from gateway.pulsar.commands import Body, framed
from gateway.pulsar.context import ListenerContext

TOKEN = "token"  # noqa: S105 - the method's name
TLS = "tls"
SOFTWARE_CHARS_MAX = 120
"""Of what a client says of itself, in the audit."""
REFRESH = b"PulsarAuthRefresh"
"""What a challenge says when nothing is wrong but the time: clients then show a new token."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one command came to: an identity, a question, or the end (after `answer`)."""

    proven: Identity | None = None
    ask: KeysWanted | None = None
    close: Close | None = None
    answer: bytes = b""
    failed: str | None = None
    """The login failed; the configured issuer that its token claims to be of, "" for none of them."""


class Login:
    """One connection's."""

    def __init__(self, context: ListenerContext, peer: Peer) -> None:
        self._context = context
        self._peer = peer
        self._label = context.listener.broker_label(peer.server_name)
        self._waited = False
        self._flags: dict[str, bool] = {}
        self._version = 0
        self.software = ""
        self._shown = b""
        """The client's last good token, kept only where brokers are shown it."""
        self.mechanism = ""
        self.broker: Endpoint | None = None
        """The one that the client asked for, None for any."""

    @property
    def refreshes(self) -> bool:
        """The client can be asked for a new token."""
        return flags.AUTH_REFRESH in self._flags and self.mechanism == TOKEN

    def connect(self, body: Body, wall: float) -> Step:
        """The client's CONNECT."""
        self.software = _printable(body.client_version)
        if any(body.HasField(each) for each in _OF_PROXIES):
            return Step(close=Close(reasons.COMMAND_FORGED, "connect as a proxy"))
        if body.proxy_to_broker_url:
            self.broker = self._context.backend.names.broker(body.proxy_to_broker_url)
            if self.broker is None:
                return Step(close=Close(reasons.BROKER_NOT_DISCOVERED, _printable(body.proxy_to_broker_url)))
        elif may_be_label(self._label):
            self.broker = self._context.backend.names.of_label(self._label)
            if self.broker is None:
                return Step(close=Close(reasons.BROKER_NOT_DISCOVERED, self._peer.server_name))
        self._flags = flags.common_flags(body)
        self._version = flags.common_version(body.protocol_version)
        method = body.auth_method_name
        if method == TOKEN:
            self.mechanism = TOKEN
            return self._token(bytes(body.auth_data), None, wall)
        identity = proofs.by_certificate(self._peer, self._context.listener.tls.client_ca_name)
        if identity is None or method not in ("", TLS, "none") or self._context.tokens_passed:
            shown = method if method.isascii() and method.isalnum() and len(method) <= 30 else "another"
            return Step(close=Close(reasons.AUTHENTICATION_METHOD, shown or "none"), answer=replies.not_authenticated())
        self.mechanism = CERTIFICATE
        return Step(proven=identity)

    def refresh(self, body: Body, principal: Principal, wall: float) -> Step:
        """The client's AUTH_RESPONSE to a challenge: the same principal, or the end."""
        if body.response.auth_method_name != TOKEN:
            return Step(close=Close(reasons.AUTHENTICATION_METHOD), answer=replies.not_authenticated())
        return self._token(bytes(body.response.auth_data), principal, wall)

    def _token(self, token: bytes, before: Principal | None, wall: float) -> Step:
        validator = self._context.validator
        issuers = self._context.listener.authentication.issuers
        if validator is None:
            return Step(close=Close(reasons.AUTHENTICATION_METHOD, TOKEN), answer=replies.not_authenticated())
        outcome = validator.validate(token, issuers, wall)
        if isinstance(outcome, KeyMissing):
            if not self._waited:  # a key is waited for once
                self._waited = True
                return Step(ask=KeysWanted(outcome.issuer, outcome.kid))
            return Step(close=Close(reasons.FACT_UNAVAILABLE, "key"), answer=replies.not_authenticated())
        self._waited = False
        if isinstance(outcome, Refused):
            close = Close(outcome.reason, outcome.detail)
            return Step(close=close, answer=replies.not_authenticated(), failed=outcome.issuer)
        if before is not None and before != outcome.principal:
            close = Close(reasons.PRINCIPAL_CHANGED, str(outcome.principal))
            return Step(close=close, answer=replies.not_authenticated(), failed=outcome.principal.issuer)
        if self._context.tokens_passed:
            self._shown = token
        session_max = self._context.listener.authentication.session_max
        return Step(proven=proofs.by_token(outcome, self._peer, session_max, wall))

    # ---- towards the broker -------------------------------------------------------------------------------------

    def to_broker(self, principal: Principal) -> bytes | None:
        """The gateway's own CONNECT, for this client; None while the gateway has no credential."""
        proof = self._proof()
        if proof is None:
            return None
        original = "" if self._context.tokens_passed else principal.name
        return greeting(proof, self.software, self._version, self._flags, original)

    def _proof(self) -> dict[str, Any] | None:
        if self._context.tokens_passed:
            return {"auth_method_name": TOKEN, "auth_data": self._shown}
        return own_proof(self._context.account, self._context.by_certificate)

    def to_broker_again(self) -> bytes | None:
        """AUTH_RESPONSE to a broker that wants the gateway's credential anew; None if there is none."""
        proof = self._proof()
        if not proof or "auth_data" not in proof:
            return None
        told = {"client_version": replies.SERVER_VERSION, "response": proof, "protocol_version": self._version}
        return framed("auth_response", **told)

    def connected(self, body: Body) -> tuple[bytes, int]:
        """The broker's CONNECTED: what the client is told, and the largest message."""
        theirs = flags.common_flags(body)
        both = {name: True for name in theirs if name in self._flags or name == flags.AUTH_REFRESH}
        largest = min(body.max_message_size or MESSAGE_BYTES, self._context.limits.frame_bytes_max)
        answer = framed(
            "connected",
            server_version=replies.SERVER_VERSION,
            protocol_version=min(flags.common_version(body.protocol_version), self._version),
            max_message_size=largest,
            feature_flags=both,
        )
        return answer, largest

    def challenge(self) -> bytes:
        """Ask the client for a new token."""
        return framed(
            "auth_challenge",
            server_version=replies.SERVER_VERSION,
            challenge={"auth_method_name": TOKEN, "auth_data": REFRESH},
            protocol_version=self._version,
        )


def _printable(text: str) -> str:
    """What a client says of itself, as the audit takes it."""
    return "".join(each for each in text[: 2 * SOFTWARE_CHARS_MAX] if each.isprintable())[:SOFTWARE_CHARS_MAX]


MESSAGE_BYTES = 5 << 20
"""The largest message where the broker does not say (its default)."""
_OF_PROXIES = ("original_principal", "original_auth_data", "original_auth_method", "proxy_version")


def greeting(
    proof: Mapping[str, Any], software: str, version: int, common: Mapping[str, bool], principal: str
) -> bytes:
    """CONNECT with the gateway's own role, in the name of `principal` where brokers authenticate at all."""
    told: dict[str, Any] = {**proof, "original_principal": principal if proof else ""}
    shown = {**common, flags.AUTH_REFRESH: True}
    return framed("connect", client_version=software, protocol_version=version, feature_flags=shown, **told)


def own_proof(account: UpstreamAccount | None, by_certificate: bool) -> dict[str, Any] | None:
    """How the gateway shows who it is; {} where nobody asks, None while it has nothing to show."""
    if account is not None:
        credential = account.credential()
        if credential is None:
            return None
        return {"auth_method_name": TOKEN, "auth_data": credential.secret.encode()}
    return {"auth_method_name": TLS} if by_certificate else {}

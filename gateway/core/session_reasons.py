"""Reasons that the sessions of every protocol use alike: who the client is, what it may, what its frames may be.

What one client library shows for a plain end of the connection is in each protocol's own reasons.
"""

from __future__ import annotations

from gateway.core.reasons import reason

_ENDED = "The connection ends, which clients show as a lost connection; most of them retry."

AUTHENTICATION_TIMEOUT = reason(
    "authentication-timeout",
    cause="The client did not authenticate within limits.authentication_timeout.",
    client_sees=_ENDED,
    remedy="Look for a client without authentication settings, a slow token endpoint, an issuer without keys.",
)
SESSION_EXPIRED = reason(
    "session-expired",
    cause="The token or certificate ended, or session_max passed, without a re-authentication.",
    client_sees="The connection ends; the client reconnects with a new token.",
    remedy="Use a client that re-authenticates, and tokens that last longer than a few minutes.",
)
PRINCIPAL_CHANGED = reason(
    "principal-changed",
    cause="A re-authentication proved another principal than the one that the connection belongs to.",
    client_sees="The library's own authentication error, or the connection ends.",
    remedy="Open a new connection for another principal; check that the client's tokens have one subject.",
)
PRINCIPAL_IS_GATEWAY_ACCOUNT = reason(
    "principal-is-gateway-account",
    cause="The client's principal has the name by which the brokers know the gateway itself.",
    client_sees="The connection ends after authentication; clients retry.",
    remedy="Give the client, or the gateway's account, another name: brokers could not tell the two apart.",
)
CONNECTIONS_OF_PRINCIPAL = reason(
    "connections-of-principal",
    cause="The principal has as many connections as its limits permit.",
    client_sees="The connection ends after authentication; clients retry.",
    remedy="Raise limits.connections of the principal in the policy, or find the client that leaks connections.",
)
FRAME_TOO_LARGE = reason(
    "frame-too-large",
    cause="A request announced more bytes than limits.frame_bytes_max.",
    client_sees=_ENDED,
    remedy="Lower the client's own limit for requests or messages, or raise this one.",
)
FRAME_TOO_LARGE_UNAUTHENTICATED = reason(
    "frame-too-large-unauthenticated",
    cause="A request before authentication announced more than limits.frame_bytes_before_authentication_max.",
    client_sees=_ENDED,
    remedy="Tokens beyond 60 KiB need that limit raised; otherwise it was no client of this protocol.",
)
FRAME_LENGTH_INVALID = reason(
    "frame-length-invalid",
    cause="A request's length was negative or too small to hold a header.",
    client_sees=_ENDED,
    remedy="It was no client of this protocol, or its bytes were damaged on the way.",
)
REQUEST_MALFORMED = reason(
    "request-malformed",
    cause="A request could not be decoded: truncated, trailing bytes, or a length that points outside.",
    client_sees=_ENDED,
    remedy="Look at the client's version in the audit; a sound client library does not send this.",
)
BACKEND_NOT_READY = reason(
    "backend-not-ready",
    cause="No broker of the backend was reached yet, so that nothing could be answered.",
    client_sees="The connection ends; clients retry.",
    remedy="See /readyz and the gateway's log for the control connection's error.",
)
UPSTREAM_PROTOCOL = reason(
    "upstream-protocol-error",
    cause="The broker's answer was not the one that was due, or could not be decoded.",
    client_sees="The connection ends; clients retry.",
    remedy="Report it with the broker's version; what could not be read of that answer was not passed on.",
)
UPSTREAM_FRAME_TOO_LARGE = reason(
    "upstream-frame-too-large",
    cause="The broker's answer announced more bytes than limits.frame_bytes_max.",
    client_sees="The connection ends; clients retry.",
    remedy="Lower what the client fetches at once, or raise the limit.",
)
FACT_UNAVAILABLE = reason(
    "fact-unavailable",
    cause="What a request waited for (keys of an issuer, a topic's id) could not be had in time.",
    client_sees="The connection ends, or an error that clients retry.",
    remedy="Look at the issuer's key URL and at the control connection to the backend.",
)
INTERNAL_ERROR = reason(
    "internal-error",
    cause="The gateway met an error of its own while deciding; nothing was forwarded.",
    client_sees="The connection ends; clients retry.",
    remedy="Report it with the audit's detail, which names the place and holds no payload.",
)
NOT_ALLOWED = reason(
    "not-allowed",
    cause="No rule of the policy allows this to the principal, or one denies it.",
    client_sees="The library's own authorization error, e.g. TopicAuthorizationException, AuthorizationError.",
    remedy="Run 'gateway policy explain --decision ID' with the decision id of the audit's line.",
)
THROTTLED = reason(
    "throttled",
    cause="The principal used up its requests or bytes per second.",
    client_sees="Slower answers, with a throttle time where the protocol has one.",
    remedy="Raise the principal's limits in the policy, or slow the client down.",
)

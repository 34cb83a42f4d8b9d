"""Why a Kafka client was refused, closed or denied: every reason the Kafka session and its control connection use.

What one client library shows for a plain end of the connection: the Java client logs ``Connection to node -1 ...
terminated during authentication`` before authentication and retries after it; librdkafka shows ``_TRANSPORT``
(``Disconnected``).
"""

from __future__ import annotations

from gateway.core.reasons import reason

_ENDED = "The connection ends; Java: 'disconnected', librdkafka: _TRANSPORT."

AUTHENTICATION_TIMEOUT = reason(
    "authentication-timeout",
    cause="The client did not authenticate within limits.authentication_timeout.",
    client_sees=_ENDED,
    remedy="Look for a client without SASL settings, a slow token endpoint, or an issuer whose keys cannot be fetched.",
)
SESSION_EXPIRED = reason(
    "session-expired",
    cause="The token or certificate ended, or session_max passed, without a re-authentication (KIP-368).",
    client_sees="The connection ends; the client reconnects with a new token.",
    remedy="Use a client that re-authenticates (Java since 2.2), and tokens that last longer than a few minutes.",
)
PRINCIPAL_CHANGED = reason(
    "principal-changed",
    cause="A re-authentication proved another principal than the one that the connection belongs to.",
    client_sees="SaslAuthenticationException / SASL_AUTHENTICATION_FAILED.",
    remedy="Open a new connection for another principal; check that the client's tokens have one subject.",
)
MECHANISM_CHANGED = reason(
    "mechanism-changed",
    cause="A re-authentication used another SASL mechanism than the connection began with.",
    client_sees=_ENDED,
    remedy="Keep the client's mechanism.",
)
MECHANISM_UNSUPPORTED = reason(
    "mechanism-unsupported",
    cause="The client asked for a SASL mechanism that the listener does not offer.",
    client_sees="UnsupportedSaslMechanismException / UNSUPPORTED_SASL_MECHANISM, with the mechanisms offered.",
    remedy="Set sasl.mechanism to OAUTHBEARER or PLAIN, as the listener's authentication.mechanisms says.",
)
ILLEGAL_SASL_STATE = reason(
    "illegal-sasl-state",
    cause="A request came that the state of the SASL exchange does not permit.",
    client_sees="IllegalSaslStateException / ILLEGAL_SASL_STATE, or the connection ends.",
    remedy="Look for a client that mixes authentication with other requests, or that has no SASL settings at all.",
)
NOT_AUTHENTICATED = reason(
    "not-authenticated",
    cause="A request other than ApiVersions and the SASL APIs came before authentication.",
    client_sees=_ENDED,
    remedy="Set security.protocol=SASL_SSL and a mechanism at the client.",
)
NO_SASL_HERE = reason(
    "no-sasl-here",
    cause="The client began SASL at a listener that knows clients by certificate alone.",
    client_sees="IllegalSaslStateException / ILLEGAL_SASL_STATE.",
    remedy="Set security.protocol=SSL at the client, or give the listener an issuer.",
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
    remedy="Lower the client's max.request.size, or raise the limit; the broker's socket.request.max.bytes is alike.",
)
FRAME_TOO_LARGE_UNAUTHENTICATED = reason(
    "frame-too-large-unauthenticated",
    cause="A request before authentication announced more than limits.frame_bytes_before_authentication_max.",
    client_sees=_ENDED,
    remedy="Tokens beyond 60 KiB need that limit raised; otherwise it was no Kafka client.",
)
FRAME_LENGTH_INVALID = reason(
    "frame-length-invalid",
    cause="A request's length was negative or too small to hold a header.",
    client_sees=_ENDED,
    remedy="It was no Kafka client, or its bytes were damaged on the way.",
)
NOT_KAFKA_HTTP = reason(
    "not-kafka-http",
    cause="The first bytes inside TLS were an HTTP request.",
    client_sees=_ENDED,
    remedy="A browser, a health check or a scanner came to the Kafka port; point it elsewhere.",
)
NOT_KAFKA_TLS = reason(
    "not-kafka-tls",
    cause="The first bytes inside TLS were another TLS handshake.",
    client_sees=_ENDED,
    remedy="A proxy in front of the gateway adds TLS a second time; let it pass the bytes through.",
)
REQUEST_MALFORMED = reason(
    "request-malformed",
    cause="A request could not be decoded: truncated, trailing bytes, or a length that points outside.",
    client_sees=_ENDED,
    remedy="Look at the client's version in the audit; a sound client library does not send this.",
)
API_UNKNOWN = reason(
    "api-unknown",
    cause="A request named an API key that Kafka clients do not have.",
    client_sees=_ENDED,
    remedy="It was no Kafka client, or one of a newer Kafka than this gateway knows.",
)
API_NOT_OFFERED = reason(
    "api-not-offered",
    cause="A request named an API that the gateway does not offer, though ApiVersions did not list it.",
    client_sees="The connection ends; clients that read ApiVersions say UnsupportedVersionException.",
    remedy="Use an API of the list in the documentation; some administration goes to the cluster directly.",
)
VERSION_NOT_OFFERED = reason(
    "version-not-offered",
    cause="A request had a version outside the range that ApiVersions gave for its API.",
    client_sees=_ENDED,
    remedy="Leave api.version.request on; do not set broker.version.fallback.",
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
    remedy="Lower the client's fetch.max.bytes, or raise the limit.",
)
FETCHED_TOPIC_WITHDRAWN = reason(
    "fetched-topic-withdrawn",
    cause="In the middle of a large Fetch answer, whose front was on its way, stood records that may not be read.",
    client_sees="The connection ends; clients retry, and are told of the denial by their next request.",
    remedy="None, after a right was withdrawn; see the denial in the audit.",
)
PRODUCE_UNANSWERED = reason(
    "produce-unanswered",
    cause="A Produce request with acks=0 failed; as it has no answer, the broker's way is to close.",
    client_sees=_ENDED,
    remedy="Use acks=1 or all to be told the error; see the denial in the audit.",
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
    client_sees="The library's own authorization error, e.g. TopicAuthorizationException / TOPIC_AUTHORIZATION_FAILED.",
    remedy="Run 'gateway policy explain --decision ID' with the decision id of the audit's line.",
)
THROTTLED = reason(
    "throttled",
    cause="The principal used up its requests or bytes per second.",
    client_sees="throttle_time_ms in answers; the connection is not read for that time (KIP-219).",
    remedy="Raise the principal's limits in the policy, or slow the client down.",
)
NODE_OUTSIDE_RANGE = reason(
    "node-id-outside-range",
    cause="The backend has a broker whose node id is outside the listener's node_ids.",
    client_sees="The broker is missing from metadata; its partitions have no leader for clients of this listener.",
    remedy="Widen the listener's broker_ports.node_ids (or addressing.sni.node_ids), and restart.",
)

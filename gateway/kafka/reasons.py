"""Why a Kafka client was refused, closed or denied: every reason the Kafka session and its control connection use.

What one client library shows for a plain end of the connection: the Java client logs ``Connection to node -1 ...
terminated during authentication`` before authentication and retries after it; librdkafka shows ``_TRANSPORT``
(``Disconnected``).
"""

from __future__ import annotations

from gateway.core.reasons import reason
from gateway.core.session_reasons import (
    AUTHENTICATION_TIMEOUT,
    BACKEND_NOT_READY,
    CONNECTIONS_OF_PRINCIPAL,
    FACT_UNAVAILABLE,
    FRAME_LENGTH_INVALID,
    FRAME_TOO_LARGE,
    FRAME_TOO_LARGE_UNAUTHENTICATED,
    INTERNAL_ERROR,
    NOT_ALLOWED,
    PRINCIPAL_CHANGED,
    PRINCIPAL_IS_GATEWAY_ACCOUNT,
    REQUEST_MALFORMED,
    SESSION_EXPIRED,
    THROTTLED,
    UPSTREAM_FRAME_TOO_LARGE,
    UPSTREAM_PROTOCOL,
)

__all__ = [
    "API_NOT_OFFERED",
    "API_UNKNOWN",
    "AUTHENTICATION_TIMEOUT",
    "BACKEND_NOT_READY",
    "CONNECTIONS_OF_PRINCIPAL",
    "FACT_UNAVAILABLE",
    "FRAME_LENGTH_INVALID",
    "FRAME_TOO_LARGE",
    "FRAME_TOO_LARGE_UNAUTHENTICATED",
    "ILLEGAL_SASL_STATE",
    "INTERNAL_ERROR",
    "MECHANISM_CHANGED",
    "MECHANISM_UNSUPPORTED",
    "NODE_OUTSIDE_RANGE",
    "NOT_ALLOWED",
    "NOT_AUTHENTICATED",
    "NOT_KAFKA_HTTP",
    "NOT_KAFKA_TLS",
    "NO_SASL_HERE",
    "PRINCIPAL_CHANGED",
    "PRINCIPAL_IS_GATEWAY_ACCOUNT",
    "PRODUCE_UNANSWERED",
    "REQUEST_MALFORMED",
    "SESSION_EXPIRED",
    "THROTTLED",
    "UPSTREAM_FRAME_TOO_LARGE",
    "UPSTREAM_PROTOCOL",
    "VERSION_NOT_OFFERED",
]

_ENDED = "The connection ends; Java: 'disconnected', librdkafka: _TRANSPORT."

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
NODE_OUTSIDE_RANGE = reason(
    "node-id-outside-range",
    cause="The backend has a broker whose node id is outside the listener's node_ids.",
    client_sees="The broker is missing from metadata; its partitions have no leader for clients of this listener.",
    remedy="Widen the listener's broker_ports.node_ids (or addressing.sni.node_ids), and restart.",
)

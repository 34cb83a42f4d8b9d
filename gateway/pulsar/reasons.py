"""Why a Pulsar client was refused, closed or denied, beyond the reasons that every protocol has (core).

The Java client shows the end of a connection as ``Disconnected from server`` and retries; the C++ client (Python,
Node) retries until its operation times out, and shows ``TimeOut``.
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
    PRINCIPAL_CHANGED,
    PRINCIPAL_IS_GATEWAY_ACCOUNT,
    REQUEST_MALFORMED,
    SESSION_EXPIRED,
    UPSTREAM_FRAME_TOO_LARGE,
    UPSTREAM_PROTOCOL,
)

__all__ = [
    "AUTHENTICATION_METHOD",
    "AUTHENTICATION_TIMEOUT",
    "AUTHENTICATION_UNANSWERED",
    "BACKEND_NOT_READY",
    "BROKER_NOT_DISCOVERED",
    "COMMAND_FORGED",
    "COMMAND_NOT_FOR_CLIENTS",
    "CONNECTIONS_OF_PRINCIPAL",
    "CONNECT_EXPECTED",
    "FACT_UNAVAILABLE",
    "FRAME_LENGTH_INVALID",
    "FRAME_TOO_LARGE",
    "FRAME_TOO_LARGE_UNAUTHENTICATED",
    "HANDLES_OF_PRINCIPAL",
    "INTERNAL_ERROR",
    "NOT_PULSAR_HTTP",
    "NOT_PULSAR_TLS",
    "PEER_SILENT",
    "PRINCIPAL_CHANGED",
    "PRINCIPAL_IS_GATEWAY_ACCOUNT",
    "REQUEST_MALFORMED",
    "REST_CLOSED",
    "REST_LOOKUP",
    "REST_TARGET",
    "REST_UNKNOWN",
    "SESSION_EXPIRED",
    "UPSTREAM_FRAME_TOO_LARGE",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REFUSED",
]

_ENDED = "The connection ends; Java: 'Disconnected from server', C++: retries until TimeOut."

NOT_PULSAR_HTTP = reason(
    "not-pulsar-http",
    cause="The first bytes inside TLS were an HTTP request.",
    client_sees=_ENDED,
    remedy="Use a service URL that starts with pulsar+ssl://; Pulsar's HTTP interface is not offered.",
)
NOT_PULSAR_TLS = reason(
    "not-pulsar-tls",
    cause="The first bytes inside TLS were another TLS handshake.",
    client_sees=_ENDED,
    remedy="A proxy in front of the gateway adds TLS a second time; let it pass the bytes through.",
)
CONNECT_EXPECTED = reason(
    "connect-expected",
    cause="The first command was not CONNECT, or CONNECT came a second time.",
    client_sees=_ENDED,
    remedy="It was no Pulsar client, or its bytes were damaged on the way.",
)
COMMAND_NOT_FOR_CLIENTS = reason(
    "command-not-for-clients",
    cause="The client sent a command that only brokers send, or that only brokers send each other.",
    client_sees=_ENDED,
    remedy="Look at the command in the audit; no client library sends it.",
)
COMMAND_FORGED = reason(
    "command-forged",
    cause="The client claimed to be a proxy, a replicator or somebody else (original_principal and its like).",
    client_sees=_ENDED,
    remedy="No client library does so. A Pulsar proxy in front of the gateway is not supported: remove it.",
)
AUTHENTICATION_METHOD = reason(
    "authentication-method",
    cause="The client's authentication method is not one that the listener takes.",
    client_sees="Java: AuthenticationException; C++: retries until TimeOut.",
    remedy="Use token authentication; a client certificate where the listener asks for one.",
)
AUTHENTICATION_UNANSWERED = reason(
    "authentication-unanswered",
    cause="The client did not answer the challenge to show a new token, and the old one ended.",
    client_sees="The connection ends; clients reconnect, with a new token if they have one.",
    remedy="Give the client a token supplier (tokenSupplier, a file) instead of one fixed token.",
)
BROKER_NOT_DISCOVERED = reason(
    "broker-not-discovered",
    cause="The client asked for a broker (proxy_to_broker_url, or the name it dialled) that no broker had named.",
    client_sees=_ENDED,
    remedy="Clients look a topic up before, which makes its broker known; somebody else is trying addresses.",
)
UPSTREAM_REFUSED = reason(
    "upstream-refused",
    cause="The broker refused the gateway's own CONNECT.",
    client_sees=_ENDED,
    remedy="See the detail: the gateway's role must be one of the brokers' proxyRoles, and its credential good.",
)
PEER_SILENT = reason(
    "peer-silent",
    cause="The client, or the broker, did not answer a PING in time.",
    client_sees=_ENDED,
    remedy="The network or the peer had gone; nothing is to be done about it here.",
)
MESSAGE_UNFINISHED = reason(
    "message-unfinished",
    cause="A message was being passed on, and its rest came too slowly.",
    client_sees=_ENDED,
    remedy="Look at the client's network: 64 KiB of it, or its end, must come within limits.frame_timeout.",
)
WITHDRAWN_WITHIN_MESSAGE = reason(
    "withdrawn-within-message",
    cause="The right to produce or consume was withdrawn while a message was being passed on: it was not completed.",
    client_sees=_ENDED,
    remedy="The reason is in the policy; what was half passed on is nobody's, the broker and the client drop it.",
)
HANDLES_OF_PRINCIPAL = reason(
    "handles-of-principal",
    cause="The principal has as many producers, or consumers, as its limits permit.",
    client_sees="The library's own error, with these words.",
    remedy="Raise limits.producers or limits.consumers of the principal in the policy, or find what leaks them.",
)
REST_UNKNOWN = reason(
    "rest-unknown",
    cause="No route of Pulsar's REST interface has this path, or this method for it.",
    client_sees="404 or 405; PulsarAdminException.NotFoundException and its like.",
    remedy="Compare the request with docs/pulsar-rest.md; the client may be of a later version.",
)
REST_CLOSED = reason(
    "rest-closed",
    cause="The route is closed to everybody: an old form, a worker's own, WebSocket, or a way to the workers' files.",
    client_sees="403 with these words; NotAuthorizedException.",
    remedy="docs/pulsar-rest.md says what to use in its place; ask the brokers themselves from inside otherwise.",
)
REST_TARGET = reason(
    "rest-target",
    cause="A name or a parameter in the path, query or body is not valid, or could be read in two ways.",
    client_sees="400 or 412; PreconditionFailedException.",
    remedy="Names with / \\ % + ; in them can be used by the binary protocol alone; docs/pulsar-rest.md has the rest.",
)
REST_LOOKUP = reason(
    "rest-lookup",
    cause="A lookup by HTTP in a cluster of several brokers, and no listener has a name for each of them.",
    client_sees="501; the lookup fails.",
    remedy="Set broker_names at the listener of `protocol: pulsar`, or have clients look up by pulsar+ssl://.",
)

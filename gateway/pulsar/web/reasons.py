"""Why a request to Pulsar's HTTP interface was refused, or its connection ended, beyond the reasons of all."""

from __future__ import annotations

from gateway.core.reasons import reason

HTTP_UNAUTHENTICATED = reason(
    "http-unauthenticated",
    cause="A request had no credential, or another one than a single Bearer token.",
    client_sees="HTTP 401 and the end of the connection; pulsar-admin: 'HTTP 401'.",
    remedy="Use token authentication (Authorization: Bearer); a client certificate where the listener asks for one.",
)
HTTP_FORGED = reason(
    "http-forged",
    cause="The client claimed to be somebody else (X-Original-Principal and its like).",
    client_sees="HTTP 403 and the end of the connection.",
    remedy="No client library does so. A Pulsar proxy in front of the gateway is not supported: remove it.",
)
HTTP_BODY_TOO_LARGE = reason(
    "http-body-too-large",
    cause="A request's body was longer than its route takes, or a program than limits.upload_bytes_max.",
    client_sees="HTTP 413.",
    remedy="Raise limits.upload_bytes_max for a larger program or package; no client library sends as much elsewhere.",
)
HTTP_REQUEST_TIMEOUT = reason(
    "http-request-timeout",
    cause="A request did not come whole within limits.frame_timeout, or its answer was not taken for as long.",
    client_sees="HTTP 408, or the end of the connection.",
    remedy="The network or the client had gone, or somebody holds connections by sending drop by drop.",
)
HTTP_PRINCIPAL_NAME = reason(
    "http-principal-name",
    cause="The principal's name cannot stand in a header, by which brokers are told whose request it is.",
    client_sees="HTTP 403.",
    remedy="Name principals in visible ASCII (principal_claim), or use clients_as: own-token.",
)
HTTP_REDIRECT = reason(
    "http-redirect-refused",
    cause="A broker sent the request on to an address that is not configured, or too often.",
    client_sees="HTTP 502.",
    remedy="Name all brokers in the backend's web.addresses or web.brokers.",
)
HTTP_ANSWER_TIMEOUT = reason(
    "http-answer-timeout",
    cause="The broker did not answer the request in time.",
    client_sees="HTTP 504 and the end of the connection.",
    remedy="Look at the broker; what it was asked may have been done nevertheless.",
)
HTTP_GATEWAY_REFUSED = reason(
    "http-gateway-refused",
    cause="The broker's web service did not take the gateway's own credential (HTTP 401 without a denial's words).",
    client_sees="HTTP 502.",
    remedy="The gateway's role must be one of the brokers' proxyRoles, and its token good; see /readyz.",
)
HTTP_ENDED = reason(
    "http-ended",
    cause="The connection ended behind an answer, as the client or the answer's kind asked for.",
    client_sees="Nothing; the answer came before.",
    remedy="None is needed.",
)

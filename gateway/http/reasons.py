"""Why an HTTP connection was ended by this room. Clients show the status, or that the connection was closed."""

from __future__ import annotations

from gateway.core.reasons import reason

HTTP_MALFORMED = reason(
    "http-malformed",
    cause="The request could be read in more than one way, or in none (framing, a header, the target).",
    client_sees="HTTP 400 (or 417, 501, 505), or GOAWAY, and the end of the connection.",
    remedy="See the detail; a sound client, and a sound proxy in front of the gateway, does not send this.",
)
HTTP_HEAD_TOO_LARGE = reason(
    "http-head-too-large",
    cause="A request's target or headers were more, or longer, than the gateway takes (docs/limits.md).",
    client_sees="HTTP 414 or 431, or GOAWAY, and the end of the connection.",
    remedy="Send a smaller token, or fewer headers; otherwise somebody floods with headers.",
)
HTTP_FLOOD = reason(
    "http-flood",
    cause="HTTP/2 frames that cost a server more than a client: resets, pings, settings, empty frames, continuations.",
    client_sees="GOAWAY with ENHANCE_YOUR_CALM, and the end of the connection.",
    remedy="No client library does so; look at the address (CVE-2023-44487, CVE-2024-27316 are such attacks).",
)
HTTP_BODY_FRAMING = reason(
    "http-body-framing",
    cause="A request's body broke off its own framing: a malformed chunk, or chunks that are mostly overhead.",
    client_sees="HTTP 400 and the end of the connection.",
    remedy="A sound client does not send this.",
)

"""What speaks on a TLS port, by its first bytes, before the TLS library sees them (they are only peeked at)."""

from __future__ import annotations

from gateway.core.reasons import Reason
from gateway.edge import reasons

PEEK = 16
_HTTP = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"CONNECT ", b"OPTIONS ", b"TRACE ", b"PATCH ", b"PRI * ")
_PROXY = (b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n")
_HANDSHAKE = 22
"""TLS ContentType handshake (RFC 8446, 5.1)."""


def not_tls(first: bytes) -> Reason | None:
    """Why these first bytes (at least one) begin no TLS handshake; None if they may.

    A Kafka request begins with its length as four bytes, the first of which is 0 below 16 MiB.
    """
    if first[0] == _HANDSHAKE:
        return None
    if first[0] == 0:
        return reasons.PLAINTEXT_KAFKA
    if any(_agree(first, each) for each in _HTTP):
        return reasons.PLAINTEXT_HTTP
    if any(_agree(first, each) for each in _PROXY):
        return reasons.PROXY_PROTOCOL
    return reasons.NOT_TLS


def _agree(first: bytes, opening: bytes) -> bool:
    shared = min(len(first), len(opening))
    return first[:shared] == opening[:shared]

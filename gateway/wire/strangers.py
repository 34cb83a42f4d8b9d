"""Who came to the wrong port: the first octets inside TLS that belong to another protocol.

Called by the sessions of length-prefixed protocols when a first frame's length cannot be.
"""

from __future__ import annotations

from typing import Literal

HTTP_STARTS = frozenset({b"GET ", b"POST", b"HEAD", b"PUT ", b"PRI ", b"OPTI", b"DELE", b"CONN", b"PATC", b"TRAC"})
TLS_HANDSHAKE_START = b"\x16\x03"


def stranger(prefix: bytes) -> Literal["http", "tls"] | None:
    """What four octets begin, if it is HTTP or a TLS handshake."""
    if prefix in HTTP_STARTS:
        return "http"
    return "tls" if prefix[:2] == TLS_HANDSHAKE_START else None

"""What speaks on a TLS port, by its first bytes."""

from __future__ import annotations

import pytest

from gateway.edge import reasons
from gateway.edge.sniff import not_tls


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"\x16", None),
        (b"\x16\x03\x01\x02\x00\x01", None),
        (b"\x00", reasons.PLAINTEXT_KAFKA),
        (b"\x00\x00\x00\x2b\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07rdk", reasons.PLAINTEXT_KAFKA),
        (b"GET / HTTP/1.1\r\n", reasons.PLAINTEXT_HTTP),
        (b"G", reasons.PLAINTEXT_HTTP),
        (b"POST /topics HT", reasons.PLAINTEXT_HTTP),
        (b"PRI * HTTP/2.0\r\n", reasons.PLAINTEXT_HTTP),
        (b"PROXY TCP4 10.0.", reasons.PROXY_PROTOCOL),
        (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11", reasons.PROXY_PROTOCOL),
        (b"SSH-2.0-OpenSSH", reasons.NOT_TLS),
        (b"\x80\x2e\x01\x00\x02", reasons.NOT_TLS),
        (b"\xff\xff\xff\xff", reasons.NOT_TLS),
    ],
)
def test_first_bytes(first: bytes, reason: object) -> None:
    assert not_tls(first) is reason

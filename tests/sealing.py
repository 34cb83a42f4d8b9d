"""TLS 1.3 records in a peer's place, by the secrets it logged: what no TLS library sends by itself (RFC 8446, 4.6.3).

Used by tests of key updates. A client must not have sent anything of its own behind its handshake.
"""

from __future__ import annotations

import struct
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_HANDSHAKE, _DATA = 22, 23


class Sealing:
    """TLS_AES_128_GCM_SHA256, which is the gateway's first choice. `secrets`: the log of one connection. `sent`:
    records (a server's tickets) that went under its first secret before."""

    def __init__(self, secrets: Path, whose: str = "CLIENT_TRAFFIC_SECRET_0", sent: int = 0) -> None:
        lines = [line.split() for line in secrets.read_text().splitlines()]
        (self._secret,) = (bytes.fromhex(line[2]) for line in lines if line[0] == whose)
        self._begin()
        self._number = sent

    def data(self, content: bytes) -> bytes:
        return self._seal(_DATA, content)

    def update(self, *, asks: bool = False, padding: int = 0) -> bytes:
        """A key update. `asks`: for one of the other side's as well."""
        sealed = self._seal(_HANDSHAKE, bytes([24, 0, 0, 1, asks]), padding)
        self._secret = self._derived(b"traffic upd", 32)
        self._begin()
        return sealed

    def _begin(self) -> None:
        self._number = 0
        self._key, self._iv = AESGCM(self._derived(b"key", 16)), self._derived(b"iv", 12)

    def _derived(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        return HKDFExpand(hashes.SHA256(), size, struct.pack(">HB", size, len(label)) + label + b"\0").derive(
            self._secret
        )

    def _seal(self, kind: int, content: bytes, padding: int = 0) -> bytes:
        inner = content + bytes([kind]) + bytes(padding)
        header = struct.pack(">BHH", 23, 0x0303, len(inner) + 16)
        nonce = (int.from_bytes(self._iv, "big") ^ self._number).to_bytes(12, "big")
        self._number += 1
        return header + self._key.encrypt(nonce, inner, header)

"""Bytes that no client library would send: raw Kafka frames over a TLS socket."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

SASL_HANDSHAKE, SASL_AUTHENTICATE, API_VERSIONS, METADATA = 17, 36, 18, 3


def frame(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def request(key: int, version: int, body: bytes = b"", correlation: int = 7) -> bytes:
    """A whole frame with a request header of version 1 (no flexible versions)."""
    return frame(struct.pack(">hhih", key, version, correlation, -1) + body)


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


class RawClient:
    """A TLS connection to the gateway that writes what it is told and reads whole frames."""

    def __init__(self, port: int, ca_file: str, timeout: float = 60.0, name: str = "localhost") -> None:
        """`name`: which server is meant (SNI), and whose the certificate has to be."""
        plain = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        try:
            self._socket = ssl.create_default_context(cafile=ca_file).wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def ended(self) -> bool:
        """Read until the other side ends; False if it has not within the timeout."""
        try:
            while self._socket.recv(65536):
                continue
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def receive(self) -> bytes:
        """The next frame's body. Raises ConnectionError if the connection ends before."""
        while len(self._buffer) < 4 or len(self._buffer) < 4 + struct.unpack(">i", self._buffer[:4])[0]:
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("the gateway ended the connection")
            self._buffer += chunk
        length = 4 + struct.unpack(">i", self._buffer[:4])[0]
        found, self._buffer = self._buffer[4:length], self._buffer[length:]
        return found

    def waiting(self) -> int:
        """How many whole frames have come that were not received yet; does not wait."""
        patience = self._socket.gettimeout()
        self._socket.settimeout(0)
        with suppress(ssl.SSLWantReadError):
            while chunk := self._socket.recv(65536):
                self._buffer += chunk
        self._socket.settimeout(patience)
        found = at = 0
        while len(self._buffer) >= at + 4:
            at += 4 + int(struct.unpack_from(">i", self._buffer, at)[0])
            found += len(self._buffer) >= at
        return found

    def authenticate(self, token: str) -> tuple[int, int]:
        """SaslHandshake v1 and SaslAuthenticate v1 with OAUTHBEARER: (error code, session lifetime in ms)."""
        self.send(request(SASL_HANDSHAKE, 1, string("OAUTHBEARER")))
        (code,) = struct.unpack_from(">h", self.receive(), 4)
        assert code == 0
        initial = f"n,,\x01auth=Bearer {token}\x01\x01".encode()
        self.send(request(SASL_AUTHENTICATE, 1, struct.pack(">i", len(initial)) + initial))
        answer = self.receive()
        (code,) = struct.unpack_from(">h", answer, 4)
        (lifetime,) = struct.unpack_from(">q", answer, len(answer) - 8)
        return code, lifetime

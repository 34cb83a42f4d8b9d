"""A raw client of the binary protocol: what no client library would send, and what none here can."""

from __future__ import annotations

import contextlib
import socket
import ssl
from types import TracebackType
from typing import Any, Self

from gateway.pulsar import commands
from gateway.pulsar.commands import Command

SECONDS_MAX = 60.0


class RawPulsar:
    """One connection, nothing said yet: TLS, or without `ca_file` plain, straight to a broker."""

    def __init__(self, port: int, ca_file: str | None) -> None:
        self._received = b""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX)
        if ca_file is None:
            return
        try:
            context = ssl.create_default_context(cafile=ca_file)
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def connect(self, token: str | bytes, **more: Any) -> None:
        """Only says CONNECT."""
        octets = token.encode() if isinstance(token, str) else token
        fields = {"client_version": "raw", "protocol_version": 21, "auth_method_name": "token", "auth_data": octets}
        self.send(commands.framed("connect", **{**fields, **more}))

    def ask(self, command: str, **fields: Any) -> Command:
        """Send one command, and give the next that comes back."""
        self.send(commands.framed(command, **fields))
        return self.receive()

    def receive(self) -> Command:
        """The next command that is not a PING, which is answered. Raises EOFError."""
        while True:
            head = self._exactly(8)
            total, size = commands.sizes(memoryview(head), 0)
            body = self._exactly(total - 4)
            command = commands.decode(memoryview(body)[:size])
            if command.name != "ping":
                return command
            self.send(commands.framed("pong"))

    def heard(self) -> list[str]:
        """All that comes until the other side ends the connection, and no PING of it is answered."""
        names = []
        with contextlib.suppress(EOFError, ssl.SSLError):
            while True:
                total, size = commands.sizes(memoryview(self._exactly(8)), 0)
                names.append(commands.decode(memoryview(self._exactly(total - 4))[:size]).name)
        return names

    def ended(self) -> bool:
        """Whether the other side ends the connection, having said nothing more."""
        try:
            return self._socket.recv(1) == b""
        except (ConnectionError, ssl.SSLEOFError):
            return True
        except TimeoutError:
            return False

    def _exactly(self, octets: int) -> bytes:
        while len(self._received) < octets:
            data = b""
            with contextlib.suppress(ConnectionError):
                data = self._socket.recv(65536)
            if not data:
                raise EOFError
            self._received += data
        found, self._received = self._received[:octets], self._received[octets:]
        return found

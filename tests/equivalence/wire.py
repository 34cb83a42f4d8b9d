"""A blocking connection to a broker that speaks in the codec's bodies."""

from __future__ import annotations

import socket
import struct

from gateway.kafka import codec
from gateway.kafka.plan import Body

ANSWER_SECONDS_MAX = 60.0


class Closed(Exception):
    """The broker closed the connection instead of answering."""


class Connection:
    """One connection, authenticated by SASL/PLAIN when `user` is given (password: the same word)."""

    def __init__(self, port: int, user: str | None = None) -> None:
        self._port, self._user = port, user
        self._socket: socket.socket | None = None
        self._correlation = 0

    def ask(self, key: int, version: int, body: Body, *, answered: bool = True) -> Body | None:
        """Send a request; its answer, or None where none comes. Raises Closed."""
        return self.ask_raw(key, version, codec.encode_request(key, version, body), answered=answered)

    def ask_raw(self, key: int, version: int, data: bytes, *, answered: bool = True) -> Body | None:
        connection = self._connected()
        self._correlation += 1
        header = codec.encode_request_header(key, version, self._correlation, "equivalence")
        try:
            connection.sendall(struct.pack(">i", len(header) + len(data)) + header + data)
            if not answered:
                return None
            frame = self._frame(connection)
        except (OSError, Closed):
            self.close()
            raise Closed from None
        correlation, offset = codec.parse_response_header(key, version, frame)
        assert correlation == self._correlation
        return codec.decode_response(key, version, memoryview(frame)[offset:])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_SECONDS_MAX)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._user is not None:
                self.ask(17, 1, {"mechanism": "PLAIN"})
                answer = self.ask(36, 2, {"authBytes": f"\0{self._user}\0{self._user}".encode()})
                assert answer is not None
                assert answer["errorCode"] == 0, answer
        return self._socket

    def _frame(self, connection: socket.socket) -> bytes:
        (length,) = struct.unpack(">i", self._exactly(connection, 4))
        return self._exactly(connection, length)

    @staticmethod
    def _exactly(connection: socket.socket, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            chunk = connection.recv(count - len(data))
            if not chunk:
                raise Closed
            data += chunk
        return bytes(data)

"""A relay between a client and a broker that puts a tagged field nobody knows at the end of every newer Fetch answer.

It stands where clients reach a broker directly: does a client skip what the gateway leaves in the place of broker
addresses (kafka.fetch_answer.blank)? One thread per direction of a connection; nothing is authenticated.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

from gateway.kafka.codec import response_header_size
from gateway.kafka.fetch_answer import blank
from gateway.kafka.walk import FETCH_NODE_ENDPOINTS

FETCH = 1
HOST = "127.0.0.1"


class Tagging:
    """`tagged` counts the answers that were given a field of `octets`."""

    def __init__(self, port: int, upstream: Callable[[], int], octets: int) -> None:
        self._upstream = upstream
        self._octets = octets
        self.tagged = 0
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server((HOST, port))
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        self._relays: list[threading.Thread] = []

    def close(self) -> None:
        for end in (self._listener, *self._ends):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in (self._accepting, *self._relays):
            thread.join()
        for end in (self._listener, *self._ends):
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            broker = socket.create_connection((HOST, self._upstream()))
            self._ends += [client, broker]
            fetches: dict[int, None] = {}
            for work in (self._requests, self._answers):
                self._relays.append(threading.Thread(target=work, args=(client, broker, fetches)))
                self._relays[-1].start()

    def _requests(self, client: socket.socket, broker: socket.socket, fetches: dict[int, None]) -> None:
        while frame := _frame(client):
            api_key, version, correlation_id = struct.unpack_from(">hhi", frame, 4)
            if api_key == FETCH and version >= FETCH_NODE_ENDPOINTS:
                fetches[correlation_id] = None
            broker.sendall(frame)
        _end(broker)

    def _answers(self, client: socket.socket, broker: socket.socket, fetches: dict[int, None]) -> None:
        assert response_header_size(FETCH, FETCH_NODE_ENDPOINTS) == 5
        while frame := _frame(broker):
            (correlation_id,) = struct.unpack_from(">i", frame, 4)
            if correlation_id in fetches and frame[-1] == 0:
                del fetches[correlation_id]
                rest = frame[4:-1] + blank(self._octets)
                frame = struct.pack(">i", len(rest)) + rest
                self.tagged += 1
            try:
                client.sendall(frame)
            except OSError:
                break
        _end(client)


def _frame(end: socket.socket) -> bytes:
    """The next frame with its length, b"" at the end."""
    head = _exactly(end, 4)
    return head + _exactly(end, struct.unpack(">i", head)[0]) if head else b""


def _exactly(end: socket.socket, octets: int) -> bytes:
    data = b""
    while len(data) < octets:
        try:
            part = end.recv(octets - len(data))
        except OSError:
            return b""
        if not part:
            return b""
        data += part
    return data


def _end(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_WR)
    except OSError:
        return

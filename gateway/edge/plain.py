"""TCP without TLS, to a backend that is marked `insecure_plaintext`: a stream over a bare channel."""

from __future__ import annotations

import asyncio
import socket

from gateway.core.session import Part
from gateway.edge.compiled import plain_channel
from gateway.edge.streams import SocketStream


class PlainStream(SocketStream):
    """Made by edge.upstream once the connection is there."""

    __slots__ = ("channel",)

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        super().__init__(loop, sock)
        self.channel = plain_channel(sock)

    def read_into(self, room: memoryview) -> int:
        return self.channel.read_into(room)

    def write(self, data: Part) -> int:
        return self.channel.write(data)

    def close(self, reset: bool = False) -> None:
        self.channel.close()
        super().close(reset)

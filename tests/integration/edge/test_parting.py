"""A session lets its upstream go and goes on with another: nothing of the first comes through any more."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.core.session import Endpoint, Peer
from gateway.edge.streams import Stream
from tests.edge import RelaySession, backend, frame, plain_backend, running


class Moving(RelaySession):
    """Passes the first upstream's answer on never, and asks the second one instead."""

    def __init__(self, peer: Peer, ports: tuple[int, int]) -> None:
        super().__init__(peer)
        self.ports = list(ports)
        self.asked = b""

    def upstream_endpoint(self) -> Endpoint | None:
        return Endpoint("127.0.0.1", self.ports.pop(0))

    def receive(self, data: memoryview) -> int:
        self.asked = bytes(data)
        return super().receive(data)

    def answer(self, data: memoryview) -> int:
        if self.ports:
            self.effects.part_upstream = True
            self.effects.to_upstream.append(self.asked)
            return len(data)
        return super().answer(data)


async def test_another_upstream_takes_its_place(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(9)
        writer.write(frame(b"wrong") + frame(b"more"))
        assert await reader.read() == b""
        ended.set()

    async def second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(await reader.readexactly(9))

    async with backend(first) as one, backend(second) as other:

        async def dial(endpoint: Endpoint) -> Stream:
            dialer, _ = plain_backend(endpoint.port)
            return await dialer(endpoint)

        async with running(tmp_path, lambda peer: Moving(peer, (one, other)), dial=dial) as edge:
            client = await edge.connect()
            for _ in range(3):
                await client.send(frame(b"hello"))
                assert await client.receive() == b"hello"
            async with asyncio.timeout(60):
                await ended.wait()
            assert not edge.sessions[0].losses
            await client.close()

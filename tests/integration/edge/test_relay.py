"""The pump with real sockets: bytes go through whole, whatever their size and however they come."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

from tests.edge import EchoSession, RelaySession, backend, echo, frame, plain_backend, running


async def test_one_frame_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:
        client = await gateway.connect()
        await client.send(frame(b"hello"))
        assert await client.receive() == b"hello"
        await client.close()
        assert (await gateway.end_of())[0].code == "client-disconnected"


async def test_frames_of_all_sizes_come_back_in_order(tmp_path: Path) -> None:
    sizes = [0, 1, 3, 4, 5, 4095, 4096, 4097, 16384, 65535, 65536, 65537, 262143, 262144, 262145, 1 << 20, 5 << 20]
    payloads = [os.urandom(size) for size in sizes]
    random.Random(1).shuffle(payloads)
    async with running(tmp_path, EchoSession) as gateway:
        client = await gateway.connect()
        sending = asyncio.create_task(client.send(b"".join(map(frame, payloads))))
        for payload in payloads:
            assert await client.receive() == payload
        await sending
        await client.close()


async def test_octet_by_octet(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:
        client = await gateway.connect()
        for octet in frame(b"slowly") + frame(b"and again"):
            await client.send(bytes([octet]))
        assert await client.receive() == b"slowly"
        assert await client.receive() == b"and again"
        await client.close()


async def test_many_small_frames(tmp_path: Path) -> None:
    payloads = [b"%d" % number for number in range(20_000)]
    async with running(tmp_path, EchoSession) as gateway:
        client = await gateway.connect()
        sending = asyncio.create_task(client.send(b"".join(map(frame, payloads))))
        for payload in payloads:
            assert await client.receive() == payload
        await sending
        await client.close()


async def test_through_an_upstream(tmp_path: Path) -> None:
    payloads = [os.urandom(size) for size in (10, 300_000, 7, 2 << 20, 70_000, 0)]
    async with backend(echo) as port:
        dial, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dial) as gateway:
            client = await gateway.connect()
            sending = asyncio.create_task(client.send(b"".join(map(frame, payloads))))
            for payload in payloads:
                assert await client.receive() == payload
            await sending
            await client.close()

"""A session busy with a long message, in the pump: others have their turns, and neither of its sides is taken."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.core.session import Busy, Endpoint, Peer
from tests.edge import RelaySession, backend, echo, frame, plain_backend, running, until

LONG = b"long"


class SlicedSession(RelaySession):
    """A frame that begins with `LONG` takes slices until `enough` says so; an answer that does likewise."""

    def __init__(self, peer: Peer, endpoint: Endpoint | None = None, sides: str = "client upstream") -> None:
        super().__init__(peer, endpoint)
        self.sides = sides
        self.busy: Busy = ""
        self.slices = 0
        self.enough = asyncio.Event()
        self.while_busy: list[str] = []

    @property
    def idle(self) -> bool:
        return self.owed == 0 and not self.busy

    def _slice(self, data: memoryview, side: Busy) -> bool:
        """Whether the front of what is shown is still at hand."""
        if self.busy and self.busy != side:
            self.while_busy.append(side)
        long = side in self.sides and bytes(data[4:8]) == LONG and not self.enough.is_set()
        self.busy = side if long else ""
        self.parked = long
        self.slices += long
        return long

    def receive(self, data: memoryview) -> int:
        return 0 if self._slice(data, "client") else super().receive(data)

    def answer(self, data: memoryview) -> int:
        return 0 if self._slice(data, "upstream") else super().answer(data)


async def test_others_are_served_between_two_slices(tmp_path: Path) -> None:
    async with backend(echo) as port:
        dialer, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: SlicedSession(peer, endpoint), dial=dialer) as gateway:
            long, other = await gateway.connect(), await gateway.connect()
            await long.send(frame(LONG + bytes(100_000)))
            await until(lambda: any(each.busy for each in gateway.sessions))
            (busy,) = [each for each in gateway.sessions if each.busy]
            before = busy.slices
            for _ in range(3):
                await other.send(frame(b"short"))
                assert await other.receive() == b"short"
            assert busy.busy
            assert busy.slices > before
            busy.enough.set()
            assert await long.receive() == LONG + bytes(100_000)


async def test_neither_side_is_shown_while_an_answer_is_taken_in_slices(tmp_path: Path) -> None:
    async with backend(echo) as port:
        dialer, endpoint = plain_backend(port)
        async with running(tmp_path, lambda peer: SlicedSession(peer, endpoint, "upstream"), dial=dialer) as gateway:
            client = await gateway.connect()
            await client.send(frame(LONG))
            await until(lambda: gateway.sessions and gateway.sessions[0].busy == "upstream")
            session = gateway.sessions[0]
            await client.send(frame(b"next"))
            turns = session.slices
            await until(lambda: session.slices > turns + 10)
            assert not session.while_busy
            session.enough.set()
            assert await client.receive() == LONG
            assert await client.receive() == b"next"


async def test_a_client_that_has_gone_is_noticed_behind_its_message(tmp_path: Path) -> None:
    """As with one that waits for a fact: nothing is read from it meanwhile."""
    async with running(tmp_path, SlicedSession) as gateway:
        client = await gateway.connect()
        await client.send(frame(LONG))
        await until(lambda: gateway.sessions and gateway.sessions[0].slices)
        client.writer.transport.abort()
        gateway.sessions[0].enough.set()
        assert await gateway.end_of()
        assert not gateway.sessions[0].busy


async def test_a_gateway_that_drains_waits_for_a_message_in_slices(tmp_path: Path) -> None:
    async with backend(echo) as port:
        dialer, endpoint = plain_backend(port)
        async with running(
            tmp_path, lambda peer: SlicedSession(peer, endpoint), dial=dialer, shutdown_timeout=20.0
        ) as gateway:
            client = await gateway.connect()
            await client.send(frame(LONG))
            await until(lambda: gateway.sessions and gateway.sessions[0].slices)
            session = gateway.sessions[0]
            ending = asyncio.create_task(gateway.server.shutdown())
            turns = session.slices
            await until(lambda: session.slices > turns + 10)
            session.enough.set()
            assert await client.receive() == LONG
            await ending

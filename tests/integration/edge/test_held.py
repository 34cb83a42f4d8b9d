"""What sessions hold themselves, in the process's budget: who wants more than there is waits, and nobody else."""

from __future__ import annotations

from pathlib import Path

from gateway.core.session import Peer
from gateway.edge import reasons
from tests.edge import EchoSession, frame, running, until

BUDGET = 1 << 20


class HoldingSession(EchoSession):
    """A frame ``hold N`` has it hold so many octets from then on; others are sent back."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer)
        self.holds = 0
        self.shown = 0

    def receive(self, data: memoryview) -> int:
        self.shown += 1
        said = bytes(data[4:])
        if said.startswith(b"hold "):
            self.holds = int(said[5:])
        return super().receive(data)


async def test_it_counts_and_is_given_back(tmp_path: Path) -> None:
    async with running(tmp_path, HoldingSession, frame_bytes_max=BUDGET // 2, buffered_bytes_max=BUDGET) as gateway:
        client = await gateway.connect()
        for octets in (1000, 5000, 300, 300, 0):
            await client.send(frame(b"hold %d" % octets))
            await client.receive()
            assert gateway.server.budget.used == octets
        await client.send(frame(b"hold 7000"))
        await client.receive()
        (session,) = gateway.sessions
        await client.close()
        await until(lambda: session.ends)
        assert gateway.server.budget.used == 0


async def test_who_waits_is_not_read_and_others_are(tmp_path: Path) -> None:
    async with running(tmp_path, HoldingSession, frame_bytes_max=BUDGET // 2, buffered_bytes_max=BUDGET) as gateway:
        first, second, third = [await gateway.connect() for _ in range(3)]
        most = BUDGET * 3 // 4
        await first.send(frame(b"hold %d" % most))
        await first.receive()
        await second.send(frame(b"hold %d" % most))
        await second.receive()
        await until(lambda: gateway.server.budget.waiting == 1)
        shown = gateway.sessions[1].shown
        await second.send(frame(b"more"))
        for _ in range(3):
            await third.send(frame(b"other"))
            assert await third.receive() == b"other"
        assert gateway.sessions[1].shown == shown
        await first.send(frame(b"hold 0"))
        await first.receive()
        assert await second.receive() == b"more"
        assert gateway.server.budget.used == most


async def test_who_waits_too_long_is_let_go(tmp_path: Path) -> None:
    async with running(
        tmp_path, HoldingSession, frame_bytes_max=BUDGET // 2, buffered_bytes_max=BUDGET, frame_timeout=0.3
    ) as gateway:
        client = await gateway.connect()
        await client.send(frame(b"hold %d" % (2 * BUDGET)))
        await until(lambda: gateway.sessions and gateway.sessions[0].ends)
        assert gateway.sessions[0].ends[0][0] is reasons.BUFFER_TIMEOUT
        assert gateway.server.budget.waiting == 0

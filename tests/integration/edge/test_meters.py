"""The gauges and counters that the edge shows, while it is what they say."""

from __future__ import annotations

from pathlib import Path

from gateway.core.meters import Meter
from gateway.edge import meters
from tests.edge import ALICE, EchoSession, Running, frame, running, until

MIB = 1 << 20


def value(gateway: Running, meter: Meter) -> float:
    """What a look at the metrics shows now."""
    gateway.server.sample()
    return gateway.meters.cell(meter).value


class Stranger(EchoSession):
    """Nobody until its first frame has come."""

    def __init__(self, peer: object) -> None:
        super().__init__(peer)  # type: ignore[arg-type]
        self.who = None

    def receive(self, data: memoryview) -> int:
        octets = super().receive(data)
        if octets:
            self.who = ALICE
        return octets


async def test_unauthenticated_connections_are_counted_while_they_are(tmp_path: Path) -> None:
    async with running(tmp_path, Stranger) as gateway:
        assert value(gateway, meters.UNAUTHENTICATED) == 0
        known, unknown = await gateway.connect(), await gateway.connect()
        await until(lambda: value(gateway, meters.UNAUTHENTICATED) == 2)
        await known.send(frame(b"it is me"))
        assert await known.receive() == b"it is me"
        assert value(gateway, meters.UNAUTHENTICATED) == 1
        await unknown.close()
        await until(lambda: value(gateway, meters.UNAUTHENTICATED) == 0)
        await known.close()
        await until(lambda: not list(gateway.server.connections()))
        assert value(gateway, meters.UNAUTHENTICATED) == 0, "one that was known is not given back twice"


async def test_frames_that_wait_for_a_reservation_are_counted(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, buffered_bytes_max=16 * MIB, frame_bytes_max=4 * MIB) as gateway:
        client = await gateway.connect()
        await client.send(frame(bytes(MIB)))
        assert len(await client.receive()) == MIB
        assert value(gateway, meters.BUFFER_WAITS) == 0
        held = gateway.server.budget.charge(None, 16 * MIB)
        await client.send(frame(bytes(MIB)))
        await until(lambda: value(gateway, meters.BUFFER_WAITS) == 1)
        assert value(gateway, meters.BUFFERED) >= 16 * MIB
        held.release()
        assert len(await client.receive()) == MIB
        assert value(gateway, meters.BUFFER_WAITS) == 1
        await client.close()

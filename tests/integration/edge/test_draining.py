"""SIGTERM: answers under way go out, closes are spread over a stated time, and an operator can end one principal's."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from gateway.core.identity import Principal
from gateway.edge import server
from tests.edge import ALICE, Client, EchoSession, frame, running, until


async def closed_at(client: Client) -> float:
    assert await client.reader.read() == b""
    return time.monotonic()


async def test_closes_are_spread_so_that_clients_do_not_return_all_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, shutdown_timeout=30.0, connections_per_address_max=50) as gateway:
        clients = [await gateway.connect() for _ in range(20)]
        for client in clients:
            await client.send(frame(b"x"))
            await client.receive()
        ends = [asyncio.create_task(closed_at(client)) for client in clients]
        stopping = asyncio.create_task(gateway.server.shutdown())
        await asyncio.sleep(0)
        assert gateway.server.missing()[0].startswith("draining: ")
        await stopping
        took = sorted(await asyncio.gather(*ends))
        assert took[-1] - took[0] >= server.DRAIN_PACE_SECONDS * 19 * 0.8
        for client in clients:
            await client.close()


async def test_a_client_whose_turn_has_not_come_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DRAIN_PACE_SECONDS", 60.0)
    async with running(tmp_path, EchoSession, shutdown_timeout=4.0) as gateway:
        clients = [await gateway.connect() for _ in range(2)]
        for client in clients:
            await client.send(frame(b"x"))
            await client.receive()
        stopping = asyncio.create_task(gateway.server.shutdown())
        await until(lambda: any(session.ends for session in gateway.sessions))
        left = next(index for index, session in enumerate(gateway.sessions) if not session.ends)
        await clients[left].send(frame(b"late"))
        assert await clients[left].receive() == b"late"
        await stopping
        assert {session.ends[0][0].code for session in gateway.sessions} == {"shutting-down"}
        for client in clients:
            await client.close()


async def test_more_connections_than_fit_keep_to_the_stated_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DRAIN_PACE_SECONDS", 60.0)
    async with running(tmp_path, EchoSession, shutdown_timeout=1.0, connections_per_address_max=200) as gateway:
        clients = [await gateway.connect() for _ in range(100)]
        for client in clients[:50]:  # the others have not said a word
            await client.send(frame(b"x"))
        await until(lambda: len(gateway.sessions) == 50)
        async with asyncio.timeout(60):  # the stated time, and the last goodbyes: much less than a hundred turns
            await gateway.server.shutdown()
        for client in clients:
            await client.close()


async def test_an_operator_closes_one_principal_and_no_other(tmp_path: Path) -> None:
    bob = Principal("jwt", "test", "bob")
    async with running(tmp_path, EchoSession) as gateway:
        clients = [await gateway.connect() for _ in range(3)]
        for client in clients:
            await client.send(frame(b"x"))
            assert await client.receive() == b"x"
        gateway.sessions[1].who = bob
        assert gateway.server.close_principal(bob, "left the company") == 1
        assert gateway.server.close_principal(Principal("certificate", "test", "bob"), "") == 0
        reason, detail = await gateway.end_of(1)
        assert (reason.code, detail) == ("closed-by-operator", "left the company")
        await clients[0].send(frame(b"x"))
        assert await clients[0].receive() == b"x"
        assert not gateway.sessions[0].ends
        assert gateway.server.close_principal(ALICE, "") == 2
        for client in clients:
            await client.close()

"""PROXY protocol in front of TLS: believed from named balancers, refused from anybody else, limits by the client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from gateway.core.settings import ProxyProtocol
from tests.edge import EchoSession, Running, frame, running, until
from tests.unit.test_proxy_protocol import IPV4, IPV6, tlv, v2

V1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 40000 9094\r\n"
VPCE = v2(IPV4 + tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9"))


def proxied(network: str = "127.0.0.0/8", required: bool = True) -> dict[str, Any]:
    return {"proxy_protocol": ProxyProtocol(networks=(ip_network(network),), required=required)}


class Proxied:
    """A client behind a balancer: the header in plain, then TLS, on one socket."""

    def __init__(self, gateway: Running, header: bytes, pieces: int = 1 << 20) -> None:
        # Wrapped before it connects: CPython leaves a socket open that was reset before it was wrapped.
        self.tls = gateway.client_context().wrap_socket(
            socket.socket(), server_hostname="localhost", do_handshake_on_connect=False
        )
        self.tls.settimeout(10)
        try:
            self.tls.connect(("127.0.0.1", gateway.port))
            self.tls.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(header), pieces):
                socket.socket.sendall(self.tls, header[start : start + pieces])
            self.tls.do_handshake()
        except OSError:
            self.tls.close()
            raise

    def echo(self, payload: bytes) -> bytes:
        self.tls.sendall(frame(payload))
        (length,) = struct.unpack(">I", self._take(4))
        return self._take(length)

    def _take(self, octets: int) -> bytes:
        found = b""
        while len(found) < octets:
            piece = self.tls.recv(octets - len(found))
            assert piece
            found += piece
        return found

    def close(self) -> None:
        self.tls.close()


def talk(gateway: Running, header: bytes, pieces: int = 1 << 20) -> bytes:
    client = Proxied(gateway, header, pieces)
    try:
        return client.echo(b"hello")
    finally:
        client.close()


@pytest.mark.parametrize("pieces", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    ("header", "address", "endpoint"),
    [
        (V1, "203.0.113.7", ""),
        (v2(IPV4), "203.0.113.7", ""),
        (v2(IPV6, 0x21), "2001:db8::7", ""),
        (VPCE, "203.0.113.7", "vpce-08d2bf15fac5001c9"),
    ],
)
async def test_the_client_is_whom_the_balancer_names(
    tmp_path: Path, header: bytes, address: str, endpoint: str, pieces: int
) -> None:
    async with running(tmp_path, EchoSession, change=proxied()) as gateway:
        assert await asyncio.to_thread(talk, gateway, header, pieces) == b"hello"
        peer = gateway.sessions[0].peer
        assert (peer.address, peer.endpoint) == (ip_address(address), endpoint)
        assert peer.through == ip_address("127.0.0.1")


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", v2(b"", 0, 0x20), v2(b"", 0)])
async def test_a_balancer_may_speak_for_itself(tmp_path: Path, header: bytes) -> None:
    async with running(tmp_path, EchoSession, change=proxied()) as gateway:
        assert await asyncio.to_thread(talk, gateway, header) == b"hello"
        peer = gateway.sessions[0].peer
        assert (peer.address, peer.through, peer.endpoint) == (ip_address("127.0.0.1"), None, "")


async def refused(gateway: Running, header: bytes, code: str) -> Any:
    def attempt() -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            talk(gateway, header)

    await asyncio.to_thread(attempt)
    event = await gateway.until_refused(code)
    assert gateway.sessions == []
    return event


@pytest.mark.parametrize(
    ("change", "header", "code"),
    [
        (proxied(), b"", "proxy-header-missing"),
        (proxied(), b"GET / HTTP/1.1\r\n\r\n", "proxy-header-missing"),
        (proxied(), b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "proxy-header-bad"),
        (proxied(), V1 + V1, "proxy-protocol-on-tls-port"),
        (proxied("192.0.2.0/24"), V1, "proxy-source-unnamed"),
        (proxied("192.0.2.0/24"), b"", "proxy-source-unnamed"),
        (proxied("192.0.2.0/24", required=False), V1, "proxy-protocol-on-tls-port"),
        (proxied("192.0.2.0/24", required=False), VPCE, "proxy-protocol-on-tls-port"),
        (proxied("127.0.0.0/8", required=False), b"PROXY nonsense and more of it\r\n", "proxy-header-bad"),
        ({}, V1, "proxy-protocol-on-tls-port"),
        ({}, VPCE, "proxy-protocol-on-tls-port"),
    ],
)
async def test_what_is_not_believed_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], header: bytes, code: str
) -> None:
    async with running(tmp_path, EchoSession, change=change) as gateway:
        event = await refused(gateway, header, code)
        assert event.fields["address"] in ("127.0.0.1", "203.0.113.7")


@pytest.mark.parametrize("network", ["127.0.0.0/8", "192.0.2.0/24"])
async def test_where_it_is_not_required_clients_may_come_themselves(tmp_path: Path, network: str) -> None:
    async with running(tmp_path, EchoSession, change=proxied(network, required=False)) as gateway:
        assert await asyncio.to_thread(talk, gateway, b"") == b"hello"
        assert gateway.sessions[0].peer.address == ip_address("127.0.0.1")


async def test_a_header_that_does_not_end_is_not_waited_for_longer_than_a_handshake(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, change=proxied(), handshake_timeout=0.2) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(V1[:20])
        await gateway.until_refused("tls-handshake-timeout")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_balancer_that_gives_up_within_its_header(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, change=proxied()) as gateway:
        for sent in (b"", V1[:20]):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(sent)
            writer.close()
            await writer.wait_closed()
        await gateway.until_refused("tls-client-gave-up")
        await until(lambda: not list(gateway.server.connections()))


async def test_limits_per_address_are_the_clients(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, change=proxied(), connections_per_address_max=2) as gateway:
        clients = []
        for number in range(6):
            header = b"PROXY TCP4 203.0.113.%d 10.0.0.1 40000 9094\r\n" % (number // 2)
            clients.append(await asyncio.to_thread(Proxied, gateway, header))
        await until(lambda: sum(line.through is not None for line in gateway.server.connections()) == 6)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(Proxied, gateway, b"PROXY TCP4 203.0.113.1 10.0.0.1 1 2\r\n")
        event = await gateway.until_refused("connections-per-address-max")
        assert event.fields["address"] == "203.0.113.1"
        for client in clients:
            client.close()
        await until(lambda: not list(gateway.server.connections()))
        again = await asyncio.to_thread(Proxied, gateway, b"PROXY TCP4 203.0.113.1 10.0.0.1 1 2\r\n")
        again.close()

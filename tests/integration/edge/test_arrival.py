"""Connections that do not become a session: each ends by its own reason, and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from gateway.core.session import Close
from gateway.edge import meters as named
from gateway.edge.clock import SystemClock
from gateway.edge.reasons import CLIENT_DISCONNECTED
from tests.certificates import make_ca
from tests.edge import EchoSession, FakeSession, Running, frame, running, until
from tests.sealing import Sealing


async def raw(gateway: Running, data: bytes) -> bytes:
    """Send bytes without TLS; what came back before the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(data)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (bytes.fromhex("0000002b00120003000000010007") + b"rdkafka", "plaintext-kafka-on-tls-port"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "http-on-tls-port"),
        (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", "proxy-protocol-on-tls-port"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not-tls"),
        (b"\x16\x03\x01\x00\x05garbage-that-is-no-client-hello", "tls-handshake-failed"),
    ],
)
async def test_what_is_not_tls_is_told_apart(tmp_path: Path, sent: bytes, code: str) -> None:
    async with running(tmp_path, EchoSession) as gateway:
        bystander = await gateway.connect()
        await raw(gateway, sent)
        event = await gateway.until_refused(code)
        assert event.fields["address"] == "127.0.0.1"
        assert event.fields["listener"] == "front"
        await bystander.send(frame(b"still here"))
        assert await bystander.receive() == b"still here"
        await bystander.close()
        assert len(gateway.sessions) == 1


async def test_a_client_that_says_nothing_is_ended(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, handshake_timeout=0.2) as gateway:
        assert await raw(gateway, b"") == b""
        event = await gateway.until_refused("tls-handshake-timeout")
        assert event.fields["detail"] == "nothing was sent"


async def test_a_client_that_stops_within_the_handshake_is_ended(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession, handshake_timeout=0.2) as gateway:
        await raw(gateway, b"\x16\x03\x01\x02\x00\x01\x00")
        await gateway.until_refused("tls-handshake-timeout")


async def test_a_client_that_goes_away_within_the_handshake(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:
        for data in (b"", b"\x16\x03\x01\x02\x00\x01\x00"):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(data)
            writer.close()
            await writer.wait_closed()
        await gateway.until_refused("tls-client-gave-up")
        await until(lambda: not list(gateway.server.connections()))


async def attempt(gateway: Running, context: ssl.SSLContext) -> None:
    """Connect and send; in TLS 1.3 a client hears of a refusal only when it reads."""
    try:
        client = await gateway.connect(context)
        await client.send(frame(b"x"))
        await client.receive()
    except (OSError, asyncio.IncompleteReadError):
        return
    raise AssertionError("it was let in")


async def test_a_client_that_does_not_believe_the_certificate(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:

        def talk() -> None:  # (asyncio's client drops the alert)
            with socket.create_connection(("127.0.0.1", gateway.port)) as sock, pytest.raises(ssl.SSLError):
                ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")

        await asyncio.to_thread(talk)
        event = await gateway.until_refused("tls-client-distrusts-certificate")
        assert "unknown_ca" in str(event.fields["detail"])


async def test_no_shared_cipher_and_old_versions(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:
        context = gateway.client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
        await attempt(gateway, context)
        await gateway.until_refused("tls-no-shared-cipher")
    async with running(tmp_path, EchoSession, tls={"versions": ("1.3",)}) as gateway:
        context = gateway.client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        await attempt(gateway, context)
        await gateway.until_refused("tls-version-unsupported")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_aead_suites_in_both_versions(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async with running(tmp_path, EchoSession) as gateway:
        context = gateway.client_context()
        context.minimum_version = context.maximum_version = version
        client = await gateway.connect(context)
        cipher = client.writer.get_extra_info("cipher")[0]
        assert "GCM" in cipher
        if version is ssl.TLSVersion.TLSv1_2:
            assert cipher.startswith("ECDHE-")
        await client.send(frame(b"x"))
        assert await client.receive() == b"x"
        assert gateway.sessions[0].peer.tls_version == version.name.replace("TLSv1_", "TLSv1.")
        assert gateway.sessions[0].peer.server_name == "localhost"
        assert str(gateway.sessions[0].peer.address) == "127.0.0.1"
        await client.close()


async def test_the_hybrid_group_is_agreed_upon_where_the_client_has_it(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:

        def dial() -> str | None:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            sock = socket.create_connection(("127.0.0.1", gateway.port))
            connection = SSL.Connection(context, sock)
            connection.set_connect_state()
            connection.do_handshake()
            group = connection.get_group_name()
            connection.shutdown()
            sock.close()
            return group

        assert await asyncio.to_thread(dial) == "X25519MLKEM768"
        await until(lambda: not list(gateway.server.connections()))
        counted = [labels for meter, labels, _ in gateway.meters.series() if meter is named.HANDSHAKES]
        assert counted == [("front", "TLSv1.3", "X25519MLKEM768")]


# ---- client certificates ------------------------------------------------------------------------------------------


def with_certificate(gateway: Running, pair: tuple[Path, Path], version: ssl.TLSVersion) -> ssl.SSLContext:
    context = gateway.client_context()
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(*map(str, pair))
    return context


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_required_client_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    clients = make_ca(tmp_path / "clients", "Clients")
    tls = {"client_certificate": "required", "client_ca": str(clients.path)}
    async with running(tmp_path, EchoSession, tls=tls) as gateway:
        good = clients.client(uri="spiffe://bank/orders", common_name="orders")
        client = await gateway.connect(with_certificate(gateway, good, version))
        await client.send(frame(b"x"))
        assert await client.receive() == b"x"
        certificate = gateway.sessions[0].peer.certificate
        assert certificate.uris == ("spiffe://bank/orders",)
        await client.close()

        bare = gateway.client_context()
        bare.minimum_version = bare.maximum_version = version
        await attempt(gateway, bare)
        await gateway.until_refused("client-certificate-missing")

        for pair, words in (
            (gateway.ca.client(), "not in client_ca"),
            (clients.client(days=-1), "expired"),
            (clients.server(), "not for TLS clients"),
        ):
            gateway.events.clear()
            gateway.server._reception._refusals._sums.clear()
            await attempt(gateway, with_certificate(gateway, pair, version))
            event = await gateway.until_refused("client-certificate-refused")
            assert words in str(event.fields["detail"])
        assert len(gateway.sessions) == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_optional_client_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    clients = make_ca(tmp_path / "clients", "Clients")
    tls = {"client_certificate": "optional", "client_ca": str(clients.path)}
    async with running(tmp_path, EchoSession, tls=tls) as gateway:
        client = await gateway.connect()
        await client.send(frame(b"x"))
        assert await client.receive() == b"x"
        assert gateway.sessions[0].peer.certificate is None
        await client.close()
        await attempt(gateway, with_certificate(gateway, gateway.ca.client(), version))
        await gateway.until_refused("client-certificate-refused")


async def test_a_certificate_is_verified_on_every_connection(tmp_path: Path) -> None:
    """No tickets where certificates are asked for: a resumed session would skip the verification."""
    clients = make_ca(tmp_path / "clients", "Clients")
    tls = {"client_certificate": "required", "client_ca": str(clients.path)}
    async with running(tmp_path, EchoSession, tls=tls) as gateway:
        for version in VERSIONS:
            context = with_certificate(gateway, clients.client(), version)

            def dial(context: ssl.SSLContext = context) -> list[bool]:
                reused: list[bool] = []
                session: Any = None
                for _ in range(2):
                    sock = socket.create_connection(("127.0.0.1", gateway.port))
                    tls = context.wrap_socket(sock, server_hostname="localhost", session=session)
                    tls.sendall(frame(b"x"))
                    assert tls.recv(100)
                    session = tls.session
                    reused.append(bool(tls.session_reused))
                    tls.close()
                return reused

            assert await asyncio.to_thread(dial) == [False, False]
        await until(lambda: all(each.ends for each in gateway.sessions))
        assert all(each.peer.certificate is not None for each in gateway.sessions)


@pytest.mark.parametrize("word", [b"", frame(b"a word")])
async def test_key_updates_without_end_end_that_connection_alone(tmp_path: Path, word: bytes) -> None:
    """Before its first word, and behind it."""
    async with running(tmp_path, EchoSession) as gateway:
        bystander = await gateway.connect()

        def talk() -> None:
            context = gateway.client_context()
            context.keylog_filename = str(tmp_path / "secrets")
            sock = socket.create_connection(("127.0.0.1", gateway.port))
            tls = context.wrap_socket(sock, server_hostname="localhost")
            seals = Sealing(tmp_path / "secrets")
            with socket.socket(fileno=tls.detach()) as plain, contextlib.suppress(OSError):
                plain.settimeout(5)
                plain.sendall((seals.data(word) if word else b"") + b"".join(seals.update() for _ in range(1000)))
                while plain.recv(1000):
                    pass

        await asyncio.to_thread(talk)
        if word:
            await until(lambda: any(session.ends for session in gateway.sessions))
            ended = [session for session in gateway.sessions if session.ends]
            assert [each.ends[0][0].code for each in ended] == ["tls-records-without-content"]
        else:
            await gateway.until_refused("tls-records-without-content")
        await bystander.send(frame(b"still here"))
        assert await bystander.receive() == b"still here"
        await bystander.close()


# ---- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"connections_max": 3}, "connections-max"),
        ({"connections_per_address_max": 3}, "connections-per-address-max"),
    ],
)
async def test_connections_beyond_a_limit_are_shed(tmp_path: Path, limits: dict[str, int], code: str) -> None:
    async with running(tmp_path, EchoSession, **limits) as gateway:
        clients = [await gateway.connect() for _ in range(3)]
        for _ in range(5):
            with pytest.raises(OSError):  # noqa: PT011  (a reset, or the end of a handshake)
                await gateway.connect()
        assert gateway.reasons() == [code], "a flood is one line until the next summary"
        gateway.server._reception._refusals.write()
        assert [event.fields["connections"] for event in gateway.events if event.event == "refused"] == [1, 4]
        await clients.pop().close()
        await until(lambda: len(list(gateway.server.connections())) == 2)
        clients.append(await gateway.connect())
        for client in clients:
            await client.send(frame(b"x"))
            assert await client.receive() == b"x"
            await client.close()


class Stranger(EchoSession):
    """Nobody, until its first frame."""

    def __init__(self, peer: Any) -> None:
        super().__init__(peer)
        self.known, self.who = self.who, None

    def receive(self, data: memoryview) -> int:
        self.who = self.known
        return super().receive(data)


async def test_those_who_have_not_said_who_they_are_are_counted(tmp_path: Path) -> None:
    async with running(tmp_path, Stranger, unauthenticated_max=2) as gateway:
        first, second = await gateway.connect(), await gateway.connect()
        with pytest.raises(OSError):  # noqa: PT011
            await gateway.connect()
        await gateway.until_refused("unauthenticated-max")
        await first.send(frame(b"it is me"))
        assert await first.receive() == b"it is me"
        third = await gateway.connect()
        for client in (first, second, third):
            await client.close()


async def test_a_listener_that_is_not_ready_resets(tmp_path: Path) -> None:
    missing = "no broker of backend back was reached"
    async with running(tmp_path, EchoSession, ready=lambda: missing) as gateway:
        with pytest.raises(OSError):  # noqa: PT011
            await gateway.connect()
        event = await gateway.until_refused("listener-not-ready")
        assert event.fields["detail"] == missing
        assert gateway.server.missing() == [f"listener front: {missing}"]
        missing = ""
        client = await gateway.connect()
        await client.close()


async def test_a_session_that_cannot_be_made_ends_its_connection_alone(tmp_path: Path) -> None:
    def make(peer: Any) -> FakeSession:
        raise ValueError("no")

    async with running(tmp_path, make) as gateway:
        await attempt(gateway, gateway.client_context())
        event = await gateway.until_refused("session-failed")
        assert event.fields["detail"] == "ValueError"


# ---- the end, as the client sees it -------------------------------------------------------------------------------


class Closing(FakeSession):
    """Answers one frame and closes."""

    def receive(self, data: memoryview) -> int:
        self.effects.to_client.append(b"goodbye")
        self.effects.close = Close(CLIENT_DISCONNECTED, "as agreed")
        return len(data)


async def test_close_notify_is_sent_after_the_last_answer(tmp_path: Path) -> None:
    async with running(tmp_path, Closing) as gateway:

        def talk() -> bytes:
            sock = socket.create_connection(("127.0.0.1", gateway.port))
            tls = gateway.client_context().wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
            tls.sendall(frame(b"x"))
            received = b""
            while data := tls.recv(100):  # would raise an SSLEOFError without close_notify
                received += data
            tls.close()
            return received

        assert await asyncio.to_thread(talk) == b"goodbye"
        assert await gateway.end_of() == (CLIENT_DISCONNECTED, "as agreed")


async def test_close_notify_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:

        def talk() -> None:
            sock = socket.create_connection(("127.0.0.1", gateway.port))
            sock.settimeout(5)
            tls = gateway.client_context().wrap_socket(sock, server_hostname="localhost")
            tls.sendall(frame(b"x"))
            assert tls.recv(100)
            tls.unwrap().close()  # sends close_notify and waits for the other

        await asyncio.to_thread(talk)
        assert (await gateway.end_of())[0].code == "client-disconnected"


async def test_a_reset_by_the_client(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:

        def talk() -> None:
            sock = socket.create_connection(("127.0.0.1", gateway.port))
            tls = gateway.client_context().wrap_socket(sock, server_hostname="localhost")
            tls.sendall(frame(b"x"))
            assert tls.recv(100)
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            tls.close()

        await asyncio.to_thread(talk)
        assert (await gateway.end_of())[0].code == "client-lost"
        await until(lambda: not list(gateway.server.connections()))


async def test_damaged_records_end_that_connection_alone(tmp_path: Path) -> None:
    async with running(tmp_path, EchoSession) as gateway:
        bystander = await gateway.connect()
        await bystander.send(frame(b"here"))
        assert await bystander.receive() == b"here"

        def talk() -> None:
            sock = socket.create_connection(("127.0.0.1", gateway.port))
            tls = gateway.client_context().wrap_socket(sock, server_hostname="localhost")
            tls.sendall(frame(b"a word"))
            plain = socket.socket(fileno=tls.detach())
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            plain.settimeout(5)
            with contextlib.suppress(OSError):
                while plain.recv(1000):
                    pass
            plain.close()

        await asyncio.to_thread(talk)
        reason, detail = await gateway.end_of(1)
        assert reason.code == "client-lost"
        assert detail
        for _ in range(3):
            await bystander.send(frame(b"still here"))
            assert await bystander.receive() == b"still here"
        await bystander.close()


class AheadClock(SystemClock):
    """The system's clock, put forward by hand."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


async def test_a_session_is_told_when_its_handshake_was_over(tmp_path: Path) -> None:
    """Its time to log in runs from there: who waits with the first word gets no other time for the rest."""
    clock = AheadClock()
    async with running(tmp_path, EchoSession, clock=clock) as gateway:
        client = await gateway.connect()
        await until(lambda: any(meter is named.HANDSHAKES for meter, _, _ in gateway.meters.series()))
        clock.ahead = 15.0
        before = clock.monotonic()
        await client.send(frame(b"late"))
        assert await client.receive() == b"late"
        greeted = gateway.sessions[0].peer.greeted
        assert before - 20.0 < greeted < before - 14.0
        await client.close()

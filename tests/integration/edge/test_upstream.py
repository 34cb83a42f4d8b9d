"""Dialling brokers: what is believed, what is not, and by which reason a dial fails; the gateway's own requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from pathlib import Path
from typing import Any

import pytest

from gateway.core.exchange import ExchangeFailed
from gateway.core.session import Endpoint
from gateway.core.settings import Backend, BackendTls
from gateway.edge.exchange import ANSWER_BYTES_MAX, ExchangeDial, FrameExchange
from gateway.edge.http_exchange import HttpAsking
from gateway.edge.process import DialFailed
from gateway.edge.reasons import StartRefused
from gateway.edge.upstream import Dialer
from gateway.http.client1 import Http1Call
from tests.certificates import Ca, make_ca
from tests.edge import RelaySession, backend, echo, frame, running


def server_side(ca: Ca, hosts: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, ca.server(hosts=hosts)))
    return context


def dialer(ca: Ca | None, timeout: float = 5.0, **tls: Any) -> Dialer:
    path = str(ca.path) if ca is not None else None
    return Dialer(
        Backend(name="back", bootstrap=("localhost:1",), tls=BackendTls(ca=path, **tls), dial_timeout=timeout)
    )


async def failure(dial: Dialer, endpoint: Endpoint) -> tuple[str, str]:
    with pytest.raises(DialFailed) as caught:
        await dial(endpoint)
    return caught.value.reason.code, caught.value.detail


async def test_through_a_broker_with_tls(tmp_path: Path) -> None:
    ca = make_ca(tmp_path / "brokers", "Brokers")
    payloads = [os.urandom(size) for size in (10, 300_000, 7, 2 << 20, 70_000, 0)]
    async with backend(echo, ssl=server_side(ca, ["localhost"])) as port:
        endpoint = Endpoint("localhost", port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dialer(ca)) as gateway:
            client = await gateway.connect()
            sending = asyncio.create_task(client.send(b"".join(map(frame, payloads))))
            for payload in payloads:
                assert await client.receive() == payload
            await sending
            await client.close()


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read())

    async with backend(listen, ssl=server_side(ca, ["broker.example.com"])) as port:
        code, detail = await failure(dialer(ca), Endpoint("localhost", port))
        assert code == "upstream-certificate-wrong-name"
        assert "broker.example.com" in detail or "localhost" in detail
        code, _ = await failure(dialer(ca), Endpoint("127.0.0.1", port))
        assert code == "upstream-certificate-wrong-name"
        stream = await dialer(ca, server_name="broker.example.com")(Endpoint("localhost", port))
        stream.close()
    assert not received


async def test_a_certificate_of_another_authority(tmp_path: Path) -> None:
    ca, other = make_ca(tmp_path / "a", "A"), make_ca(tmp_path / "b", "B")
    async with backend(echo, ssl=server_side(ca, ["localhost"])) as port:
        assert (await failure(dialer(other), Endpoint("localhost", port)))[0] == "upstream-certificate-untrusted"
        assert (await failure(dialer(None), Endpoint("localhost", port)))[0] == "upstream-certificate-untrusted"


async def test_another_authority_is_believed_once_its_file_is_there(tmp_path: Path) -> None:
    """Rotated while running; a file that holds none changes nothing, and is told of."""
    ca, other = make_ca(tmp_path / "a", "A"), make_ca(tmp_path / "b", "B")
    async with backend(echo, ssl=server_side(ca, ["localhost"])) as port:
        dial, endpoint = dialer(other), Endpoint("localhost", port)
        assert (await failure(dial, endpoint))[0] == "upstream-certificate-untrusted"
        other.path.write_bytes(ca.path.read_bytes())
        await dial.reload()
        (await dial(endpoint)).close()
        other.path.write_text("no certificate")
        await dial.reload()
        assert dial.trouble.startswith("tls-file-unreadable")
        (await dial(endpoint)).close()


async def test_the_session_hears_why(tmp_path: Path) -> None:
    ca = make_ca(tmp_path / "brokers", "Brokers")
    async with backend(echo, ssl=server_side(ca, ["elsewhere"])) as port:
        endpoint = Endpoint("localhost", port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dialer(ca)) as gateway:
            client = await gateway.connect()
            await client.send(frame(b"x"))
            assert (await gateway.end_of())[0].code == "upstream-certificate-wrong-name"
            await client.close()


async def test_a_plaintext_port_dialled_with_tls(tmp_path: Path) -> None:
    async def answer_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"no TLS here, sorry")
        await writer.drain()

    ca = make_ca(tmp_path)
    async with backend(answer_garbage) as port:
        assert (await failure(dialer(ca), Endpoint("127.0.0.1", port)))[0] == "upstream-tls-failed"


async def test_a_broker_that_says_nothing(tmp_path: Path) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.sleep(60)

    ca = make_ca(tmp_path)
    async with backend(silence) as port:
        assert (await failure(dialer(ca, 0.3), Endpoint("127.0.0.1", port)))[0] == "upstream-dial-timeout"


async def test_a_closed_port_and_an_unknown_name(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    with socket.socket() as sock:  # bound and not listening: refused
        sock.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", sock.getsockname()[1])
        assert (await failure(dialer(ca), endpoint))[0] == "upstream-unreachable"
    assert (await failure(dialer(ca), Endpoint("no-such-host.invalid", 1)))[0] == "upstream-name-unresolved"
    assert (await failure(dialer(ca), Endpoint("a" * 300, 1)))[0] == "upstream-name-unresolved"


def test_a_ca_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StartRefused) as caught:
        Dialer(Backend(name="back", bootstrap=("localhost:1",), tls=BackendTls(ca=str(tmp_path / "absent"))))
    assert caught.value.reason.code == "tls-file-unreadable"


# ---- the gateway's own requests -----------------------------------------------------------------------------------


async def exchange(port: int, timeout: float = 5.0) -> FrameExchange:
    settings = Backend(name="back", bootstrap=(f"127.0.0.1:{port}",), insecure_plaintext=True)
    return await ExchangeDial(Dialer(settings), timeout)(Endpoint("127.0.0.1", port))


async def test_one_request_after_another() -> None:
    async with backend(echo) as port:
        opened = await exchange(port)
        for size in (0, 1, 70_000, 5 << 20):
            payload = os.urandom(size)
            assert await opened.call(payload) == payload
        opened.close()
        opened.close()
        with pytest.raises(ExchangeFailed):
            await opened.call(b"x")


async def test_over_tls(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    async with backend(echo, ssl=server_side(ca, ["localhost"])) as port:
        opened = await ExchangeDial(dialer(ca), 5.0)(Endpoint("localhost", port))
        payload = os.urandom(3 << 20)
        assert await opened.call(payload) == payload
        opened.close()


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        (b"", "upstream-closed"),
        (b"\x00\x00\x00\x05abc", "upstream-closed"),
        (struct.pack(">I", ANSWER_BYTES_MAX + 1), "bytes, over"),
        (b"\xff\xff\xff\xff", "bytes, over"),
    ],
)
async def test_answers_that_are_none(answered: bytes, words: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        writer.write(answered)
        await writer.drain()

    async with backend(serve) as port:
        opened = await exchange(port)
        with pytest.raises(ExchangeFailed, match=words):
            await opened.call(b"x")


async def test_an_answer_that_does_not_come_in_time() -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with backend(silence) as port:
        opened = await exchange(port, 0.2)
        with pytest.raises(ExchangeFailed, match="upstream-answer-timeout"):
            await opened.call(b"x")


async def test_a_dial_that_fails_is_an_exchange_that_fails() -> None:
    async with backend(echo) as port:
        pass
    with pytest.raises(ExchangeFailed, match="upstream-unreachable"):
        await exchange(port)


def asking(says: bytes, heard: bytearray) -> Any:
    """A web service that says this to whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readuntil(b"\r\n\r\n"))
        for at in range(0, len(says), 7):
            writer.write(says[at : at + 7])
            await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    return serve


def ready() -> Http1Call:
    return Http1Call("GET", b"/ready", b"b1:8443", (), b"")


async def test_a_web_service_is_asked_over_tls_and_its_head_is_told(tmp_path: Path) -> None:
    ca, heard = make_ca(tmp_path), bytearray()
    says = b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"
    async with backend(asking(says, heard), ssl=server_side(ca, ["localhost"])) as port:
        assert (await HttpAsking(dialer(ca), 5.0)(Endpoint("localhost", port), ready())).status == 204
    assert heard.startswith(b"GET /ready HTTP/1.1\r\nhost: b1:8443\r\n")


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"nonsense\r\n\r\n", "localhost:"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "localhost:"),
        (b"HTTP/1.1 200 OK\r\n", "upstream-answer-timeout"),
    ],
)
async def test_a_web_service_that_is_none(tmp_path: Path, says: bytes, words: str) -> None:
    ca = make_ca(tmp_path)
    async with backend(asking(says, bytearray()), ssl=server_side(ca, ["localhost"])) as port:
        with pytest.raises(ExchangeFailed, match=words):
            await HttpAsking(dialer(ca), 0.5)(Endpoint("localhost", port), ready())


async def test_a_web_service_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ExchangeFailed, match="upstream-unreachable"):
        await HttpAsking(dialer(make_ca(tmp_path)), 0.5)(Endpoint("127.0.0.1", 1), ready())

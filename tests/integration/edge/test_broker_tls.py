"""TLS towards brokers against real sockets, in both forms of the engine: whom it believes, and what it does not bear.

Each refusal stands beside the same broker as it should be, which is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from gateway.core.session import Endpoint
from gateway.core.settings import Backend, BackendTls
from gateway.edge import broker_tls, channels
from gateway.edge.broker_tls import SESSION_SECONDS, SESSIONS_MAX, BrokerTls
from gateway.edge.process import DialFailed
from gateway.edge.reasons import StartRefused
from gateway.edge.streams import Stream, StreamBarren, StreamCut, StreamEnded, StreamLost
from gateway.edge.upstream import Dialer
from tests.certificates import Ca, make_ca
from tests.edge import RelaySession, backend, echo, frame, running
from tests.sealing import Sealing

UNTRUSTED, WRONG_NAME, FAILED = (
    "upstream-certificate-untrusted", "upstream-certificate-wrong-name", "upstream-tls-failed",
)  # fmt: skip


@pytest.fixture(params=["interpreted", "compiled"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "interpreted":
        monkeypatch.setattr(broker_tls, "tls_channel", channels.TlsChannel)
        return
    found = pytest.importorskip("gateway.edge.channels_compiled", reason="C compiler (gcc, or a wheel of the gateway)")
    monkeypatch.setattr(broker_tls, "tls_channel", found.TlsChannel)


def dialer(ca: Path | None, **tls: Any) -> Dialer:
    given = BackendTls(ca=str(ca) if ca is not None else None, **tls)
    return Dialer(Backend(name="back", bootstrap=("localhost:1",), tls=given, dial_timeout=30.0))


def server_side(pair: tuple[Path, Path], **settings: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, pair))
    for name, value in settings.items():
        setattr(context, name, value)
    return context


async def dialled(dial: Dialer, pair: tuple[Path, Path], host: str = "localhost", **settings: Any) -> str:
    """How a dial of a broker with this certificate comes out. Nothing of ours is sent in any case."""
    received = bytearray()

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            received.extend(await reader.read())

    async with backend(listen, ssl=server_side(pair, **settings)) as port:
        try:
            stream = await dial(Endpoint(host, port))
        except DialFailed as failed:
            outcome = failed.reason.code
        else:
            outcome = "ok"
            stream.close()
    assert not received
    return outcome


# ---- whose certificate, and for which name --------------------------------------------------------------------------


async def test_times_and_authorities(tmp_path: Path) -> None:
    ca, other = make_ca(tmp_path / "a", "A"), make_ca(tmp_path / "b", "B")
    dial = dialer(ca.path)
    assert await dialled(dial, ca.server(rsa=True)) == "ok"
    assert await dialled(dial, ca.server(days=-0.01)) == UNTRUSTED  # it has expired
    assert await dialled(dial, ca.server(begins=1)) == UNTRUSTED  # it is not valid yet
    assert await dialled(dial, other.server()) == UNTRUSTED
    assert await dialled(dialer(None), ca.server()) == UNTRUSTED  # the system's authorities
    same_name = make_ca(tmp_path / "c", "A")
    assert await dialled(dial, same_name.server()) == UNTRUSTED


async def test_of_several_authorities_each_is_believed(tmp_path: Path) -> None:
    ca, other = make_ca(tmp_path / "a", "A"), make_ca(tmp_path / "b", "B")
    both = tmp_path / "both.pem"
    both.write_bytes(ca.path.read_bytes() + other.path.read_bytes())
    assert await dialled(dialer(both), ca.server()) == "ok"
    assert await dialled(dialer(both), other.server()) == "ok"


async def test_the_systems_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = make_ca(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.path))
    assert await dialled(dialer(None), ca.server()) == "ok"


async def test_one_that_signed_itself(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    pair = made(tmp_path, "self", names=["localhost"])
    assert await dialled(dialer(ca.path), pair) == UNTRUSTED
    assert await dialled(dialer(pair[0]), pair) == "ok"  # unless it is the one that was configured


async def test_what_is_no_certificate_of_a_server(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    dial = dialer(ca.path)
    assert await dialled(dial, ca.client(dns_names=["localhost"])) == UNTRUSTED
    assert await dialled(dial, made(tmp_path, "server", by=ca, names=["localhost"])) == "ok"
    assert await dialled(dial, made(tmp_path, "unknown", by=ca, names=["localhost"], critical=True)) == UNTRUSTED


async def test_chains(tmp_path: Path) -> None:
    """Over an authority between; one that is none signs nothing."""
    root = make_ca(tmp_path / "root", "Root")
    wide = made(tmp_path, "wide", authority=True)
    between = made(tmp_path, "between", by=loaded(wide), authority=True)
    leaf = made(tmp_path, "leaf", by=loaded(between), names=["localhost"])
    both = tmp_path / "both.pem"
    both.write_bytes(leaf[0].read_bytes() + between[0].read_bytes())
    dial = dialer(wide[0])
    assert await dialled(dial, (both, leaf[1])) == "ok"
    assert await dialled(dial, leaf) == UNTRUSTED  # the authority between is missing
    assert await dialled(dialer(between[0]), leaf) == UNTRUSTED  # the chain has to end at a root that is trusted
    none = root.server("localhost")
    under = made(tmp_path, "under", by=loaded(none), names=["localhost"])
    both.write_bytes(under[0].read_bytes() + none[0].read_bytes())
    assert await dialled(dialer(root.path), (both, under[1])) == UNTRUSTED


async def test_a_weak_key(tmp_path: Path) -> None:
    """OpenSSL's second level of security, as Python's own contexts ask for: 112 bits."""
    ca = make_ca(tmp_path)
    weak = made(tmp_path, "weak", by=ca, names=["localhost"], key=rsa.generate_private_key(65537, 1024))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.load_cert_chain(*map(str, weak))
    async with backend(echo, ssl=context) as port:
        with pytest.raises(DialFailed) as caught:
            await dialer(ca.path)(Endpoint("localhost", port))
    assert caught.value.reason.code == UNTRUSTED


@pytest.mark.parametrize(
    ("names", "dialled_as", "outcome"),
    [
        (["b1.kafka.test"], "b1.kafka.test", "ok"),
        (["b1.kafka.test"], "B1.Kafka.Test", "ok"),
        (["b1.kafka.test"], "b1.kafka.test.", "ok"),
        (["other.test", "b1.kafka.test"], "b1.kafka.test", "ok"),
        (["b2.kafka.test"], "b1.kafka.test", WRONG_NAME),
        (["kafka.test"], "b1.kafka.test", WRONG_NAME),
        (["b1.kafka.test"], "kafka.test", WRONG_NAME),
        (["b1.kafka.test.evil.test"], "b1.kafka.test", WRONG_NAME),
        (["*.kafka.test"], "b1.kafka.test", "ok"),
        (["*.kafka.test"], "a.b1.kafka.test", WRONG_NAME),
        (["*.kafka.test"], "kafka.test", WRONG_NAME),
        (["b*.kafka.test"], "b1.kafka.test", WRONG_NAME),
        (["*1.kafka.test"], "b1.kafka.test", WRONG_NAME),
        (["b1.*.test"], "b1.kafka.test", WRONG_NAME),
        (["*.*.test"], "b1.kafka.test", WRONG_NAME),
        (["*"], "localhost", WRONG_NAME),
        (["*.test"], "kafka.test", WRONG_NAME),
        (["xn--bcher-kva.test"], "bücher.test", "ok"),
        ([], "server", WRONG_NAME),  # the common name alone
        (["127.0.0.1"], "127.0.0.1", "ok"),
        (["127.0.0.1"], "127.0.0.2", WRONG_NAME),
        (["localhost"], "127.0.0.1", WRONG_NAME),
        (["::1"], "::1", "ok"),
        (["::1"], "0:0:0:0:0:0:0:1", "ok"),
        (["::2"], "::1", WRONG_NAME),
        (["127.0.0.1"], "localhost", WRONG_NAME),
        (["b1.kafka.test"], ".kafka.test", WRONG_NAME),
        (["b1.kafka.test"], "a" * 254, WRONG_NAME),
        (["b1.kafka.test"], ".", WRONG_NAME),
        (["b1.kafka.test"], "b1.kafka.test\0.evil.test", WRONG_NAME),
    ],
)
async def test_names(names: list[str], dialled_as: str, outcome: str, tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    dial = dialer(ca.path, server_name="replaced")
    tls = BackendTls.model_construct(**{**dict(dial._backend.tls), "server_name": dialled_as})
    dial._backend = dial._backend.model_copy(update={"tls": tls})
    assert await dialled(dial, ca.server(hosts=names)) == outcome


async def test_an_address_that_is_written_as_a_name(tmp_path: Path) -> None:
    """Addresses are matched by address entries alone, not by names or the common name that look like one."""
    ca = make_ca(tmp_path)
    pair = made(tmp_path, "127.0.0.1", by=ca, dns=["127.0.0.1"])
    assert await dialled(dialer(ca.path), pair, "127.0.0.1") == WRONG_NAME


async def test_the_name_that_is_asked_for(tmp_path: Path) -> None:
    """SNI (RFC 6066, 3): a name as it is dialled, and nothing for an address."""
    ca = make_ca(tmp_path)
    asked: list[str | None] = []
    context = server_side(ca.server(hosts=["localhost", "127.0.0.1", "b1.kafka.test"]))
    context.sni_callback = lambda _, name, __: asked.append(name)
    async with backend(echo, ssl=context) as port:
        for dial, host in (
            (dialer(ca.path), "localhost"), (dialer(ca.path), "127.0.0.1"),
            (dialer(ca.path, server_name="b1.kafka.test"), "127.0.0.1"),
        ):  # fmt: skip
            (await dial(Endpoint(host, port))).close()
    assert asked == ["localhost", None, "b1.kafka.test"]


# ---- versions, suites, the own certificate --------------------------------------------------------------------------


async def test_versions(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    pair, dial = ca.server(), dialer(ca.path)
    assert await dialled(dial, pair, maximum_version=ssl.TLSVersion.TLSv1_2) == "ok"
    assert await dialled(dial, pair, minimum_version=ssl.TLSVersion.TLSv1_3) == "ok"


async def test_a_broker_of_yesterday(tmp_path: Path) -> None:
    """TLS 1.1 (RFC 8996): it is told so. (It does speak, with those who still do.)"""
    ca = make_ca(tmp_path)
    context, lenient = server_side(ca.server()), ssl.create_default_context(cafile=str(ca.path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for each in (context, lenient):
            each.set_ciphers("DEFAULT@SECLEVEL=0")
            each.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    def shake_hands(sock: socket.socket) -> None:
        context.wrap_socket(sock, server_side=True).close()

    with accepting(shake_hands) as port, pytest.raises(DialFailed, match="protocol version") as caught:
        await dialer(ca.path)(Endpoint("localhost", port))
    assert caught.value.reason.code == FAILED
    with (
        accepting(shake_hands) as port,
        socket.create_connection(("localhost", port)) as sock,
        lenient.wrap_socket(sock, server_hostname="localhost") as old,
    ):
        assert old.version() == "TLSv1.1"


@pytest.mark.parametrize(
    ("suites", "outcome"),
    [
        ("ECDHE-RSA-AES128-GCM-SHA256", "ok"),
        ("ECDHE-RSA-AES256-SHA384", FAILED),  # CBC
        ("AES128-GCM-SHA256", FAILED),  # no forward secrecy
    ],
)
async def test_suites_of_the_old_version(suites: str, outcome: str, tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    context = server_side(ca.server(rsa=True), maximum_version=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(suites)
    async with backend(echo, ssl=context) as port:
        try:
            (await dialer(ca.path)(Endpoint("localhost", port))).close()
            found = "ok"
        except DialFailed as failed:
            found = failed.reason.code
    assert found == outcome


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_broker_that_asks_for_a_certificate(version: ssl.TLSVersion, tmp_path: Path) -> None:
    """Shown, it answers; without, it hangs up: in TLS 1.2 in the handshake, in 1.3 behind it."""
    brokers, own = make_ca(tmp_path / "brokers"), make_ca(tmp_path / "own")
    certificate, key = own.client(common_name="gateway")
    context = server_side(brokers.server(), minimum_version=version, maximum_version=version)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(str(own.path))
    async with backend(echo, ssl=context) as port:
        endpoint = Endpoint("localhost", port)
        stream = await dialer(brokers.path, certificate=str(certificate), key=str(key))(endpoint)
        stream.write(frame(b"hello"))
        assert await came(stream, 9) == frame(b"hello")
        stream.close()
        for dial in (dialer(brokers.path), dialer(brokers.path, **of(brokers.client()))):  # none, and another CA's
            try:
                stream = await dial(endpoint)
            except DialFailed as failed:
                outcome = failed.reason.code
            else:
                outcome = "later"
                with pytest.raises(StreamLost):
                    await came(stream, 1)
                stream.close()
            assert outcome == ("later" if version is ssl.TLSVersion.TLSv1_3 else FAILED)


def test_keys_as_tools_write_them(tmp_path: Path) -> None:
    """With parameters in front, as `openssl ecparam -genkey` does; but with no passphrase, which nobody would be asked
    for, and nothing but a key."""
    ca = make_ca(tmp_path)
    certificate, key = ca.client()
    plain = key.read_bytes()
    given = dialer(ca.path, **of((certificate, key)))._backend

    def put(content: bytes) -> str:
        key.write_bytes(content)
        try:
            Dialer(given)
        except StartRefused as refused:
            return refused.reason.code
        return "ok"

    found = serialization.load_pem_private_key(plain, None)
    sealed = serialization.BestAvailableEncryption(b"a passphrase")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert put(parameters + found.private_bytes(pem, form.TraditionalOpenSSL, serialization.NoEncryption())) == "ok"
    unusable = "upstream-certificate-unusable"
    assert put(found.private_bytes(pem, form.PKCS8, sealed)) == unusable
    assert put(ca.client()[1].read_bytes()) == unusable
    assert put(certificate.read_bytes()) == unusable
    assert put(b"") == unusable
    assert put(plain) == "ok"


# ---- what comes instead of TLS, or behind the handshake -------------------------------------------------------------


async def test_ends(tmp_path: Path) -> None:
    """close_notify is the end; without it the octets before are given, and then it is broken (RFC 8446, 6.1)."""
    ca = make_ca(tmp_path)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"last words")
        writer.close()

    async with backend(speak, ssl=server_side(ca.server())) as port:
        stream = await dialer(ca.path)(Endpoint("localhost", port))
        stream.write(b"x")
        assert await came(stream, 10) == b"last words"
        with pytest.raises(StreamEnded):
            await came(stream, 1)
        stream.close()

    def cut_off(tls: SSL.Connection, sock: socket.socket) -> None:
        tls.send(b"last words")
        sock.shutdown(socket.SHUT_WR)

    with broker(ca, cut_off) as port:
        stream = await dialer(ca.path)(Endpoint("localhost", port))
        assert await came(stream, 10) == b"last words"
        with pytest.raises(StreamCut):
            await came(stream, 1)
        stream.close()


async def test_the_session_hears_of_a_cut(tmp_path: Path) -> None:
    ca = make_ca(tmp_path / "brokers")

    def cut_off(tls: SSL.Connection, sock: socket.socket) -> None:
        tls.recv(100)
        sock.shutdown(socket.SHUT_WR)

    with broker(ca, cut_off) as port:
        endpoint = Endpoint("localhost", port)
        async with running(tmp_path, lambda peer: RelaySession(peer, endpoint), dial=dialer(ca.path)) as gateway:
            client = await gateway.connect()
            await client.send(frame(b"x"))
            reason, detail = await gateway.end_of()
            assert (reason.code, detail) == ("upstream-reset", "without close_notify")
            await client.close()


async def test_key_updates_without_end(tmp_path: Path) -> None:
    """As clients' are: a few are nothing special, a flood ends the connection."""
    ca = make_ca(tmp_path)

    def flood(tls: SSL.Connection, sock: socket.socket) -> None:
        seals = Sealing(tmp_path / "secrets", "SERVER_TRAFFIC_SECRET_0", sent=2)
        sock.sendall(seals.update() + seals.data(b"behind"))
        sock.sendall(b"".join(seals.update(asks=True) for _ in range(1000)))
        sock.recv(1)

    with broker(ca, flood, secrets=tmp_path / "secrets") as port:
        stream = await dialer(ca.path)(Endpoint("localhost", port))
        assert await came(stream, 6) == b"behind"
        with pytest.raises(StreamBarren):
            await came(stream, 1)
        stream.close()


async def test_no_other_handshake(tmp_path: Path) -> None:
    """A broker of TLS 1.2 that asks for another one is told no, and nothing else comes of it."""
    ca = make_ca(tmp_path)
    finished: list[bytes | None] = []

    def ask_again(tls: SSL.Connection, sock: socket.socket) -> None:
        finished.append(tls.get_finished())
        tls.send(b"one")
        tls.renegotiate()
        with contextlib.suppress(SSL.Error):
            tls.do_handshake()
            tls.send(b"two")
            tls.recv(1)
        finished.append(tls.get_finished())

    with broker(ca, ask_again, version=SSL.TLS1_2_VERSION) as port:
        stream = await dialer(ca.path)(Endpoint("localhost", port))
        assert await came(stream, 3) == b"one"
        with contextlib.suppress(StreamLost, StreamEnded):
            await came(stream, 3)
        stream.close()
    assert len(finished) == 2
    assert finished[0] == finished[1] is not None


@pytest.mark.parametrize(
    "answer", [b"no TLS here, sorry", b"\x15\x03\x03\x00\x02\x02\x28", b"\x16\x03\x03\xff\xff", b""]
)
async def test_what_is_no_handshake(answer: bytes, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        await writer.drain()

    ca = make_ca(tmp_path)
    async with backend(serve) as port:
        with pytest.raises(DialFailed) as caught:
            await dialer(ca.path)(Endpoint("127.0.0.1", port))
    assert caught.value.reason.code == FAILED


async def test_a_handshake_that_stops_half_way_lets_go_of_its_socket(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async with backend(serve) as port:
        dialling = asyncio.create_task(dialer(ca.path)(Endpoint("127.0.0.1", port)))
        while len(open_sockets_to(port)) < 1:
            await asyncio.sleep(0)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await asyncio.wait_for(gone.wait(), 60)


# ---- sessions -------------------------------------------------------------------------------------------------------


async def talked(dial: Dialer, endpoint: Endpoint) -> bool:
    """A connection that has got an answer, and is over. Whether it was resumed."""
    stream = await dial(endpoint)
    assert isinstance(stream, BrokerTls)
    stream.write(frame(b"hello"))
    assert await came(stream, 9) == frame(b"hello")
    resumed = stream.resumed
    stream.close()
    return resumed


async def test_a_session_is_resumed_with_the_same_broker(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    dial = dialer(ca.path)
    async with backend(echo, ssl=server_side(ca.server())) as port:
        endpoint, other = Endpoint("localhost", port), Endpoint("127.0.0.1", port)
        assert [await talked(dial, endpoint) for _ in range(3)] == [False, True, True]
        assert [await talked(dial, other) for _ in range(2)] == [False, True]  # under another name: verified anew


async def test_a_certificate_is_believed_for_an_hour_at_most(tmp_path: Path) -> None:
    """Counted from when it was shown, however often its session was resumed since."""
    ca = make_ca(tmp_path)
    dial = dialer(ca.path)
    assert dial._trust is not None
    now = [1000.0]
    dial._trust._clock = lambda: now[0]
    async with backend(echo, ssl=server_side(ca.server())) as port:
        endpoint = Endpoint("localhost", port)
        assert not await talked(dial, endpoint)
        now[0] += SESSION_SECONDS - 1
        assert await talked(dial, endpoint)
        now[0] += 2
        assert not await talked(dial, endpoint)
        assert await talked(dial, endpoint)


async def test_other_files_begin_without_sessions(tmp_path: Path) -> None:
    ca, other = make_ca(tmp_path / "a", "A"), make_ca(tmp_path / "b", "B")
    believed = tmp_path / "believed.pem"
    believed.write_bytes(ca.path.read_bytes())
    dial = dialer(believed)
    async with backend(echo, ssl=server_side(ca.server())) as port:
        endpoint = Endpoint("localhost", port)
        assert [await talked(dial, endpoint) for _ in range(2)] == [False, True]
        believed.write_bytes(other.path.read_bytes())
        await dial.reload()
        with pytest.raises(DialFailed) as caught:
            await dial(endpoint)
    assert caught.value.reason.code == UNTRUSTED


async def test_a_broker_that_has_forgotten_is_verified_again(tmp_path: Path) -> None:
    """It was restarted: another key for its tickets, and by now another certificate."""
    ca, other = make_ca(tmp_path / "a", "A"), make_ca(tmp_path / "b", "B")
    dial = dialer(ca.path)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    endpoint = Endpoint("127.0.0.1", port)
    for pair, outcome in ((ca.server(), [False, True]), (ca.server(), [False, True]), (other.server(), [])):
        server = await asyncio.start_server(echo, "127.0.0.1", port, ssl=server_side(pair), reuse_address=True)
        async with server:
            for each in outcome:
                assert await talked(dial, endpoint) is each
            if not outcome:
                with pytest.raises(DialFailed) as caught:
                    await dial(endpoint)
                assert caught.value.reason.code == UNTRUSTED


async def test_the_old_version_resumes_nothing(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    dial = dialer(ca.path)
    async with backend(echo, ssl=server_side(ca.server(), maximum_version=ssl.TLSVersion.TLSv1_2)) as port:
        assert [await talked(dial, Endpoint("localhost", port)) for _ in range(2)] == [False, False]


async def test_sessions_are_bounded(tmp_path: Path) -> None:
    ca = make_ca(tmp_path)
    dial = dialer(ca.path)
    trust = dial._trust
    assert trust is not None
    async with backend(echo, ssl=server_side(ca.server())) as port:
        endpoint = Endpoint("localhost", port)
        assert not await talked(dial, endpoint)
        (kept,) = trust._sessions.values()
        for number in range(SESSIONS_MAX - 1):
            trust.keep("other", Endpoint("other", number), kept.session, kept.until)
        assert await talked(dial, endpoint)  # and is the youngest again
        for number in range(SESSIONS_MAX):
            trust.keep("more", Endpoint("more", number), kept.session, kept.until)
        assert len(trust._sessions) == SESSIONS_MAX
        assert not await talked(dial, endpoint)


# ---- certificates and brokers ---------------------------------------------------------------------------------------


def of(pair: tuple[Path, Path]) -> dict[str, str]:
    return {"certificate": str(pair[0]), "key": str(pair[1])}


def loaded(pair: tuple[Path, Path]) -> Ca:
    certificate, key = pair
    found = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    return Ca(certificate.parent, found, x509.load_pem_x509_certificate(certificate.read_bytes()), certificate)


def made(
    folder: Path,
    name: str,
    *,
    by: Ca | None = None,
    names: list[str] | None = None,
    dns: list[str] | None = None,
    authority: bool = False,
    critical: bool = False,
    key: Any = None,
) -> tuple[Path, Path]:
    """A certificate as `tests.certificates` makes none: signed by itself, by what is no root, or with a critical
    extension that nobody knows."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    issuer, signing = (by.certificate.subject, by.key) if by is not None else (subject, key)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    if names or dns:
        found = [x509.DNSName(each) for each in (names or []) + (dns or [])]
        builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
    if critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    certificate = builder.sign(signing, hashes.SHA256())
    paths = folder / f"made-{name}.pem", folder / f"made-{name}-key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@contextmanager
def broker(
    ca: Ca,
    behave: Callable[[SSL.Connection, socket.socket], None],
    *,
    version: int = 0,
    secrets: Path | None = None,
    handshakes: list[int] | None = None,
) -> Iterator[int]:
    """One connection's TLS by hand, in a thread: `behave` is called when the handshake is complete. `handshakes`: gets
    an item for each that is (SSL_CB_HANDSHAKE_DONE)."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    certificate, key = ca.server()
    context.use_certificate_chain_file(str(certificate))
    context.use_privatekey_file(str(key))
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
    if version:
        context.set_max_proto_version(version)
    if secrets is not None:
        context.set_keylog_callback(lambda _, line: log_secret(secrets, line))

    def serve(sock: socket.socket) -> None:
        tls = SSL.Connection(context, sock)
        tls.set_accept_state()
        tls.do_handshake()
        behave(tls, sock)
        while sock.recv(1 << 16):
            pass

    with accepting(serve) as port:
        yield port


@contextmanager
def accepting(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Takes one connection, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def run() -> None:
            sock, _ = listening.accept()
            with sock, contextlib.suppress(OSError, SSL.Error):
                serve(sock)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join(60)
            assert not thread.is_alive()


def log_secret(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line + b"\n")


async def came(stream: Stream, size: int) -> bytes:
    """So many octets. Raises how the stream ends."""
    ready = asyncio.Event()
    stream.start(ready.set, lambda: None)
    room = memoryview(bytearray(1 << 16))
    data = b""
    while len(data) < size:
        octets = stream.read_into(room[: size - len(data)])
        data += room[:octets]
        if not octets:
            ready.clear()
            stream.watch_reading(True)
            await asyncio.wait_for(ready.wait(), 60)
            stream.watch_reading(False)
    return data


def open_sockets_to(port: int) -> list[str]:
    """By the system's table of connections."""
    hexadecimal = f":{port:04X} 01"
    return [line for line in Path("/proc/net/tcp").read_text().splitlines() if hexadecimal in line]

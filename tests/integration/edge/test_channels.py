"""The channels under the TLS engine, in both forms: octets as they come, ends, resets, refusals of the socket."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from gateway.core import pieces
from gateway.core.settings import ListenerTls
from gateway.edge import channels, compiled
from gateway.edge.streams import StreamBarren, StreamCut, StreamEnded, StreamLost
from gateway.edge.tls import server_context
from tests.certificates import make_ca
from tests.sealing import Sealing

ROOM = 1 << 18


def module(form: str) -> Any:
    """The channels in one form; where the compiled one is not built, its tests are left out."""
    if form == "interpreted":
        return channels
    return pytest.importorskip("gateway.edge.channels_compiled", reason="C compiler (gcc, or a wheel of the gateway)")


@dataclass
class Pair:
    """A channel of ours, and a client of the standard library at the other end."""

    form: str
    channel: channels.TlsChannel
    ours: socket.socket
    client: ssl.SSLSocket

    def read(self, most: int = ROOM) -> bytes:
        room = bytearray(most)
        return bytes(room[: self.channel.read_into(memoryview(room))])

    def read_all(self, size: int, most: int = ROOM) -> bytes:
        data = b""
        while len(data) < size:
            came = self.read(most)
            assert came
            data += came
        return data

    def close(self) -> None:
        self.channel.close()
        self.ours.close()
        self.client.close()


@pytest.fixture(params=["interpreted", "compiled"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["1.2", "1.3", "1.3, by pyOpenSSL"])
def pair(form: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    version, _, making = request.param.partition(", ")
    made = make_pair(form, tmp_path, version, quiet=not making)
    yield made
    made.close()


def make_pair(form: str, folder: Path, version: str = "1.3", early: bytes = b"", *, quiet: bool = True) -> Pair:
    """After the handshake; `early`: sent by the client together with the handshake's last message. `quiet`: as at
    listeners whose handshakes ask nobody."""
    ca = make_ca(folder)
    certificate, key = ca.server()
    context = server_context(ListenerTls(certificate=str(certificate), key=str(key), versions=(version,)), "localhost")
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    assert context.quiet
    if quiet:
        channel = module(form).server_channel(context, ours)
    else:
        tls = SSL.Connection(context)
        tls.set_accept_state()
        channel = module(form).TlsChannel(tls, ours)
    theirs_context = ssl.create_default_context(cafile=str(ca.path))
    theirs_context.keylog_filename = str(folder / "secrets")
    client = theirs_context.wrap_socket(theirs, server_hostname="localhost", do_handshake_on_connect=False)
    greeted = False
    for _ in range(10):
        try:
            client.do_handshake()
            if early and not greeted:
                client.send(early)
                greeted = True
        except ssl.SSLWantReadError:
            pass
        assert channel.shake() != channels.TO_WRITE
    return Pair(form, channel, ours, client)


def test_octets_both_ways(pair: Pair) -> None:
    for size in (1, 100, 16_384, 16_385, 60_000):
        data = os.urandom(size)
        sent = pair.client.send(data)
        assert pair.read_all(sent) == data[:sent]
        assert pair.channel.write(data) == size
        received = b""
        while len(received) < size:
            received += pair.client.recv(size)
        assert received == data
    assert pair.read() == b""
    assert not pair.channel.buffered()


def test_what_was_agreed_upon_is_told_with_pyopenssl_and_without(pair: Pair) -> None:
    channel = pair.channel
    told = channel.version(), channel.server_name(), channel.group()
    assert told[1] == b"localhost"
    assert told[2]
    tls = channel.tls
    assert tls is channel.tls
    assert told == (tls.get_protocol_version(), tls.get_servername(), tls.get_group_name())
    pair.client.send(b"and goes on")
    assert pair.read() == b"and goes on"


def test_a_room_smaller_than_a_record_leaves_the_rest_inside(pair: Pair) -> None:
    data = os.urandom(16_000)
    pair.client.send(data)
    pair.client.send(b"next")
    assert pair.read(7) == data[:7]
    assert pair.channel.buffered()
    assert pair.read(100) == data[7:107]
    assert pair.channel.buffered()
    assert pair.read() == data[107:] + b"next"
    assert not pair.channel.buffered()


def test_what_is_left_of_one_connection_is_not_shown_to_another(form: str, tmp_path: Path) -> None:
    one = make_pair(form, tmp_path / "one")
    two = make_pair(form, tmp_path / "two")
    one.client.send(b"a" * 1000)
    one.client.send(b"b" * 1000)
    two.client.send(b"c" * 1000)
    assert one.read(10) == b"a" * 10
    assert two.read() == b"c" * 1000
    assert one.read() == b"a" * 990 + b"b" * 1000
    one.close()
    two.close()


def test_a_record_that_comes_in_pieces(pair: Pair) -> None:
    """Octet by octet, through a second pair of sockets."""
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        sealed = sealed_by(pair, b"in pieces")
        os.dup2(near.fileno(), pair.ours.fileno())  # the channel reads from `near` now
        for at in range(len(sealed) - 1):
            far.send(sealed[at : at + 1])
            assert pair.read() == b""
            assert not pair.channel.buffered()
        far.send(sealed[-1:])
        assert pair.read() == b"in pieces"


def sealed_by(pair: Pair, data: bytes) -> bytes:
    """The client's record of this, which it cannot send to the channel any more."""
    left, right = socket.socketpair()
    with left, right:
        os.dup2(left.fileno(), pair.client.fileno())
        pair.client.send(data)
        return right.recv(1 << 16)


def test_octets_right_behind_the_handshake(form: str, tmp_path: Path) -> None:
    pair = make_pair(form, tmp_path, early=b"first")
    assert pair.read() == b"first"
    pair.close()


def test_the_end_in_good_order(pair: Pair) -> None:
    pair.client.send(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    assert pair.read() == b"last words"
    assert pair.channel.buffered()
    for _ in range(2):
        with pytest.raises(StreamEnded):
            pair.read()
    assert pair.channel.write(b"an answer") == 9  # one direction has ended, the other has not


def test_an_end_without_goodbye(pair: Pair) -> None:
    pair.client.send(b"last words")
    pair.client.shutdown(socket.SHUT_WR)
    assert pair.read() == b"last words"
    for _ in range(2):
        with pytest.raises(StreamCut):
            pair.read()


def test_a_reset(form: str, tmp_path: Path) -> None:
    pair = make_pair(form, tmp_path)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with socket.create_connection(listening.getsockname()) as far:
            near, _ = listening.accept()
            with near:
                near.setblocking(False)
                os.dup2(near.fileno(), pair.ours.fileno())
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with pytest.raises(StreamLost, match="reset"):
            pair.read()
        with pytest.raises(StreamLost):
            pair.channel.write(b"x")
    pair.close()


def test_a_damaged_record_ends_the_stream_and_says_so_to_the_client(form: str, tmp_path: Path) -> None:
    pair = make_pair(form, tmp_path)
    broken = os.dup(pair.client.fileno())
    with socket.socket(fileno=broken) as raw:
        raw.send(b"\x17\x03\x03\x00\x30" + bytes(48))
    for _ in range(2):
        with pytest.raises(StreamLost, match=r"decryption|mac"):
            pair.read()
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        pair.client.recv(10)
    pair.close()


# ---- records without content -----------------------------------------------------------------------------------


def sealing(pair: Pair, folder: Path) -> tuple[Sealing, socket.socket]:
    """To seal in the client's place, and the socket to send it on."""
    return Sealing(folder / "secrets"), socket.socket(fileno=os.dup(pair.client.fileno()))


def test_a_few_key_updates_are_nothing_special(form: str, tmp_path: Path) -> None:
    pair = make_pair(form, tmp_path)
    seals, raw = sealing(pair, tmp_path)
    with raw:
        raw.send(b"".join(seals.update(asks=True) for _ in range(channels.ASIDES_MAX // 2)) + seals.data(b"behind"))
        assert pair.read() == b"behind"
        assert not pair.channel.buffered()
    pair.close()


def test_a_key_update_before_much_content(form: str, tmp_path: Path) -> None:
    """What lies behind it is not yet looked at, and no reason to end anybody. (Brokers' tickets come so as well.)"""
    pair = make_pair(form, tmp_path)
    seals, raw = sealing(pair, tmp_path)
    with raw:
        content = os.urandom(16_384)
        sealed = seals.update() + b"".join(seals.data(content) for _ in range(5))
        assert raw.send(sealed) == len(sealed) > channels.FRUITLESS_MAX + 16_384
        assert pair.read_all(len(content) * 5) == content * 5
    pair.close()


def test_key_updates_without_end_are_ended_before_they_are_all_read(form: str, tmp_path: Path) -> None:
    pair = make_pair(form, tmp_path)
    seals, raw = sealing(pair, tmp_path)
    with raw:
        raw.send(b"".join(seals.update(asks=True) for _ in range(1000)))
        for _ in range(2):
            with pytest.raises(StreamBarren):
                pair.read()
        answers = raw.recv(1 << 20)
        assert len(answers) < 3 * channels.ASIDES_MAX * len(seals.update(asks=True)) + 2000  # (two tickets)
    pair.close()


def test_content_between_key_updates_helps_only_if_it_is_much(form: str, tmp_path: Path) -> None:
    pair = make_pair(form, tmp_path)
    seals, raw = sealing(pair, tmp_path)
    with raw:
        raw.send(b"".join(seals.update() for _ in range(channels.ASIDES_MAX)) + seals.data(b"x"))
        assert pair.read() == b"x"
        for _ in range(channels.ASIDES_PER // 16_384):
            raw.send(seals.data(bytes(16_384)))
            assert pair.read_all(16_384) == bytes(16_384)
        raw.send(b"".join(seals.update() for _ in range(channels.ASIDES_MAX)) + seals.data(b"y"))
        assert pair.read() == b"y"
        raw.send(seals.update() + seals.data(b"z"))
        with pytest.raises(StreamBarren):
            pair.read()
    pair.close()


def test_key_updates_that_come_one_by_one_are_ended_by_their_octets(form: str, tmp_path: Path) -> None:
    pair = make_pair(form, tmp_path)
    seals, raw = sealing(pair, tmp_path)
    with raw:
        for _ in range(channels.FRUITLESS_MAX // 8192):
            raw.send(seals.update(padding=8100))
            assert pair.read() == b""
        raw.send(seals.update(padding=8100))
        with pytest.raises(StreamBarren):
            pair.read()
    pair.close()


def test_a_client_that_does_not_read(pair: Pair) -> None:
    data = os.urandom(1 << 20)
    taken = 0
    while more := pair.channel.write(data[taken:]):
        taken += more
    assert 0 < taken < len(data)
    assert 0 < pair.channel.unsent <= channels.SEAL + 16_384
    assert pair.channel.write(b"") == 0
    received = b""
    while len(received) < len(data):
        try:
            received += pair.client.recv(1 << 16)
        except ssl.SSLWantReadError:
            taken += pair.channel.write(data[taken:])
    assert received == data
    assert pair.channel.unsent == 0


def test_a_closed_channel_touches_no_socket(pair: Pair) -> None:
    pair.client.send(b"x")
    pair.channel.close()
    assert pair.channel.unsent == 0
    with pytest.raises(StreamLost):
        pair.channel.write(b"x")
    assert pair.read() == b""
    pair.channel.close()


def test_few_connections_keep_memory_for_large_writings(form: str, tmp_path: Path) -> None:
    one = make_pair(form, tmp_path / "one")
    kept, of_brokers = channels._grown[False], channels._grown[True]
    for each in (kept, of_brokers):
        each.clear()
    others = [Grown() for _ in range(channels.GROWN_MAX)]
    one.channel.write(b"x" * (channels.SMALL + 1))
    one.channel.write(b"x" * (channels.SMALL + 1))
    assert list(kept) == [one.channel]
    for other in [Grown(speaks_first=True) for _ in range(channels.GROWN_MAX + 1)]:
        channels.keep_memory_of(other)
    assert (list(kept), len(of_brokers)) == ([one.channel], channels.GROWN_MAX)  # each side has its own places
    for other in others:
        channels.keep_memory_of(other)
    assert len(kept) == channels.GROWN_MAX
    assert one.channel not in kept
    one.channel.write(b"y" * 20_000)
    assert others[0].grown is False
    one.close()
    assert one.channel not in kept
    for each in (kept, of_brokers):
        each.clear()


class Grown:
    grown = False

    def __init__(self, *, speaks_first: bool = False) -> None:
        self.speaks_first = speaks_first

    def grow(self) -> None:
        self.grown = True

    def shrink(self) -> bool:
        self.grown = False
        return True


def records(pair: Pair, data: bytes) -> list[int]:
    """Octets of content of each record that `data` was written in, as the client's side of the wire has them."""
    wire, taken = b"", 0
    raw = socket.socket(fileno=os.dup(pair.client.fileno()))
    with raw:
        while taken < len(data) or not wire_is_whole(wire) or pair.channel.unsent:
            taken += pair.channel.write(data[taken:])
            try:
                wire += raw.recv(1 << 18)
            except BlockingIOError:
                continue
    sizes = []
    while wire:
        size = int.from_bytes(wire[3:5], "big")
        sizes.append(size - 17)  # TLS 1.3: the tag, and the octet that says what kind of record it is
        wire = wire[5 + size :]
    assert sum(sizes) == len(data)
    return sizes


def wire_is_whole(wire: bytes) -> bool:
    while len(wire) >= 5:
        wire = wire[5 + int.from_bytes(wire[3:5], "big") :]
    return not wire


@pytest.mark.parametrize("quiet", [True, False])
def test_after_a_pause_the_first_records_are_short(
    form: str, tmp_path: Path, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [5000.0]
    monkeypatch.setattr(channels, "monotonic", lambda: now[0])
    pair = make_pair(form, tmp_path, quiet=quiet)
    pair.channel.adapted = True
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.recv(1)  # the tickets
    full, rest = channels.SHORT_FIRST // channels.SHORT, 100_000 - channels.SHORT_FIRST
    first = [channels.SHORT] * full + [16384] * (rest // 16384) + [rest % 16384]
    assert records(pair, bytes(100_000)) == first
    assert records(pair, bytes(40_000)) == [16384, 16384, 7232]
    now[0] += 0.9
    assert records(pair, bytes(20_000)) == [16384, 3616]
    now[0] += 0.5
    assert records(pair, bytes(100)) == [100]  # small: it ends no pause
    now[0] += 0.5
    assert records(pair, bytes(3000)) == [1369, 1369, 262]
    assert records(pair, bytes(2000)) == [1369, 631]  # they go on until so much was sent
    pair.close()


def test_without_it_all_records_are_full(form: str, tmp_path: Path) -> None:
    pair = make_pair(form, tmp_path)
    pair.channel.adapted = False
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.recv(1)
    assert records(pair, bytes(40_000)) == [16384, 16384, 7232]
    pair.close()


def test_a_listener_says_how_large_its_records_are(form: str, tmp_path: Path) -> None:
    pair = make_pair(form, tmp_path)
    assert pair.channel.adapted
    pair.close()
    certificate, key = make_ca(tmp_path / "other").server()
    full = ListenerTls(certificate=str(certificate), key=str(key), records="full")
    context = server_context(full, "localhost")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not module(form).server_channel(context, ours).adapted


def test_an_end_leaves_no_circle_behind(pair: Pair) -> None:
    pair.client.shutdown(socket.SHUT_WR)
    for _ in range(3):
        with pytest.raises(StreamCut):
            pair.read()
    gc.collect()
    found = [each for each in gc.get_objects() if isinstance(each, StreamCut) and each.__traceback__ is not None]
    assert not found


def test_memory_is_let_go_of_though_the_end_is_kept(pair: Pair) -> None:
    """A kept exception keeps its frames. CPython before 3.12.7 crashes collecting a view that something looks at."""
    pair.client.shutdown(socket.SHUT_WR)
    room = memoryview(bytearray(100))
    with pytest.raises(StreamCut) as kept:
        pair.channel.read_into(room)
    room.release()  # BufferError if it is still in use
    data = memoryview(bytearray(100))
    pair.client.close()
    with pytest.raises(StreamLost) as kept_too:
        pair.channel.write(data)
    data.release()
    assert kept.value is not kept_too.value


def test_what_is_held_is_not_read_after_the_close(pair: Pair) -> None:
    pair.client.send(b"x" * 1000)
    assert pair.read(10) == b"x" * 10
    assert pair.channel.buffered()
    pair.channel.close()
    assert not pair.channel.buffered()
    assert pair.read() == b""


def test_the_library_does_not_keep_memory_that_was_given_back(pair: Pair) -> None:
    """Both of OpenSSL's buffers are replaced in time; the freed ones must not be reached through pyOpenSSL."""
    assert pair.channel.shrink()
    with pytest.raises(TypeError):
        pair.channel.tls.bio_read(10)
    with pytest.raises(TypeError):
        pair.channel.tls.bio_write(b"x")
    assert pair.channel.write(b"y" * 100) == 100
    assert pair.client.recv(200) == b"y" * 100


def test_the_channel_keeps_openssls_memory_alive(pair: Pair) -> None:
    """Whatever becomes of pyOpenSSL's Connection, as when the collector takes it apart."""
    pair.client.send(b"x" * 1000)
    vars(pair.channel.tls)["_ssl"] = None
    gc.collect()
    assert pair.read() == b"x" * 1000
    assert pair.channel.write(b"y" * 100) == 100


@pytest.mark.parametrize("form", ["interpreted", "compiled"])
def test_bare_tcp(form: str) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        channel = module(form).PlainChannel(ours)
        room = memoryview(bytearray(100))
        assert channel.read_into(room) == 0
        theirs.send(b"octets")
        assert channel.read_into(room[:3]) == 3
        assert channel.read_into(room) == 3
        assert channel.write(b"answer") == 6
        assert theirs.recv(100) == b"answer"
        while channel.write(bytes(1 << 20)):
            pass
        assert channel.unsent == 0
        theirs.close()
        with pytest.raises((StreamEnded, StreamLost)):
            channel.read_into(room)
        with pytest.raises(StreamLost, match="pipe"):
            channel.write(b"x")
        channel.close()
        with pytest.raises(StreamLost):
            channel.write(b"x")


# ---- which form is used ----------------------------------------------------------------------------------------


def test_both_forms_pass_the_check_at_the_start(form: str) -> None:
    compiled.check(module(form).TlsChannel)
    compiled.check(module(form).TlsChannel, module(form).server_channel)


def test_a_form_that_reads_wrongly_does_not_pass() -> None:
    class Wrong(channels.TlsChannel):
        def read_into(self, room: memoryview) -> int:
            octets = super().read_into(room)
            if octets > 1:
                room[1] ^= 1
            return octets

    with pytest.raises(pieces.NotUsable, match="check"):
        compiled.check(Wrong)


@pytest.mark.parametrize(
    ("release", "number", "words", "why"),
    [
        ("44.0.1", 0x30000000, b"OpenSSL 3.0.0", "cryptography 44"),
        ("99.0", 0x30000000, b"OpenSSL 3.0.0", "cryptography 99"),
        ("46.0", 0x20000000, b"LibreSSL 3.9", "LibreSSL"),
        ("46.0", 0x30000000, b"BoringSSL", "BoringSSL"),
        ("46.0", 0x50000000, b"OpenSSL 5.0", "OpenSSL 5.0"),
    ],
)
def test_an_unknown_library_is_not_used(release: str, number: int, words: bytes, why: str) -> None:
    with pytest.raises(pieces.NotUsable, match=why):
        compiled.check_versions(release, number, words)


def test_a_piece_that_is_not_built_or_not_usable_runs_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_pieces", {})

    def absent() -> str:
        raise ImportError

    def unusable() -> str:
        raise pieces.NotUsable("for a reason")

    assert pieces.choose("a", lambda: "compiled", "interpreted") == "compiled"
    assert pieces.choose("b", absent, "interpreted") == "interpreted"
    assert pieces.choose("c", unusable, "interpreted") == "interpreted"
    assert pieces.choose("e", lambda: getattr(pieces, "SSL_gone"), "interpreted") == "interpreted"  # noqa: B009
    monkeypatch.setenv(pieces.INTERPRETED, "1")
    assert pieces.choose("d", lambda: "compiled", "interpreted") == "interpreted"
    found = {piece.name: (piece.compiled, piece.why) for piece in pieces.pieces()}
    assert found["a"] == (True, "")
    assert [found[name][0] for name in "bcd"] == [False, False, False]
    assert found["c"][1] == "for a reason"

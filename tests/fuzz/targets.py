"""What is fuzzed (tests.fuzz.guided): each function takes one input, and raises if what it holds does not hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from hpack import Decoder

from gateway.core.strict_json import BadBase64, BadJson, parse_object
from gateway.core.tokens.outcome import Refused
from gateway.core.tokens.parts import take_apart
from gateway.http.client1 import BadAnswer, Http1Call
from gateway.http.frames import FRAME_BYTES_MAX, HEADER
from gateway.http.heads import HEAD_BYTES_MAX
from gateway.http.huffman import PlainDecoder
from gateway.http.messages import Data, Happened, Server
from gateway.http.server1 import Http1Server
from gateway.http.server2 import Http2Server
from gateway.kafka import codec, scan
from gateway.kafka.codec import Malformed as KafkaMalformed
from gateway.pulsar import commands, hot, reasons, schema
from gateway.pulsar.commands import Malformed
from gateway.pulsar.rest import target as rest_target
from gateway.wire.proxy_protocol import BadHeader, HeaderReader
from tests.forms import FORMS
from tests.http import PREFACE, Http2Client, request
from tests.property.kafka_bodies import cases
from tests.property.short_ways import GENERAL, PUMP, SESSION
from tests.property.test_any_hpack import read
from tests.property.test_any_http import FIRST, joined, run, second
from tests.property.test_pulsar_stream import COMPILED, RECEIPT, agree, commands_of, played, read_alike
from tests.scenarios.pulsar_world import ORDERS, SUBSCRIPTION, message_frame, send_frame
from tests.scenarios.web_world import OK, WebWorld

CUTS = 3
"""Octets in front of a stream that say where it is cut."""
_CASES = cases()


def _cut(data: bytes) -> tuple[bytes, list[int]]:
    stream = data[CUTS:]
    return stream, [each * len(stream) // 256 for each in sorted(data[:CUTS])]


def _pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    return [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def _said(call: Callable[[], Any], error: type[Exception]) -> Any:
    """What a form says, or that it refuses."""
    try:
        return call()
    except error:
        return "refused"


# ---- Kafka --------------------------------------------------------------------------------------------------------


def kafka_messages(data: bytes) -> None:
    """Any message of any version: read, or Malformed; what was read is written and read again the same."""
    if len(data) < 2:
        return
    kind, key, version = _CASES[int.from_bytes(data[:2], "big") % len(_CASES)]
    decode, encode = (
        (codec.decode_request, codec.encode_request)
        if kind == "request"
        else (codec.decode_response, codec.encode_response)
    )
    body = _said(lambda: decode(key, version, data[2:]), KafkaMalformed)
    if body != "refused":
        assert decode(key, version, encode(key, version, body)) == body


def kafka_hot(data: bytes) -> None:
    """The scanners of Produce and Fetch, both forms: the same result or both refuse."""
    if len(data) < 2:
        return
    version, body = 3 + data[1] % 16, memoryview(data)[2:]
    which = ("scan_produce", "scan_fetch")[data[0] % 2]
    scans = [getattr(form.values[0], which) for form in FORMS]
    said = [_said(partial(_shown, scan, body, version), KafkaMalformed) for scan in scans]
    assert said[0] == said[-1]


def _shown(scan: Callable[..., Any], body: memoryview, version: int) -> str:
    return repr(scan(body, 0, version))


def kafka_stream(data: bytes) -> None:
    """The walks over answers to Produce and Fetch, and a request's header."""
    if len(data) < 2:
        return
    walk = (scan.walk_produce_response, scan.walk_fetch_response)[data[0] % 2]
    _said(lambda: walk(memoryview(data)[2:], 0, 3 + data[1] % 16), KafkaMalformed)
    _said(lambda: codec.parse_request_header(memoryview(data)), KafkaMalformed)


# ---- Pulsar -------------------------------------------------------------------------------------------------------


def pulsar_command(data: bytes) -> None:
    """A command is read, or Malformed; what is written in its place is read the same, and stays as it is."""
    command = _said(lambda: commands.decode(memoryview(data)), Malformed)
    if command == "refused":
        return
    again = commands.decode(memoryview(command.encoded if command.encoded is not None else data))
    assert (again.name, again.encoded, again.body) == (command.name, None, command.body)


def pulsar_plain(data: bytes) -> None:
    """Plain commands: both forms find the same, and what they take the library would have written so, too."""
    read_alike(data)


def pulsar_client(data: bytes) -> None:
    """A client's stream in any pieces: the same each way, nothing for a producer that is not open."""
    _pulsar(data, back=False)


def pulsar_broker(data: bytes) -> None:
    _pulsar(data, back=True)


def _pulsar(data: bytes, *, back: bool) -> None:
    stream, cuts = _cut(data)
    general = played(stream, cuts, back=back, way=GENERAL)
    for way, form in ((PUMP, hot.INTERPRETED), (SESSION, COMPILED or hot.INTERPRETED)):
        short = played(stream, cuts, back=back, way=way, short=form.short_way)
        agree(general, short, stream, back=back)
    up, down, *_ = short
    assert all(command.name in schema.COMMANDS for command in (*commands_of(up), *commands_of(down)))


# ---- HTTP ---------------------------------------------------------------------------------------------------------


def http1_request(data: bytes) -> None:
    """One reading in any pieces, one documented error, and bounded memory."""
    _served(Http1Server, data, b"")


def http2_frames(data: bytes) -> None:
    _served(lambda: Http2Server(0.0), data, PREFACE)


def _served(make: Callable[[], Server], data: bytes, before: bytes) -> None:
    stream, cuts = _cut(data)
    whole, most, bad = run(make(), [before + stream])
    assert most <= max(HEAD_BYTES_MAX, FRAME_BYTES_MAX + HEADER)
    in_pieces, _, worse = run(make(), [before, *_pieces(stream, cuts)])
    if bad is None or worse is None:
        assert bad is worse is None
        assert joined(in_pieces) == joined(whole)
        return
    assert bad.reason is worse.reason
    one, other = _settled(whole), _settled(in_pieces)
    assert all(each == beside for each, beside in zip(one, other, strict=False)), "one begins as the other does"


def _settled(seen: list[Happened]) -> list[Happened]:
    """What was told before it was refused, but for bodies: what one call brought in front of the flaw is not told."""
    return [each for each in seen if not isinstance(each, Data)]


def http_answer(data: bytes) -> None:
    """An answer of a broker's, in any pieces."""
    stream, cuts = _cut(data)
    assert _came([stream]) == _came(_pieces(stream, cuts))


def _came(pieces: list[bytes]) -> tuple[bool, bytes]:
    """Whether it was whole, and its body."""
    call, kept, seen = Http1Call("GET", b"/", b"b", (), b""), b"", []
    try:
        for piece in pieces:
            kept += piece
            while kept and not call.over:
                taken, came = call.receive(memoryview(kept), 1 << 20)
                seen += came
                kept = kept[taken:]
                if not taken:
                    break
    except BadAnswer:
        return False, b""
    return call.over, b"".join(getattr(each, "octets", b"") for each in seen)


def hpack(data: bytes) -> None:
    """A header block with its strings written out says what hpack reads in it."""
    assert read(PlainDecoder(), [data]) == read(Decoder(), [data])


def web_client(data: bytes) -> None:
    """A session of the HTTP interface with the real table of routes: a broker gets only what was decided."""
    if not data:
        return
    alpn = "h2" if data[0] & 1 else "http/1.1"
    world = WebWorld(alpn=alpn)
    seen = world.send(PREFACE if alpn == "h2" else b"", data[1:])
    for _ in range(3):
        if world.ended is None and not world.session.idle:
            seen += world.reply(OK)
    assert world.ended is None or world.ended.reason is not reasons.INTERNAL_ERROR, world.ended
    assert seen.up.count(b" HTTP/1.1\r\nhost: ") == seen.up.count(b"x-original-principal: alice\r\n")


def web_target(data: bytes) -> None:
    """A target is read in one way, and what is written of it is read the same."""
    found = rest_target.read(data)
    if found is not None:
        again = rest_target.read(rest_target.write(found.segments, found.parameters))
        assert again is not None
        assert (again.segments, again.parameters) == (found.segments, found.parameters)


# ---- what stands before all ---------------------------------------------------------------------------------------


def token(data: bytes) -> None:
    """A token is taken apart, or refused with a reason; JSON is read strictly, or BadJson."""
    found = take_apart(data, 16 << 10, frozenset())
    if not isinstance(found, Refused):
        json.dumps(found.header)
    _said(lambda: parse_object(data), (BadJson, BadBase64))  # type: ignore[arg-type]


def proxy_header(data: bytes) -> None:
    """The header of a balancer, whole and octet by octet."""
    assert _header([data]) == _header([bytes((each,)) for each in data])


def _header(pieces: list[bytes]) -> object:
    reader = HeaderReader()
    kept = b""
    try:
        for piece in pieces:
            kept += piece
            while kept and len(kept) >= min(reader.wanted, 1):
                part, kept = kept[: reader.wanted], kept[reader.wanted :]
                found = reader.feed(part)
                if found is not None:
                    return found
    except BadHeader:
        return "refused"
    return "more"


# ---- what they begin with -----------------------------------------------------------------------------------------


def seeds(target: str) -> list[bytes]:
    """Sound inputs, so that what is behind the first checks is reached soon."""
    cut = bytes(CUTS)
    if target.startswith("pulsar-"):
        fields = {"topic": ORDERS, "request_id": 5}
        sent = [
            send_frame(), send_frame(300), send_frame(1, b"", txnid_least_bits=3),
            commands.framed("producer", producer_id=2, **fields), commands.framed("lookup", **fields),
            commands.framed("subscribe", subscription=SUBSCRIPTION, consumer_id=2, **fields),
            commands.framed("ack", consumer_id=1, ack_type=0), commands.framed("ping"),
            commands.framed("watch_topic_list", request_id=6, watcher_id=1, namespace="public/default"),
        ]  # fmt: skip
        back = [
            message_frame(), RECEIPT, commands.framed("success", request_id=5), commands.framed("pong"),
            commands.framed("lookup_response", request_id=5, response=1, broker_url="pulsar://b2:6650"),
        ]  # fmt: skip
        if target in ("pulsar-command", "pulsar-plain"):
            return [each[8 : 8 + int.from_bytes(each[4:8], "big")] for each in (*sent, *back)]
        return [cut + each for each in (back if target == "pulsar-broker" else sent)]
    if target in ("http1-request", "http2-frames"):
        return [cut + each for each in (FIRST if target == "http1-request" else [b"".join(second())[len(PREFACE) :]])]
    if target == "http-answer":
        return [cut + OK, cut + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
    if target == "web-client":
        client = Http2Client()
        path = "/admin/v2/persistent/public/default/orders/stats"
        frames = client.out() + client.ask(1, path, authorization="Bearer alice")
        return [b"\x00" + request(path, Authorization="Bearer alice"), b"\x01" + frames[len(PREFACE) :]]
    known = {
        "hpack": [b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"],
        "web-target": [b"/admin/v2/persistent/public/default/orders/stats?subscriptionBacklogSize=true"],
        "token": [b"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.AAAA", b'{"a": [1, true, null]}'],
        "proxy-header": [
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
        ],
    }
    return known.get(target, [])


def planted(data: bytes) -> None:
    """For the test of the engine itself."""
    if data[:1] == b"\x0e" and data[1:2] == b"\x01" and data[2:3] == b"\xf7" and data[3:4] == b"\x3c":
        raise AssertionError("a planted flaw")

"""Requests that two readers could read differently: HTTP/1.1 and HTTP/2 heads, bodies, and brokers' answers."""

from __future__ import annotations

import pytest

from gateway.http.client1 import Answered, BadAnswer, Body, Ended, Http1Call
from gateway.http.heads import HEAD_BYTES_MAX, HEADERS_MAX
from gateway.http.messages import Asked, BadRequest, Complete, Data, Happened, Response
from gateway.http.rules import TARGET_BYTES_MAX, request_of_stream
from gateway.http.server1 import CHUNK_OVERHEAD_MAX, STREAM, Http1Server
from tests.http import request

HOST = b"Host: gw.test\r\n"
GET = b"GET /a HTTP/1.1\r\n"
POST = b"POST /a HTTP/1.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def show(server: Http1Server, data: bytes) -> tuple[int, list[Happened]]:
    """As a session does: again and again, as long as something is taken."""
    position, seen = 0, []
    while position < len(data) and server.taking:
        taken, happened = server.receive(memoryview(data)[position:], 0.0)
        seen += happened
        position += taken
        if not taken:
            break
    return position, seen


SMUGGLED = {
    "both framings": (POST + HOST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n", 400),
    "both framings, the other way round": (POST + HOST + CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (POST + HOST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n", 400),
    "two equal lengths": (POST + HOST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\n", 400),
    "a list of lengths": (POST + HOST + b"Content-Length: 4, 4\r\n\r\n", 400),
    "a signed length": (POST + HOST + b"Content-Length: +4\r\n\r\n", 400),
    "a negative length": (POST + HOST + b"Content-Length: -1\r\n\r\n", 400),
    "a length in hex": (POST + HOST + b"Content-Length: 0x4\r\n\r\n", 400),
    "an endless length": (POST + HOST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", 400),
    "an empty length": (POST + HOST + b"Content-Length: \r\n\r\n", 400),
    "another coding": (POST + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "chunked twice": (POST + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 501),
    "two codings": (POST + HOST + CHUNKED + CHUNKED + b"\r\n", 501),
    "identity": (POST + HOST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "a coding hidden by a tab": (POST + HOST + b"Transfer-Encoding:\tchunked\x0b\r\n\r\n", 400),
    "a space before the colon": (POST + HOST + b"Transfer-Encoding : chunked\r\n\r\n", 400),
    "a folded line": (POST + HOST + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n", 400),
    "a folded first line": (POST + b" Host: gw.test\r\n\r\n", 400),
    "a bare LF": (POST + b"Host: gw.test\nContent-Length: 4\r\n\r\n", 400),
    "a bare LF at the end": (GET + HOST[:-2] + b"\n\r\n\r\n", 400),
    "a bare CR": (POST + b"Host: gw.test\rContent-Length: 4\r\n\r\n", 400),
    "a NUL": (GET + HOST + b"X: a\x00b\r\n\r\n", 400),
    "two hosts": (GET + HOST + HOST + b"\r\n", 400),
    "no host": (GET + b"\r\n", 400),
    "an empty host": (GET + b"Host: \r\n\r\n", 400),
    "a host with a path": (GET + b"Host: gw.test/x\r\n\r\n", 400),
    "a host with a user": (GET + b"Host: a@gw.test\r\n\r\n", 400),
    "another absolute target": (b"GET https://other.test/a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a target without a slash": (b"GET a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a fragment": (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a backslash": (b"GET /a\\..\\b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "octets above ASCII": (b"GET /\xe4 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "connect": (b"CONNECT gw.test:443 HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "trace": (b"TRACE /a HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "a websocket": (GET + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 501),
    "an upgrade to h2c": (GET + HOST + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", 501),
    "a connection header that takes another away": (GET + HOST + b"Connection: close, Authorization\r\n\r\n", 400),
    "another expectation": (POST + HOST + b"Content-Length: 4\r\nExpect: 200-maybe\r\n\r\n", 417),
    "HTTP/1.0": (b"GET /a HTTP/1.0\r\n" + HOST + b"\r\n", 505),
    "HTTP/0.9": (b"GET /a\r\n\r\n", 400),
    "HTTP/2 by prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "an empty line before it": (b"\r\n" + GET + HOST + b"\r\n", 400),
    "TLS in TLS": (b"\x16\x03\x01\x02\x00\x01", 400),
    "a long target": (b"GET /" + b"a" * TARGET_BYTES_MAX + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "a longer one": (b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "many headers": (GET + HOST + b"X: y\r\n" * HEADERS_MAX + b"\r\n", 431),
    "a head without an end": (GET + b"X: " + b"y" * HEAD_BYTES_MAX, 431),
}  # fmt: skip


@pytest.mark.parametrize(("data", "status"), SMUGGLED.values(), ids=SMUGGLED.keys())
def test_a_head_with_two_readings_is_refused(data: bytes, status: int) -> None:
    server = Http1Server()
    with pytest.raises(BadRequest) as refused:
        show(server, data)
    assert refused.value.status == status, refused.value
    server.refuse(refused.value)
    (answer,) = server.take()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer
    assert server.over


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n", b"-1\r\na\r\n", b"+1\r\na\r\n", b"0x1\r\na\r\n", b"1\na\r\n", b"1 ;x\n\r\na\r\n", b"1\r\nab\r\n",
        b"1\r\na\n0\r\n\r\n", b"f" * 30 + b"\r\n",
    ],
)  # fmt: skip
def test_a_malformed_chunk_is_refused(chunks: bytes) -> None:
    server = Http1Server()
    with pytest.raises(BadRequest) as refused:
        show(server, POST + HOST + CHUNKED + b"\r\n" + chunks + b"0\r\n\r\n")
    assert refused.value.status == 400


def test_chunks_that_are_mostly_overhead_are_refused() -> None:
    server = Http1Server()
    head, chunk = POST + HOST + CHUNKED + b"\r\n", b"1;" + b"x" * 1000 + b"\r\na\r\n"
    with pytest.raises(BadRequest):
        show(server, head + chunk * (CHUNK_OVERHEAD_MAX // 1000 + 2))
    small = Http1Server()
    show(small, head + b"1\r\na\r\n" * 40_000)  # tiny chunks are honest


def test_what_stands_behind_a_request_is_left_alone() -> None:
    """Pipelined octets are not in any parser's memory: they are shown again, and read as a head of their own."""
    server = Http1Server()
    first = POST + HOST + CHUNKED + b"\r\n2\r\nab\r\n0\r\nTrailer: dropped\r\n\r\n"
    taken, seen = show(server, first + request("/b"))
    assert taken == len(first)
    asked = seen[0]
    assert isinstance(asked, Asked)
    assert asked.request.length is None
    assert seen[1:] == [Data(STREAM, b"ab"), Complete(STREAM)]
    assert not server.taking
    server.answer(STREAM, Response(204), 0)
    server.end(STREAM)
    assert server.taking
    _, seen = show(server, request("/b"))
    assert [each.request.target for each in seen if isinstance(each, Asked)] == [b"/b"]


def test_only_end_to_end_headers_are_told() -> None:
    told = b"Connection: keep-alive, TE\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nTrailer: y\r\n"
    _, seen = show(Http1Server(), GET + HOST + told + b"X-Y: z\r\nAccept: a\r\n\r\n")
    asked = seen[0]
    assert isinstance(asked, Asked)
    assert asked.request.headers == ((b"x-y", b"z"), (b"accept", b"a"))
    assert asked.request.authority == b"gw.test"


def test_an_absolute_target_for_the_same_host_is_its_path() -> None:
    _, seen = show(Http1Server(), b"GET https://GW.test/a?b HTTP/1.1\r\n" + HOST + b"\r\n")
    asked = seen[0]
    assert isinstance(asked, Asked)
    assert asked.request.target == b"/a?b"


def test_continue_is_said_once_and_only_if_the_body_is_wanted() -> None:
    server = Http1Server()
    show(server, request(method="PUT", Expect="100-continue").replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n"))
    assert server.take() == []
    server.welcome(STREAM)
    server.welcome(STREAM)
    assert [each[:12] for each in server.take()] == [b"HTTP/1.1 100"]
    refused = Http1Server()
    show(refused, request(method="PUT", Expect="100-continue").replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\n\r\n"))
    refused.answer(STREAM, Response(413), 0)
    refused.end(STREAM)
    (answer,) = refused.take()
    assert b"connection: close" in answer.lower()
    assert refused.over, "its body, which may come all the same, is no request"


@pytest.mark.parametrize("header", [b"transfer-encoding", b"connection", b"upgrade"])
def test_headers_of_a_connection_are_refused_in_http2(header: bytes) -> None:
    with pytest.raises(BadRequest):
        request_of_stream(b"GET", b"/a", b"gw.test", [(header, b"chunked")], ended=True)
    with pytest.raises(BadRequest):
        request_of_stream(b"GET", b"/a\r\nx: y", b"gw.test", [], ended=True)
    with pytest.raises(BadRequest):
        request_of_stream(b"GET", b"/a", b"gw.test", [(b"content-length", b"5")], ended=True)


# ---- brokers' answers ---------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", OK + b"Content-Length: 2\r\n" * 2 + b"\r\n",
        OK + b"\r\nto the end of the connection", OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Content-Length: 2\nX: y\r\n\r\n", OK + b" X: y\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/1.1 103 Hints\r\n\r\n" * 9, b"\x00\x00\x00\x10\r\n\r\n",
        OK + b"X: " + b"y" * HEAD_BYTES_MAX,
    ],
)  # fmt: skip
def test_an_answer_with_two_readings_is_not_passed_on(answer: bytes) -> None:
    call = Http1Call("GET", b"/a", b"broker:8443", (), b"")
    with pytest.raises(BadAnswer):
        _all(call, answer)


def _all(call: Http1Call, answer: bytes) -> None:
    position = taken = 0
    while position < len(answer) and (taken or not position):
        taken, _ = call.receive(memoryview(answer)[position:], 1 << 20)
        position += taken


def test_an_answer_comes_as_there_is_room_for_it() -> None:
    call = Http1Call("GET", b"/a", b"broker:8443", (), b"")
    answer = b"HTTP/1.1 103 Hints\r\n\r\n" + OK + b"Content-Length: 6\r\nKeep-Alive: 1\r\nX: y\r\n\r\nabcdef"
    taken, came = call.receive(memoryview(answer), 4)
    assert came == [Answered(Response(200, ((b"x", b"y"),)), 6)]
    more, came = call.receive(memoryview(answer)[taken:], 4)
    assert came == [Body(b"abcd")]
    taken += more
    assert call.receive(memoryview(answer)[taken:], 0) == (0, [])
    assert call.receive(memoryview(answer)[taken:], 9) == (2, [Body(b"ef"), Ended(reusable=True)])


def test_what_no_request_may_be_is_not_written() -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        Http1Call("GET", b"/a\r\nX: y", b"broker", (), b"")
    with pytest.raises(ValueError, match="cannot be written"):
        Http1Call("GET", b"/a", b"broker", ((b"authorization", b"Bearer a\r\nx: y"),), b"")

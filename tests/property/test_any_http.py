"""HTTP in any pieces and with any octets: one reading, one documented error, and bounded memory."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.client1 import BadAnswer, Body, Came, Http1Call
from gateway.http.frames import FRAME_BYTES_MAX, HEADER
from gateway.http.heads import HEAD_BYTES_MAX
from gateway.http.messages import BadRequest, Data, Happened, Response, Server
from gateway.http.server1 import Http1Server
from gateway.http.server2 import Http2Server
from tests.http import PREFACE, Http2Client, request

PLENTY = 1 << 20
FIRST = [
    request("/a?b=c", Accept="*/*"),
    request("/b", "PUT", b"x" * 300, Content_Type="application/json"),
    b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n",
]


def second() -> list[bytes]:
    client = Http2Client()
    return [client.out(), client.ask(1), client.ask(3, "/b", "PUT", b"x" * 300), client.ask(5, accept="*/*")]


def run(server: Server, pieces: list[bytes]) -> tuple[list[Happened], int, BadRequest | None]:
    """As a pump and a session do; each request is answered as soon as it is whole. Also the most that was kept."""
    kept, seen, most = b"", [], 0
    for piece in pieces:
        kept += piece
        while kept and len(kept) >= server.wanted:
            try:
                taken, happened = server.receive(memoryview(kept), 0.0)
            except BadRequest as bad:
                server.refuse(bad)
                return seen, most, bad
            seen += happened
            kept = kept[taken:]
            if not server.taking and not server.over:
                server.answer(1, Response(200), 0)
                server.end(1)
            elif not taken:
                break
        most = max(most, len(kept))
    return seen, most, None


def joined(seen: list[Happened]) -> list[object]:
    """With the parts of a body as one."""
    told: list[object] = []
    for each in seen:
        last = told[-1] if told else None
        if isinstance(each, Data) and isinstance(last, Data) and last.stream == each.stream:
            told[-1] = Data(each.stream, last.octets + each.octets)
        else:
            told.append(each)
    return told


def cut(data: bytes, dice: random.Random) -> list[bytes]:
    places = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(12)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("make", [Http1Server, lambda: Http2Server(0.0)], ids=["1", "2"])
@given(st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=20_000)
def test_any_split_is_the_same(make: object, dice: random.Random) -> None:
    assert callable(make)
    data = b"".join(FIRST if make is Http1Server else second())
    whole, _, bad = run(make(), [data])
    assert bad is None
    assert len(whole) >= 7
    in_pieces, _, bad = run(make(), cut(data, dice))
    assert bad is None
    assert joined(in_pieces) == joined(whole)
    by_octet, _, bad = run(make(), [bytes((each,)) for each in data])
    assert bad is None
    assert joined(by_octet) == joined(whole)


@given(st.binary(max_size=400), st.booleans())
@settings(max_examples=600, deadline=20_000)
def test_garbage_has_one_error(data: bytes, known: bool) -> None:
    run(Http1Server(), [data] if not known else [FIRST[2][:-7], data])
    run(Http2Server(0.0), [data] if not known else [PREFACE, data])


@pytest.mark.parametrize("seed", range(6))
def test_real_requests_with_wrong_octets(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(200):
        for make, good in ((Http1Server, FIRST), (lambda: Http2Server(0.0), second())):
            data = bytearray(b"".join(good))
            for _ in range(dice.randrange(1, 5)):
                data[dice.randrange(len(data))] = dice.choice((0, 9, 10, 13, 32, 58, 255, dice.randrange(256)))
            _, most, _ = run(make(), cut(bytes(data), dice))
            assert most <= max(HEAD_BYTES_MAX, FRAME_BYTES_MAX + HEADER)


@given(st.randoms(use_true_random=False), st.integers(0, 40))
@settings(max_examples=150, deadline=20_000)
def test_an_answer_in_any_pieces_with_any_room(dice: random.Random, room: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n4\r\nabcd\r\n2;e\r\nef\r\n0\r\n\r\n"
    whole = _came([answer], PLENTY)
    found = _came(cut(answer, dice), max(1, room))
    assert [each for each in found if not isinstance(each, Body)] == [
        each for each in whole if not isinstance(each, Body)
    ]
    assert b"".join(each.octets for each in found if isinstance(each, Body)) == b"abcdef"


def _came(pieces: list[bytes], room: int) -> list[Came]:
    call, kept, seen = Http1Call("GET", b"/", b"b", (), b""), b"", []
    for piece in pieces:
        kept += piece
        while kept:
            taken, came = call.receive(memoryview(kept), room)
            seen += came
            kept = kept[taken:]
            if not taken:
                break
    return seen


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=400, deadline=20_000)
def test_garbage_as_an_answer(data: bytes, begun: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" if begun else b""
    try:
        _came([head + data], PLENTY)
    except BadAnswer:
        return

"""What HTTP/2 floods are made of, and headers that grow: each ends its own connection, at its limit and no sooner."""

from __future__ import annotations

import pytest

from gateway.http import reasons
from gateway.http.frames import (
    CONTINUATION,
    CONTINUATIONS_MAX,
    CONTROL_FRAMES_RATE_MAX,
    DATA,
    DATA_FRAME_OCTETS,
    DATA_FRAMES_EACH,
    DATA_FRAMES_FREE_MAX,
    FRAME_BYTES_MAX,
    HEADERS,
    PING,
    PRIORITY,
    RESETS_FREE_MAX,
    SETTINGS,
    WINDOW_UPDATE,
    WINDOW_UPDATES_FREE_MAX,
)
from gateway.http.heads import HEAD_BYTES_MAX, HEADERS_MAX
from gateway.http.messages import Asked, BadRequest, Complete, Data, Gone, Happened, Response
from gateway.http.server2 import (
    FRAMES_AT_ONCE_MAX,
    OCTETS_AT_ONCE_MAX,
    STREAMS_MAX,
    UNDECIDED_BYTES_MAX,
    Http2Server,
)
from tests.http import PREFACE, Http2Client, frame


def pair() -> tuple[Http2Server, Http2Client]:
    server, client = Http2Server(0.0), Http2Client()
    server.receive(memoryview(client.out()), 0.0)
    client.take(b"".join(server.take()))
    return server, client


def show(server: Http2Server, data: bytes, now: float = 0.0) -> list[Happened]:
    """As a session does: again and again, as long as something is taken."""
    position, taken, seen = 0, 1, []
    while taken and position < len(data):
        taken, happened = server.receive(memoryview(data)[position:], now)
        position += taken
        seen += happened
    return seen


def refused(server: Http2Server, data: bytes, now: float = 0.0) -> BadRequest:
    with pytest.raises(BadRequest) as found:
        show(server, data, now)
    server.refuse(found.value)
    return found.value


def taken_back(client: Http2Client, stream: int) -> bytes:
    """A request and its reset."""
    asked = client.ask(stream)
    client.h2.reset_stream(stream)
    return asked + client.out()


def test_rapid_reset() -> None:
    """CVE-2023-44487: requests that are taken back at once."""
    server, client = pair()
    for number in range(RESETS_FREE_MAX):
        stream = 2 * number + 1
        _, seen = server.receive(memoryview(taken_back(client, stream)), 0.0)
        assert [type(each) for each in seen] == [Asked, Complete, Gone]
    stream = 2 * RESETS_FREE_MAX + 1
    bad = refused(server, taken_back(client, stream))
    assert bad.reason is reasons.HTTP_FLOOD
    client.take(b"".join(server.take()))
    assert client.gone == 11, "ENHANCE_YOUR_CALM"
    assert server.receive(memoryview(b"more"), 0.0) == (4, []), "nothing of it is looked at any more"


def test_a_reset_for_each_served_request_is_no_flood() -> None:
    server, client = pair()
    for number in range(3 * RESETS_FREE_MAX):
        served = 4 * number + 1
        server.receive(memoryview(client.ask(served)), 0.0)
        server.answer(served, Response(200), 0)
        server.end(served)
        client.take(b"".join(server.take()))
        server.receive(memoryview(taken_back(client, served + 2)), 0.0)


def test_continuations() -> None:
    """CVE-2024-27316: a header block without an end."""
    server, _ = pair()
    server.receive(memoryview(frame(HEADERS, b"", 0, 1) + frame(CONTINUATION, b"", 0, 1) * CONTINUATIONS_MAX), 0.0)
    assert server.partial
    assert refused(server, frame(CONTINUATION, b"", 0, 1)).reason is reasons.HTTP_FLOOD


def test_a_header_block_is_bounded_before_it_is_looked_at() -> None:
    server, _ = pair()
    server.receive(memoryview(frame(HEADERS, bytes(FRAME_BYTES_MAX), 0, 1)), 0.0)
    assert refused(server, frame(CONTINUATION, b"x", 0, 1)).reason is reasons.HTTP_HEAD_TOO_LARGE


def test_headers_that_grow_by_decompression() -> None:
    """One long value in the table, named again and again by one octet each."""
    server, client = pair()
    client.h2.encoder.header_table_size = 4096
    value = "v" * 3000
    server.receive(memoryview(client.ask(1, x=value)), 0.0)
    assert refused(server, frame(HEADERS, b"\xbe" * (HEAD_BYTES_MAX // 3000 + 1), 5, 3)).reason is (
        reasons.HTTP_HEAD_TOO_LARGE
    )


def test_many_headers() -> None:
    server, client = pair()
    server.receive(memoryview(client.ask(1, **{f"x{number}": "y" for number in range(HEADERS_MAX)})), 0.0)
    data = client.ask(3, **{f"x{number}": "y" for number in range(HEADERS_MAX + 1)})
    assert refused(server, data).reason is reasons.HTTP_HEAD_TOO_LARGE


@pytest.mark.parametrize(
    "nothing",
    [
        frame(PING, bytes(8)), frame(SETTINGS), frame(PRIORITY, b"\x00\x00\x00\x00\x10", 0, 99),
        frame(DATA, b"", 0, 1), frame(DATA, b"\x05" + bytes(5), 8, 1), frame(0x42, b"unknown"),
    ],
    ids=["ping", "settings", "priority", "empty data", "padding", "unknown"],
)  # fmt: skip
def test_frames_that_carry_nothing_have_a_rate(nothing: bytes) -> None:
    server, client = pair()
    server.receive(memoryview(client.ask(1, method="POST", body=b"")), 0.0)
    for second in range(1, 4):  # one second's worth each second is taken for ever
        show(server, nothing * (CONTROL_FRAMES_RATE_MAX // 2), float(second))
        server.take()
    bad = refused(server, nothing * (2 * CONTROL_FRAMES_RATE_MAX), 4.0)
    assert bad.reason is reasons.HTTP_FLOOD


def test_little_is_taken_at_once() -> None:
    """So that a chunk full of small frames has its turns among others'."""
    server, client = pair()
    server.receive(memoryview(client.ask(1, method="PUT", body=b"")), 0.0)
    many = frame(DATA, b"x", 0, 1) * 1000
    taken, seen = server.receive(memoryview(many), 0.0)
    assert len(seen) == FRAMES_AT_ONCE_MAX
    assert taken == FRAMES_AT_ONCE_MAX * 10
    large = frame(DATA, bytes(3000), 0, 1) * 4
    taken, _ = server.receive(memoryview(large), 0.0)
    assert taken == 2 * 3009 > OCTETS_AT_ONCE_MAX


def test_window_updates_are_held_against_what_was_sent() -> None:
    server, _ = pair()
    one = frame(WINDOW_UPDATE, b"\x00\x00\x00\x01")
    show(server, one * WINDOW_UPDATES_FREE_MAX)
    assert refused(server, one).reason is reasons.HTTP_FLOOD


def test_data_frames_are_held_against_what_they_carry() -> None:
    server, client = pair()
    server.receive(memoryview(client.ask(1, method="PUT", body=b"")), 0.0)
    show(server, frame(DATA, b"x", 0, 1) * DATA_FRAMES_FREE_MAX)
    large = frame(DATA, bytes(DATA_FRAME_OCTETS), 0, 1)
    show(server, large * 20)  # their octets pay for each of these, and those before for three
    spare = (DATA_FRAMES_FREE_MAX + 20 * DATA_FRAME_OCTETS) // DATA_FRAME_OCTETS - 20
    show(server, frame(DATA, b"x", 0, 1) * spare)
    assert refused(server, frame(DATA, b"x", 0, 1)).reason is reasons.HTTP_FLOOD


def test_small_bodies_of_requests_that_are_served_are_no_flood() -> None:
    server, client = pair()
    for number in range(DATA_FRAMES_FREE_MAX // DATA_FRAMES_EACH + 50):
        stream = 2 * number + 1
        asked = client.ask(stream, method="PUT", body=b"")
        for _ in range(DATA_FRAMES_EACH):
            client.h2.send_data(stream, b"x")
        client.h2.end_stream(stream)
        show(server, asked + client.out())
        server.answer(stream, Response(200), 0)
        server.end(stream)
        client.take(b"".join(server.take()))


def test_more_streams_than_are_taken() -> None:
    server, client = pair()
    for number in range(STREAMS_MAX):
        server.receive(memoryview(client.ask(2 * number + 1)), 0.0)
    raw = Http2Client()  # that does not keep to what it was told
    raw.out()
    block = frame(HEADERS, raw.ask(1)[9:], 5, 2 * STREAMS_MAX + 1)
    assert refused(server, block).reason is reasons.HTTP_MALFORMED


def test_a_body_that_nobody_wants_yet_stays_small() -> None:
    """The stream's window is not given back before it is decided; the connection's is, so that others can go on."""
    server, client = pair()
    server.receive(memoryview(client.ask(1, method="PUT", body=b"")), 0.0)
    client.take(b"".join(server.take()))
    assert client.h2.local_flow_control_window(1) == UNDECIDED_BYTES_MAX
    client.h2.send_data(1, bytes(UNDECIDED_BYTES_MAX))
    _, seen = server.receive(memoryview(client.out()), 0.0)
    assert sum(len(each.octets) for each in seen if isinstance(each, Data)) == UNDECIDED_BYTES_MAX
    client.take(b"".join(server.take()))
    assert client.h2.local_flow_control_window(1) == 0
    server.receive(memoryview(client.ask(3, method="PUT", body=b"")), 0.0)
    assert client.h2.local_flow_control_window(3) == UNDECIDED_BYTES_MAX
    server.welcome(1)
    client.take(b"".join(server.take()))
    assert client.h2.local_flow_control_window(1) == UNDECIDED_BYTES_MAX


def test_an_answer_waits_for_the_clients_window() -> None:
    server, client = pair()
    server.receive(memoryview(client.ask(1)), 0.0)
    server.answer(1, Response(200), None)
    assert server.room(1) == 65535
    server.send(1, bytes(65535))
    assert server.room(1) == 0
    server.send(1, b"the rest")
    server.end(1)
    assert server.owed(1) == 8
    client.take(b"".join(server.take()), acknowledge=False)
    assert 1 not in client.ended
    client.h2.acknowledge_received_data(65535, 1)
    server.receive(memoryview(client.out()), 0.0)
    assert server.owed(1) == 0
    client.take(b"".join(server.take()))
    assert client.bodies[1] == bytes(65535) + b"the rest"
    assert 1 in client.ended


def test_a_frame_is_no_longer_than_was_agreed() -> None:
    server, _ = pair()
    assert refused(server, b"\xff\xff\xff" + bytes(6)).reason is reasons.HTTP_MALFORMED


def test_it_begins_as_http2_does() -> None:
    server = Http2Server(0.0)
    assert server.receive(memoryview(PREFACE[:10]), 0.0) == (0, [])
    assert refused(server, b"GET / HTTP/1.1\r\n").reason is reasons.HTTP_MALFORMED

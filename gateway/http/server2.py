"""The server's side of HTTP/2, over h2: streams of requests, within windows that bound what is held of them.

h2 is fed one whole frame at a time, after `frames` has counted it. A stream's window is small until its body is wanted
(`welcome`), the connection's is given back at once, so that a request that waits cannot hold up the one at work. What
a client does not take of an answer is kept here, and `room` tells whoever makes answers to wait. Nothing is pushed,
priorities are not looked at, trailers are left out.
"""

from __future__ import annotations

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from gateway.http import frames, reasons
from gateway.http.heads import HEAD_BYTES_MAX, HEADERS_MAX
from gateway.http.huffman import PlainDecoder
from gateway.http.messages import Asked, BadRequest, Complete, Data, Gone, Happened, Response
from gateway.http.rules import request_of_stream

STREAMS_MAX = 32
"""Requests of one connection at a time, those that wait included."""
UNDECIDED_BYTES_MAX = 16 << 10
"""Of a request's body before it is known whether it is wanted: a stream's first window."""
FRAMES_AT_ONCE_MAX = 32
"""Frames taken in one call; h2 needs some 30 us for each."""
OCTETS_AT_ONCE_MAX = 4 << 10
"""Likewise of octets, before a frame that is longer."""
REMEMBERED_STREAMS_MAX = 500
"""Streams that have ended, and of which late frames are still known for what they are."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_PSEUDO = (b":method", b":scheme", b":path", b":authority")


class _Connection(h2.connection.H2Connection):
    MAX_CLOSED_STREAMS = REMEMBERED_STREAMS_MAX


class _Stream:
    """One request that is not answered yet. held: octets of its window that were not given back."""

    __slots__ = ("ended", "ending", "expects", "held", "pending")

    def __init__(self, expects: bool) -> None:
        self.expects = expects
        self.held = 0
        self.ended = False
        self.pending = bytearray()
        self.ending = False


class Http2Server:
    """`messages.Server`."""

    multiplexed = True

    def __init__(self, now: float) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._h2 = _Connection(config)
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_BYTES_MAX,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: UNDECIDED_BYTES_MAX,
            },
        )
        self._h2.decoder = PlainDecoder(HEAD_BYTES_MAX)
        self._ledger = frames.FrameLedger(now)
        self._greeted = False
        self._over = False
        self._streams: dict[int, _Stream] = {}
        self.wanted = len(PREFACE)
        self._h2.initiate_connection()

    @property
    def partial(self) -> bool:
        return self._ledger.partial

    @property
    def taking(self) -> bool:
        return not self._over

    @property
    def over(self) -> bool:
        return self._over

    # ---- from the client ----------------------------------------------------------------------------------------

    def receive(self, data: memoryview, now: float) -> tuple[int, list[Happened]]:
        if self._over:
            return len(data), []
        happened: list[Happened] = []
        position = 0
        if not self._greeted:
            begun = bytes(data[: len(PREFACE)])
            if not PREFACE.startswith(begun):
                raise BadRequest(reasons.HTTP_MALFORMED, "no HTTP/2 preface")
            if len(begun) < len(PREFACE):
                return 0, happened
            self._greeted = True
            self._feed(begun, happened)
            position = len(PREFACE)
        self.wanted = frames.HEADER
        count = 0
        while len(data) - position >= frames.HEADER:
            if count >= FRAMES_AT_ONCE_MAX or position >= OCTETS_AT_ONCE_MAX:
                break
            count += 1
            size = self._ledger.size(data, position)
            if len(data) - position < size:
                self.wanted = size
                break
            self._ledger.seen(data, position, now)
            self._feed(bytes(data[position : position + size]), happened)
            position += size
        return position, happened

    def _feed(self, octets: bytes, happened: list[Happened]) -> None:
        try:
            for event in self._h2.receive_data(octets):
                self._event(event, happened)
        except h2.exceptions.ProtocolError as error:
            large = isinstance(error, h2.exceptions.DenialOfServiceError)
            name = type(error).__name__
            error.__traceback__ = error.__context__ = None  # lest it keep views that its callers have
        else:
            return
        raise BadRequest(reasons.HTTP_HEAD_TOO_LARGE if large else reasons.HTTP_MALFORMED, name)

    def _event(self, event: h2.events.Event, happened: list[Happened]) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._requested(event, happened)
        elif isinstance(event, h2.events.DataReceived):
            self._received(event, happened)
        elif isinstance(event, h2.events.StreamEnded):
            stream = self._streams.get(event.stream_id or 0)
            if stream is not None and not stream.ended:
                stream.ended = True
                happened.append(Complete(event.stream_id or 0))
        elif isinstance(event, h2.events.StreamReset):
            if self._streams.pop(event.stream_id or 0, None) is not None:
                happened.append(Gone(event.stream_id or 0))
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            for number in list(self._streams):
                self._flush(number)

    def _requested(self, event: h2.events.RequestReceived, happened: list[Happened]) -> None:
        number = event.stream_id or 0
        ended = event.stream_ended is not None
        fields = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
        if len(fields) > HEADERS_MAX + len(_PSEUDO):
            raise BadRequest(reasons.HTTP_HEAD_TOO_LARGE, f"{len(fields)} headers", 431)
        own = {name: value for name, value in fields if name[:1] == b":"}
        headers = [(name, value) for name, value in fields if name[:1] != b":"]
        hosts = [value for name, value in headers if name == b"host"]
        if own.get(b":scheme", b"https") != b"https" or not own.keys() <= set(_PSEUDO) or len(hosts) > 1:
            raise BadRequest(reasons.HTTP_MALFORMED, "pseudo-headers")
        authority = own.get(b":authority") or (hosts[0] if hosts else b"")
        method, path = own.get(b":method", b""), own.get(b":path", b"")
        request = request_of_stream(method, path, authority, headers, ended=ended)
        self._streams[number] = _Stream(request.expects)
        happened.append(Asked(number, request))

    def _received(self, event: h2.events.DataReceived, happened: list[Happened]) -> None:
        number, octets = event.stream_id or 0, bytes(event.data or b"")
        whole = event.flow_controlled_length or 0
        if whole:
            self._h2.increment_flow_control_window(whole)
        stream = self._streams.get(number)
        if stream is None:
            return
        stream.held += whole
        if octets:
            happened.append(Data(number, octets))

    # ---- to the client ------------------------------------------------------------------------------------------

    def welcome(self, stream: int) -> None:
        found = self._streams.get(stream)
        if found is not None and not found.ended:
            if found.expects:
                self._h2.send_headers(stream, [(b":status", b"100")])
            self._give_back(stream, found)

    def taken(self, stream: int, octets: int) -> None:
        found = self._streams.get(stream)
        if found is not None and not found.ended:
            self._give_back(stream, found)

    def _give_back(self, number: int, stream: _Stream) -> None:
        held, stream.held = stream.held, 0
        if held:
            self._h2.increment_flow_control_window(held, number)

    def answer(self, stream: int, response: Response, length: int | None, *, last: bool = False) -> None:
        if stream not in self._streams:
            return
        headers = [(b":status", b"%d" % response.status), *response.headers]
        if length is not None and response.status != 204:
            headers.append((b"content-length", b"%d" % length))
        self._h2.send_headers(stream, headers)
        if last:
            self._over = True

    def send(self, stream: int, octets: bytes) -> None:
        found = self._streams.get(stream)
        if found is not None:
            found.pending += octets
            self._flush(stream)

    def end(self, stream: int) -> None:
        found = self._streams.get(stream)
        if found is not None:
            found.ending = True
            self._flush(stream)

    def _flush(self, number: int) -> None:
        """Send as much as the windows permit; the stream's end with its last octet."""
        stream = self._streams[number]
        try:
            while stream.pending:
                size = min(len(stream.pending), self._window(number), self._h2.max_outbound_frame_size)
                if size <= 0:
                    return
                with memoryview(stream.pending) as octets:
                    part = bytes(octets[:size])
                del stream.pending[:size]
                self._h2.send_data(number, part)
                self._ledger.sent(size)
            if stream.ending:
                self._h2.end_stream(number)
                if not stream.ended:
                    self._h2.reset_stream(number, h2.errors.ErrorCodes.NO_ERROR)
                self._ledger.served()
                del self._streams[number]
                if self._over:
                    self._h2.close_connection()
        except h2.exceptions.ProtocolError:
            self._streams.pop(number, None)  # the stream is not there any more

    def _window(self, number: int) -> int:
        return int(self._h2.local_flow_control_window(number))

    def abandon(self, stream: int) -> bool:
        if self._streams.pop(stream, None) is not None:
            self._h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        return True

    def room(self, stream: int) -> int:
        found = self._streams.get(stream)
        if found is None:
            return 1 << 20
        return 0 if found.pending else max(0, self._window(stream))

    def owed(self, stream: int) -> int:
        found = self._streams.get(stream)
        return len(found.pending) if found is not None else 0

    def refuse(self, bad: BadRequest) -> None:
        self._over = True
        calm = bad.reason in (reasons.HTTP_FLOOD, reasons.HTTP_HEAD_TOO_LARGE)
        code = h2.errors.ErrorCodes.ENHANCE_YOUR_CALM if calm else h2.errors.ErrorCodes.PROTOCOL_ERROR
        if self._h2.state_machine.state is not h2.connection.ConnectionState.CLOSED:
            self._h2.close_connection(code)

    def take(self) -> list[bytes]:
        out = self._h2.data_to_send()
        return [out] if out else []

"""The server's side of HTTP/1.1, over h11: one request at a time, answered before the next is looked at.

Each request has an h11 connection object of its own, so that what stands behind a request is never in a parser's
memory: it is left with whoever shows the octets, and its head is checked (heads) before h11 sees it. HTTP/1.0 is
refused. A connection goes on after an answer only if the request was read whole.
"""

from __future__ import annotations

from typing import Literal

import h11

from gateway.http import heads, reasons
from gateway.http.messages import Asked, BadRequest, Complete, Data, Happened, Response
from gateway.http.rules import request_of

STREAM = 1
"""There is only one."""
BODY_BYTES_AT_ONCE_MAX = 64 << 10
"""Of a body, taken in one call."""
CHUNK_OVERHEAD_MAX = 64 << 10
"""Octets of a chunked body that may be framing, beyond eight for each of its own."""


class Http1Server:
    """`messages.Server`."""

    multiplexed = False

    def __init__(self) -> None:
        self.wanted = 1
        self._state: Literal["head", "body", "answer", "over"] = "head"
        self._head = heads.HeadEnd()
        self._parser = h11.Connection(h11.SERVER, heads.HEAD_BYTES_MAX)
        self._left: int | None = 0
        """Octets of the body that are still to come; None: chunks say."""
        self._raw = self._own = 0
        self._last = False
        self._begun = False
        self._expects = False
        self._out: list[bytes] = []
        self.partial = False

    @property
    def taking(self) -> bool:
        return self._state in ("head", "body")

    def receive(self, data: memoryview, now: float) -> tuple[int, list[Happened]]:
        happened: list[Happened] = []
        position = 0
        if self._state == "head":  # and not what follows: it is decided about the head first
            position = self._take_head(bytes(data[: heads.HEAD_BYTES_MAX]), happened)
        elif self._state == "body":
            position = self._take_body(bytes(data[:BODY_BYTES_AT_ONCE_MAX]), happened)
        return (len(data) if self._state == "over" else position), happened

    def _take_head(self, data: bytes, happened: list[Happened]) -> int:
        try:
            if data[:1] and not data[:1].isupper():
                raise heads.Unclear("it does not begin with a method")
            size = self._head.find(data)
            if not size:
                self.partial = bool(data)
                self.wanted = len(data) + 1
                return 0
            head = data[:size]
            fields = heads.fields(head)
        except heads.Unclear as unclear:
            if unclear.large:
                raise BadRequest(reasons.HTTP_HEAD_TOO_LARGE, str(unclear), 431) from None
            raise BadRequest(reasons.HTTP_MALFORMED, str(unclear)) from None
        self.partial = False
        self.wanted = 1
        self._parser.receive_data(head)
        event = self._next()
        if not isinstance(event, h11.Request):
            raise BadRequest(reasons.HTTP_MALFORMED, "no request")
        if event.http_version != b"1.1":
            raise BadRequest(reasons.HTTP_MALFORMED, "not HTTP/1.1", 505)
        request = request_of(event.method, event.target, fields)
        self._left = request.length
        self._raw = self._own = 0
        self._begun = False
        self._expects = request.expects and request.length != 0
        happened.append(Asked(STREAM, request))
        if request.length == 0:
            self._complete(happened)
        else:
            self._state = "body"
        return size

    def _take_body(self, data: bytes, happened: list[Happened]) -> int:
        if self._left is not None:
            data = data[: self._left]
        self._raw += len(data)
        self._parser.receive_data(data)
        while self._state == "body":
            event = self._next()
            if isinstance(event, h11.Data):
                octets = bytes(event.data)
                self._own += len(octets)
                if self._left is not None:
                    self._left -= len(octets)
                happened.append(Data(STREAM, octets))
            elif isinstance(event, h11.EndOfMessage):
                self._complete(happened)
            else:
                break
        unread = len(self._parser.trailing_data[0]) if self._state == "answer" else 0
        if self._left is None and self._raw - unread > 9 * self._own + CHUNK_OVERHEAD_MAX:
            raise BadRequest(reasons.HTTP_BODY_FRAMING, "chunks that are mostly overhead")
        return len(data) - unread

    def _complete(self, happened: list[Happened]) -> None:
        if self._state != "body":
            self._next()  # the end of a message without a body
        self._state = "answer"
        happened.append(Complete(STREAM))

    def _next(self) -> object:
        try:
            return self._parser.next_event()
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            error.__traceback__ = None  # it refers to itself by it, and so keeps every view that its callers have
        reason = reasons.HTTP_BODY_FRAMING if self._state == "body" else reasons.HTTP_MALFORMED
        raise BadRequest(reason, "h11 cannot read it", status)

    def welcome(self, stream: int) -> None:
        if self._expects and self._state == "body" and not self._raw:
            self._expects = False
            self._emit(h11.InformationalResponse(status_code=100, headers=[]))

    def taken(self, stream: int, octets: int) -> None:
        """Backpressure is the connection's own."""

    def answer(self, stream: int, response: Response, length: int | None, *, last: bool = False) -> None:
        headers = list(response.headers)
        self._begun = True
        self._last = last or self._state == "body"
        if length is not None and response.status != 204:
            headers.append((b"content-length", b"%d" % length))
        if self._last:
            headers.append((b"connection", b"close"))
        self._emit(h11.Response(status_code=response.status, headers=headers))

    def send(self, stream: int, octets: bytes) -> None:
        self._emit(h11.Data(data=octets))

    def end(self, stream: int) -> None:
        self._emit(h11.EndOfMessage())
        self._last = self._last or self._parser.our_state is not h11.DONE
        if self._last:
            self._state = "over"
            return
        self._state = "head"
        self._head = heads.HeadEnd()
        self._parser = h11.Connection(h11.SERVER, heads.HEAD_BYTES_MAX)

    def abandon(self, stream: int) -> bool:
        return False

    def room(self, stream: int) -> int:
        return 1 << 20

    def owed(self, stream: int) -> int:
        return 0

    @property
    def over(self) -> bool:
        """Nothing more will be taken or sent."""
        return self._state == "over"

    def refuse(self, bad: BadRequest) -> None:
        if self._begun or self._state == "over":
            self._state = "over"
            return
        self._state = "over"
        self._out.append(b"HTTP/1.1 %d %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % (bad.status, b"Refused"))

    def _emit(self, event: h11.Event) -> None:
        octets = self._parser.send(event)
        if octets:
            self._out.append(octets)

    def take(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

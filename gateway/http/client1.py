"""The client's side of HTTP/1.1, over h11: one request and its answer, on a connection to a backend.

A request is written from its parts, its body whole and of a stated length, or piece by piece as it comes. Of answers
the same is asked as of requests: one way to read them. One that does not say where it ends is refused, since a
connection that was cut would look like its end. Interim answers are dropped, trailers as well. Raises BadAnswer; then
the connection is of no use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import h11

from gateway.http import heads
from gateway.http.messages import Headers, Response
from gateway.http.rules import LENGTH_DIGITS_MAX

INTERIM_MAX = 8
"""Interim answers (1xx) before the final one."""
_OF_CONNECTION = frozenset(
    {
        b"connection", b"content-length", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip


class BadAnswer(Exception):
    """What came is no answer that could be passed on. Says why."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer's head. length: of its body; None: not known."""

    response: Response
    length: int | None


@dataclass(frozen=True, slots=True)
class Body:
    """Octets of its body."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """It has come whole. reusable: another request may be sent on the same connection."""

    reusable: bool


Came = Answered | Body | Ended


class Http1Call:
    """One request to a backend."""

    def __init__(
        self, method: str, target: bytes, authority: bytes, headers: Headers, body: bytes | None, length: int | None = 0
    ) -> None:
        """headers: end-to-end ones. body: None if it comes by `more`, `length` octets (None: nobody knows how many).
        Raises ValueError for what no request may be."""
        self._parser = h11.Connection(h11.CLIENT, heads.HEAD_BYTES_MAX)
        self._head: heads.HeadEnd | None = heads.HeadEnd()
        self._head_only = method == "HEAD"
        self._interim = 0
        self._over = False
        self.heard = False
        """Anything came."""
        framing: list[tuple[bytes, bytes]] = []
        if body is None and length is None:
            framing.append((b"transfer-encoding", b"chunked"))
        elif body is None or body or method not in ("GET", "HEAD"):
            framing.append((b"content-length", b"%d" % (len(body) if body is not None else length or 0)))
        request = [(b"host", authority), *headers, *framing]
        self.parts = self._written(lambda: h11.Request(method=method, target=target, headers=request))
        """What is to be sent, the body in one piece as it was given."""
        if body is not None:
            self.parts += self.more(body) + self.whole()

    @property
    def over(self) -> bool:
        return self._over

    def more(self, octets: bytes) -> list[bytes]:
        """Of a body that comes piece by piece: what is to be sent. Raises ValueError if it is more than was said."""
        return self._written(lambda: h11.Data(data=octets)) if octets else []

    def whole(self) -> list[bytes]:
        """The body has come whole. Raises ValueError if it has not."""
        return self._written(h11.EndOfMessage)

    def _written(self, event: Callable[[], h11.Event]) -> list[bytes]:
        try:
            return [bytes(part) for part in self._parser.send_with_data_passthrough(event()) or () if part]
        except h11.LocalProtocolError as error:
            raise ValueError("a request that cannot be written") from error

    def receive(self, data: memoryview, room: int) -> tuple[int, list[Came]]:
        """How many octets were taken, and what they came to; of a body at most `room`, and nothing of it in the call
        that brings the head: whoever passes it on has to be ready for it."""
        came: list[Came] = []
        position = 0
        self.heard = self.heard or bool(data)
        while self._head is not None and position < len(data):
            size = self._take_head(bytes(data[position : position + heads.HEAD_BYTES_MAX]), came)
            if not size:
                return position, came
            position += size
        if came:
            self._take_body(b"", came)  # an answer without a body ends with its head
        elif self._head is None and not self._over:
            position += self._take_body(bytes(data[: max(0, room)]), came)
        return position, came

    def _take_head(self, data: bytes, came: list[Came]) -> int:
        assert self._head is not None
        try:
            size = self._head.find(data)
            if not size:
                return 0
            fields = heads.fields(data[:size])
        except heads.Unclear as unclear:
            raise BadAnswer(str(unclear)) from None
        self._parser.receive_data(data[:size])
        event = self._next()
        if isinstance(event, h11.InformationalResponse):
            self._interim += 1
            if event.status_code == 101 or self._interim > INTERIM_MAX:
                raise BadAnswer("a switch of protocols" if event.status_code == 101 else "interim answers for ever")
            self._head = heads.HeadEnd()
            return size
        if not isinstance(event, h11.Response) or event.http_version != b"1.1":
            raise BadAnswer("no answer of HTTP/1.1")
        self._head = None
        came.append(self._answered(event.status_code, fields))
        return size

    def _answered(self, status: int, fields: Headers) -> Answered:
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        bodiless = status in (204, 304) or self._head_only
        if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
            raise BadAnswer("an answer with two framings")
        if codings and codings[0].lower() != b"chunked":
            raise BadAnswer("a transfer coding other than chunked")
        if lengths and not (lengths[0].isdigit() and len(lengths[0]) <= LENGTH_DIGITS_MAX):
            raise BadAnswer("a Content-Length that is no number")
        if not (lengths or codings or bodiless):
            raise BadAnswer("an answer that does not say where it ends")
        kept = tuple((name, value) for name, value in fields if name not in _OF_CONNECTION)
        length = int(lengths[0]) if lengths else 0 if bodiless else None
        return Answered(Response(status, kept), length)

    def _take_body(self, data: bytes, came: list[Came]) -> int:
        if data:
            self._parser.receive_data(data)
        while True:
            event = self._next()
            if isinstance(event, h11.Data):
                came.append(Body(bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                self._over = True
                unread = len(self._parser.trailing_data[0])
                states = {self._parser.our_state, self._parser.their_state}
                came.append(Ended(states == {h11.DONE} and not unread))
                return len(data) - unread
            else:
                return len(data)

    def _next(self) -> object:
        try:
            return self._parser.next_event()
        except h11.RemoteProtocolError as error:
            error.__traceback__ = None  # it refers to itself by it, and so keeps every view that its callers have
        raise BadAnswer("h11 cannot read it")

"""A session of Pulsar's HTTP interface with everything around it made by hand, as pulsar_world has it for binary ones.

world = WebWorld(); world.ask("/open")  -> Seen        a request of alice's, which goes to the broker
world.reply(OK)                          -> Seen        what the broker says
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Any

import pytest

from gateway.core.session import Endpoint, Peer
from gateway.core.session_reasons import NOT_ALLOWED
from gateway.core.slices import paced
from gateway.pulsar import rest
from gateway.pulsar.rest.door import Door
from gateway.pulsar.rest.results import Decision, Needs, Passed, Refused, Shape, said
from gateway.pulsar.rest.rows import FILE_BYTES_MAX
from gateway.pulsar.view import View
from gateway.pulsar.web.session import WebSession
from gateway.pulsar.web_brokers import WebBrokers
from tests.http import Http2Client, request
from tests.scenarios.kafka_world import Seen
from tests.scenarios.pulsar_world import OF_APP, Access, PulsarWorld

WEB1, WEB2 = Endpoint("broker1.internal", 8443), Endpoint("broker2.internal", 8443)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"
OPEN = ("topic", "Lookup", "persistent://public/default/orders")


def answered(status: int, *headers: str, body: bytes = b"") -> bytes:
    """A broker's answer."""
    lines = [f"HTTP/1.1 {status} Words", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Table:
    """In place of the REST table: /open and /body pass, /shaped is turned round, /needs asks for its body first, /file
    takes a long one."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes, bytes | None]] = []

    def __call__(
        self, method: str, target: bytes, view: View, *, door: Door | None = None, body: bytes | None = None
    ) -> Decision:
        self.asked.append((method, target, body))
        if not view.allowed(OPEN):
            return Refused(403, said("no"), NOT_ALLOWED, (OPEN,), "GET /x")
        if target.startswith(b"/needs") and body is None:
            return Needs(100, "POST /needs")
        if target.startswith(b"/file"):
            return Passed(method, target, FILE_BYTES_MAX, None, (OPEN,), "POST /file")
        if target.startswith((b"/open", b"/body", b"/needs", b"/shaped", b"/admin")):
            shape: Shape | None = _turned if target.startswith(b"/shaped") else None
            written = body[::-1] if body is not None else None
            return Passed(method, target, 100_000, shape, (OPEN,), "GET /open", written)
        return Refused(404, said("unknown"), NOT_ALLOWED, (), "")


def _turned(status: int, body: bytes | bytearray) -> list[bytes]:
    """In slices, where the answer is long, and in two parts."""
    if body == b"bad":
        raise rest.Unreadable("bad")
    turned = bytes(paced(body[::-1]))
    return [turned[:1], turned[1:]]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    made = Table()
    monkeypatch.setattr(rest, "decide", made)
    return made


class WebWorld(PulsarWorld):
    def __init__(
        self, allowed: Collection[Access] = OF_APP, *, alpn: str = "http/1.1", patterns: tuple[Endpoint, ...] = (),
        **more: Any,
    ) -> None:  # fmt: skip
        self.alpn = alpn
        self.patterns = patterns
        self.parted = 0
        self.client = Http2Client()
        super().__init__(allowed, **more)

    def connect(self, server_name: str = "gw.test", *, greeted: float | None = None) -> None:
        super().connect(server_name, greeted=greeted)
        self.backend.web = WebBrokers([WEB1, WEB2], self.patterns, plaintext=False)
        self.pulsar.binary = self.pulsar.listener
        self.client = Http2Client()
        address = ip_address("192.0.2.7")
        peer = Peer("c1", address, 51000, self.certificate, server_name, "TLSv1.3", alpn=self.alpn, greeted=greeted)
        self.session = WebSession(peer, self.pulsar)  # type: ignore[assignment]

    def _take(self) -> Seen:
        if self.session.effects.part_upstream:
            self.parted += 1
            self.unanswered = b""
        return super()._take()

    def ask(  # type: ignore[override]
        self, target: str = "/open", method: str = "GET", body: bytes = b"", token: str = "alice", **headers: str
    ) -> Seen:
        """One request by HTTP/1.1."""
        told = {"Authorization": f"Bearer {token}"} if token else {}
        return self.send(request(target, method, body, **told, **headers))

    def stream(self, number: int, target: str = "/open", body: bytes | None = None, **headers: str) -> Seen:
        """One request by HTTP/2."""
        method = "GET" if body is None else "PUT"
        told = {"authorization": "Bearer alice", **headers}
        return self.carry(self.client.ask(number, target, method, body, **told))

    def carry(self, octets: bytes = b"") -> Seen:
        """The client's octets go to the session, and what it answers to the client."""
        return self.heard(self.send(octets or self.client.out()))

    def heard(self, seen: Seen) -> Seen:
        if seen.down:
            self.client.take(seen.down)
        return seen

    def lose(self, *, reached: bool = True) -> Seen:
        """The broker's connection ends, or could not be had."""
        from tests.scenarios.kafka_world import GONE

        if reached:
            self.session.upstream_proven(0.0)  # type: ignore[attr-defined]
        self.session.upstream_lost(GONE, "test")
        return self._take()


def status(octets: bytes) -> int:
    """Of the one answer there is."""
    assert octets.count(b"HTTP/1.1 ") == 1, octets
    return int(octets[9:12])


def head(octets: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """First line, headers, body."""
    told, _, body = octets.partition(b"\r\n\r\n")
    first, *lines = told.split(b"\r\n")
    return first, dict(tuple(line.split(b": ", 1)) for line in lines), body  # type: ignore[arg-type]

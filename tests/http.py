"""HTTP as a peer of the gateway's speaks it: requests as octets, and a client of HTTP/2 by hand."""

from __future__ import annotations

import struct
from typing import Any

import h2.config
import h2.connection
import h2.events

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def request(target: str = "/a", method: str = "GET", body: bytes = b"", **headers: str) -> bytes:
    """An HTTP/1.1 request. Header names are written with _ for -."""
    lines = [f"{method} {target} HTTP/1.1", "Host: gw.test:8443"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


class Http2Client:
    """The client's side, whose octets are carried by whoever uses it."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reset: dict[int, int] = {}
        self.gone: int | None = None

    def ask(
        self, stream: int, target: str = "/a", method: str = "GET", body: bytes | None = None, **headers: str
    ) -> bytes:
        """A request, as octets. body: None for none; b"" for one that comes later."""
        told = [(":method", method), (":scheme", "https"), (":path", target), (":authority", "gw.test:8443")]
        told += [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.h2.send_headers(stream, told, end_stream=body is None)
        if body:
            self.h2.send_data(stream, body, end_stream=True)
        return self.out()

    def out(self) -> bytes:
        return bytes(self.h2.data_to_send())

    def take(self, octets: bytes, *, acknowledge: bool = True) -> list[Any]:
        """What the server sent."""
        events = self.h2.receive_data(octets)
        for event in events:
            if isinstance(event, h2.events.ResponseReceived):
                self.headers[event.stream_id] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + bytes(event.data)
                if acknowledge:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.reset[event.stream_id] = int(event.error_code)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.gone = int(event.error_code)
        return list(events)

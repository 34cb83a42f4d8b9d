"""HTTP/2 frames as they are counted, before h2 sees them: floods are made of frames that cost a server more than the
client that sends them.

Resets are held against requests that were served (CVE-2023-44487); header blocks have an end within few CONTINUATION
frames (CVE-2024-27316); PING, SETTINGS, PRIORITY, empty DATA and what h2 does not know have a rate (CVE-2019-9511 to
9518); DATA frames are held against what they carry. Made by server2, once per connection.
"""

from __future__ import annotations

import struct

from gateway.core.limits import Bucket
from gateway.http import reasons
from gateway.http.messages import BadRequest

HEADER = 9
"""Octets before each frame's own (RFC 9113, 4.1)."""
FRAME_BYTES_MAX = 16 << 10
"""Of one frame's payload; HTTP/2's own least."""
CONTINUATIONS_MAX = 4
"""CONTINUATION frames behind one HEADERS frame."""
BLOCK_BYTES_MAX = 16 << 10
"""Of one header block, compressed: a token of 16 KiB takes twelve."""
RESETS_FREE_MAX = 50
"""Requests that a client may take back before any was served; one more with each that was."""
CONTROL_FRAMES_RATE_MAX = 50
"""PING, SETTINGS, PRIORITY, empty or unknown frames each second; an idle connection may send one second's at once."""
WINDOW_UPDATES_FREE_MAX = 1000
"""WINDOW_UPDATE frames beyond one for each KiB that the client was sent."""
DATA_FRAMES_FREE_MAX = 1000
"""DATA frames, but each request's last, beyond those that their octets and the requests served allow."""
DATA_FRAME_OCTETS = 256
"""Of bodies, for which one DATA frame is allowed."""
DATA_FRAMES_EACH = 8
"""DATA frames that each request served allows: a small body comes in one, before an empty last."""
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
_END_HEADERS = 0x4
_PADDED = 0x8
_ACK = 0x1
_END_STREAM = 0x1
_HEADER = struct.Struct(">HBBBI")


def _flood(detail: str) -> BadRequest:
    return BadRequest(reasons.HTTP_FLOOD, detail)


class FrameLedger:
    """One connection's."""

    def __init__(self, now: float) -> None:
        self._control = Bucket(CONTROL_FRAMES_RATE_MAX, now)
        self._resets = 0
        self._served = 0
        self._updates = 0
        self._sent = 0
        self._data = 0
        self._carried = 0
        self._block = 0
        self._continuations = 0
        self.partial = False
        """A header block has begun that is not whole yet."""

    @staticmethod
    def size(data: memoryview, position: int) -> int:
        """Of the whole frame that begins there, of which at least its header is there. Raises BadRequest."""
        high, low, _, _, _ = _HEADER.unpack_from(data, position)
        length: int = high << 8 | low
        if length > FRAME_BYTES_MAX:
            raise BadRequest(reasons.HTTP_MALFORMED, f"a frame of {length} bytes")
        return HEADER + length

    def seen(self, data: memoryview, position: int, now: float) -> None:
        """One whole frame. Raises BadRequest."""
        high, low, kind, flags, _ = _HEADER.unpack_from(data, position)
        length = high << 8 | low
        if kind == HEADERS:
            self._block, self._continuations = length, 0
            self._block_seen(flags)
        elif kind == CONTINUATION:
            self._block += length
            self._continuations += 1
            if self._continuations > CONTINUATIONS_MAX:
                raise _flood(f"over {CONTINUATIONS_MAX} continuation frames")
            self._block_seen(flags)
        elif kind == RST_STREAM:
            self._resets += 1
            if self._resets > RESETS_FREE_MAX + self._served:
                raise _flood(f"{self._resets} resets, {self._served} requests served")
        elif kind == WINDOW_UPDATE:
            self._updates += 1
            if self._updates > WINDOW_UPDATES_FREE_MAX + (self._sent >> 10):
                raise _flood(f"{self._updates} window updates for {self._sent} bytes")
        elif kind != DATA or (not flags & _END_STREAM and not length) or (flags & _PADDED and length < _PADDING_MIN):
            self._control.take(1.0, now)
            if self._control.level(now) < 0:
                raise _flood(f"over {CONTROL_FRAMES_RATE_MAX} frames a second that carry nothing")
        elif not flags & _END_STREAM:
            self._data_seen(length)

    def _data_seen(self, length: int) -> None:
        self._data += 1
        self._carried += length
        allowed = DATA_FRAMES_FREE_MAX + self._carried // DATA_FRAME_OCTETS + self._served * DATA_FRAMES_EACH
        if self._data > allowed:
            raise _flood(f"{self._data} data frames for {self._carried} bytes")

    def _block_seen(self, flags: int) -> None:
        if self._block > BLOCK_BYTES_MAX:
            raise BadRequest(reasons.HTTP_HEAD_TOO_LARGE, f"a header block of over {BLOCK_BYTES_MAX} bytes", 431)
        self.partial = not flags & _END_HEADERS

    def served(self) -> None:
        """A request was answered."""
        self._served += 1

    def sent(self, octets: int) -> None:
        """So much of bodies went to the client."""
        self._sent += octets


_PADDING_MIN = 257
"""A padded DATA frame shorter than this may hold nothing but padding."""

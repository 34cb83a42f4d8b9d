"""One side of a connection as its pump sees it: the client's, or the upstream's.

What is read from it and not consumed (`inbox`), what waits to be written to it (`outbox`), and how it stands: full,
stalled, ended, and since when something is awaited. The pump decides what to do about it.
"""

from __future__ import annotations

from gateway.core.meters import Cell
from gateway.core.reasons import Reason
from gateway.edge.budget import Budget
from gateway.edge.buffers import Inbox, Outbox
from gateway.edge.streams import Stream

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024


class Side:
    """Times are monotonic; 0.0 stands for "not now"."""

    __slots__ = (
        "end", "frame_since", "full", "inbox", "outbox", "reading", "received", "stalled", "stream", "taking",
        "writing",
    )  # fmt: skip

    def __init__(self, budget: Budget, free: int, received: Cell, sent: Cell) -> None:
        self.stream: Stream | None = None
        self.inbox = Inbox(budget, free)
        self.outbox = Outbox(budget, sent)
        self.received = received
        self.reading = self.writing = False
        """What the stream was told to watch."""
        self.full = False
        """More waited for it than HIGH_WATER, and has not yet come down to LOW_WATER."""
        self.stalled = False
        """The session was shown as much as it wanted and took nothing: it is asked again after another call."""
        self.end: tuple[Reason, str] | None = None
        self.taking = 0.0
        """When it last took something of what waits for it."""
        self.frame_since = 0.0
        """When the first byte of an incomplete frame came."""

    def attach(self, stream: Stream) -> None:
        self.stream = self.outbox.stream = stream
        self.reading = self.writing = False

    def detach(self) -> Stream | None:
        """Forget the stream and all that was kept for it or from it."""
        stream, self.stream = self.stream, None
        self.outbox.stream = None
        self.outbox.clear()
        self.inbox.clear()
        self.frame_since = 0.0
        self.reading = self.writing = self.full = False
        return stream

    def measure(self) -> None:
        """See whether it is full."""
        pending = self.outbox.pending
        if pending > HIGH_WATER:
            self.full = True
        elif pending <= LOW_WATER:
            self.full = False

    def watch(self, reading: bool) -> bool:
        """Have the stream watch for this. True if it must be read without an event."""
        stream = self.stream
        if stream is None:
            return False
        if reading is not self.reading:
            self.reading = reading
            stream.watch_reading(reading)
        writing = self.outbox.pending > 0
        if writing is not self.writing:
            self.writing = writing
            stream.watch_writing(writing)
        return reading and stream.buffered()

    def quiet(self) -> bool:
        """Nothing of it is awaited that has a deadline."""
        return not (self.frame_since or self.outbox.pending or self.inbox.waiting_since)

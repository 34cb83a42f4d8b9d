"""One side of a connection as its pump sees it: the client's, or the upstream's.

What is read from it and not consumed (`inbox`), what waits to be written to it (`outbox`), and how it stands: full,
stalled, ended, and since when something is awaited. It reads, keeps and writes; the pump decides when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from gateway.core.meters import Cell
from gateway.core.reasons import Reason
from gateway.core.session import Part, Session, ShortWay
from gateway.edge import reasons
from gateway.edge.buffers import Inbox, Outbox
from gateway.edge.process import Process
from gateway.edge.streams import AT_ONCE_FROM, Stream, StreamBarren, StreamCut, StreamEnded, StreamLost

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024


class Side(ABC):
    """Times are monotonic; 0.0 stands for "not now". `ClientSide` and `UpstreamSide` say what differs."""

    __slots__ = (
        "_resets", "due", "end", "frame_since", "full", "gone", "inbox", "more", "outbox", "reading", "received",
        "session", "stalled", "stream", "taking", "waiting_since", "way", "writing",
    )  # fmt: skip

    def __init__(self, session: Session, process: Process, received: Cell, sent: Cell) -> None:
        self._resets = process.resets
        self.session = session
        self.way: ShortWay | None = None
        self.stream: Stream | None = None
        free = process.limits.buffered_bytes_free_per_connection
        self.inbox = Inbox(process.budget, process.spares, free)
        self.outbox = Outbox(process.budget, sent, lambda: session.principal)
        self.received = received
        self.reading = self.writing = False
        """What the stream was told to watch."""
        self.more = False
        """No event may announce what can be read: the last reading filled its room, or left something in the stream."""
        self.due = False
        """It will be read in the loop's next turn without an event."""
        self.full = False
        """More waited for it than HIGH_WATER, and has not yet come down to LOW_WATER."""
        self.stalled = False
        """The session was shown as much as it wanted and took nothing: it is asked again after another call."""
        self.end: tuple[Reason, str] | None = None
        self.gone = False
        """It ended in a way that nothing can be written to it any more."""
        self.taking = 0.0
        """When it last took something of what waits for it."""
        self.frame_since = 0.0
        """When the first byte of an incomplete frame came."""
        self.waiting_since = 0.0
        """Since when room is waited for that the session holds beyond what is kept here (edge.held)."""

    @abstractmethod
    def wanted(self) -> int:
        """Octets below which the session would consume nothing more."""

    @abstractmethod
    def show(self, data: memoryview) -> int:
        """Show the session octets of this side; how many it consumed."""

    @abstractmethod
    def note_end(self, end: StreamEnded | StreamLost) -> None:
        """Remember how the stream ended."""

    def attach(self, stream: Stream) -> None:
        self.stream = self.outbox.stream = stream
        stream.notice_resets(self._resets)
        self.reading, self.writing = stream.reading, False
        self.more = True

    def detach(self) -> Stream | None:
        """Forget the stream and all that was kept for it or from it."""
        stream, self.stream = self.stream, None
        self.outbox.stream = None
        self.outbox.clear()
        self.inbox.clear()
        self.frame_since = 0.0
        self.reading = self.writing = self.more = self.full = self.gone = False
        return stream

    # ---- what comes from it -----------------------------------------------------------------------------------

    def read(self, scratch: memoryview, most: int) -> tuple[int, memoryview]:
        """Read once, into the inbox's own room or else the scratch memory, `most` octets at most.

        Gives how many came, and all that is unconsumed with them; none came if there are none now, or at the `end`.
        """
        inbox = self.inbox
        kept = inbox.filled
        own = inbox.room() if kept else None
        if own is not None and len(own):
            room = own[:most]
        else:
            own = None
            if kept:
                scratch[:kept] = inbox.bytes()
            room = scratch[kept : kept + most]
        stream = self.stream
        assert stream is not None
        try:
            octets = stream.read_into(room)
        except (StreamEnded, StreamLost) as end:
            self.note_end(end)
            octets = 0
        self.more = octets > 0 and (octets == len(room) or stream.buffered())
        self.received.value += octets
        if own is not None:
            inbox.filled += octets
            return octets, inbox.bytes()
        return octets, scratch[: kept + octets]

    def has_room(self) -> bool:
        """Whether more is to be read: nothing is kept, or the frame is incomplete and has its reservation."""
        inbox = self.inbox
        return not inbox.filled or (not inbox.waiting_since and inbox.filled < self.wanted())

    def took_all(self) -> None:
        """Everything that was shown is consumed."""
        self.inbox.clear()
        self.frame_since = 0.0

    def keep(self, rest: memoryview, now: float, fresh: bool, wake: Callable[[], None]) -> None:
        """Hold what was not consumed; `fresh`: it begins a frame that was not there before.

        `wake` is called when a reservation has come that is not there yet.
        """
        inbox = self.inbox
        wanted = self.wanted()
        inbox.keep(rest, wanted, self.session.principal, wake)
        inbox.waiting_since = now if inbox.waiting else 0.0
        if inbox.filled >= wanted:
            self.frame_since = 0.0
        elif fresh or not self.frame_since:
            self.frame_since = now

    def grow(self, now: float) -> None:
        """If the reservation that was waited for has come: make the room, and let the frame's time begin anew."""
        inbox = self.inbox
        if inbox.waiting_since and not inbox.waiting:
            inbox.waiting_since = 0.0
            inbox.grow(self.wanted())
            self.frame_since = now

    # ---- what goes to it --------------------------------------------------------------------------------------

    def send(self, parts: Sequence[Part], source: Inbox | None, now: float) -> None:
        """Write what the session decided, as far as it is taken; when it is gone nothing is."""
        if self.gone:
            return
        outbox = self.outbox
        if not outbox.pending:
            self.taking = now
        try:
            outbox.send(parts, source)
        except StreamLost as lost:
            self.note_end(lost)
        if outbox.pending > HIGH_WATER:
            self.full = True

    def flush(self) -> bool:
        """Write on. True if something was taken."""
        before = self.outbox.pending
        try:
            self.outbox.flush()
        except StreamLost as lost:
            self.note_end(lost)
            return False
        if self.outbox.pending <= LOW_WATER:
            self.full = False
        return self.outbox.pending < before

    # ---- how it stands ----------------------------------------------------------------------------------------

    def watch(self, reading: bool) -> bool:
        """Have the stream watch for this. True if it must be read without an event."""
        stream = self.stream
        if stream is None:
            return False
        if reading is not self.reading:
            self.reading = reading
            stream.watch_reading(reading)
        stream.expect(self.missing())
        writing = self.outbox.pending > 0
        if writing is not self.writing:
            self.writing = writing
            stream.watch_writing(writing)
        return reading and self.more

    def follows(self) -> None:
        """What was due is done now."""
        self.due = self.more = False

    def calm(self) -> bool:
        """Nothing of what came from it is kept."""
        return not (self.inbox.filled or self.stalled)

    @abstractmethod
    def left(self) -> int:
        """Octets that are sure to come, and go on at once (core.session.ShortWay)."""

    def missing(self) -> int:
        """Octets that the session waits for beside those that are kept, or that will go on as they come."""
        filled = self.inbox.filled
        return max(self.wanted() - filled, 0) if filled else self.left()

    def gathering(self) -> int:
        """Up to how many octets the incomplete frame that is kept only has to be read on, if it has room; else 0. Of a
        large one that is not its whole: its stream is told when little is missing (`watch`)."""
        inbox = self.inbox
        wanted = self.wanted()
        if not self.reading or self.stalled or inbox.waiting_since or not 0 < inbox.filled < wanted:
            return 0
        if not inbox.has_room(wanted):
            return 0
        return wanted if self.missing() < AT_ONCE_FROM else wanted - AT_ONCE_FROM + 1

    def look_for_more(self) -> None:
        """The pump did not read it last: what the stream holds inside is announced by no event."""
        self.more = self.stream is not None and self.stream.buffered()

    def quiet(self) -> bool:
        """Nothing of it is awaited that has a deadline."""
        return not (self.frame_since or self.outbox.pending or self.inbox.waiting_since or self.waiting_since)


class ClientSide(Side):
    """Requests come from here."""

    __slots__ = ()

    def wanted(self) -> int:
        return self.session.client_wanted

    def show(self, data: memoryview) -> int:
        return self.session.receive(data)

    def left(self) -> int:
        return self.way.sent_left if self.way is not None else 0

    def note_end(self, end: StreamEnded | StreamLost) -> None:
        reason = reasons.CLIENT_LOST
        if isinstance(end, StreamEnded | StreamCut):
            reason = reasons.CLIENT_DISCONNECTED
        elif isinstance(end, StreamBarren):
            reason = reasons.NO_CONTENT
        self.end = (reason, str(end))
        self.gone = not isinstance(end, StreamEnded)  # after a cut OpenSSL writes no more


class UpstreamSide(Side):
    """Answers come from here. It has a stream once there is something to send and it was dialled."""

    __slots__ = ()

    def wanted(self) -> int:
        return self.session.upstream_wanted

    def show(self, data: memoryview) -> int:
        return self.session.answer(data)

    def left(self) -> int:
        return self.way.told_left if self.way is not None else 0

    def note_end(self, end: StreamEnded | StreamLost) -> None:
        orderly = isinstance(end, StreamEnded)
        self.end = (reasons.UPSTREAM_CLOSED if orderly else reasons.UPSTREAM_RESET, str(end))
        self.gone = True

    def answers_wait(self) -> bool:
        """Enough is kept for the session to take some of it."""
        filled = self.inbox.filled
        return filled > 0 and filled >= self.session.upstream_wanted and not self.stalled

"""What one connection holds in memory: an Inbox of unconsumed bytes and an Outbox of unsent ones, per side.

Reading goes into the process's scratch memory; only an unconsumed rest is kept per connection, in a buffer of exactly
the bytes that its frame will have, for which a reservation is held. Beyond `MAPPED_FROM` a buffer is anonymous mapped
memory, which costs nothing until it is filled; a few such buffers are used again (edge.spares), the rest goes back to
the system at once.

A frame that is passed on and not taken at once is not copied: its buffer, with its reservation, is lent to the outbox.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from gateway.core.meters import Cell
from gateway.core.session import Part
from gateway.edge.budget import Budget, Owner, Reservation
from gateway.edge.spares import Mapped, Spares
from gateway.edge.streams import Stream

SCRATCH = 256 * 1024
"""Octets of the process's scratch memory: the most that one turn reads of one connection."""
MAPPED_FROM = 128 * 1024
SMALL_REST = 4096
"""A rest up to this, of a frame within the free allowance, gets no room of its own: it goes in front in the scratch
memory at the next turn, so that the frames behind it are read in the same call."""
LEND_FROM = 32 * 1024
"""A rest below this is copied rather than keeping its whole buffer alive."""
JOIN_MAX = 64 * 1024
"""Small parts up to this together are joined into one write."""

Buffer = bytearray | Mapped


class Loan:
    """A reservation, and perhaps a buffer, that several unsent parts share; the last one done gives it back."""

    __slots__ = ("_give_back", "_parts", "_reservation")

    def __init__(self, reservation: Reservation, give_back: Callable[[], None] | None = None) -> None:
        self._reservation = reservation
        self._give_back = give_back
        self._parts = 0

    def begin(self) -> None:
        self._parts += 1

    def end(self) -> None:
        self._parts -= 1
        if self._parts <= 0:
            self._reservation.release()
            if self._give_back is not None:
                self._give_back()


class Inbox:
    """Bytes of one direction that were not consumed: `filled` octets, and room for the rest of their frame."""

    __slots__ = ("_budget", "_free", "_loan", "_reservation", "_spares", "_view", "buffer", "filled", "waiting_since")

    def __init__(self, budget: Budget, spares: Spares, free: int) -> None:
        self._budget = budget
        self._spares = spares
        self._free = free
        """The free allowance: octets that need no reservation."""
        self._view: memoryview | None = None
        self._reservation: Reservation | None = None
        self._loan: Loan | None = None
        self.buffer: Buffer | None = None
        self.filled = 0
        self.waiting_since = 0.0
        """Monotonic time since when a reservation is waited for; 0.0 if none is."""

    @property
    def waiting(self) -> bool:
        return self._reservation is not None and not self._reservation.granted

    def bytes(self) -> memoryview:
        assert self._view is not None
        return self._view[: self.filled]

    def room(self) -> memoryview:
        assert self._view is not None
        return self._view[self.filled :]

    def has_room(self, wanted: int) -> bool:
        """Whether its own memory has room for so many octets in all, and nobody else looks at it."""
        return self._view is not None and self._loan is None and wanted <= len(self._view)

    def keep(self, rest: memoryview, wanted: int, owner: Owner, wake: Callable[[], None]) -> None:
        """Hold `rest` (which may lie in this inbox's own buffer) with room for `wanted` octets in all.

        If that needs a reservation which is not granted now, the inbox is `waiting` and has no more room than `rest`
        takes; after `wake`, `grow` makes it.
        """
        length = len(rest)
        if (
            self._view is not None
            and self._loan is None
            and wanted <= len(self._view) <= max(self._free, 4 * wanted)
            and length > SMALL_REST
        ):
            if length != self.filled or rest.obj is not self.buffer:
                self._view[:length] = rest
                self.filled = length
            return
        reservation = None
        room = length if length <= SMALL_REST and wanted <= self._free else max(wanted, length)
        if room > self._free:
            reservation = self._budget.reserve(owner, room - self._free, wake)
            if not reservation.granted:
                room = length
        buffer = self._copy(rest, room)
        self.clear()
        self._reservation = reservation
        self._take(buffer, room, length)

    def grow(self, wanted: int) -> None:
        """The reservation has been granted: make the room that was waited for."""
        if self._view is not None and wanted > len(self._view):
            small = self.buffer
            self._take(self._copy(self._view[: self.filled], wanted), wanted, self.filled)
            self._give_back(small)

    def _copy(self, rest: memoryview, room: int) -> Buffer:
        """`rest` in a buffer with room for more; a used one is longer, and its octets behind `rest` are anything."""
        buffer = self._spares.take(room) if room >= MAPPED_FROM else bytearray(room)
        memoryview(buffer)[: len(rest)] = rest
        return buffer

    def _take(self, buffer: Buffer, room: int, filled: int) -> None:
        self.buffer = buffer
        self._view = memoryview(buffer)[:room]
        self.filled = filled

    def _give_back(self, buffer: Buffer | None) -> None:
        if isinstance(buffer, Mapped):
            self._spares.give(buffer)

    def lend(self) -> Loan:
        """Hand the buffer's reservation over to parts of it that could not be sent yet."""
        if self._loan is None:
            buffer = self.buffer
            self._loan = Loan(self._reservation or self._budget.charge(None, 0), lambda: self._give_back(buffer))
            self._reservation = None
        return self._loan

    def clear(self) -> None:
        """Nothing is kept any more."""
        buffer, lent = self.buffer, self._loan is not None
        if buffer is None:
            return
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None
        self._view = self.buffer = self._loan = None
        self.filled = 0
        if not lent:
            self._give_back(buffer)


class Outbox:
    """Bytes for one stream that it did not take yet."""

    __slots__ = ("_budget", "_owner", "_parts", "_sealed", "_waiting", "sent", "stream")

    def __init__(self, budget: Budget, sent: Cell, owner: Callable[[], Owner]) -> None:
        self._budget = budget
        self.sent = sent
        """Sums what was taken."""
        self._owner = owner
        self._parts: deque[tuple[memoryview, Loan]] | None = None
        """None while there are none: an empty deque takes 0.6 KiB."""
        self.stream: Stream | None = None
        """None while it is being dialled."""
        self._waiting = 0
        self._sealed: Reservation | None = None
        """For what the stream has taken and not sent, if there is any."""

    @property
    def pending(self) -> int:
        """Octets that wait, together with those that the stream has taken and not sent."""
        return self._waiting if self.stream is None else self._waiting + self.stream.unsent

    def send(self, parts: Sequence[Part], source: Inbox | None) -> None:
        """Write parts now as far as they are taken, keep the rest. Views in `parts` are not used after the return,
        but for views of `source`'s buffer, which is then lent. Raises StreamLost."""
        for data in parts if len(parts) == 1 else _joined(parts):
            taken = 0
            if self.stream is not None and not self.pending:
                taken = self._write(data)
            if taken < len(data):
                self._keep(data, taken, source)
        self._charge_sealed()

    def _charge_sealed(self) -> None:
        """What is inside the stream counts as well."""
        unsent = 0 if self.stream is None else self.stream.unsent
        if self._sealed is not None:
            if self._sealed.octets == unsent:
                return
            self._sealed.release()
            self._sealed = None
        if unsent:
            self._sealed = self._budget.charge(self._owner(), unsent)

    def _write(self, data: Part) -> int:
        stream = cast(Stream, self.stream)
        taken = stream.write(data)
        if 0 < taken < len(data):
            view = memoryview(data)
            while taken < len(data):
                more = stream.write(view[taken:])
                if not more:
                    break
                taken += more
        self.sent.value += taken
        return taken

    def _keep(self, data: Part, taken: int, source: Inbox | None) -> None:
        rest = memoryview(data)[taken:]
        length = len(rest)
        if source is not None and length >= LEND_FROM and rest.obj is source.buffer:
            loan = source.lend()
        else:
            if not isinstance(data, bytes):
                rest = memoryview(bytes(rest))
            loan = Loan(self._budget.charge(self._owner(), length))
        loan.begin()
        if self._parts is None:
            self._parts = deque()
        self._parts.append((rest, loan))
        self._waiting += length

    def flush(self) -> None:
        """Write on, until nothing is pending or nothing more is taken. Raises StreamLost."""
        if self.stream is not None and self.stream.unsent:
            self._write(b"")
        parts = self._parts
        while parts:
            rest, loan = parts[0]
            taken = self._write(rest)
            self._waiting -= taken
            if taken < len(rest):
                parts[0] = (rest[taken:], loan)
                break
            parts.popleft()
            loan.end()
        if not parts:
            self._parts = None
        self._charge_sealed()

    def clear(self) -> None:
        """Drop what is pending."""
        parts, self._parts = self._parts, None
        for _, loan in parts or ():
            loan.end()
        self._waiting = 0
        if self._sealed is not None:
            self._sealed.release()
            self._sealed = None


def _joined(parts: Sequence[Part]) -> list[Part]:
    """The same bytes in fewer parts: runs of small ones joined, large ones as they are."""
    joined: list[Part] = []
    run: list[Part] = []
    octets = 0
    for part in parts:
        if octets + len(part) > JOIN_MAX and run:
            joined.append(run[0] if len(run) == 1 else b"".join(run))
            run, octets = [], 0
        if len(part) > JOIN_MAX:
            joined.append(part)
        elif len(part):
            run.append(part)
            octets += len(part)
    if run:
        joined.append(run[0] if len(run) == 1 else b"".join(run))
    return joined

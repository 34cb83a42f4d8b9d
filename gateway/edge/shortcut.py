"""The pump's short step: one direction of a calm connection, from one socket to the other in a few calls.

Calm is what `Pump._settle` found it to be after its last look: nothing is kept or unsent in this direction, nobody is
muted, parked, draining or at an end. Then what can be read goes to the session's short way (`core.session.ShortWay`),
and what that lets through goes to the other side at once; times and sums are noted. If anything else is to be done, or
anything has changed that the pump watches, the pump is told what went and does the rest in its own step, which says
what is right: this one only leaves out what would find nothing to do.

While the rest of a long message is on its way, of which the front went on, its stream is told how much is to come, so
that it calls when much of that is there (`Stream.expect`).

What the stream still holds inside when a step is over, no event announces: the next step is asked for then.

While a frame is `gathering`, of which a part is kept and room is there for the rest, what comes is read into that room,
and nothing else is done until as many octets are there as the pump said.

`shortcut_compiled.pyx` is the same in C, and calls the channels without Python in between. `edge.compiled` chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.core.clock import Clock
from gateway.core.meters import Cell
from gateway.core.session import Effects, Part, Session, ShortWay
from gateway.edge.budget import Budget
from gateway.edge.buffers import Inbox
from gateway.edge.streams import AT_ONCE_FROM, Stream, StreamEnded, StreamLost

LARGE = 4096
"""From so many octets on a reading may be the front of a long message: then it is asked how much of it is to come."""


class Times(Protocol):
    """What it looks at and notes of edge.deadlines."""

    active: float
    armed_for: float
    """When the timer comes."""


class Shortcut:
    """One direction. Called when its stream can be read."""

    __slots__ = (
        "_again", "_budget", "_clock", "_effects", "_ended", "_failed", "_gathered", "_general", "_inbox",
        "_instead", "_left", "_reader", "_received", "_scratch", "_sent", "_session", "_show", "_times", "_way",
        "_went", "_writer", "calm", "expecting", "gathering", "parked", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        session: Session,
        way: ShortWay,
        upwards: bool,
        instead: list[Part],
        inbox: Inbox,
        clock: Clock,
        times: Times,
        budget: Budget,
        scratch: memoryview,
        received: Cell,
        sent: Cell,
        general: Callable[[], None],
        went: Callable[[memoryview, int, int], None],
        gathered: Callable[[], None],
        ended: Callable[[StreamEnded | StreamLost], None],
        failed: Callable[[Exception], None],
        again: Callable[[], None],
    ) -> None:
        """`way`: the session's; `upwards`: from the client. `instead`: where it leaves what is written in place of
        what it took; a list that stays empty where it never does. `inbox`: what is kept of this direction. `general`:
        the pump's own step. `went`: told what was read, how much of it the short way let through, and how much of that
        the other side took. `gathered`: so many are there, or more may be. `ended`: how reading ended. `failed`: an
        error of ours. `again`: the stream holds more inside; all else is as it was before the step."""
        self._session = session
        self._effects: Effects = session.effects
        self._way = way
        self._show = way.requests if upwards else way.answers
        self._left = "sent_left" if upwards else "told_left"
        self._instead = instead
        self._inbox = inbox
        self._clock = clock
        self._times = times
        self._budget = budget
        self._scratch = scratch
        self._received = received
        self._sent = sent
        self._general = general
        self._went = went
        self._gathered = gathered
        self._ended = ended
        self._failed = failed
        self._again = again
        self._reader: Stream | None = None
        self._writer: Stream | None = None
        self.calm = False
        """Set by the pump after each of its steps."""
        self.gathering = 0
        """Octets up to which the frame is read of which the inbox holds a part, and has room for; 0: read as ever.
        Likewise."""
        self.expecting = False
        """Whether the reader was told that much is to come. Likewise, and by each step here."""
        self.parked = False
        """What the session said at that time."""
        self.waiting = False
        """The other direction holds something that a change here may set free: the pump looks after each step."""

    def join(self, reader: Stream, writer: Stream) -> None:
        """Both streams are there."""
        self._reader, self._writer = reader, writer

    def part(self) -> None:
        """One of them is gone."""
        self._reader = self._writer = None
        self.calm = False
        self.gathering = 0

    def __call__(self) -> None:
        reader, writer = self._reader, self._writer
        if self.gathering and reader is not None and self._budget.at_ease:
            self._gather(reader)
            return
        if not self.calm or reader is None or writer is None or not self._budget.at_ease:
            self._general()
            return
        try:
            octets = reader.read_into(self._scratch)
        except (StreamEnded, StreamLost) as end:
            self._ended(end)
            return
        except Exception as error:
            self._failed(error)
            return
        if not octets:
            return
        self._times.active = self._clock.monotonic()
        self._received.value += octets
        data = self._scratch[:octets]
        taken = sent = 0
        try:
            taken = self._show(data)
            if not 0 <= taken <= octets:
                raise RuntimeError("a session let more through than it was shown")
            if taken and self._instead:
                sent = taken
                self._sent.value += self._write_instead(writer)
            elif taken:
                sent = writer.write(data[:taken])
                self._sent.value += sent
        except StreamLost:
            pass  # the pump writes the rest, and meets it again
        except Exception as error:
            self._failed(error)
            return
        if octets >= LARGE or self.expecting:
            left: int = getattr(self._way, self._left)
            if left >= AT_ONCE_FROM or self.expecting:
                self.expecting = left >= AT_ONCE_FROM
                reader.expect(left)
        session = self._session
        if (
            sent != octets
            or self.waiting
            or self._instead
            or session.parked is not self.parked
            or self._effects.mute_until
            or session.deadline < self._times.armed_for
            or writer.unsent
        ):
            self._went(data, taken, sent)
        elif reader.buffered():
            self._again()

    def _gather(self, reader: Stream) -> None:
        """Read on into the room of a frame that is not whole."""
        inbox = self._inbox
        room = inbox.room()[: len(self._scratch)]
        try:
            octets = reader.read_into(room)
        except (StreamEnded, StreamLost) as end:
            self._ended(end)
            return
        except Exception as error:
            self._failed(error)
            return
        if octets:
            self._times.active = self._clock.monotonic()
            self._received.value += octets
            inbox.filled += octets
        if inbox.filled >= self.gathering or octets == len(room) or reader.buffered():
            self.gathering = 0
            self._gathered()

    def _write_instead(self, writer: Stream) -> int:
        """Write what the session has made. What is not taken is left to the pump, which performs it as an effect."""
        part = self._instead[0]
        written = writer.write(part)
        if written == len(part):
            del self._instead[0]
        else:
            self._instead[0] = memoryview(part)[written:]
        return written

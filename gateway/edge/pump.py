"""The pump: performs what one session decides, between one client's stream and one broker's.

It keeps the obligations that `core.session` lists. Each event (something to read, room to write, a fact, a timer) is
one step: bytes are read into the process's scratch memory, shown to the session, the effects performed at once, and
only what was not consumed or not taken is kept, under the process's budget. After every step `_settle` looks at
everything that a session's call may have changed, and says what is watched from then on.

Backpressure goes both ways: with more than `side.HIGH_WATER` waiting for one side nothing more is read that could add
to it, until it is down to `side.LOW_WATER`.

A client that ends its sending side ends the connection as it would at a broker (which reads nothing before it has
answered, and so sees the end late): every whole request still goes on and is answered, for some time at least
(`deadlines.LAST_ANSWERS_SECONDS`), and what waits for the client is written. This needs TLS's close_notify: one that
ends TCP without is not answered any more, which a broker would still try; its requests go on all the same.

An exception in a session ends its connection alone, with a traceback in the log that holds neither values nor payload.
Made by edge.reception, one per connection. Its parts: the two sides (edge.side), their times (edge.deadlines), what is
awaited elsewhere (edge.errands), and what comes after the session's end (edge.ending).
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

from gateway.core.reasons import Reason
from gateway.core.session import (
    Drainable,
    Fact,
    Holding,
    Proving,
    Session,
    Shortened,
    Sliced,
    Stranger,
    TalksItself,
    offered,
)
from gateway.edge import reasons
from gateway.edge.buffers import SCRATCH, Inbox
from gateway.edge.compiled import shortcut
from gateway.edge.deadlines import Deadlines
from gateway.edge.ending import Ending
from gateway.edge.errands import Errands
from gateway.edge.held import Held
from gateway.edge.process import Port, Process
from gateway.edge.shortcut import Shortcut
from gateway.edge.side import ClientSide, Side, UpstreamSide
from gateway.edge.streams import AT_ONCE_FROM, Stream, StreamEnded, StreamLost

log = logging.getLogger(__name__)
_NOTHING = memoryview(b"")


class Pump:
    """One open client connection. `authenticated` is called once there is a principal, `refused` if there will be none
    and only the answer is still due, `ended` when the session has been told its end; the sockets may live on in an
    Ending for a moment."""

    def __init__(
        self,
        process: Process,
        port: Port,
        stream: Stream,
        session: Session,
        authenticated: Callable[[], None],
        refused: Callable[[], None],
        ended: Callable[[Reason, str, Ending], None],
    ) -> None:
        self._process = process
        self._loop = process.loop
        self._clock = process.clock
        self._session = session
        self._client = ClientSide(session, process, port.from_clients, port.to_clients)
        self._upstream = UpstreamSide(session, process, port.from_upstream, port.to_upstream)
        self._times = Deadlines(process, session, self._client, self._upstream, self._time_came)
        self._errands = Errands(process, port.dial, self._dialled, self._not_dialled, self._fact_came, self._failed)
        self._authenticated: Callable[[], None] | None = authenticated
        self._refused: Callable[[], None] | None = refused
        self._stranger = offered(session, Stranger)
        self._ended = ended
        self._ending: Ending | None = None
        self._drainable = offered(session, Drainable)
        self._talks = offered(session, TalksItself)
        self._to_client = False
        """Something went to the client since this was last looked at."""
        self._sliced = offered(session, Sliced)
        self._awaits_turn = False
        holding = offered(session, Holding)
        self._held = Held(holding, process.budget, self._budget_granted) if holding is not None else None
        self._up: Shortcut | None = None
        self._down: Shortcut | None = None
        shortened = offered(session, Shortened)
        if shortened is not None:
            self._up, self._down = self._shortcuts(shortened)
        self._open = True
        self._draining: Reason | None = None
        self._client.attach(stream)
        stream.start(self._up or self._client_readable, self._client_writable)

    def _shortcuts(self, session: Shortened) -> tuple[Shortcut, Shortcut]:
        """The short steps from the client and from the upstream."""
        process, client, upstream = self._process, self._client, self._upstream
        way = client.way = upstream.way = session.short_way
        shared = (self._clock, self._times, process.budget, process.scratch)
        up = shortcut(
            self._session, way, True, [], client.inbox, *shared, client.received, upstream.outbox.sent,
            self._client_readable, self._went_up, self._client_gathered, self._client_ended, self._failed,
            self._client_again,
        )  # fmt: skip
        down = shortcut(
            self._session, way, False, self._session.effects.to_client, upstream.inbox, *shared,
            upstream.received, client.outbox.sent,
            self._upstream_readable, self._went_down, self._upstream_gathered, self._upstream_ended, self._failed,
            self._upstream_again,
        )  # fmt: skip
        return up, down

    # ---- events -----------------------------------------------------------------------------------------------

    def start(self, octets: int = 0) -> None:
        """The session exists. So many octets of the client's lie in the scratch memory already; read on."""
        self._step(lambda: self._begin(octets))

    def _begin(self, octets: int) -> None:
        client = self._client
        if octets:
            now = self._times.active = self._clock.monotonic()
            client.received.value += octets
            data = self._process.scratch[:octets]
            if octets >= client.wanted():
                self._show(client, data, now)
            else:
                client.keep(data, now, True, self._budget_granted)
        self._read_client()

    def drain(self, reason: Reason = reasons.SHUTTING_DOWN) -> None:
        """Read no more from the client, and close as soon as nothing is owed to it, for this reason."""
        self._draining = reason
        self._step(_nothing)

    def abort(self, reason: Reason, detail: str = "") -> None:
        """Close now."""
        self._close(reason, detail)

    def _client_readable(self) -> None:
        self._step(self._read_client)

    def _client_again(self) -> None:
        """There is more that no event announces: have it read as if one had, once, behind what else is due."""
        if not self._client.due:
            self._client.due = True
            self._loop.call_soon(self._client_follows)

    def _client_follows(self) -> None:
        self._client.follows()
        (self._up or self._client_readable)()

    def _upstream_again(self) -> None:
        if not self._upstream.due:
            self._upstream.due = True
            self._loop.call_soon(self._upstream_follows)

    def _upstream_follows(self) -> None:
        self._upstream.follows()
        (self._down or self._upstream_readable)()

    def _client_writable(self) -> None:
        self._step(lambda: self._flush(self._client))

    def _upstream_readable(self) -> None:
        self._step(self._read_upstream)

    def _upstream_writable(self) -> None:
        self._step(lambda: self._flush(self._upstream))

    def _budget_granted(self) -> None:
        self._step(self._grow)

    def _time_came(self) -> None:
        self._step(self._look_at_clock)

    def _turn_came(self) -> None:
        self._awaits_turn = False
        self._step(self._go_on)

    def _fact_came(self, fact: Fact) -> None:
        self._step(lambda: self._told(fact))

    def _dialled(self, stream: Stream) -> None:
        if self._ending is not None:
            self._ending.dialled(stream)
            return
        self._upstream.attach(stream)
        proving = offered(self._session, Proving)
        if proving is not None:
            proving.upstream_proven(stream.proven_until)
        self._upstream.taking = self._clock.monotonic()
        stream.start(self._down or self._upstream_readable, self._upstream_writable)
        if self._up is not None and self._down is not None:
            assert self._client.stream is not None
            self._up.join(self._client.stream, stream)
            self._down.join(stream, self._client.stream)
        self._upstream_writable()

    def _not_dialled(self, reason: Reason, detail: str) -> None:
        if self._ending is not None:
            self._ending.not_dialled()
            return
        self._upstream.end = (reason, detail)
        self._step(_nothing)

    def _step(self, step: Callable[[], None]) -> None:
        """One event: do it, then settle what it changed."""
        if not self._open:
            return
        try:
            step()
            self._settle()
        except Exception as error:  # an error of ours ends this connection and no other
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._process.exceptions.value += 1
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename.rpartition('/gateway/')[2]}:{frames[-1].lineno}" if frames else "?"
        log.error(
            "a session failed and its connection is closed: %s\n%s",
            type(error).__name__,
            "".join(traceback.format_list(frames)),
        )
        self._close(reasons.SESSION_FAILED, f"{type(error).__name__} at {where}")

    # ---- from a stream to the session -------------------------------------------------------------------------

    def _turn(self) -> int:
        """How much one turn may read: less when memory is scarce, so that an unconsumed rest stays small."""
        process = self._process
        return SCRATCH if process.budget.at_ease else min(SCRATCH, process.limits.buffered_bytes_free_per_connection)

    def _read_client(self) -> None:
        left = self._turn()
        if not self._client_is_read():
            self._client.look_for_more()
        while left > 0 and self._open and self._client_is_read():
            left = self._read_some(self._client, left)

    def _read_upstream(self) -> None:
        left = self._turn()
        if not self._upstream_is_read():
            self._upstream.look_for_more()
        while left > 0 and self._open and self._upstream_is_read():
            left = self._read_some(self._upstream, left)

    def _read_some(self, side: Side, left: int) -> int:
        """Read once, and show it if it is enough. Returns what the turn may still read; 0 if nothing is there."""
        kept = side.inbox.filled
        octets, data = side.read(self._process.scratch, left)
        if not octets:
            return 0
        before = self._times.active
        now = self._times.active = self._clock.monotonic()
        talking = side is self._upstream and self._talks is not None and self._talks.talking
        self._to_client = False
        if len(data) >= side.wanted():
            self._show(side, data, now)
        elif side.inbox.filled != len(data):
            side.keep(data, now, not kept, self._budget_granted)
        if talking and not self._to_client:
            self._times.active = before
        return left - octets if side.more else 0

    def _show(self, side: Side, data: memoryview, now: float) -> None:
        consumed = side.show(data)
        if not 0 <= consumed <= len(data):
            raise RuntimeError("a session consumed more than it was shown")
        self._perform(side.inbox)
        if consumed:
            other = self._upstream if side is self._client else self._client
            other.stalled = False
        if not self._open:
            return
        if consumed == len(data):
            side.took_all()
            return
        side.keep(data[consumed:], now, consumed > 0, self._budget_granted)
        side.stalled = consumed == 0 and side.inbox.filled >= side.wanted()

    def _go_on(self) -> None:
        """Show the message that is being decided in slices again."""
        busy = self._sliced.busy if self._sliced is not None else ""
        if busy:
            side = self._client if busy == "client" else self._upstream
            self._show(side, side.inbox.bytes() if side.inbox.filled else _NOTHING, self._clock.monotonic())

    # ---- what a short step leaves (edge.shortcut) -------------------------------------------------------------

    def _went_up(self, data: memoryview, taken: int, sent: int) -> None:
        self._step(lambda: self._went(self._client, self._upstream, data, taken, sent))

    def _went_down(self, data: memoryview, taken: int, sent: int) -> None:
        self._step(lambda: self._went(self._upstream, self._client, data, taken, sent))

    def _went(self, side: Side, other: Side, data: memoryview, taken: int, sent: int) -> None:
        """Of what a side has sent, so much went the short way, and so much of that is written."""
        now = self._times.active
        assert side.stream is not None
        side.more = len(data) == len(self._process.scratch) or side.stream.buffered()
        if sent < taken:
            other.send((data[sent:taken],), None, now)
        if taken:
            other.stalled = False
        self._perform(None)
        rest = data[taken:]
        if not rest or not self._open:
            return
        if len(rest) >= side.wanted() and (self._client_is_shown() if side is self._client else not self._client.full):
            self._show(side, rest, now)
        else:
            side.keep(rest, now, True, self._budget_granted)

    def _client_gathered(self) -> None:
        """More of an incomplete frame was read: enough to look at it, or there is more to read."""
        self._client.look_for_more()
        self._step(_nothing)

    def _upstream_gathered(self) -> None:
        self._upstream.look_for_more()
        self._step(_nothing)

    def _client_ended(self, end: StreamEnded | StreamLost) -> None:
        self._client.note_end(end)
        self._step(_nothing)

    def _upstream_ended(self, end: StreamEnded | StreamLost) -> None:
        self._upstream.note_end(end)
        self._step(_nothing)

    def _grow(self) -> None:
        now = self._clock.monotonic()
        self._client.grow(now)
        self._upstream.grow(now)

    # ---- from the session to a stream, and elsewhere ----------------------------------------------------------

    def _perform(self, source: Inbox | None) -> None:
        """Take the effects, in the contract's order. After a Close the connection is no longer open."""
        effects = self._session.effects
        if effects.part_upstream:
            self._part_upstream()
            source = None
        if effects.to_upstream:
            if self._upstream.stream is None and not self._errands.dialling:
                self._begin_dial()
            self._upstream.send(effects.to_upstream, source, self._times.active)
        if effects.to_client:
            self._to_client = True
            self._client.send(effects.to_client, source, self._times.active)
        asks = effects.asks[:] if effects.asks else ()
        close = effects.close
        self._times.mute_until = max(self._times.mute_until, effects.mute_until)
        effects.clear()
        if close is not None:
            self._close(close.reason, close.detail)
        elif asks:
            self._errands.ask(asks)

    def _part_upstream(self) -> None:
        """Let the upstream go, and all that was kept for it or of it."""
        upstream = self._upstream
        upstream.end = None
        upstream.stalled = False
        stream = upstream.detach()
        if self._up is not None and self._down is not None:
            self._up.part()
            self._down.part()
        if stream is not None:
            stream.close()

    def _begin_dial(self) -> None:
        endpoint = self._session.upstream_endpoint()
        if endpoint is None:
            self._upstream.end = (reasons.UPSTREAM_UNKNOWN_ENDPOINT, "")
        else:
            self._errands.dial(endpoint)

    def _flush(self, side: Side) -> None:
        if side.flush():
            self._times.active = side.taking = self._clock.monotonic()

    def _told(self, fact: Fact) -> None:
        self._session.told(fact)
        self._called()

    def _look_at_clock(self) -> None:
        now = self._clock.monotonic()
        late = self._times.late(now, self._client_is_read(), self._upstream_is_read())
        if late is not None:
            self._close(late, "")
        elif now >= self._session.deadline:
            self._session.tick()
            self._called()

    def _called(self) -> None:
        """After a call that showed no bytes."""
        self._client.stalled = self._upstream.stalled = False
        self._perform(None)

    # ---- after every step -------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        """A message is being decided in slices: its turn comes."""
        return self._sliced is not None and self._sliced.busy != ""

    def _client_is_shown(self) -> bool:
        """Whether the session takes client bytes now. Parked, muted, or with too much waiting it does not."""
        client = self._client
        return not (
            self._session.parked
            or client.full
            or self._upstream.full
            or self._times.mute_until
            or self._draining is not None
            or client.stalled
            or client.waiting_since
            or self._is_busy()
        )

    def _client_is_read(self) -> bool:
        client = self._client
        return client.end is None and self._client_is_shown() and client.has_room()

    def _upstream_is_read(self) -> bool:
        upstream = self._upstream
        if upstream.stream is None or upstream.end is not None or self._client.full or upstream.stalled:
            return False
        if self._is_busy() or self._client.waiting_since:
            return False
        return upstream.has_room()

    def _settle(self) -> None:
        """Show again what can be shown, handle ends, and watch what matters now."""
        again = True
        while again and self._open:
            if self._times.mute_until and self._clock.monotonic() >= self._times.mute_until:
                self._times.mute_until = 0.0
                self._client.stalled = False
            if self._held is not None:
                self._see_held(self._held)
            again = self._show_again() or self._see_ends()
        if not self._open:
            return
        if self._authenticated is not None:
            self._see_who(self._authenticated)
        if self._draining is not None and self._owes_nothing():
            self._close(self._draining, "")
            return
        if self._is_busy() and not self._awaits_turn:
            self._awaits_turn = True
            self._process.turns.ask(self._turn_came)
        if self._client.watch(self._client_is_read()):
            self._client_again()
        if self._upstream.watch(self._upstream_is_read()):
            self._upstream_again()
        self._times.arm()
        if self._up is not None and self._down is not None:
            self._see_calm(self._up, self._down)

    def _see_held(self, held: Held) -> None:
        """What the session holds itself counts as well."""
        waits = held.look(self._session.principal)
        self._client.waiting_since = (self._client.waiting_since or self._clock.monotonic()) if waits else 0.0

    def _see_calm(self, up: Shortcut, down: Shortcut) -> None:
        """Whether the next readings may go the short way."""
        client, upstream = self._client, self._upstream
        joined = upstream.stream is not None and client.end is None and upstream.end is None and not self._draining
        parked = up.parked = down.parked = self._session.parked
        up.calm = joined and client.reading and not parked and client.calm() and not upstream.outbox.pending
        talking = self._talks is not None and self._talks.talking
        down.calm = joined and upstream.reading and upstream.calm() and not client.outbox.pending and not talking
        up.gathering = client.gathering() if joined and not parked else 0
        down.gathering = upstream.gathering() if joined and not talking else 0
        up.expecting = client.missing() >= AT_ONCE_FROM
        down.expecting = upstream.missing() >= AT_ONCE_FROM
        up.waiting = upstream.inbox.filled > 0 or upstream.stalled
        down.waiting = client.inbox.filled > 0 or client.stalled

    def _see_who(self, authenticated: Callable[[], None]) -> None:
        if self._session.principal is not None:
            authenticated()
            self._authenticated = None
        elif self._refused is not None and self._stranger is not None and self._stranger.refused:
            self._refused()
            self._refused = None

    def _show_again(self) -> bool:
        client, upstream = self._client, self._upstream
        filled = client.inbox.filled
        if filled and filled >= self._session.client_wanted and self._client_is_shown():
            self._show(client, client.inbox.bytes(), self._clock.monotonic())
            return True
        held_back = client.full or client.waiting_since or self._is_busy()
        if upstream.inbox.filled and not held_back and upstream.answers_wait():
            self._show(upstream, upstream.inbox.bytes(), self._clock.monotonic())
            return True
        return False

    def _see_ends(self) -> bool:
        client = self._client
        if client.end is not None and (client.gone or not self._answers_are_awaited()):
            self._close(*client.end)
            return True
        upstream = self._upstream
        if upstream.end is not None and not upstream.answers_wait() and not self._is_busy():
            reason, detail = upstream.end
            self._part_upstream()
            self._session.upstream_lost(reason, detail)
            self._called()
            return True
        return False

    def _answers_are_awaited(self) -> bool:
        return self._drainable is not None and not self._drainable.idle and self._times.await_answers()

    def _owes_nothing(self) -> bool:
        if self._client.outbox.pending or self._errands.dialling:
            return False
        return self._drainable.idle if self._drainable is not None else not self._upstream.outbox.pending

    # ---- the end ----------------------------------------------------------------------------------------------

    def _close(self, reason: Reason, detail: str) -> None:
        """Tell the session, once; leave what is unsent to an Ending."""
        if not self._open:
            return
        self._open = False
        if self._up is not None and self._down is not None:
            self._up.part()
            self._down.part()
        self._times.stop()
        self._errands.stop_asking()
        client, upstream = self._client, self._upstream
        client.inbox.clear()
        upstream.inbox.clear()
        try:
            self._session.closed(reason, detail)
        except Exception as error:
            self._process.exceptions.value += 1
            log.error("a session failed while it was closed: %s", type(error).__name__)
        if self._held is not None:
            self._held.clear()
        assert client.stream is not None
        owed = self._errands.dialling and upstream.outbox.pending > 0
        if not owed:
            self._errands.stop_dialling()
        ending = self._ending = Ending(
            self._loop, self._process.scratch, client.stream, client.outbox, upstream.stream, upstream.outbox,
            self._errands.stop_dialling if owed else None,
        )  # fmt: skip
        self._ended(reason, detail, ending)
        ending.start(client_gone=client.gone)


def _nothing() -> None:
    """The step of an event that only has to be settled."""

"""The pump: performs what one session decides, between one client's stream and one broker's.

It keeps the obligations that `core.session` lists. Each event (something to read, room to write, a fact, a timer) is
one step: bytes are read into the process's scratch memory, shown to the session, the effects performed at once, and
only what was not consumed or not taken is kept, under the process's budget. After every step `_settle` looks at
everything that a session's call may have changed, and says what is watched from then on.

Backpressure goes both ways: with more than `side.HIGH_WATER` waiting for one side nothing more is read that could add
to it, until it is down to `side.LOW_WATER`. A client that ends its sending side ends the connection: what was decided
still goes to the broker, what waits for the client is still written.

An exception in a session ends its connection alone, with a traceback in the log that holds neither values nor payload.
Made by edge.server, one per connection; what comes after the session's end is in edge.ending.
"""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.core.clock import Clock
from gateway.core.meters import Cell
from gateway.core.reasons import Reason
from gateway.core.session import Ask, Drainable, Endpoint, Fact, Part, Session, Unavailable
from gateway.core.settings import Limits
from gateway.edge import reasons
from gateway.edge.budget import Budget, Owner
from gateway.edge.buffers import SCRATCH, Inbox
from gateway.edge.ending import Ending
from gateway.edge.side import Side
from gateway.edge.streams import Stream, StreamCut, StreamEnded, StreamLost

ASK_SECONDS_MAX = 60.0
"""An ask without an answer for so long is told `Unavailable`, whatever its own timeout was."""
TIMER_SECONDS_MIN = 0.001

log = logging.getLogger(__name__)


class DialFailed(Exception):
    """A broker could not be reached: the reason, and what exactly."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.code}: {detail}")
        self.reason = reason
        self.detail = detail


Dial = Callable[[Endpoint], Awaitable[Stream]]
"""Opens a verified connection to a broker. Raises DialFailed."""
Answer = Callable[[Ask], Awaitable[Fact]]


@dataclass(frozen=True, slots=True)
class Process:
    """What all pumps of the process share."""

    loop: asyncio.AbstractEventLoop
    clock: Clock
    limits: Limits
    budget: Budget
    scratch: memoryview
    answer: Answer
    exceptions: Cell


@dataclass(frozen=True, slots=True)
class Port:
    """What the pumps of one listener share."""

    listener: str
    dial: Dial
    from_clients: Cell
    to_clients: Cell
    from_upstream: Cell
    to_upstream: Cell


class Pump:
    """One open client connection. `authenticated` is called once there is a principal, `ended` when the session has
    been told its end; the sockets may live on in an Ending for a moment."""

    def __init__(
        self,
        process: Process,
        port: Port,
        stream: Stream,
        session: Session,
        authenticated: Callable[[], None],
        ended: Callable[[Reason, Ending], None],
    ) -> None:
        self._process = process
        self._port = port
        self._loop = process.loop
        self._clock = process.clock
        self._limits = process.limits
        self._session = session
        free = process.limits.buffered_bytes_free_per_connection
        self._client = Side(process.budget, free, port.from_clients, port.to_clients)
        self._upstream = Side(process.budget, free, port.from_upstream, port.to_upstream)
        self._client.attach(stream)
        self._dialling: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[None]] = set()
        self._authenticated: Callable[[], None] | None = authenticated
        self._ended = ended
        self._owner: Owner = None
        self._open = True
        self._draining = False
        self._mute_until = 0.0
        self._active = process.clock.monotonic()
        """When something last came or went."""
        self._looked = 0.0
        """When a timer came last."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        stream.start(self._client_readable, self._client_writable)

    # ---- events -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The session exists; read what the client sent right behind its handshake."""
        self._step(self._read_client)

    def drain(self) -> None:
        """The gateway stops: read no more from the client, and close as soon as nothing is owed to it."""
        self._draining = True
        self._step(_nothing)

    def abort(self, reason: Reason, detail: str = "") -> None:
        """Close now."""
        self._close(reason, detail)

    def _client_readable(self) -> None:
        self._step(self._read_client)

    def _client_writable(self) -> None:
        self._step(lambda: self._flush(self._client))

    def _upstream_readable(self) -> None:
        self._step(self._read_upstream)

    def _upstream_writable(self) -> None:
        self._step(lambda: self._flush(self._upstream))

    def _budget_granted(self) -> None:
        self._step(self._grow)

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

    # ---- reading ----------------------------------------------------------------------------------------------

    def _turn(self) -> int:
        """How much one turn may read: less when memory is scarce, so that an unconsumed rest stays small."""
        budget = self._process.budget
        return SCRATCH if budget.at_ease else min(SCRATCH, self._limits.buffered_bytes_free_per_connection)

    def _read_client(self) -> None:
        left = self._turn()
        while left > 0 and self._open and self._client_is_read():
            left = self._read_some(self._client, left)

    def _read_upstream(self) -> None:
        left = self._turn()
        while left > 0 and self._open and self._upstream_is_read():
            left = self._read_some(self._upstream, left)

    def _wanted(self, side: Side) -> int:
        return self._session.client_wanted if side is self._client else self._session.upstream_wanted

    def _read_some(self, side: Side, left: int) -> int:
        """Read once, and show it if it is enough. Returns what the turn may still read; 0 if nothing is there."""
        inbox = side.inbox
        scratch = self._process.scratch
        kept = inbox.filled
        own = inbox.room() if kept else None
        if own is not None and len(own):
            room = own[:left]
        else:
            own = None
            if kept:
                scratch[:kept] = inbox.bytes()
            room = scratch[kept : kept + left]
        assert side.stream is not None
        try:
            octets = side.stream.read_into(room)
        except (StreamEnded, StreamLost) as end:
            self._note_end(side, end)
            return 0
        if not octets:
            return 0
        now = self._active = self._clock.monotonic()
        side.received.value += octets
        if own is not None:
            inbox.filled += octets
            data = inbox.bytes()
        else:
            data = scratch[: kept + octets]
        wanted = self._wanted(side)
        if len(data) >= wanted:
            self._show(side, data, now)
        elif own is None:
            self._keep(side, data, wanted, now, fresh=not kept)
        return left - octets if octets == len(room) or side.stream is None or side.stream.buffered() else 0

    def _show(self, side: Side, data: memoryview, now: float) -> None:
        session = self._session
        consumed = session.receive(data) if side is self._client else session.answer(data)
        if not 0 <= consumed <= len(data):
            raise RuntimeError("a session consumed more than it was shown")
        self._perform(side.inbox)
        if consumed:
            self._other(side).stalled = False
        if not self._open:
            return
        if consumed == len(data):
            side.inbox.clear()
            side.frame_since = 0.0
            return
        wanted = self._wanted(side)
        self._keep(side, data[consumed:], wanted, now, fresh=consumed > 0)
        side.stalled = consumed == 0 and side.inbox.filled >= wanted

    def _other(self, side: Side) -> Side:
        return self._upstream if side is self._client else self._client

    def _keep(self, side: Side, rest: memoryview, wanted: int, now: float, fresh: bool) -> None:
        """Hold what was not consumed; `fresh`: it begins a frame that was not there before."""
        inbox = side.inbox
        inbox.keep(rest, wanted, self._session.principal, self._budget_granted)
        inbox.waiting_since = now if inbox.waiting else 0.0
        if inbox.filled >= wanted:
            side.frame_since = 0.0
        elif fresh or not side.frame_since:
            side.frame_since = now

    def _note_end(self, side: Side, end: StreamEnded | StreamLost) -> None:
        if side is self._client:
            orderly = isinstance(end, StreamEnded | StreamCut)
            side.end = (reasons.CLIENT_DISCONNECTED if orderly else reasons.CLIENT_LOST, str(end))
        else:
            orderly = isinstance(end, StreamEnded)
            side.end = (reasons.UPSTREAM_CLOSED if orderly else reasons.UPSTREAM_RESET, str(end))

    def _grow(self) -> None:
        """A reservation has come: make the room, and let the frame's time begin anew, as the waiting was ours."""
        for side in (self._client, self._upstream):
            if side.inbox.waiting_since and not side.inbox.waiting:
                side.inbox.waiting_since = 0.0
                side.inbox.grow(self._wanted(side))
                side.frame_since = self._clock.monotonic()

    # ---- effects ----------------------------------------------------------------------------------------------

    def _perform(self, source: Inbox | None) -> None:
        """Take the effects, in the contract's order. After a Close the connection is no longer open."""
        effects = self._session.effects
        if effects.to_upstream:
            if self._upstream.stream is None and self._dialling is None:
                self._begin_dial()
            self._send(self._upstream, effects.to_upstream, source)
        if effects.to_client:
            self._send(self._client, effects.to_client, source)
        asks = effects.asks[:] if effects.asks else ()
        close = effects.close
        self._mute_until = max(self._mute_until, effects.mute_until)
        effects.clear()
        if close is not None:
            self._close(close.reason, close.detail)
            return
        for ask in asks:
            task = self._loop.create_task(self._tell(ask))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    def _send(self, side: Side, parts: Sequence[Part], source: Inbox | None) -> None:
        if side.end is not None:
            return
        if not side.outbox.pending:
            side.taking = self._active
        try:
            side.outbox.send(parts, source, self._owner)
        except StreamLost as lost:
            self._note_end(side, lost)

    def _flush(self, side: Side) -> None:
        before = side.outbox.pending
        try:
            side.outbox.flush()
        except StreamLost as lost:
            self._note_end(side, lost)
        else:
            if side.outbox.pending < before:
                self._active = side.taking = self._clock.monotonic()

    async def _tell(self, ask: Ask) -> None:
        fact: Fact
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                fact = await self._process.answer(ask)
        except Exception as error:
            if not isinstance(error, TimeoutError):
                log.error("an ask of type %s could not be answered: %s", type(ask).__name__, type(error).__name__)
            fact = Unavailable(ask)
        self._step(lambda: self._told(fact))

    def _told(self, fact: Fact) -> None:
        self._session.told(fact)
        self._called()

    def _called(self) -> None:
        """After a call that showed no bytes."""
        self._client.stalled = self._upstream.stalled = False
        self._perform(None)

    def _begin_dial(self) -> None:
        endpoint = self._session.upstream_endpoint()
        if endpoint is None:
            self._upstream.end = (reasons.UPSTREAM_UNKNOWN_ENDPOINT, "")
        else:
            self._dialling = self._loop.create_task(self._dial(endpoint))

    async def _dial(self, endpoint: Endpoint) -> None:
        try:
            stream = await self._port.dial(endpoint)
        except DialFailed as failed:
            self._dialling = None
            self._upstream.end = (failed.reason, failed.detail)
            self._step(_nothing)
            return
        except Exception as error:
            self._dialling = None
            self._failed(error)
            return
        self._dialling = None
        if not self._open:
            stream.close()
            return
        self._upstream.attach(stream)
        self._upstream.taking = self._clock.monotonic()
        stream.start(self._upstream_readable, self._upstream_writable)
        self._upstream_writable()

    # ---- after every step -------------------------------------------------------------------------------------

    def _client_is_shown(self) -> bool:
        """Whether the session takes client bytes now. Parked, muted, or with too much waiting it does not."""
        client = self._client
        return not (
            self._session.parked
            or client.full
            or self._upstream.full
            or self._mute_until
            or self._draining
            or client.stalled
        )

    def _client_is_read(self) -> bool:
        client = self._client
        return client.end is None and self._client_is_shown() and _has_room(client.inbox, self._session.client_wanted)

    def _upstream_is_read(self) -> bool:
        upstream = self._upstream
        if upstream.stream is None or upstream.end is not None or self._client.full or upstream.stalled:
            return False
        return _has_room(upstream.inbox, self._session.upstream_wanted)

    def _settle(self) -> None:
        """Show again what can be shown, handle ends, and watch what matters now."""
        again = True
        while again and self._open:
            if self._mute_until and self._clock.monotonic() >= self._mute_until:
                self._mute_until = 0.0
                self._client.stalled = False
            self._client.measure()
            self._upstream.measure()
            again = self._show_again() or self._see_ends()
        if not self._open:
            return
        self._owner = self._session.principal
        if self._authenticated is not None and self._owner is not None:
            self._authenticated()
            self._authenticated = None
        if self._draining and self._owes_nothing():
            self._close(reasons.SHUTTING_DOWN, "")
            return
        if self._client.watch(self._client_is_read()):
            self._loop.call_soon(self._client_readable)
        if self._upstream.watch(self._upstream_is_read()):
            self._loop.call_soon(self._upstream_readable)
        self._arm()

    def _show_again(self) -> bool:
        client, upstream = self._client, self._upstream
        filled = client.inbox.filled
        if filled and filled >= self._session.client_wanted and self._client_is_shown():
            self._show(client, client.inbox.bytes(), self._clock.monotonic())
            return True
        if upstream.inbox.filled and not client.full and self._answers_wait():
            self._show(upstream, upstream.inbox.bytes(), self._clock.monotonic())
            return True
        return False

    def _answers_wait(self) -> bool:
        upstream = self._upstream
        filled = upstream.inbox.filled
        return filled > 0 and filled >= self._session.upstream_wanted and not upstream.stalled

    def _see_ends(self) -> bool:
        if self._client.end is not None:
            self._close(*self._client.end)
            return True
        upstream = self._upstream
        if upstream.end is not None and not self._answers_wait():
            (reason, detail), upstream.end = upstream.end, None
            stream = upstream.detach()
            if stream is not None:
                stream.close()
            self._session.upstream_lost(reason, detail)
            self._called()
            return True
        return False

    def _owes_nothing(self) -> bool:
        if self._client.outbox.pending or self._dialling is not None:
            return False
        return self._session.idle if isinstance(self._session, Drainable) else not self._upstream.outbox.pending

    # ---- time -------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Timers that come too early are let come and set anew; only an earlier time replaces one."""
        timer_at = self._timer_at
        armed = self._timer is not None and self._session.deadline >= timer_at and not self._mute_until
        if armed and self._client.quiet() and self._upstream.quiet():
            return
        due = self._due()
        if due < timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            delay = max(due - self._clock.monotonic(), TIMER_SECONDS_MIN)
            self._timer = self._loop.call_later(delay, self._on_timer)

    def _due(self) -> float:
        """When something may have to be done at the earliest."""
        limits = self._limits
        due = min(self._session.deadline, self._active + limits.idle_timeout)
        if self._mute_until:
            due = min(due, self._mute_until)
        for side in (self._client, self._upstream):
            if side.frame_since:
                due = min(due, side.frame_since + limits.frame_timeout)
            if side.inbox.waiting_since:
                due = min(due, side.inbox.waiting_since + limits.frame_timeout)
            if side.outbox.pending and side.stream is not None:
                due = min(due, max(side.taking, self._looked) + limits.frame_timeout)
        return due

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = math.inf
        self._step(self._look_at_clock)

    def _look_at_clock(self) -> None:
        now = self._looked = self._clock.monotonic()
        late = self._late(now)
        if late is not None:
            self._close(late, "")
        elif now >= self._session.deadline:
            self._session.tick()
            self._called()

    def _late(self, now: float) -> Reason | None:
        limits = self._limits
        client, upstream = self._client, self._upstream
        before = now - limits.frame_timeout
        waiting = client.inbox.waiting_since or upstream.inbox.waiting_since
        if waiting and waiting <= before:
            return reasons.BUFFER_TIMEOUT
        for side, read, reason in (
            (client, self._client_is_read(), reasons.FRAME_TIMEOUT),
            (upstream, self._upstream_is_read(), reasons.UPSTREAM_STALLED),
        ):
            if side.frame_since and side.frame_since <= before and not side.inbox.waiting_since:
                if read:
                    return reason
                side.frame_since = now  # it was we who did not read
        if upstream.outbox.pending and upstream.stream is not None and upstream.taking <= before:
            return reasons.UPSTREAM_STALLED
        # A client that does not read is waited for longer while nobody needs the memory.
        patience = limits.idle_timeout if self._process.budget.at_ease else limits.frame_timeout
        if client.outbox.pending and client.taking <= now - patience:
            return reasons.CLIENT_NOT_READING
        if self._active <= now - limits.idle_timeout:
            return reasons.IDLE_TIMEOUT
        return None

    # ---- the end ----------------------------------------------------------------------------------------------

    def _close(self, reason: Reason, detail: str) -> None:
        """Tell the session, once; leave what is unsent to an Ending."""
        if not self._open:
            return
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        if self._dialling is not None:
            self._dialling.cancel()
        current = asyncio.current_task(self._loop)
        for task in tuple(self._asked):
            if task is not current:
                task.cancel()
        client, upstream = self._client, self._upstream
        client.inbox.clear()
        upstream.inbox.clear()
        try:
            self._session.closed(reason, detail)
        except Exception as error:
            self._process.exceptions.value += 1
            log.error("a session failed while it was closed: %s", type(error).__name__)
        assert client.stream is not None
        ending = Ending(
            self._loop, self._process.scratch, client.stream, client.outbox, upstream.stream, upstream.outbox
        )
        self._ended(reason, ending)
        ending.start(client_gone=client.end is not None and client.end[0] is reasons.CLIENT_LOST)


def _has_room(inbox: Inbox, wanted: int) -> bool:
    """Whether more is to be read: nothing is kept, or the frame is incomplete and has its reservation."""
    return not inbox.filled or (not inbox.waiting_since and inbox.filled < wanted)


def _nothing() -> None:
    """The step of an event that only has to be settled."""

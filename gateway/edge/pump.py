"""The pump: performs what one session decides, between one client's stream and one broker's.

It keeps the obligations that `core.session` lists. Each event (something to read, room to write, a fact, a timer) is
one step: bytes are read into the process's scratch memory, shown to the session, the effects performed at once, and
only what was not consumed or not taken is kept, under the process's budget. After every step `_settle` looks at
everything that a session's call may have changed, and says what is watched from then on.

Backpressure goes both ways: with more than `HIGH_WATER` waiting for one side nothing more is read that could add to it,
until it is down to `LOW_WATER`. A client that ends its sending side ends the connection: what was decided still goes to
the broker, what waits for the client is still written.

An exception in a session ends its connection alone, with a traceback in the log that holds neither values nor payload.
Made by edge.server, one per connection; what comes after the session's end is in edge.ending.
"""

from __future__ import annotations

import asyncio
import logging
import math
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.core.clock import Clock
from gateway.core.meters import Cell
from gateway.core.reasons import Reason
from gateway.core.session import Ask, Drainable, Endpoint, Fact, Session, Unavailable
from gateway.core.settings import Limits
from gateway.edge import reasons
from gateway.edge.budget import Budget, Owner
from gateway.edge.buffers import SCRATCH, Inbox, Outbox
from gateway.edge.ending import Ending
from gateway.edge.streams import Stream, StreamCut, StreamEnded, StreamLost

HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024
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
        client: Stream,
        session: Session,
        authenticated: Callable[[], None],
        ended: Callable[[Reason, Ending], None],
    ) -> None:
        self._process = process
        self._port = port
        self._loop = process.loop
        self._clock = process.clock
        self._limits = limits = process.limits
        self._session = session
        self._client = client
        self._upstream: Stream | None = None
        free = limits.buffered_bytes_free_per_connection
        self._from_client = Inbox(process.budget, free)
        self._from_upstream = Inbox(process.budget, free)
        self._to_client = Outbox(process.budget, port.to_clients)
        self._to_client.stream = client
        self._to_upstream = Outbox(process.budget, port.to_upstream)
        self._dialling: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[None]] = set()
        self._authenticated: Callable[[], None] | None = authenticated
        self._ended = ended
        self._owner: Owner = None
        self._open = True
        self._draining = False
        self._mute_until = 0.0
        self._client_full = self._upstream_full = False
        """The side has more waiting for it than HIGH_WATER, and not yet come down to LOW_WATER."""
        self._client_stalled = self._upstream_stalled = False
        """The session was shown as much as it wanted and took nothing; it is asked again after another call."""
        self._client_end: tuple[Reason, str] | None = None
        self._upstream_end: tuple[Reason, str] | None = None
        self._active = process.clock.monotonic()
        self._client_taking = self._upstream_taking = self._active
        """When the side last took something of what waits for it."""
        self._client_frame = self._upstream_frame = 0.0
        """When the first byte of an incomplete frame came; 0.0: there is none."""
        self._looked = 0.0
        """When a timer came last."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        client.start(self._client_readable, self._client_writable)

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
        if self._open:
            self._close(reason, detail)

    def _client_readable(self) -> None:
        self._step(self._read_client)

    def _client_writable(self) -> None:
        self._step(self._flush_client)

    def _upstream_readable(self) -> None:
        self._step(self._read_upstream)

    def _upstream_writable(self) -> None:
        self._step(self._flush_upstream)

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
        return SCRATCH if self._process.budget.at_ease else self._limits.buffered_bytes_free_per_connection

    def _read_client(self) -> None:
        left = min(self._turn(), SCRATCH)
        while left > 0 and self._open and self._client_is_read():
            octets = self._read_some(self._client, self._from_client, self._session.client_wanted, left, True)
            if octets <= 0:
                return
            left -= octets

    def _read_upstream(self) -> None:
        left = min(self._turn(), SCRATCH)
        while left > 0 and self._open and self._upstream is not None and self._upstream_is_read():
            octets = self._read_some(self._upstream, self._from_upstream, self._session.upstream_wanted, left, False)
            if octets <= 0:
                return
            left -= octets

    def _read_some(self, stream: Stream, inbox: Inbox, wanted: int, left: int, client: bool) -> int:
        """Read once and show it if it is enough. Returns the octets read; negative: and nothing is left to read."""
        kept = inbox.filled
        own = inbox.room() if kept else None
        if own is not None and len(own):
            room = own[:left]
        else:
            scratch = self._process.scratch
            if kept:
                scratch[:kept] = inbox.bytes()
            own = None
            room = scratch[kept : kept + left]
        try:
            octets = stream.read_into(room)
        except (StreamEnded, StreamLost) as end:
            self._note_end(end, client)
            return 0
        if not octets:
            return 0
        now = self._active = self._clock.monotonic()
        (self._port.from_clients if client else self._port.from_upstream).value += octets
        if own is not None:
            inbox.filled += octets
            data = inbox.bytes()
        else:
            data = self._process.scratch[: kept + octets]
        if len(data) >= wanted:
            self._show(data, inbox, client, now)
        elif own is None:
            self._keep(data, inbox, wanted, client, now, fresh=not kept)
        return octets if octets == len(room) or stream.buffered() else -octets

    def _show(self, data: memoryview, inbox: Inbox, client: bool, now: float) -> None:
        session = self._session
        consumed = session.receive(data) if client else session.answer(data)
        if not 0 <= consumed <= len(data):
            raise RuntimeError("a session consumed more than it was shown")
        self._perform(inbox)
        if consumed and client:
            self._upstream_stalled = False
        elif consumed:
            self._client_stalled = False
        if not self._open:
            return
        if consumed == len(data):
            inbox.clear()
            if client:
                self._client_frame = 0.0
            else:
                self._upstream_frame = 0.0
            return
        wanted = session.client_wanted if client else session.upstream_wanted
        self._keep(data[consumed:], inbox, wanted, client, now, fresh=consumed > 0)
        stalled = consumed == 0 and inbox.filled >= wanted
        if client:
            self._client_stalled = stalled
        else:
            self._upstream_stalled = stalled

    def _keep(self, rest: memoryview, inbox: Inbox, wanted: int, client: bool, now: float, fresh: bool) -> None:
        inbox.keep(rest, wanted, self._session.principal, self._budget_granted)
        inbox.waiting_since = now if inbox.waiting else 0.0
        complete = inbox.filled >= wanted
        if client:
            self._client_frame = 0.0 if complete else now if fresh or not self._client_frame else self._client_frame
        else:
            self._upstream_frame = (
                0.0 if complete else now if fresh or not self._upstream_frame else self._upstream_frame
            )

    def _note_end(self, end: StreamEnded | StreamLost, client: bool) -> None:
        if client:
            if isinstance(end, StreamEnded):
                self._client_end = (reasons.CLIENT_DISCONNECTED, "")
            elif isinstance(end, StreamCut):
                self._client_end = (reasons.CLIENT_DISCONNECTED, str(end))
            else:
                self._client_end = (reasons.CLIENT_LOST, str(end))
        elif isinstance(end, StreamEnded):
            self._upstream_end = (reasons.UPSTREAM_CLOSED, "")
        else:
            self._upstream_end = (reasons.UPSTREAM_RESET, str(end))

    def _grow(self) -> None:
        """A reservation has come: make the room, and let the frame's time begin anew, as the waiting was ours."""
        now = self._clock.monotonic()
        for inbox, wanted in (
            (self._from_client, self._session.client_wanted),
            (self._from_upstream, self._session.upstream_wanted),
        ):
            if inbox.waiting_since and not inbox.waiting:
                inbox.waiting_since = 0.0
                inbox.grow(wanted)
                if inbox is self._from_client:
                    self._client_frame = now
                else:
                    self._upstream_frame = now

    # ---- effects ----------------------------------------------------------------------------------------------

    def _perform(self, source: Inbox | None) -> None:
        """Take the effects, in the contract's order. After a Close the connection is no longer open."""
        effects = self._session.effects
        if effects.to_upstream:
            if self._upstream is None and self._dialling is None:
                self._begin_dial()
            if not self._to_upstream.pending:
                self._upstream_taking = self._active
            try:
                self._to_upstream.send(effects.to_upstream, source, self._owner)
            except StreamLost as lost:
                self._upstream_end = (reasons.UPSTREAM_RESET, str(lost))
        if effects.to_client and self._client_end is None:
            if not self._to_client.pending:
                self._client_taking = self._active
            try:
                self._to_client.send(effects.to_client, source, self._owner)
            except StreamLost as lost:
                self._note_end(lost, client=True)
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
        self._client_stalled = self._upstream_stalled = False
        self._perform(None)

    def _begin_dial(self) -> None:
        endpoint = self._session.upstream_endpoint()
        if endpoint is None:
            self._upstream_end = (reasons.UPSTREAM_UNKNOWN_ENDPOINT, "")
        else:
            self._dialling = self._loop.create_task(self._dial(endpoint))

    async def _dial(self, endpoint: Endpoint) -> None:
        try:
            stream = await self._port.dial(endpoint)
        except DialFailed as failed:
            self._dialling = None
            self._upstream_end = (failed.reason, failed.detail)
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
        self._upstream = stream
        self._to_upstream.stream = stream
        self._upstream_taking = self._clock.monotonic()
        stream.start(self._upstream_readable, self._upstream_writable)
        self._step(self._flush_upstream)

    def _flush_client(self) -> None:
        before = self._to_client.pending
        try:
            self._to_client.flush()
        except StreamLost as lost:
            self._note_end(lost, client=True)
            return
        if self._to_client.pending < before:
            self._active = self._client_taking = self._clock.monotonic()

    def _flush_upstream(self) -> None:
        before = self._to_upstream.pending
        try:
            self._to_upstream.flush()
        except StreamLost as lost:
            self._upstream_end = (reasons.UPSTREAM_RESET, str(lost))
            return
        if self._to_upstream.pending < before:
            self._active = self._upstream_taking = self._clock.monotonic()

    # ---- after every step -------------------------------------------------------------------------------------

    def _client_is_shown(self) -> bool:
        """Whether the session takes client bytes now. Parked, muted, or with too much waiting it does not."""
        return not (
            self._session.parked
            or self._client_full
            or self._upstream_full
            or self._mute_until
            or self._draining
            or self._client_stalled
        )

    def _client_is_read(self) -> bool:
        if self._client_end is not None or not self._client_is_shown():
            return False
        inbox = self._from_client
        return not inbox.filled or (not inbox.waiting_since and inbox.filled < self._session.client_wanted)

    def _upstream_is_read(self) -> bool:
        if self._client_full or self._upstream_end is not None or self._upstream_stalled:
            return False
        inbox = self._from_upstream
        return not inbox.filled or (not inbox.waiting_since and inbox.filled < self._session.upstream_wanted)

    def _settle(self) -> None:
        """Show again what can be shown, handle ends, and watch what matters now."""
        again = True
        while again and self._open:
            self._levels()
            again = self._show_again() or self._see_ends()
        if not self._open:
            return
        if self._authenticated is not None and self._session.principal is not None:
            self._authenticated()
            self._authenticated = None
        self._owner = self._session.principal
        if self._draining and self._owes_nothing():
            self._close(reasons.SHUTTING_DOWN, "")
            return
        self._watch()
        self._arm()

    def _levels(self) -> None:
        now = 0.0
        if self._mute_until:
            now = self._clock.monotonic()
            if now >= self._mute_until:
                self._mute_until = 0.0
                self._client_stalled = False
        pending = self._to_client.pending
        if pending > HIGH_WATER:
            self._client_full = True
        elif pending <= LOW_WATER:
            self._client_full = False
        pending = self._to_upstream.pending
        if pending > HIGH_WATER:
            self._upstream_full = True
        elif pending <= LOW_WATER:
            self._upstream_full = False

    def _show_again(self) -> bool:
        inbox = self._from_client
        if inbox.filled and inbox.filled >= self._session.client_wanted and self._client_is_shown():
            self._show(inbox.bytes(), inbox, True, self._clock.monotonic())
            return True
        inbox = self._from_upstream
        if self._answers_wait() and not self._client_full:
            self._show(inbox.bytes(), inbox, False, self._clock.monotonic())
            return True
        return False

    def _answers_wait(self) -> bool:
        filled = self._from_upstream.filled
        return filled > 0 and filled >= self._session.upstream_wanted and not self._upstream_stalled

    def _see_ends(self) -> bool:
        if self._client_end is not None:
            self._close(*self._client_end)
            return True
        if self._upstream_end is not None and not self._answers_wait():
            reason, detail = self._upstream_end
            self._upstream_end = None
            self._leave_upstream()
            self._session.upstream_lost(reason, detail)
            self._called()
            return True
        return False

    def _leave_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None
        self._to_upstream.clear()
        self._to_upstream.stream = None
        self._from_upstream.clear()
        self._upstream_frame = 0.0

    def _owes_nothing(self) -> bool:
        if self._to_client.pending or self._dialling is not None:
            return False
        return self._session.idle if isinstance(self._session, Drainable) else not self._to_upstream.pending

    def _watch(self) -> None:
        reading = self._client_is_read()
        self._client.watch_reading(reading)
        self._client.watch_writing(self._to_client.pending > 0)
        if reading and self._client.buffered():
            self._loop.call_soon(self._client_readable)
        if self._upstream is not None:
            reading = self._upstream_is_read()
            self._upstream.watch_reading(reading)
            self._upstream.watch_writing(self._to_upstream.pending > 0)
            if reading and self._upstream.buffered():
                self._loop.call_soon(self._upstream_readable)

    # ---- time -------------------------------------------------------------------------------------------------

    def _due(self) -> float:
        """When something may have to be done at the earliest."""
        limits = self._limits
        due = min(self._session.deadline, self._active + limits.idle_timeout)
        if self._mute_until:
            due = min(due, self._mute_until)
        frame_timeout = limits.frame_timeout
        for since in (
            self._client_frame,
            self._upstream_frame,
            self._from_client.waiting_since,
            self._from_upstream.waiting_since,
        ):
            if since:
                due = min(due, since + frame_timeout)
        if self._to_client.pending:
            due = min(due, max(self._client_taking, self._looked) + frame_timeout)
        if self._to_upstream.pending and self._upstream is not None:
            due = min(due, self._upstream_taking + frame_timeout)
        return due

    def _arm(self) -> None:
        """Timers that come too early are let come and set anew; only an earlier time replaces one."""
        due = self._due()
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            delay = max(due - self._clock.monotonic(), TIMER_SECONDS_MIN)
            self._timer = self._loop.call_later(delay, self._on_timer)

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
        before = now - limits.frame_timeout
        waiting = self._from_client.waiting_since or self._from_upstream.waiting_since
        if waiting and waiting <= before:
            return reasons.BUFFER_TIMEOUT
        if self._client_frame and self._client_frame <= before and not self._from_client.waiting_since:
            if self._client_is_read():
                return reasons.FRAME_TIMEOUT
            self._client_frame = now  # it was we who did not read
        if self._upstream_frame and self._upstream_frame <= before and not self._from_upstream.waiting_since:
            if self._upstream_is_read():
                return reasons.UPSTREAM_STALLED
            self._upstream_frame = now
        if self._to_upstream.pending and self._upstream is not None and self._upstream_taking <= before:
            return reasons.UPSTREAM_STALLED
        # A client that does not read is waited for longer while nobody needs the memory.
        patience = limits.idle_timeout if self._process.budget.at_ease else limits.frame_timeout
        if self._to_client.pending and self._client_taking <= now - patience:
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
        self._from_client.clear()
        self._from_upstream.clear()
        try:
            self._session.closed(reason, detail)
        except Exception as error:
            self._process.exceptions.value += 1
            log.error("a session failed while it was closed: %s", type(error).__name__)
        ending = Ending(
            self._loop, self._process.scratch, self._client, self._to_client, self._upstream, self._to_upstream
        )
        self._ended(reason, ending)
        ending.start(client_gone=self._client_end is not None and self._client_end[0] is reasons.CLIENT_LOST)


def _nothing() -> None:
    """The step of an event that only has to be settled."""

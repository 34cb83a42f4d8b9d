"""The times of one connection: what is awaited on either side, until when, and one timer for all of it.

Hot code only writes down when something began (`active` here, `frame_since` and `taking` of the sides). The timer is
armed for the earliest moment that something may be due; when it comes, `late` looks at what was written down, and the
timer is set anew for what is left. A timer that comes too early is let come; only an earlier time replaces one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from gateway.core.reasons import Reason
from gateway.core.session import Session
from gateway.edge import reasons
from gateway.edge.process import Process
from gateway.edge.side import ClientSide, UpstreamSide

TIMER_SECONDS_MIN = 0.001
LAST_ANSWERS_SECONDS = 30.0
"""How long answers are awaited for a client that has ended its sending side."""
DRAINED_MIN = 1 << 20
"""Octets of a backlog that a client takes within `frame_timeout`, or is let go, while memory is scarce: one that reads
drop by drop would keep it from the others for ever."""


class Deadlines:
    """Made by the pump; `wake` is called when it is time to look."""

    __slots__ = (
        "_budget",
        "_client",
        "_clock",
        "_full_at",
        "_full_pending",
        "_limits",
        "_looked",
        "_loop",
        "_session",
        "_timer",
        "_upstream",
        "_wake",
        "active",
        "answers_until",
        "armed_for",
        "mute_until",
    )  # fmt: skip

    def __init__(
        self, process: Process, session: Session, client: ClientSide, upstream: UpstreamSide, wake: Callable[[], None]
    ) -> None:
        self._loop = process.loop
        self._clock = process.clock
        self._limits = process.limits
        self._budget = process.budget
        self._session = session
        self._client = client
        self._upstream = upstream
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None
        self.armed_for = math.inf
        """When the timer comes, at the latest."""
        self._looked = 0.0
        """When it was looked last."""
        self._full_at, self._full_pending = 0.0, 0
        """When the client's backlog was last measured, and what it was; 0.0 while it has none or nobody minds."""
        self.active = process.clock.monotonic()
        """When something last came or went."""
        self.answers_until = 0.0
        """Until when the last answers are awaited, its client having ended; 0.0 if it has not."""
        self.mute_until = 0.0
        """Until when the client is neither read nor shown; 0.0 if it is not muted."""

    def arm(self) -> None:
        """After every step."""
        timer_at = self.armed_for
        special = self.mute_until or self.answers_until
        armed = self._timer is not None and self._session.deadline >= timer_at and not special
        if armed and self._client.quiet() and self._upstream.quiet():
            return
        due = self._due()
        if due < timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self.armed_for = due
            delay = max(due - self._clock.monotonic(), TIMER_SECONDS_MIN)
            self._timer = self._loop.call_later(delay, self._on_timer)

    def _due(self) -> float:
        """When something may have to be done at the earliest."""
        limits = self._limits
        due = min(self._session.deadline, self.active + limits.idle_timeout)
        if self.mute_until:
            due = min(due, self.mute_until)
        if self.answers_until:
            due = min(due, self.answers_until)
        for side in (self._client, self._upstream):
            if side.frame_since:
                due = min(due, side.frame_since + limits.frame_timeout)
            if side.inbox.waiting_since:
                due = min(due, side.inbox.waiting_since + limits.frame_timeout)
            if side.waiting_since:
                due = min(due, side.waiting_since + limits.frame_timeout)
            if side.outbox.pending and side.stream is not None:
                due = min(due, max(side.taking, self._looked) + limits.frame_timeout)
        return due

    def _on_timer(self) -> None:
        self._timer = None
        self.armed_for = math.inf
        self._wake()

    def await_answers(self) -> bool:
        """The client has ended: give its last answers time. False once that is over."""
        now = self._clock.monotonic()
        if not self.answers_until:
            self.answers_until = now + LAST_ANSWERS_SECONDS
        return now < self.answers_until

    def late(self, now: float, client_read: bool, upstream_read: bool) -> Reason | None:
        """What took too long, if anything did. `*_read`: whether that side is being read."""
        self._looked = now
        limits = self._limits
        client, upstream = self._client, self._upstream
        before = now - limits.frame_timeout
        for waiting in (client.inbox.waiting_since, upstream.inbox.waiting_since, client.waiting_since):
            if waiting and waiting <= before:
                return reasons.BUFFER_TIMEOUT
        for side, read, reason in (
            (client, client_read, reasons.FRAME_TIMEOUT),
            (upstream, upstream_read, reasons.UPSTREAM_STALLED),
        ):
            if side.frame_since and side.frame_since <= before and not side.inbox.waiting_since:
                if read:
                    return reason
                side.frame_since = now  # it was we who did not read
        if upstream.outbox.pending and upstream.stream is not None and upstream.taking <= before:
            return reasons.UPSTREAM_STALLED
        # A client that does not read is waited for longer while nobody needs the memory.
        patience = limits.idle_timeout if self._budget.at_ease else limits.frame_timeout
        if client.outbox.pending and client.taking <= now - patience:
            return reasons.CLIENT_NOT_READING
        if self._drips(now):
            return reasons.CLIENT_NOT_READING
        if self.active <= now - limits.idle_timeout:
            return reasons.IDLE_TIMEOUT
        return None

    def _drips(self, now: float) -> bool:
        """Whether the client took next to nothing of its backlog since it was measured last.

        While it has one nothing is added to it, so that a larger one was taken whole in between.
        """
        client = self._client
        if not client.full or self._budget.at_ease:
            self._full_at = 0.0
            return False
        if self._full_at and now - self._full_at < self._limits.frame_timeout:
            return False
        pending = client.outbox.pending
        drips = self._full_at > 0.0 and 0 <= self._full_pending - pending < DRAINED_MIN
        self._full_at, self._full_pending = now, pending
        return drips

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""Carries audit events out: one JSON line each, to stdout or a file, without ever holding the loop back.

`AuditSink` is the `Audit` that everything is given: it takes an event at once into a bounded queue, and counts it as
dropped when the queue is full. A thread of its own turns events into lines and writes them in batches; when there is
room again after drops, a ``warning`` line says how many were lost, and a disk that refuses is counted likewise. What
is queued at `close` is still written. Allowed access, summed by `AllowedTally`, is written once per interval.

A line's own names (``time``, ``event``, ``connection``, ``principal``, ``who``) come first. ``principal`` is
``method:issuer:name`` and ``who`` its three parts. Values are bounded, and control characters cannot reach the log:
JSON escapes them.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import math
import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from types import MappingProxyType
from typing import Protocol

from gateway.core.audit import AllowedTally, AuditEvent, FieldValue
from gateway.core.clock import Clock
from gateway.core.meters import Meter, Meters
from gateway.core.settings import AuditSettings
from gateway.edge.reasons import AUDIT_DROPPED

WRITTEN = Meter("gateway_audit_events_total", "Audit events, by result.", ("result",))

BATCH_MAX = 512
"""Events that are written with one call."""
TEXT_CHARS_MAX = 2048
ITEMS_MAX = 64
DEPTH_MAX = 3
RETRY_PAUSE = 1.0
"""Seconds after a failed write before the file is opened again."""

log = logging.getLogger("gateway.audit")

_OWN = frozenset({"time", "event", "connection", "principal", "who"})


class AuditSink:
    """See above. `start` and `close` belong to the loop; calling it may happen on any thread.

    Raises OSError at construction if the file cannot be opened: a gateway without an audit does not start.
    """

    def __init__(
        self, settings: AuditSettings, tally: AllowedTally, clock: Clock, meters: Meters, turns: Turns | None = None
    ) -> None:
        """`turns`: where other processes write to the same output."""
        self._settings = settings
        self._tally = tally
        self._clock = clock
        self._queue: deque[AuditEvent] = deque()
        self._allowed: deque[Iterator[AuditEvent]] = deque()
        self._dropped = 0
        self._told_dropped = 0
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._reopen = False
        self._end = threading.Event()
        self._written, self._lost = meters.cell(WRITTEN, "written"), meters.cell(WRITTEN, "dropped")
        self._turns = turns
        self._output = Output(settings.output, turns)
        self._next: Output | None = None
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._task: asyncio.Task[None] | None = None

    def __call__(self, event: AuditEvent) -> None:
        """Take an event. Never blocks, never raises."""
        if len(self._queue) >= self._settings.queue_max:
            self._drop(1)
        else:
            self._queue.append(event)
        self._work.set()

    @property
    def dropped(self) -> int:
        """Events lost since the start, to a full queue or a failing disk."""
        return self._dropped

    async def start(self) -> None:
        self._thread.start()
        self._task = asyncio.create_task(self._sum_allowed(), name="audit of allowed access")

    async def close(self) -> None:
        """Write everything that is queued, the allowed sums included, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            self._allowed.append(self._tally.drain(self._clock.wall()))
            self._end.set()
            self._work.set()
            await asyncio.to_thread(self._thread.join)

    def reopen(self) -> None:
        """Close the file and open its path anew, after a rotation."""
        self._reopen = True
        self._work.set()

    def prepare(self, settings: AuditSettings) -> Output | None:
        """Open what the audit would be written to; None if it is what it is written to now. Raises OSError."""
        return Output(settings.output, self._turns) if settings.output != self._settings.output else None

    def use(self, settings: AuditSettings, output: Output | None) -> None:
        """These settings from now on, and the output that `prepare` gave; lines that wait go there too."""
        self._settings = settings
        if output is not None:
            self._next = output
            self._work.set()

    def _move(self) -> None:
        """On the thread: to another output, if there is one."""
        following, self._next = self._next, None
        if following is not None:
            self._output.close()
            self._output = following

    async def _sum_allowed(self) -> None:
        while True:
            await asyncio.sleep(self._settings.allowed_interval)
            # Sums that wait to be written are not many times the tally's bound: the tally goes on summing instead.
            if not self._allowed:
                self._allowed.append(self._tally.drain(self._clock.wall()))
                self._work.set()

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count
            self._lost.value += count

    def _run(self) -> None:
        """The thread: until `close`, and then until nothing is left."""
        while True:
            self._work.wait()
            self._work.clear()
            ending = self._end.is_set()
            self._move()
            if self._reopen:
                self._reopen = False
                self._output.reopen()
            while (batch := self._batch()) or self._dropped > self._told_dropped:
                self._write(batch)
            if ending:
                self._output.close()
                return

    def _batch(self) -> list[AuditEvent]:
        batch: list[AuditEvent] = []
        while self._queue and len(batch) < BATCH_MAX:
            batch.append(self._queue.popleft())
        while self._allowed and len(batch) < BATCH_MAX:
            # Sums leave the deque when nothing is left of them, so that no second ones are drained before.
            before = len(batch)
            batch.extend(islice(self._allowed[0], BATCH_MAX - before))
            if len(batch) == before:
                self._allowed.popleft()
        return batch

    def _write(self, batch: Sequence[AuditEvent]) -> None:
        """Write a batch, however long the disk refuses; at the end of the gateway's life, once more."""
        lines = [line(event) for event in batch]
        dropped = self._dropped
        if dropped > self._told_dropped:
            fields: dict[str, FieldValue] = {
                "reason": AUDIT_DROPPED.code,
                "dropped": dropped - self._told_dropped,
                "dropped_in_all": dropped,
            }
            lines.append(line(AuditEvent("warning", self._clock.wall(), fields=MappingProxyType(fields))))
        failing = False
        while lines:
            last_try = self._end.is_set()
            try:
                done = self._output.write(lines)
            except OSError as error:
                if not failing:
                    log.error("the audit cannot be written: %s", error.strerror or type(error).__name__)
                failing = True
                if last_try:
                    self._drop(len(lines))
                    self._told_dropped = self._dropped
                    return
                self._end.wait(RETRY_PAUSE)
                self._output.reopen()
                self._move()
            else:
                self._written.value += done
                del lines[:done]
        self._told_dropped = dropped


class Turns(Protocol):
    """Takes turns with the other processes that write to the same output. Called on the audit's own thread."""

    def take(self) -> bool:
        """Wait for one's turn; returns whether the last line that was written has no end."""

    def give(self, torn: bool) -> None:
        """One's turn is over; torn: the last line has no end."""


class _Alone:
    """The turns of one process."""

    def __init__(self) -> None:
        self._torn = False

    def take(self) -> bool:
        return self._torn

    def give(self, torn: bool) -> None:
        self._torn = torn


class Output:
    """stdout, or a file that is appended to. Whole lines only: a line cut short by a full disk is ended first."""

    def __init__(self, output: str, turns: Turns | None) -> None:
        self._path = None if output == "stdout" else output
        self._descriptor = 1 if self._path is None else self._opened(self._path)
        self._turns = turns if turns is not None else _Alone()

    @staticmethod
    def _opened(path: str) -> int:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write(self, lines: Sequence[bytes]) -> int:
        """Returns how many lines are wholly written, at least one. Raises OSError if not even that."""
        torn = self._turns.take()
        try:
            count = os.write(self._descriptor, (b"\n" if torn else b"") + b"".join(lines))
            if torn and count:
                count -= 1
                torn = False
            done = 0
            for each in lines:
                if count < len(each) - 1:
                    break
                count -= len(each)
                done += 1
            if count:  # a part of a line, or all of one but its end
                torn = True
        finally:
            self._turns.give(torn)
        if not done:
            raise OSError(errno.ENOSPC, "less than a line was taken")
        return done

    def reopen(self) -> None:
        """Open the path anew; if that fails, the old file stays in use."""
        if self._path is None:
            return
        try:
            opened = self._opened(self._path)
        except OSError as error:
            log.error("the audit file cannot be reopened: %s", error.strerror or type(error).__name__)
            return
        torn = self._turns.take()
        self._turns.give(torn and os.path.sameopenfile(opened, self._descriptor))
        self.close()
        self._descriptor = opened

    def close(self) -> None:
        if self._path is not None:
            os.close(self._descriptor)


def line(event: AuditEvent) -> bytes:
    """One event as a line of JSON, ASCII, with its newline."""
    shown: dict[str, object] = {"time": _time(event.at), "event": event.event}
    if event.connection:
        shown["connection"] = event.connection
    if event.principal is not None:
        who = event.principal
        shown["principal"] = _bounded(str(who))
        shown["who"] = {"method": who.method, "issuer": who.issuer, "name": _bounded(who.name)}
    for name, value in event.fields.items():
        shown[f"field_{name}" if name in _OWN else name] = _bounded(value)
    return json.dumps(shown, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _time(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def _bounded(value: object, depth: int = DEPTH_MAX) -> object:
    """The value as JSON can hold it: long texts and lists cut with a word of how much is missing."""
    match value:
        case None | bool() | int():
            return value if value is None or abs(value) < 1 << 63 else str(value)[:TEXT_CHARS_MAX]
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            cut = len(value) - TEXT_CHARS_MAX
            return value if cut <= 0 else f"{value[:TEXT_CHARS_MAX]}... ({cut} more)"
        case Mapping() if depth:
            made = {str(name)[:TEXT_CHARS_MAX]: _bounded(value[name], depth - 1) for name in list(value)[:ITEMS_MAX]}
            if len(value) > ITEMS_MAX:
                made["..."] = f"({len(value) - ITEMS_MAX} more)"
            return made
        case list() | tuple() | set() | frozenset() if depth:
            items = [_bounded(item, depth - 1) for item in list(value)[:ITEMS_MAX]]
            return [*items, f"... ({len(value) - ITEMS_MAX} more)"] if len(value) > ITEMS_MAX else items
        case _:
            return f"({type(value).__name__})"

"""Forks office and workers, starts again what ends, and ends everything when told to, or when nothing else is safe.

The supervisor has no loop and no thread: at any time it may fork what it once composed, and the workers' TLS contexts
(and with them the keys of session tickets) are the same in a worker that was mended. It keeps every worker's listening
sockets open, so that connections that wait in the queue of a worker that died are served by the one that follows.

A process whose beat has stopped for `HANG_SECONDS` is killed. A process that cannot start `mending.STARTS_MAX` times
in a row ends the whole, with the exit code of the last try. SIGTERM and SIGINT end it: the workers drain, and the
office speaks for them until they are gone; a second one does not wait. SIGHUP goes to the office. As process 1 of a
container it also reaps what others left behind.

Children do not depend on signals, which a terminal or a service manager sends to all of a group: each holds the read
end of a pipe that only the supervisor can write, and ends when that is closed, also because the supervisor is dead.

What all have agreed upon while running (another configuration, other TLS files) is taken before the next fork, and at
SIGUSR2, by which the office says that there is something: so that ports that are gone are not kept open here.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.ops.exit_codes import INTERRUPTED, OK, WRONG_USE
from gateway.ops.workers.mending import FAILED, Mending, exit_words
from gateway.ops.workers.places import OFFICE, Field, Places

TICK_SECONDS = 1.0
"""How often beats are looked at; what ends, a signal, and a start that is due are not waited for."""
HELD_UP_SECONDS = 2.0
"""What has not been looked at for so long was held up itself, or the machine was."""
HANG_SECONDS = 10.0
"""A loop that has not turned for so long does not come back."""
START_SECONDS = 60.0
"""The longest time from the fork to serving."""
KILL_SECONDS = 5.0
"""Beyond limits.shutdown_timeout, for workers that do not end; and for the office after them."""

log = logging.getLogger("gateway.supervisor")


class Family(Protocol):
    """What the supervisor is told of those that it forks."""

    @property
    def places(self) -> Places: ...

    @property
    def shutdown_seconds(self) -> float:
        """How long workers may take to end."""

    def body(self, place: int, line: int) -> int:
        """What a child does: its place, and the descriptor that reads as ended when it is to end. Returns its exit
        code."""

    def let_go(self) -> None:
        """Give up the ports, so that nobody waits in a queue that is not served any more."""

    def ended(self, worker: int) -> None:
        """A worker has ended; told before another takes its place."""

    def renew(self) -> None:
        """Take what is in force now, if it is not what was: who is forked next begins with it."""


@dataclass(slots=True)
class _Child:
    place: int
    mending: Mending
    pid: int = 0
    began: float = 0.0

    @property
    def name(self) -> str:
        return "office" if self.place == OFFICE else f"worker {self.place}"


class Supervisor:
    """Runs until everything has ended."""

    def __init__(
        self, family: Family, hang_seconds: float = HANG_SECONDS, mending: Callable[[], Mending] = Mending
    ) -> None:
        self._family = family
        self._places = family.places
        self._hang_seconds = hang_seconds
        self._children = [_Child(place, mending()) for place in range(family.places.workers + 1)]
        self._by_pid: dict[int, _Child] = {}
        self._signals = 0
        """How often it was asked to end."""
        self._stage = 0
        """1: the workers end; 2: they have, and the office does."""
        self._code = OK
        self._kill_at = float("inf")
        self._looked = 0.0
        self._wake, self._waker = os.pipe()
        self._line, self._hold = os.pipe()
        """The workers', and below the office's: closed, they end."""
        self._office_line, self._office_hold = os.pipe()

    def run(self) -> int:
        """Returns the exit code."""
        for descriptor in (self._wake, self._waker):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2):
            signal.signal(number, self._heard)
        gc.collect()
        gc.freeze()  # what is there now is never looked at again, so that its memory stays shared
        for child in self._children:
            self._fork(child)
        self._looked = time.monotonic()
        while self._by_pid or not self._stage:
            with contextlib.suppress(InterruptedError):
                select.select([self._wake], [], [], self._pause())
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
            now = time.monotonic()
            if self._signals:
                self._end(OK)
            self._family.renew()
            self._reap(now)
            self._look(now)
            self._mend(now)
        return self._code

    # ---- signals ------------------------------------------------------------------------------------------------

    def _heard(self, number: int, frame: object) -> None:
        del frame
        if number in (signal.SIGTERM, signal.SIGINT):
            self._signals += 1
            if self._signals > 1:  # whoever asks twice does not want to wait
                self._kill_all()
                os._exit(INTERRUPTED)
        elif number == signal.SIGHUP and self._children[OFFICE].pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._children[OFFICE].pid, signal.SIGHUP)

    def _end(self, code: int) -> None:
        """Workers drain from now on; the office ends after them."""
        if self._stage:
            return
        self._stage = 1
        self._code = code
        self._places.stop()
        self._family.let_go()
        os.close(self._hold)
        self._kill_at = time.monotonic() + self._family.shutdown_seconds + KILL_SECONDS
        if not any(child.pid for child in self._children[1:]):
            self._end_office()

    def _end_office(self) -> None:
        if self._stage == 1:
            self._stage = 2
            os.close(self._office_hold)
            self._kill_at = time.monotonic() + KILL_SECONDS

    def _kill_all(self) -> None:
        for child in self._children:
            if child.pid:
                self._kill(child)

    @staticmethod
    def _kill(child: _Child) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)

    # ---- children -----------------------------------------------------------------------------------------------

    def _fork(self, child: _Child) -> None:
        put, place = self._places.put, child.place
        for each, value in ((Field.DUE_AT, 0.0), (Field.SERVING, 0.0), (Field.STARTED_AT, time.time())):
            put(place, each, value)
        put(place, Field.BEAT, time.monotonic())
        put(place, Field.STARTS, self._places.get(place, Field.STARTS) + 1)
        child.began = time.monotonic()
        self._family.renew()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            self._become(child)
        child.pid = pid
        self._by_pid[pid] = child
        put(place, Field.PID, pid)

    def _become(self, child: _Child) -> None:
        """In the child: what the parent's was is let go of, and nothing returns from here."""
        code = FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
                signal.signal(number, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (self._wake, self._waker, self._hold, self._office_hold):
                os.close(descriptor)
            mine, other = self._line, self._office_line
            if child.place == OFFICE:
                mine, other = other, mine
            os.close(other)
            code = self._family.body(child.place, mine)
        except BaseException:
            log.exception("%s ends by an error of the gateway's own", child.name)
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self, now: float) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._by_pid.pop(pid, None)
            if child is not None:  # as process 1 of a container, one inherits others' children
                self._ended(child, os.waitstatus_to_exitcode(status), now)

    def _ended(self, child: _Child, code: int, now: float) -> None:
        places, place = self._places, child.place
        child.pid = 0
        served = bool(places.get(place, Field.SERVING))
        for each in (Field.PID, Field.SERVING, Field.TOTAL, Field.UNAUTHENTICATED):
            places.put(place, each, 0.0)
        if place != OFFICE:
            self._family.ended(place)
        places.put(place, Field.EXIT, code)
        places.put(place, Field.ENDS, places.get(place, Field.ENDS) + 1)
        if self._stage:
            if place != OFFICE and not any(each.pid for each in self._children[1:]):
                self._end_office()
            return
        pause = child.mending.ended(served=served, seconds=now - child.began)
        first = places.get(place, Field.STARTS) == 1
        if pause is None or (first and not served and code == WRONG_USE):
            log.error("%s could not start (%s); the gateway ends", child.name, exit_words(code))
            self._end(code if code > 0 else FAILED)
            return
        log.error("%s has ended (%s); it is started again in %g s", child.name, exit_words(code), pause)
        places.put(place, Field.DUE_AT, now + pause)

    def _look(self, now: float) -> None:
        """End what hangs. If this process itself was held up, nobody is blamed for it."""
        held_up = now - self._looked > HELD_UP_SECONDS
        self._looked = now
        for child in self._children:
            if not child.pid:
                continue
            if now >= self._kill_at:
                log.error("%s does not end and is killed", child.name)
                self._kill(child)
                continue
            if held_up:
                self._places.put(child.place, Field.BEAT, now)
            serving = bool(self._places.get(child.place, Field.SERVING))
            longest = self._hang_seconds if serving else START_SECONDS
            if now - self._places.get(child.place, Field.BEAT) > longest:
                log.error("%s does not answer for %g s and is killed", child.name, longest)
                self._places.put(child.place, Field.HANGS, self._places.get(child.place, Field.HANGS) + 1)
                self._places.put(child.place, Field.BEAT, now)
                self._kill(child)

    def _pause(self) -> float:
        """Until beats are looked at again, or somebody is to be started, or killed."""
        now = time.monotonic()
        if self._stage:  # nobody is started any more
            return min(TICK_SECONDS, self._kill_at - now) if self._kill_at > now else TICK_SECONDS
        dues = [self._places.get(child.place, Field.DUE_AT) for child in self._children if not child.pid]
        return min(TICK_SECONDS, max(0.0, min((due - now for due in dues if due), default=TICK_SECONDS)))

    def _mend(self, now: float) -> None:
        if self._stage:
            return
        for child in self._children:
            due = self._places.get(child.place, Field.DUE_AT)
            if not child.pid and due and now >= due:
                self._fork(child)

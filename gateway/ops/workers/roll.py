"""The office's view of the other processes: who serves, who has ended and how, what each uses."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from gateway.core.audit import FieldValue
from gateway.core.meters import Meter, Reading
from gateway.ops.workers.mending import exit_words
from gateway.ops.workers.places import Field, Places

SERVING = Meter("gateway_worker_serving", "1 while a worker process serves clients.", ("worker",), "gauge")
STARTS = Meter("gateway_worker_starts_total", "Starts of a worker process; the first is one.", ("worker",))
HANGS = Meter("gateway_worker_hangs_total", "Worker processes killed since they did not answer.", ("worker",))
CONNECTIONS = Meter("gateway_worker_connections", "Client connections of a worker now.", ("worker",), "gauge")
MEMORY = Meter("gateway_worker_resident_memory_bytes", "Resident memory of a worker process.", ("worker",), "gauge")

Tell = Callable[[Mapping[str, FieldValue]], None]
"""Writes a ``worker`` line of the audit."""


class Roll:
    """Looked at every so often; what happens between two looks is told with the second."""

    def __init__(self, places: Places, tell: Tell) -> None:
        self._places = places
        self._tell = tell
        self._ends: dict[int, float] = {}
        self._served: dict[int, float] = {}
        """Worker -> the start of which it was told that it serves."""

    def _workers(self) -> range:
        return range(1, self._places.workers + 1)

    def look(self) -> list[tuple[int, int]]:
        """The workers that have ended since the last look, each with the number of the process, 1 for its first."""
        ended = []
        get = self._places.get
        for worker in self._workers():
            ends, start, pid = get(worker, Field.ENDS), get(worker, Field.STARTS), int(get(worker, Field.PID))
            if ends != self._ends.get(worker, 0.0):
                self._ends[worker] = ends
                ended.append((worker, int(ends)))
                self._tell({"worker": worker, "state": "ended", "how": exit_words(int(get(worker, Field.EXIT)))})
            if pid and get(worker, Field.SERVING) and start != self._served.get(worker):
                self._served[worker] = start
                self._tell({"worker": worker, "state": "serves", "process": pid, "start": int(start)})
        return ended

    def kill(self, worker: int) -> None:
        """The supervisor starts another."""
        pid = int(self._places.get(worker, Field.PID))
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def missing(self, answered: Collection[int]) -> Iterator[str]:
        """Workers that do not serve, or do not answer."""
        for worker in self._workers():
            if not self._places.get(worker, Field.SERVING):
                start = int(self._places.get(worker, Field.STARTS))
                how = exit_words(int(self._places.get(worker, Field.EXIT)))
                last = f" (the one before ended with {how}; this is start {start})" if start > 1 else ""
                yield f"worker {worker}: not serving yet{last}"
            elif worker not in answered:
                yield f"worker {worker}: does not answer"

    def status(
        self, now: float, connections: Mapping[int, int], revisions: Mapping[int, str]
    ) -> Iterator[dict[str, object]]:
        """For ``gateway status``, one mapping a worker. `now`: wall time; `revisions`: of the configuration."""
        get = self._places.get
        for worker in self._workers():
            yield {
                "worker": worker,
                "pid": int(get(worker, Field.PID)),
                "serving": bool(get(worker, Field.SERVING)),
                "age": now - get(worker, Field.STARTED_AT),
                "starts": int(get(worker, Field.STARTS)),
                "hangs": int(get(worker, Field.HANGS)),
                "last_end": exit_words(int(get(worker, Field.EXIT))) if get(worker, Field.ENDS) else "",
                "connections": connections.get(worker, 0),
                "configuration": revisions.get(worker, ""),
            }

    def readings(self) -> Iterator[Reading]:
        for worker in self._workers():
            label = (str(worker),)
            for meter, field in (
                (SERVING, Field.SERVING), (STARTS, Field.STARTS), (HANGS, Field.HANGS), (CONNECTIONS, Field.TOTAL),
            ):  # fmt: skip
                yield meter, label, self._places.get(worker, field)
            yield MEMORY, label, _resident(int(self._places.get(worker, Field.PID)))


def _resident(pid: int) -> float:
    if not pid:
        return 0.0
    try:
        return float(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0.0

"""What a proxy's processes cost, and how one is started and ended. Processes are ended by their own pid."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

CIPHER = "TLS_AES_128_GCM_SHA256"
GROUP = "X25519"
START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
"""What `cpu_seconds` counts in."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of a process and its descendants, in KiB. Shared pages count once in `proportional`, in each in `resident`."""

    resident: int
    proportional: int


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its living descendants, and of the children it has waited for.

    Raises ProcessLookupError if it has ended.
    """
    parents: dict[int, list[int]] = {}
    times: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
        times[int(entry.name)] = sum(int(field) for field in fields[11:15]) * TICK_SECONDS
    if pid not in times:
        raise ProcessLookupError(f"process {pid} has ended")
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        total += times.get(one, 0.0)
        waiting += parents.get(one, [])
    return total


def memory(pid: int) -> Memory:
    """What a process and its descendants hold now. Raises OSError if one of them ends meanwhile."""
    resident = proportional = 0
    for one in _family(pid):
        text = Path(f"/proc/{one}/smaps_rollup").read_text()
        resident += _kib("Rss", text)
        proportional += _kib("Pss", text)
    return Memory(resident, proportional)


def peak_memory_mib(pid: int) -> float:
    """The most that one of the processes has held in memory."""
    texts = [Path(f"/proc/{one}/status").read_text() for one in _family(pid)]
    return max(_kib("VmHWM", text) for text in texts) / 1024


def _kib(name: str, text: str) -> int:
    found = re.search(rf"(?m)^{name}:\s+(\d+) kB", text)
    return int(found[1]) if found else 0


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def end_as_by_ctrl_c() -> None:
    """Let SIGTERM end a command as Ctrl-C does, so that everything it has started is ended too."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


class Daemon:
    """A program that listens on a port of 127.0.0.1 (and on `others`): started, waited for, ended."""

    def __init__(self, name: str, command: list[str], folder: Path, port: int, *others: int) -> None:
        self.name = name
        self.folder = folder
        self.port = port
        self._others = others
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self._log = open(self.folder / f"{self.name}.log", "ab")
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not all(map(_listens, (self.port, *self._others))):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                said = (self.folder / f"{self.name}.log").read_text()[-2000:]
                raise RuntimeError(f"{self.name} did not start: {said}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False

"""What the process uses, under the names that Prometheus' own libraries give it. Where there is no /proc: nothing."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from functools import cache

from gateway.core.meters import Meter, Reading

VIRTUAL = Meter("process_virtual_memory_bytes", "Virtual memory size in bytes.", kind="gauge")
RESIDENT = Meter("process_resident_memory_bytes", "Resident memory size in bytes.", kind="gauge")
STARTED = Meter(
    "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", kind="gauge"
)  # fmt: skip
CPU = Meter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")
OPEN_FILES = Meter("process_open_fds", "Number of open file descriptors.", kind="gauge")
OPEN_FILES_MOST = Meter("process_max_fds", "Maximum number of open file descriptors.", kind="gauge")

# Of /proc/self/stat, counted from after the name, which may hold anything (proc_pid_stat(5)).
_USER, _SYSTEM, _STARTED, _VIRTUAL, _RESIDENT = 11, 12, 19, 20, 21


def readings() -> Iterator[Reading]:
    """Of this process now."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        booted = _booted()
        opened = len(os.listdir("/proc/self/fd"))
    except OSError:
        return
    ticks = os.sysconf("SC_CLK_TCK")
    yield VIRTUAL, (), float(fields[_VIRTUAL])
    yield RESIDENT, (), float(fields[_RESIDENT]) * resource.getpagesize()
    yield STARTED, (), float(fields[_STARTED]) / ticks + booted
    yield CPU, (), float(fields[_USER]) / ticks + float(fields[_SYSTEM]) / ticks
    yield OPEN_FILES, (), float(opened)
    yield OPEN_FILES_MOST, (), float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


@cache
def _booted() -> float:
    """When the machine was started, in seconds since the epoch. Raises OSError."""
    with open("/proc/stat", "rb") as stat:
        for line in stat:
            if line.startswith(b"btime "):
                return float(line.split()[1])
    raise OSError("no boot time")

"""How many workers ``workers: auto`` means: one for each core that this process may use, by its affinity and by the
quota of its control group (cgroup v2), which is what a container's CPU limit is."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

from gateway.core.settings import WORKERS_MAX

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def workers(setting: int | Literal["auto"], quota: Path = CPU_MAX) -> int:
    """The number itself, or what this machine permits."""
    if setting != "auto":
        return setting
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, min(cores, _quota(quota), WORKERS_MAX))


def _quota(file: Path) -> int:
    """Cores of the control group's quota, rounded up; more than anybody has where there is none."""
    try:
        most, period = file.read_text().split()
        return math.ceil(int(most) / int(period))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max 100000"
        return WORKERS_MAX

"""What a proxy's processes cost is counted whole, and a proxy that has ended is not taken for a cheap one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from loadtest.processes import cpu_seconds

SPIN = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True); input()"


def test_a_childs_time_counts() -> None:
    before = cpu_seconds(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    with child:
        child.stdout.readline()
        assert cpu_seconds(child.pid) >= 0.18
        assert cpu_seconds(os.getpid()) - before >= 0.18
        child.stdin.close()
    assert cpu_seconds(os.getpid()) - before >= 0.18  # and still when it has been waited for
    with pytest.raises(ProcessLookupError):
        cpu_seconds(child.pid)

"""What idle connections cost in memory: thousands of them, each authenticated and with its upstream open.

Each sends one Produce request, which goes to the broker, so that the proxy has both halves; then nothing more.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from loadtest import frames
from loadtest.processes import Memory, cpu_seconds, memory
from loadtest.wire import Connection, client_context
from loadtest.work import LoadFailed, Window, Work

THREADS = 8
SETTLE_SECONDS_MAX = 10.0


def hold(work: Work) -> Window:
    """Open `work.connections`, wait until the proxy's memory rests, and say what each has added."""
    context = client_context(work.door.ca) if work.door.ca else None
    frame = frames.produce(work.topic, [0], 1, work.record_bytes)

    def connect(_: int) -> Connection:
        made = Connection(work.door, context)
        stack.callback(made.close)
        if (code := frames.produce_error(work.topic, made.ask(frame))) != 0:
            raise LoadFailed(f"Produce: error {code}")
        return made

    before, cpu, start = memory(work.door.pid), cpu_seconds(work.door.pid), time.monotonic()
    with ExitStack() as stack:
        with ThreadPoolExecutor(THREADS) as pool:
            opened = len(list(pool.map(connect, range(work.connections))))
        spent, seconds = cpu_seconds(work.door.pid) - cpu, time.monotonic() - start
        after = _settled(work.door.pid)
    return Window(
        opened, 0, spent, seconds,
        {
            "rest_pss_mib": before.proportional / 1024,
            "rest_rss_mib": before.resident / 1024,
            "each_pss_kib": (after.proportional - before.proportional) / opened,
            "each_rss_kib": (after.resident - before.resident) / opened,
        },
    )  # fmt: skip


def _settled(pid: int) -> Memory:
    """The memory once two looks a second apart agree within 1 %."""
    last, deadline = memory(pid), time.monotonic() + SETTLE_SECONDS_MAX
    while time.monotonic() < deadline:
        time.sleep(1.0)
        now = memory(pid)
        if abs(now.proportional - last.proportional) <= last.proportional / 100:
            return now
        last = now
    return last

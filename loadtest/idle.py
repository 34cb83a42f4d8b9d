"""What idle connections cost in memory: thousands of them, each authenticated and with its upstream open.

Each sends one Produce request, which goes to the broker, so that the proxy has both halves; then nothing more.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from loadtest import frames
from loadtest.processes import Memory, cpu_seconds, memory
from loadtest.wire import Connection, client_context
from loadtest.work import Door, LoadFailed, Window, Work

THREADS = 8
SETTLE_SECONDS_MAX = 10.0


@contextmanager
def opened(
    door: Door, context: ssl.SSLContext | None, frame: bytearray, check: Callable[[bytes], None], count: int
) -> Iterator[None]:
    """So many connections, each of which has been answered once."""

    def connect(_: int) -> None:
        made = Connection(door, context)
        stack.callback(made.close)
        check(made.ask(frame))

    with ExitStack() as stack:
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(connect, range(count)):
                pass
        yield


def hold(work: Work) -> Window:
    """Open `work.connections`, wait until the proxy's memory rests, and say what each has added."""
    door = work.door
    context = client_context(door.ca) if door.ca else None
    frame = frames.produce(work.topic, [0], 1, work.record_bytes)

    def check(answer: bytes) -> None:
        if (code := frames.produce_error(work.topic, answer)) != 0:
            raise LoadFailed(f"Produce: error {code}")

    before, cpu, start = memory(door.pid), cpu_seconds(door.pid), time.monotonic()
    with opened(door, context, frame, check, work.connections):
        spent, seconds = cpu_seconds(door.pid) - cpu, time.monotonic() - start
        after = _settled(door.pid)
    return Window(
        work.connections, 0, spent, seconds,
        {
            "rest_pss_mib": before.proportional / 1024,
            "rest_rss_mib": before.resident / 1024,
            "each_pss_kib": (after.proportional - before.proportional) / work.connections,
            "each_rss_kib": (after.resident - before.resident) / work.connections,
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

"""The load in a process of its own, by Pulsar's C++ client, which measures the proxy over its window.

python -m loadtest.pulsar.client < work.json > result.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pulsar

from loadtest.client import more_descriptors
from loadtest.figures import latencies
from loadtest.processes import cpu_seconds, memory
from loadtest.pulsar.rows import MESSAGE_BYTES, Door, Work, named
from loadtest.schedule import Schedule
from loadtest.work import LoadFailed, Window
from tests.real.pulsar.wire import RawPulsar

CLIENT_SECONDS_MAX = 120.0
ROOT = Path(__file__).resolve().parents[2]
PENDING_MAX = 2000
SILENT_MS = 10_000
VERSION = f"pulsar-client {version('pulsar-client')} (C++)"


@contextmanager
def connected(door: Door) -> Iterator[Any]:
    client = pulsar.Client(
        f"pulsar+ssl://localhost:{door.port}",
        authentication=pulsar.AuthenticationToken(door.token),
        tls_trust_certs_file_path=door.ca,
        tls_validate_hostname=True,
        logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
    )
    try:
        yield client
    finally:
        client.close()


class Counted:
    """A window that begins after the warm-up: what was done in it, and the proxy's CPU."""

    def __init__(self, work: Work) -> None:
        assert work.door is not None
        self._pid = work.door.pid
        self._start = time.monotonic() + work.warm_up
        self.end = self._start + work.seconds
        self._began: tuple[float, float, int] | None = None
        self.done = 0

    def look(self) -> bool:
        """Whether it goes on; to be asked often."""
        now = time.monotonic()
        if self._began is None and now >= self._start:
            self._began = (now, cpu_seconds(self._pid), self.done)
        return now < self.end

    def window(self, **more: float) -> Window:
        """Raises LoadFailed if it never began."""
        if self._began is None:
            raise LoadFailed("it ended before its window")
        now, spent, done = self._began
        cpu, count = cpu_seconds(self._pid) - spent, self.done - done
        return Window(count, count * MESSAGE_BYTES, cpu, time.monotonic() - now, more)


def produce(work: Work) -> Window:
    """As fast as it is acknowledged, with a bounded number on their way."""
    assert work.door is not None
    failed: list[str] = []
    with connected(work.door) as client:
        producer = client.create_producer(
            work.topic, batching_enabled=work.batched, batching_max_publish_delay_ms=5, block_if_queue_full=True,
            max_pending_messages=PENDING_MAX, send_timeout_millis=SILENT_MS,
        )  # fmt: skip
        counted = Counted(work)

        def answered(result: Any, _: object) -> None:
            if result == pulsar.Result.Ok:
                counted.done += 1
            else:
                failed.append(result.name)

        payload = bytes(MESSAGE_BYTES)
        while counted.look() and not failed:
            for _ in range(50):
                producer.send_async(payload, answered)
        made = counted.window()
        producer.flush()
    if failed:
        raise LoadFailed(failed[0])
    return made


def consume(work: Work) -> Window:
    """A reader from the topic's beginning, and again from there at its end."""
    assert work.door is not None
    with connected(work.door) as client:
        counted = Counted(work)
        while counted.look():
            reader = client.create_reader(work.topic, pulsar.MessageId.earliest, receiver_queue_size=2000)
            went = 0
            while counted.look():
                try:
                    reader.read_next(500)
                except pulsar.Timeout:
                    break
                counted.done += 1
                went += 1
            if counted.look():
                reader.close()
                if not went:
                    raise LoadFailed("nothing is stored")
        return counted.window()


def paced(work: Work) -> Window:
    """At a fixed rate; a message's latency counts from when it was due (loadtest.schedule)."""
    assert work.door is not None
    schedule = Schedule(work.rate, work.warm_up, work.seconds)
    failed: list[str] = []
    lock = threading.Lock()
    with connected(work.door) as client:
        producer = client.create_producer(work.topic, batching_enabled=False, max_pending_messages=50_000)
        counted = Counted(work)
        start = time.monotonic()

        def sent(number: int) -> Callable[[Any, object], None]:
            def answered(result: Any, _: object) -> None:
                now = time.monotonic() - start
                with lock:
                    counted.done += 1
                    schedule.done(number, now)
                if result != pulsar.Result.Ok:
                    failed.append(result.name)

            return answered

        payload = bytes(MESSAGE_BYTES)
        while not schedule.over(now := time.monotonic() - start) and not failed:
            counted.look()
            for number in schedule.due(now):
                producer.send_async(payload, sent(number))
            time.sleep(min(schedule.pause(time.monotonic() - start), 0.001))
        producer.flush()
        found = latencies(schedule.latencies())
        made = counted.window(**found)
    if failed:
        raise LoadFailed(failed[0])
    return made


def idle(work: Work) -> Window:
    """Connections that were authenticated, asked for the topic's broker, and so have both halves."""
    door = work.door
    assert door is not None
    before, cpu, start = memory(door.pid), cpu_seconds(door.pid), time.monotonic()
    with RawPulsar(door.port, door.ca) as first:
        first.connect(door.token)
        first.receive()
        broker = named(first, work.topic)
    with ExitStack() as stack:
        for _ in range(work.connections):
            one = stack.enter_context(RawPulsar(door.port, door.ca))
            one.connect(door.token, proxy_to_broker_url=broker)
            if one.receive().name != "connected":
                raise LoadFailed("not connected")
        spent, seconds = cpu_seconds(door.pid) - cpu, time.monotonic() - start
        time.sleep(1.0)
        after = memory(door.pid)
    return Window(
        work.connections, 0, spent, seconds, {"rest_kib": before.proportional, "idle_kib": after.proportional}
    )


KINDS: dict[str, Callable[[Work], Window]] = {"produce": produce, "consume": consume, "paced": paced, "idle": idle}


def run(work: Work) -> Window:
    """Do the work in a client process. Raises LoadFailed."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "loadtest.pulsar.client"],
            input=json.dumps(asdict(work)), capture_output=True, text=True, cwd=ROOT, check=False,
            timeout=work.seconds + CLIENT_SECONDS_MAX,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LoadFailed(f"{work.kind} {work.topic}: the client did not end") from None
    if done.returncode != 0:
        raise LoadFailed(f"{work.kind} {work.topic}: {(done.stderr + done.stdout)[-2000:]}")
    window = Window(**json.loads(done.stdout.splitlines()[-1]))
    if not window.count:
        raise LoadFailed(f"{work.kind} {work.topic}: nothing was done in the window")
    return window


def main() -> int:
    given = json.load(sys.stdin)
    work = replace(Work(**given), door=Door(**given["door"]))
    more_descriptors()
    try:
        window = KINDS[work.kind](work)
    except (LoadFailed, OSError, EOFError, pulsar.PulsarException) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(window)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

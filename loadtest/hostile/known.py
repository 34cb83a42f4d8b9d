"""The clients that the gateway knows: idle ones that are only held, busy ones at a fixed rate, newcomers in between.

    python -m loadtest.hostile.known

Reads one line of JSON (`Party`), opens everything, and answers with a line. Then each line of input is a number of
seconds to work for, answered with a `Window` as a line of JSON; an empty line asks for the end: every connection, idle
ones too, has to answer once more. Latencies count from the moment a request was due (loadtest.schedule).
"""

from __future__ import annotations

import json
import select
import ssl
import sys
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from loadtest import frames
from loadtest.schedule import Schedule
from loadtest.wire import Connection, client_context
from loadtest.work import Door, LoadFailed

THREADS = 8
ANSWER_SECONDS_MAX = 30.0
NEWCOMER_PAUSE = 0.25
PRODUCE_BYTES = 256


@dataclass(frozen=True, slots=True)
class Party:
    """Whom to bring. `rate`: requests a second of all busy ones together."""

    port: int
    ca: str
    token: str
    topic: str
    idle: int
    busy: int
    rate: float


@dataclass(slots=True)
class Window:
    """What came of some seconds of work. Times are milliseconds; `errors`: what was wrong, and how often."""

    requests: int = 0
    p50: float = 0.0
    p99: float = 0.0
    most: float = 0.0
    newcomers: int = 0
    newcomers_p50: float = 0.0
    newcomers_most: float = 0.0
    newcomers_refused: int = 0
    errors: dict[str, int] = field(default_factory=dict)


class Clients:
    """All connections of the party."""

    def __init__(self, party: Party) -> None:
        """Raises LoadFailed, OSError."""
        self._party = party
        self._door = Door(party.port, 0, party.ca, party.token)
        self._context = client_context(party.ca)
        self._frame = frames.produce(party.topic, [0], 1, PRODUCE_BYTES)
        with ThreadPoolExecutor(THREADS) as pool:
            opened = list(pool.map(lambda _: self._open(), range(party.idle + party.busy)))
        self._busy, self._idle = opened[: party.busy], opened[party.busy :]
        self._sent = 0

    def _open(self) -> Connection:
        """With its upstream half: it has produced a record."""
        made = Connection(self._door, self._context)
        self._see(made.ask(self._frame))
        return made

    def _see(self, answer: bytes) -> None:
        if (code := frames.produce_error(self._party.topic, answer)) != 0:
            raise LoadFailed(f"Produce: error {code}")

    def work(self, seconds: float) -> Window:
        """Busy for so long; newcomers come and go meanwhile."""
        window, errors = Window(), Counter[str]()
        newcomers = Newcomers(self._door, self._context)
        schedule = Schedule(self._party.rate, 0.0, seconds)
        waiting: dict[int, deque[int]] = {}
        poll = select.epoll()
        lines = {}
        for line in self._busy:
            line.detach()
            lines[line.socket.fileno()] = line
            waiting[line.socket.fileno()] = deque()
            poll.register(line.socket, select.EPOLLIN)
        turn = list(lines)
        newcomers.start()
        started = time.monotonic()
        while not schedule.over(now := time.monotonic() - started) or any(waiting.values()):
            if now > seconds + ANSWER_SECONDS_MAX:
                errors["no answer"] += sum(map(len, waiting.values()))
                break
            for number in schedule.due(now):
                descriptor = turn[number % len(turn)]
                if descriptor not in lines:
                    continue
                self._sent = self._sent + 1 & 0x7FFFFFFF
                frames.stamp(self._frame, self._sent)
                waiting[descriptor].append(number)
                lines[descriptor].send([bytes(self._frame)])
            for descriptor, _ in poll.poll(schedule.pause(time.monotonic() - started)):
                line = lines[descriptor]
                try:
                    for answer in line.receive():
                        self._see(answer)
                        schedule.done(waiting[descriptor].popleft(), time.monotonic() - started)
                except (LoadFailed, OSError, ssl.SSLError) as error:
                    errors[f"a busy connection: {type(error).__name__} {error}"] += 1
                    poll.unregister(descriptor)
                    waiting[descriptor].clear()
                    del lines[descriptor]
        poll.close()
        newcomers.end()
        self._busy = list(lines.values())
        waits = sorted(schedule.latencies())
        window.requests = len(waits)
        window.p50, window.p99, window.most = quantiles(waits)
        window.newcomers, window.newcomers_refused = len(newcomers.seconds), newcomers.refused
        window.newcomers_p50, _, window.newcomers_most = quantiles(sorted(newcomers.seconds))
        window.errors = dict(errors)
        return window

    def end(self) -> Window:
        """Ask every connection once more."""
        window, errors = Window(), Counter[str]()
        for connection in (*self._busy, *self._idle):
            connection.socket.settimeout(ANSWER_SECONDS_MAX)
            try:
                self._see(connection.ask(self._frame))
                window.requests += 1
            except (LoadFailed, OSError, ssl.SSLError) as error:
                errors[f"{type(error).__name__} {error}"] += 1
            connection.close()
        window.errors = dict(errors)
        return window


class Newcomers(threading.Thread):
    """Valid clients that come one after the other: connect, authenticate, leave. A reset is tried again, as every
    Kafka client does, and counted."""

    def __init__(self, door: Door, context: ssl.SSLContext) -> None:
        super().__init__(daemon=True)
        self._door = door
        self._context = context
        self._over = threading.Event()
        self.seconds: list[float] = []
        self.refused = 0

    def run(self) -> None:
        begun = time.monotonic()
        while not self._over.wait(NEWCOMER_PAUSE):
            try:
                Connection(self._door, self._context).close()
            except (LoadFailed, OSError, ssl.SSLError):
                self.refused += 1
                continue
            self.seconds.append(time.monotonic() - begun - NEWCOMER_PAUSE)
            begun = time.monotonic()

    def end(self) -> None:
        self._over.set()
        self.join()


def quantiles(waits: list[float]) -> tuple[float, float, float]:
    """p50, p99 and the most of sorted seconds, in milliseconds."""
    if not waits:
        return 0.0, 0.0, 0.0
    return tuple(round(1000 * waits[min(len(waits) - 1, int(part * len(waits)))], 2) for part in (0.5, 0.99, 1.0))  # type: ignore[return-value]


def main() -> int:
    clients = Clients(Party(**json.loads(sys.stdin.readline())))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        made = clients.work(float(line)) if line.strip() else clients.end()
        print(json.dumps(asdict(made)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

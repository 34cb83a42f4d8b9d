"""Raw requests over many connections, a fixed number in flight on each: Produce of small batches, Metadata.

Counts answers over the window; each must carry the next correlation id, and Produce's no error.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

from loadtest import frames
from loadtest.figures import latencies
from loadtest.idle import opened
from loadtest.processes import cpu_seconds
from loadtest.schedule import Schedule
from loadtest.topics import topic_name
from loadtest.wire import Connection, client_context
from loadtest.work import LoadFailed, Window, Work

STALL_SECONDS_MAX = 20.0
CONNECTING = 8
"""Connections that are made at a time."""


class Line:
    """One connection with the frames that it sends in turn, and the correlation ids that are under way."""

    def __init__(
        self, connection: Connection, requests: Sequence[bytearray], first: int, check: Callable[[bytes], None]
    ) -> None:
        self.connection = connection
        self._requests = requests
        self._next = first
        self._check = check
        self._sent = self._answered = 0
        self._watched = False

    def ask(self, count: int) -> None:
        made = []
        for _ in range(count):
            frame = self._requests[self._next % len(self._requests)]
            self._next += 1
            frames.stamp(frame, self._sent)
            made.append(bytes(frame))
            self._sent = self._sent + 1 & 0x7FFFFFFF
        self.connection.send(made)

    def watch(self, poll: select.epoll) -> None:
        """Be told when there is room to write, if and only if something is unsent."""
        unsent = not self.connection.flush()
        if unsent != self._watched:
            self._watched = unsent
            poll.modify(self.connection.socket, select.EPOLLIN | (select.EPOLLOUT if unsent else 0))

    def take(self) -> tuple[int, int]:
        """How many answers have come, and how many octets they are."""
        answers = self.connection.receive()
        octets = 0
        for answer in answers:
            if int.from_bytes(answer[:4], "big") != self._answered:
                raise LoadFailed("an answer out of turn")
            self._check(answer)
            self._answered = self._answered + 1 & 0x7FFFFFFF
            octets += len(answer)
        return len(answers), octets


def produce(work: Work) -> Window:
    """Small Produce requests."""
    return _run(work, _produces(work), _checked(work))


def paced(work: Work) -> Window:
    """Produce requests at a fixed rate over the connections in turn; latency from the moment each was due."""
    schedule = Schedule(work.rate / (work.records * work.per_request), work.warm_up, work.seconds)
    begun: float | None = None
    with _connected(work, _produces(work), _checked(work)) as (poll, lines):
        turn = list(lines.values())
        waiting: dict[Line, deque[int]] = {line: deque() for line in turn}
        started = time.monotonic()
        while not schedule.over(now := time.monotonic() - started) or any(waiting.values()):
            if now > work.warm_up + work.seconds + STALL_SECONDS_MAX:
                raise LoadFailed("requests without an answer")
            if begun is None and now >= work.warm_up:
                begun = _cpu(work)
            for number in schedule.due(now):
                line = turn[number % len(turn)]
                waiting[line].append(number)
                line.ask(1)
            for descriptor, _ in poll.poll(schedule.pause(time.monotonic() - started)):
                line = lines[descriptor]
                answers, _ = line.take()
                for _ in range(answers):
                    schedule.done(waiting[line].popleft(), time.monotonic() - started)
    done = schedule.latencies()
    records = len(done) * work.records * work.per_request
    return Window(len(done), records * work.record_bytes, _cpu(work) - (begun or 0.0), work.seconds, latencies(done))


def metadata(work: Work) -> Window:
    """Metadata of every topic that the client may see."""
    return _run(work, [frames.metadata()], lambda _: None)


def fetch(work: Work) -> Window:
    """Fetch of the same octets again and again."""
    partitions = list(range(work.per_request))
    return _run(work, [frames.fetch(topic, partitions, work.record_bytes) for topic in _topics(work)], lambda _: None)


def _topics(work: Work) -> list[str]:
    return [topic_name(number) for number in range(work.topics)] or [work.topic]


def _produces(work: Work) -> list[bytearray]:
    """One for each topic, or one for each share of the single topic's partitions."""
    if work.topics:
        shared = list(range(work.per_request))
        return [frames.produce(name, shared, work.records, work.record_bytes, summed=False) for name in _topics(work)]
    return [
        frames.produce(
            work.topic,
            [(first + index) % work.partitions for index in range(work.per_request)],
            work.records,
            work.record_bytes,
        )
        for first in range(0, work.partitions, work.per_request)
    ]


def _checked(work: Work) -> Callable[[bytes], None]:
    topic = _topics(work)[0]

    def check(answer: bytes) -> None:
        if (code := frames.produce_error(topic, answer)) != 0:
            raise LoadFailed(f"Produce: error {code}")

    return check


@contextmanager
def _connected(
    work: Work, requests: Sequence[bytearray], check: Callable[[bytes], None]
) -> Iterator[tuple[select.epoll, dict[int, Line]]]:
    """The connections, by descriptor, watched for what they receive; the idle ones stay open meanwhile."""
    context = client_context(work.door.ca) if work.door.ca else None
    with ExitStack() as stack:
        stack.enter_context(opened(work.door, context, requests[0], check, work.idle))
        lines: dict[int, Line] = {}
        poll = stack.enter_context(select.epoll())
        with ThreadPoolExecutor(min(CONNECTING, work.connections)) as pool:
            made = list(pool.map(lambda _: Connection(work.door, context), range(work.connections)))
        for number, connection in enumerate(made):
            stack.enter_context(closing(connection))
            connection.detach()
            lines[connection.socket.fileno()] = Line(connection, requests, number, check)
            poll.register(connection.socket, select.EPOLLIN)
        yield poll, lines


def _cpu(work: Work) -> float:
    return cpu_seconds(work.door.pid) if work.door.pid else 0.0


def _run(work: Work, requests: Sequence[bytearray], check: Callable[[bytes], None]) -> Window:
    """As many requests as are answered, `in_flight` of them under way on each connection."""
    with _connected(work, requests, check) as (poll, lines):
        for line in lines.values():
            line.ask(work.in_flight)
            line.watch(poll)
        count = octets = 0
        started = moved = time.monotonic()
        begun: tuple[float, float, int, int] | None = None
        while True:
            for number, event in poll.poll(1.0):
                line = lines[number]
                if event & ~select.EPOLLOUT:
                    answers, size = line.take()
                    if answers:
                        line.ask(answers)
                        count += answers
                        octets += size
                        moved = time.monotonic()
                line.watch(poll)
            now = time.monotonic()
            if now - moved > STALL_SECONDS_MAX:
                raise LoadFailed(f"no answer for {STALL_SECONDS_MAX} s after {count}")
            if begun is None:
                if now - started >= work.warm_up and count >= work.first:
                    begun = (now, _cpu(work), count, octets)
            elif now - begun[0] >= work.seconds and count >= begun[2] + work.least:
                return Window(count - begun[2], octets - begun[3], _cpu(work) - begun[1], now - begun[0])

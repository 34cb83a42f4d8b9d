"""What all workers have counted, as one: counters of workers that are gone stay counted, so that none goes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from gateway.core.meters import Meter, Reading

_Key = tuple[Meter, tuple[str, ...]]


def to_json(readings: Iterable[Reading]) -> list[list[Any]]:
    """Meter by meter, each with its series."""
    found: dict[Meter, list[Any]] = {}
    for meter, labels, value in readings:
        found.setdefault(meter, []).append([list(labels), value])
    return [
        [[meter.name, meter.help, list(meter.labels), meter.kind, meter.over_workers], series]
        for meter, series in found.items()
    ]


def from_json(found: Iterable[Sequence[Any]]) -> Iterator[Reading]:
    for (name, words, labels, kind, over_workers), series in found:
        meter = _meter(name, words, tuple(labels), kind, over_workers)
        for values, value in series:
            yield meter, tuple(values), value


@cache
def _meter(name: str, words: str, labels: tuple[str, ...], kind: Any, over_workers: Any) -> Meter:
    return Meter(name, words, labels, kind, over_workers)


class Sums:
    """`kept` is what workers that are gone had counted.

    A worker's processes are known by their numbers, 1 for the first: the next one may have spoken before anybody looks
    who has ended, and what one said may come after it was seen to end. Each is added to what is kept once.
    """

    def __init__(self) -> None:
        self._live: dict[int, tuple[int, dict[_Key, float]]] = {}
        """Worker -> its process, and what that has counted."""
        self._ended: dict[int, int] = {}
        """Worker -> so many of its processes have ended."""
        self._gone: dict[_Key, float] = {}

    def take(self, worker: int, process: int, readings: Iterable[Reading]) -> None:
        """What a worker's process says; those before it are gone. Nothing, if it is gone itself."""
        self.gone(worker, process - 1)
        if process > self._ended[worker]:
            self._live[worker] = process, {(meter, labels): value for meter, labels, value in readings}

    def gone(self, worker: int, process: int) -> None:
        """This one has ended, and all before it. What they counted after they were last asked is lost."""
        self._ended[worker] = max(process, self._ended.get(worker, 0))
        if worker not in self._live or self._live[worker][0] > process:
            return
        for key, value in self._live.pop(worker)[1].items():
            if key[0].kind == "counter":
                self._gone[key] = self._gone.get(key, 0.0) + value

    def kept(self) -> Iterator[Reading]:
        for (meter, labels), value in self._gone.items():
            yield meter, labels, value

    def keep(self, readings: Iterable[Reading]) -> None:
        """What was kept by an earlier office."""
        self._gone = {(meter, labels): value for meter, labels, value in readings}

    def readings(self, own: Iterable[Reading]) -> Iterator[Reading]:
        """All together, with what the asking process itself has."""
        found: dict[_Key, float] = dict(self._gone)
        mine = {(meter, labels): value for meter, labels, value in own}
        for each in (*(counted for _, counted in self._live.values()), mine):
            for key, value in each.items():
                before = found.get(key)
                if before is None:
                    found[key] = value
                else:
                    found[key] = min(before, value) if key[0].over_workers == "least" else before + value
        for (meter, labels), value in found.items():
            yield meter, labels, value

"""Notices that files have changed, by looking: no events of a file system are relied on.

A file is known by what its path leads to (device, inode, both times, size), so a rewritten file, one renamed over it, a
swapped symlink anywhere on its path (Kubernetes mounts work so), and files that come to or go from a glob are all
changes. That is one call of the system for each file: the interpreter's lock changes hands at each, and the loop waits
for it. While nothing changes a watch does nothing by itself: edge.looks takes all watches' looks together. A change is
reported when two looks in a row see the same: a set that is still being written is waited for. SIGHUP is a `poke`: a
look at once, reported even if nothing changed. ops watches policy files with it.
"""

from __future__ import annotations

import asyncio
import glob
import logging
import os
from collections.abc import Awaitable, Callable, Sequence

from gateway.edge.looks import Look, looks

FILES_MAX = 10_000
SETTLE = 0.1
"""Seconds between the two looks that must agree, unless the poll interval is shorter."""

Fingerprint = tuple[tuple[object, ...], ...]
Changed = Callable[[str], Awaitable[None]]
"""Called with what set it off: ``file`` or ``poke``. Awaited; looks pause meanwhile."""

log = logging.getLogger("gateway.watch")


def fingerprint(patterns: Sequence[str]) -> Fingerprint:
    """What all files of these paths are now; a ``*`` in a path's last part matches names. Blocks on the disk."""
    names: set[str] = set()
    for pattern in patterns:
        found = sorted(glob.glob(pattern)) if "*" in os.path.basename(pattern) else [pattern]
        names.update(found[:FILES_MAX])
    return tuple(_one(name) for name in sorted(names))


def _one(name: str) -> tuple[object, ...]:
    try:
        stat = os.stat(name)
    except (OSError, ValueError) as error:
        return name, type(error).__name__
    return name, stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


class Watch:
    """Looks at the patterns' files every `poll` seconds and calls `changed` once each change has settled.

    `start` takes the files as they are then for known; `seen` may hand in the fingerprint of when they were loaded,
    so that a change in between is not missed. An exception of `changed` is logged and ends nothing.
    """

    def __init__(self, patterns: Sequence[str], changed: Changed, poll: float, seen: Fingerprint | None = None) -> None:
        self._patterns = tuple(patterns)
        self._changed = changed
        self._poll = poll
        self._seen = seen
        self._poked = False
        self._woken = asyncio.Event()
        self._regular = Look(self._differs, self._woken.set, self._names)
        self._resting = False
        """Nothing is done but the regular looks."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._seen is None:
            self._seen = await self._look()
        self._task = asyncio.create_task(self._run(), name="watching files")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def use(self, patterns: Sequence[str], poll: float, seen: Fingerprint | None = None) -> None:
        """Look at other files, or at other times. `seen`: what they were when they were read; left out: what the next
        look finds is taken for known."""
        self._poll = poll
        if tuple(patterns) != self._patterns:
            self._patterns = tuple(patterns)
            self._seen = seen
        if self._resting:
            self._begin()

    def poke(self) -> None:
        """Look now, and report whatever is found. Callable from a signal handler of the loop."""
        self._poked = True
        self._woken.set()

    def _begin(self) -> None:
        if self._patterns:
            looks().begin(self._regular, self._poll)
        else:
            looks().end(self._regular)

    def _names(self) -> str:
        return ", ".join(self._patterns)

    def _differs(self) -> bool:
        return fingerprint(self._patterns) != self._seen

    async def _look(self) -> Fingerprint:
        return await asyncio.to_thread(fingerprint, self._patterns)

    async def _run(self) -> None:
        while True:
            await self._rest()
            try:
                await self._check()
            except Exception:
                log.exception("looking at %s failed", self._names())

    async def _rest(self) -> None:
        """Until a regular look finds something else than was seen, or until a poke."""
        self._begin()
        self._resting = True
        try:
            await self._woken.wait()
        finally:
            self._resting = False
            looks().end(self._regular)
        self._woken.clear()

    async def _check(self) -> None:
        poked, self._poked = self._poked, False
        patterns = self._patterns
        found = await self._look()
        if self._seen is None:
            self._seen = found
        if not poked and (found == self._seen or patterns is not self._patterns):
            return
        while True:
            await asyncio.sleep(min(SETTLE, self._poll))
            again = await self._look()
            if again == found:
                break
            found = again
        if patterns is self._patterns:
            self._seen = found
        await self._changed("poke" if poked else "file")

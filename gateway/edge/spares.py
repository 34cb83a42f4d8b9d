"""Large buffers that are used again: what the system gives anew costs a page fault for each 4 KiB of every frame.

A few are kept for the whole process, outside of its budget. One that is still looked at through any view (a session
that broke its contract, an answer that is not sent yet) is not used again. What another connection left in it is never
shown: an inbox shows what was filled into it.
"""

from __future__ import annotations

import contextlib
import mmap
import sys

Mapped = mmap.mmap

SPARE_OCTETS_MAX = 8 << 20
"""Kept in all."""
STEP = 256 * 1024
"""Sizes are rounded up to a multiple, so that frames of about one size share buffers. Mapped memory that is not touched
costs nothing."""
_UNSEEN = 2
"""References to a buffer that only the caller's own name and the argument of the question hold."""


def _mapped(octets: int) -> Mapped:
    """Private memory, in large pages where the system has them: filling it costs a tenth of what shared memory does."""
    made = mmap.mmap(-1, octets, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is not None:
        with contextlib.suppress(OSError):  # a kernel without them
            made.madvise(advice)
    return made


class Spares:
    """One per process."""

    def __init__(self) -> None:
        self._buffers: list[Mapped] = []
        self.octets = 0

    def take(self, octets: int) -> Mapped:
        """A buffer of at least so many octets: the last used one that fits, else a new one."""
        at = len(self._buffers)
        while at:
            at -= 1
            if len(self._buffers[at]) >= octets:
                buffer = self._buffers.pop(at)
                self.octets -= len(buffer)
                if sys.getrefcount(buffer) == _UNSEEN:
                    return buffer
        return _mapped(-(-octets // STEP) * STEP)

    def give(self, buffer: Mapped) -> None:
        """It is not needed any more."""
        if self.octets + len(buffer) <= SPARE_OCTETS_MAX:
            self._buffers.append(buffer)
            self.octets += len(buffer)

"""Free ports for processes that cannot bind port 0 themselves.

Ports are taken below the kernel's range for outgoing connections, so that no client's socket takes one between this
look and the process's own bind. Each process of tests locks a block of ports for as long as it lives and goes round
in it: no two runs, and no two fixtures of one, are given the same port while it is still to be bound.
"""

from __future__ import annotations

import fcntl
import itertools
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

_LOW, _HIGH, _BLOCK = 12_000, 31_000, 1_000
_PROBES_MAX = 10 * _BLOCK


def free_ports(count: int, *, consecutive: bool = False) -> list[int]:
    """`count` ports of 127.0.0.1 that nobody listens on, in a row if asked. Raises OSError if none are found."""
    found: list[int] = []
    for port in itertools.islice(_ports(), _PROBES_MAX):
        if consecutive and found and port != found[-1] + 1:
            found.clear()
        if _free(port):
            found.append(port)
        elif consecutive:
            found.clear()
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports")


@cache
def _ports() -> itertools.cycle[int]:
    """This process's block, round and round. The lock ends with the process."""
    folder = Path(tempfile.gettempdir()) / "streaming-gateway-ports"
    folder.mkdir(exist_ok=True)
    blocks = list(range(_LOW, _HIGH, _BLOCK))
    random.shuffle(blocks)
    for block in blocks:
        lock = open(folder / str(block), "w")  # noqa: SIM115 - kept open for the process's life
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _kept.append(lock)
        return itertools.cycle(range(block, block + _BLOCK))
    raise OSError("every block of ports is taken by some other run of tests")


_kept: list[object] = []


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

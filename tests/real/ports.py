"""Free ports for processes that cannot bind port 0 themselves.

Ports are taken below the kernel's range for outgoing connections, so that no client's socket takes one between this
look and the process's own bind; a random start keeps parallel runs apart.
"""

from __future__ import annotations

import random
import socket

_LOW, _HIGH = 12_000, 31_000
_ATTEMPTS_MAX = 500


def free_ports(count: int, *, consecutive: bool = False) -> list[int]:
    """`count` ports of 127.0.0.1 that nobody listens on, in a row if asked. Raises OSError if none are found."""
    if consecutive:
        for _ in range(_ATTEMPTS_MAX):
            first = random.randrange(_LOW, _HIGH - count)
            block = list(range(first, first + count))
            if all(_free(port) for port in block):
                return block
        raise OSError(f"no {count} free ports in a row")
    found: set[int] = set()
    for _ in range(_ATTEMPTS_MAX + 10 * count):
        if len(found) == count:
            return sorted(found, key=lambda _: random.random())
        port = random.randrange(_LOW, _HIGH)
        if port not in found and _free(port):
            found.add(port)
    raise OSError(f"no {count} free ports")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

"""Open files: how many client connections they permit, and what is kept back for everything else.

A client's connection takes two (its own, and the one to its broker). `KEPT_BACK` stay free of clients, so that with
every place taken a broker can still be dialled, keys be fetched, policies, certificates and the audit be opened, and
an operator get in. Called by edge.server before it accepts.
"""

from __future__ import annotations

import contextlib
import os
import resource

from gateway.edge import reasons
from gateway.edge.reasons import StartRefused

EACH = 2
KEPT_BACK = 160
"""64 connections of the admin port, the resolver's threads, control connections, key sets, files that are read."""
OPENED_GUESS = 64
"""At the start, where the system does not say."""
CONNECTIONS_MIN = 16
"""With fewer than these, and fewer than were asked for, it is a mistake of the machine's rather than a small one."""


def permitted(connections: int) -> int:
    """Raise the soft limit as far as is needed; how many of so many connections fit. Raises StartRefused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = _opened()
    needed = opened + KEPT_BACK + EACH * connections
    if soft != resource.RLIM_INFINITY and soft < needed:
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):  # then what there is has to do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    fitting = (soft - opened - KEPT_BACK) // EACH
    if fitting < min(connections, CONNECTIONS_MIN):
        detail = f"{soft} are permitted; {connections} connections need {needed}"
        raise StartRefused(reasons.OPEN_FILES_FEW, detail)
    return fitting


def _opened() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return OPENED_GUESS

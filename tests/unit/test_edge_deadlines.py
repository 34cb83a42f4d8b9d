"""A client that reads drop by drop is let go where its backlog keeps memory from the others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.core.session import NEVER
from gateway.core.settings import Limits
from gateway.edge import reasons
from gateway.edge.deadlines import DRAINED_MIN, Deadlines

BACKLOG = 50 << 20


def side(pending: int = 0) -> Any:
    return SimpleNamespace(
        frame_since=0.0,
        inbox=SimpleNamespace(waiting_since=0.0),
        outbox=SimpleNamespace(pending=pending),
        stream=None,
        taking=0.0,
        waiting_since=0.0,
        full=pending > 0,
    )


def look(at_ease: bool, *pendings: int) -> list[str]:
    """What is found each time it is looked, half a minute apart; a little was taken just before."""
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    process: Any = SimpleNamespace(loop=None, clock=clock, limits=Limits(), budget=SimpleNamespace(at_ease=at_ease))
    client = side(pendings[0])
    session: Any = SimpleNamespace(deadline=NEVER)
    deadlines = Deadlines(process, session, client, side(), lambda: None)
    found = []
    for number, pending in enumerate(pendings):
        now = 1000.0 + 30.0 * number
        client.outbox.pending, client.full = pending, pending > 0
        client.taking = deadlines.active = now - 1.0
        late = deadlines.late(now, True, True)
        found.append(late.code if late is not None else "")
    return found


CUT = reasons.CLIENT_NOT_READING.code


@pytest.mark.parametrize(
    ("at_ease", "pendings", "found"),
    [
        (False, (BACKLOG, BACKLOG - 30), ["", CUT]),
        (False, (BACKLOG, BACKLOG - DRAINED_MIN + 1), ["", CUT]),
        (False, (BACKLOG, BACKLOG - DRAINED_MIN, BACKLOG - 2 * DRAINED_MIN), ["", "", ""]),
        (False, (BACKLOG, 0, BACKLOG - 30, BACKLOG - 60), ["", "", "", CUT]),
        (False, (BACKLOG, BACKLOG + 5), ["", ""]),
        (True, (BACKLOG, BACKLOG - 30), ["", ""]),
    ],
    ids=["drips", "just-too-little", "reads", "a-new-backlog", "taken-in-between", "memory-enough"],
)
def test_a_backlog_is_taken_or_the_client_let_go(at_ease: bool, pendings: tuple[int, ...], found: list[str]) -> None:
    assert look(at_ease, *pendings) == found

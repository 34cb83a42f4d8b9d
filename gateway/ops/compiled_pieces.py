"""Says which pieces of the hot path run compiled: the meter, the warnings of the start, ``gateway version``; and
refuses to start with less if the configuration asks for that.
"""

from __future__ import annotations

from collections.abc import Iterator

import gateway.edge.compiled
import gateway.kafka.session  # with the sessions, the pieces of their protocols are chosen
import gateway.pulsar.session  # noqa: F401
from gateway.core.meters import Meter, Reading
from gateway.core.pieces import pieces
from gateway.edge import reasons
from gateway.edge.reasons import StartRefused

COMPILED = Meter(
    "gateway_compiled", "1 where a piece of the hot path runs compiled, 0 where interpreted.", ("piece",), "gauge",
    over_workers="least",
)  # fmt: skip


def readings() -> Iterator[Reading]:
    for piece in pieces():
        yield COMPILED, (piece.name,), float(piece.compiled)


def warnings() -> Iterator[str]:
    """One for each piece that runs interpreted."""
    for piece in pieces():
        if not piece.compiled:
            yield f"{piece.name} runs interpreted, at two to four times the CPU: {piece.why}"


def check(required: bool) -> None:
    """Raises StartRefused."""
    found = list(warnings())
    if required and found:
        raise StartRefused(reasons.NOT_COMPILED, "; ".join(found))


def lines() -> Iterator[str]:
    """For people: one for each piece."""
    for piece in pieces():
        yield f"{piece.name}: " + ("compiled" if piece.compiled else f"interpreted ({piece.why})")

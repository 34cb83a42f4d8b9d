"""Says which pieces of the hot path run compiled: the meter, the warnings of the start, ``gateway version``; and
refuses to start with less if the configuration asks for that.

A protocol's rooms are imported once a configuration has a backend that speaks it, here: some 7 MiB for Pulsar's, with
protobuf and HTTP/2. In front of Kafka alone they are never needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import gateway.edge.compiled
import gateway.kafka.session  # noqa: F401 - with the sessions, the pieces of their protocols are chosen
from gateway.core.meters import Meter, Reading
from gateway.core.pieces import pieces
from gateway.core.settings import Settings
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


def load(systems: Collection[str]) -> None:
    """Import the rooms of these backends' protocols, before a worker is forked or a listener needs them."""
    if "pulsar" in systems:
        import gateway.pulsar.control
        import gateway.pulsar.session
        import gateway.pulsar.web.session  # noqa: F401


def check(settings: Settings) -> None:
    """At the start and for each new configuration. Raises StartRefused."""
    load({backend.system for backend in settings.backends})
    found = list(warnings())
    if settings.require_compiled and found:
        raise StartRefused(reasons.NOT_COMPILED, "; ".join(found))


def lines() -> Iterator[str]:
    """For people: one for each piece there is."""
    load(("pulsar",))
    for piece in pieces():
        yield f"{piece.name}: " + ("compiled" if piece.compiled else f"interpreted ({piece.why})")

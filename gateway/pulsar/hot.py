"""Which form of the path of messages is used: the one place that chooses (core.pieces).

The interpreted forms are the specification; the compiled one does the same at a small part of the cost. Tests drive
both, and compare them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.core.pieces import NotUsable, choose
from gateway.pulsar import plain, short_way


@dataclass(frozen=True, slots=True)
class Form:
    """What both forms offer, by the names of the interpreted one."""

    name: str
    read: Callable[[memoryview], tuple[int, int]]
    short_way: type[short_way.ShortWay]


INTERPRETED = Form("interpreted", plain.read, short_way.ShortWay)


def compiled() -> Form:
    """Raises ImportError if it was not built, NotUsable if it was built from something else than this."""
    from gateway.pulsar import plain_compiled as found  # noqa: PLC0415 - it may not be built

    if getattr(found, "REVISION", None) != short_way.REVISION:
        raise NotUsable("it was built from another version: run 'python setup.py build_ext --inplace' again")
    return Form("compiled", found.read, found.ShortWay)


FORM = choose("pulsar-data-path", compiled, INTERPRETED)
ShortWay = FORM.short_way

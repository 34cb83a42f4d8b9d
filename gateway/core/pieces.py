"""Which pieces of the hot path run compiled in this process, and why the others do not.

Each room chooses its own by `choose`, when it is first imported: the compiled form where it is built, fits and passes
its check, else the interpreted one, which is its specification, behaves the same and costs more (docs/operations.md
says how much). ops tells of it: at the start, by a meter, in ``gateway status`` and ``gateway version``;
`require_compiled` refuses to start with less.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

INTERPRETED = "STREAMING_GATEWAY_INTERPRETED"
"""With this variable set, nothing compiled is used: to rule a compiled piece out when something is wrong."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece:
    name: str
    why: str = ""
    """Why it runs interpreted; "" where it runs compiled."""

    @property
    def compiled(self) -> bool:
        return not self.why


class NotUsable(Exception):
    """The compiled form is there and may not be used; says why."""


_pieces: dict[str, Piece] = {}


def choose(name: str, compiled: Callable[[], T], interpreted: T) -> T:
    """`compiled` imports and checks the compiled form: it raises ImportError if it is not built, or NotUsable. Whatever
    else it raises, such as for something that a new library does not have any more, ends no gateway either."""
    try:
        if os.environ.get(INTERPRETED):
            raise NotUsable(f"{INTERPRETED} is set")
        chosen = compiled()
    except ImportError:
        _pieces[name] = Piece(name, "it was installed without a C compiler")
        return interpreted
    except NotUsable as not_usable:
        _pieces[name] = Piece(name, str(not_usable))
        return interpreted
    except Exception as error:
        _pieces[name] = Piece(name, f"it cannot be loaded ({type(error).__name__}: {error})")
        return interpreted
    _pieces[name] = Piece(name)
    return chosen


def pieces() -> tuple[Piece, ...]:
    """Those that were chosen so far, by name."""
    return tuple(_pieces[name] for name in sorted(_pieces))

"""Reason codes: the stable names by which everything refused, throttled or closed is explained.

A reason is declared once, where its words are; code passes the object, never a string, and nothing matches on
text. ``docs/reasons.md`` is generated from the register, so a reason without a remedy cannot exist.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was refused.

    code: kebab-case, stable for ever; cause: what happened, one sentence; client_sees: what the client library
    shows; remedy: what the operator or the client does about it.
    """

    code: str
    cause: str
    client_sees: str
    remedy: str


_register: dict[str, Reason] = {}


def reason(code: str, *, cause: str, client_sees: str, remedy: str) -> Reason:
    """Declare a reason. Raises ValueError if the code is taken or empty words are given."""
    if code in _register:
        raise ValueError(f"reason {code!r} is declared twice")
    if not all((code, cause, client_sees, remedy)):
        raise ValueError(f"reason {code!r} needs a cause, what the client sees, and a remedy")
    made = Reason(code, cause, client_sees, remedy)
    _register[code] = made
    return made


def all_reasons() -> tuple[Reason, ...]:
    """Every reason declared by the modules imported so far, ordered by code."""
    return tuple(_register[code] for code in sorted(_register))


def place_of(error: Exception) -> str:
    """An unforeseen error's type and place, without its text, which could quote what it stumbled over."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    return f"{type(error).__name__} at {trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"

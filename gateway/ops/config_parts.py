"""The pieces of a configuration that are sound by themselves, so that one mistake does not hide the next.

Made by ops.config; its cross-checks and those of ops.config_files go over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.core.settings import Admin, Backend, Issuer, Limits, Listener, Policies

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Parts:
    """Each piece of a list with its index in the file; None for what is not sound."""

    listeners: tuple[tuple[int, Listener], ...]
    backends: tuple[tuple[int, Backend], ...]
    issuers: tuple[tuple[int, Issuer], ...]
    policies: Policies | None
    admin: Admin | None
    limits: Limits | None


def sound_parts(data: Any) -> Parts:
    """The parts of a document's data that the schema takes, whatever the rest is like."""
    whole = data if isinstance(data, dict) else {}

    def items(key: str, model: type[M]) -> tuple[tuple[int, M], ...]:
        found = whole.get(key)
        typed = ((index, _sound(model, item)) for index, item in enumerate(found if isinstance(found, list) else ()))
        return tuple((index, item) for index, item in typed if item is not None)

    return Parts(
        items("listeners", Listener),
        items("backends", Backend),
        items("issuers", Issuer),
        _sound(Policies, whole.get("policies")),
        _sound(Admin, whole.get("admin", {})),
        _sound(Limits, whole.get("limits", {})),
    )


def _sound(model: type[M], data: object) -> M | None:
    try:
        return model.model_validate(data)
    except ValidationError:
        return None

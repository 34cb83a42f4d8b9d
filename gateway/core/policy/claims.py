"""What a token's claims say, as policies ask it: values by dotted path, and the words a binding compares with.

Used by bindings, limits and patterns, and for what the audit keeps of the claims.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

CLAIM_PATH_PARTS_MAX = 16


def claim_at(claims: Mapping[str, object], path: str) -> object:
    """The value at a dotted path (``realm_access.team``), None if there is none.

    At every level the longest key that is there is taken, so that names with dots in them (``https://bank.example/team``)
    can be written as they are.
    """
    value: object = claims
    rest = path.split(".")
    while rest:
        if not isinstance(value, Mapping):
            return None
        for taken in range(len(rest), 0, -1):
            key = ".".join(rest[:taken])
            if key in value:
                value = value[key]
                rest = rest[taken:]
                break
        else:
            return None
    return value


def words(value: object) -> Iterator[str]:
    """What a claim's value can be compared with: itself, or for a list each member. Lists in lists say nothing."""
    for each in value if isinstance(value, list | tuple) else (value,):
        if isinstance(each, str):
            yield each
        elif isinstance(each, bool):
            yield "true" if each else "false"
        elif isinstance(each, int):
            yield str(each)


def says(claims: Mapping[str, object], path: str, wanted: str) -> bool:
    """Whether the claim at `path` is `wanted`, or is a list that contains it."""
    return any(word == wanted for word in words(claim_at(claims, path)))

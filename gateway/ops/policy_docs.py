"""The generated parts of docs/policy.md: what the common verbs mean, per system and kind.

``python -m gateway.ops.policy_docs`` writes them anew between their marks; a test says when that is due.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gateway.core.policy.model import DEFAULT_QUOTA
from gateway.core.vocabulary import COMMON_VERBS, Kind, System
from gateway.ops.config_policies import SYSTEMS

PAGE = Path("docs/policy.md")


def verbs_table(system: System) -> str:
    """One row per kind, one column per verb."""
    rows = [["kind", *(f"`{verb}`" for verb in COMMON_VERBS)], ["---"] * (len(COMMON_VERBS) + 1)]
    for kind in system.kinds.values():
        rows.append([f"`{kind.name}`", *(_words(kind.verbs.get(verb, ())) for verb in COMMON_VERBS)])
    more = [line for kind in system.kinds.values() for line in _details(system, kind)]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", *more])


def _details(system: System, kind: Kind) -> list[str]:
    """What the table of verbs leaves out: operations without a verb, what allows bring along, names, separators."""
    verbless = kind.operations - {operation for operations in kind.verbs.values() for operation in operations}
    by_name = _words(f"{system.name}.{operation}" for operation in verbless)
    implied = "; ".join(f"{each} brings {_words(kind.implied[each])}" for each in sorted(kind.implied))
    lines = [f"- `{kind.name}`: the only name is {_words(kind.names)}."] if kind.names else []
    if verbless:
        lines.append(f"- `{kind.name}`: by name only: {by_name}.")
    if implied:
        lines.append(f"- `{kind.name}`: an allow of {implied}.")
    if kind.separators:
        lines.append(f"- `{kind.name}`: after a claim may stand {' '.join(f'`{each}`' for each in kind.separators)}.")
    return lines


def _words(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "-"


def default_quota() -> str:
    quota = DEFAULT_QUOTA
    return (
        f"`produce: {quota.produce_bytes / (1 << 20):g} MiB/s`, `consume: {quota.consume_bytes / (1 << 20):g} MiB/s`, "
        f"`requests: {quota.requests:g}/s`, `connections: {quota.connections}`, `producers: {quota.producers}`, "
        f"`consumers: {quota.consumers}`"
    )


def with_tables(text: str) -> str:
    """The page with its generated parts anew. Raises ValueError if a mark is not there."""
    parts = {name: verbs_table(system) for name, system in SYSTEMS.items()} | {"default-quota": default_quota()}
    for name, made in parts.items():
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{PAGE} has no {begin} … {end}")
        text = f"{head}{begin}\n{made}\n{end}{tail}"
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))

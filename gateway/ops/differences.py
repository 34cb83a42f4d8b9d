"""What would change if the files were in force: ``gateway check --against running``.

Both sides are described in plain values (`described`), the running one by the admin port and the other from the files,
and compared here. Settings differ by their path; policies by rule, by binding and by limit, and for each it is said
whom it touches, so that a change meant for one team shows when it reaches another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from gateway.core.policy import PolicySet
from gateway.core.policy.table import Binding, Grant, LimitRow, Rule, Target
from gateway.core.settings import Settings

TOUCHED_SHOWN_MAX = 10
"""Bindings named beside one changed rule; the rest is counted."""

Described = dict[str, Any]


def described(settings: Settings, policies: PolicySet, revision: str) -> Described:
    """A configuration and its policies, as values that JSON holds."""
    return {
        "revision": revision,
        "policy_revision": policies.revision,
        "settings": settings.model_dump(mode="json"),
        "rules": {f"{rule.role}/{_name(rule, number)}": _rule(rule) for number, rule in _numbered(policies)},
        "bindings": sorted(_binding(each) for each in policies.bindings),
        "bound": _bound(policies),
        "limits": [_limit(each) for each in policies.limits],
    }


def _numbered(policies: PolicySet) -> Iterator[tuple[int, Rule]]:
    for role in policies.roles.values():
        yield from ((number, rule) for number, rule in enumerate(role.rules, 1))


def _name(rule: Rule, number: int) -> str:
    """A rule's own id; its number in the role where it has none, since lines move with every edit."""
    return rule.id if rule.id != str(rule.place) else f"rule {number}"


def _rule(rule: Rule) -> str:
    where = f" on {', '.join(sorted(rule.backends))}" if rule.backends is not None else ""
    return f"{'deny' if rule.deny else 'allow'} {'; '.join(sorted(map(_grant, rule.grants)))}{where}"


def _grant(grant: Grant) -> str:
    names = ", ".join(sorted(pattern.text for pattern in grant.patterns))
    return f"{', '.join(sorted(grant.operations))} of {grant.system} {grant.kind} {names}"


def _whom(to: Target) -> str:
    if to.certificate:
        fields = " ".join(f"{name}={'*'.join(shape)}" for name, shape in to.certificate)
        return f"certificates{f' of {to.ca}' if to.ca else ''} with {fields}"
    if not to.issuer:
        return "everybody"
    claims = " ".join(f"{path}={word}" for path, word in to.claims)
    who = f"jwt:{to.issuer}:{to.sub}" if to.sub else f"tokens of {to.issuer}"
    return f"{who} with {claims}" if claims else who


def _binding(binding: Binding) -> str:
    roles = ", ".join(sorted(role.name for role in binding.roles))
    networks = f" from {', '.join(sorted(map(str, binding.networks)))}" if binding.networks is not None else ""
    until = f" until {binding.expires}" if binding.expires else ""
    return f"{roles} to {_whom(binding.to)}{networks}{until}"


def _bound(policies: PolicySet) -> dict[str, list[str]]:
    """Role -> whom it is bound to."""
    bound: dict[str, set[str]] = {}
    for binding in policies.bindings:
        for role in binding.roles:
            bound.setdefault(role.name, set()).add(_whom(binding.to))
    return {role: sorted(whom) for role, whom in bound.items()}


def _limit(row: LimitRow) -> str:
    """Every number of a quota, by its name: one that is new cannot be forgotten here."""
    quota = row.quota
    return f"{_whom(row.to)}: " + ", ".join(f"{each.name} {getattr(quota, each.name):g}" for each in fields(quota))


def changes(running: Described, files: Described) -> Iterator[str]:
    """One line for each difference, from what runs to what the files say; none if nothing would change."""
    yield from _changed_values(running["settings"], files["settings"])
    yield from _rule_changes(running, files)
    for word in ("bindings", "limits"):
        old, new = list(running[word]), list(files[word])
        yield from (f"- {word[:-1]}: {line}" for line in old if line not in new)
        yield from (f"+ {word[:-1]}: {line}" for line in new if line not in old)
        if word == "limits" and old != new and sorted(old) == sorted(new):
            yield "~ limits: in another order, and the first that fits a principal holds"


def settings_changes(old: Settings, new: Settings) -> Iterator[str]:
    """One line for each setting that is another."""
    yield from _changed_values(old.model_dump(mode="json"), new.model_dump(mode="json"))


def changed_paths(old: object, new: object) -> Iterator[str]:
    """Where settings are others on both sides, or there on one alone."""
    before, after = dict(flat(old)), dict(flat(new))
    yield from (path for path in sorted({*before, *after}) if before.get(path, flat) != after.get(path, flat))


def _changed_values(old: object, new: object) -> Iterator[str]:
    before, after = dict(flat(old)), dict(flat(new))
    for path in sorted({*before, *after}):
        if path not in after:
            yield f"- {path}: {_shown(before[path])}"
        elif path not in before:
            yield f"+ {path}: {_shown(after[path])}"
        elif before[path] != after[path]:
            yield f"~ {path}: {_shown(before[path])} -> {_shown(after[path])}"


def flat(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """(path, value) of every leaf; items of a list of named things by their names, so that order does not matter."""
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield from flat(inside, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) and "name" in item for item in value):
        for item in value:
            yield from flat(item, f"{path}[{item['name']}]")
    else:
        yield path, value


def _rule_changes(running: Described, files: Described) -> Iterator[str]:
    before, after = running["rules"], files["rules"]
    for name in sorted({*before, *after}):
        if before.get(name) == after.get(name):
            continue
        role = name.partition("/")[0]
        whom = sorted({*running["bound"].get(role, ()), *files["bound"].get(role, ())})
        if name in before:
            yield f"- rule {name}: {before[name]}"
        if name in after:
            yield f"+ rule {name}: {after[name]}"
        shown = "; ".join(whom[:TOUCHED_SHOWN_MAX]) or "nobody: no binding gives this role"
        more = f"; and {len(whom) - TOUCHED_SHOWN_MAX} more" if len(whom) > TOUCHED_SHOWN_MAX else ""
        yield f"    touches {shown}{more}"


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

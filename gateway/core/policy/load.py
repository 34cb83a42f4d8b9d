"""From policy files to one revision, or to every mistake in them at once.

All files of a set are read together: roles, bindings and limits may be spread over them. Refused, besides what the
model refuses: a role or rule id given twice, an unknown role, verb, operation, system, kind, backend, issuer or
client CA, a verb or kind that means nothing in its rule, a pattern that can match no name, a limit that can never be
reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gateway.core import documents
from gateway.core.documents import Document, Mistake, Mistakes, Path, spell
from gateway.core.policy import model
from gateway.core.policy.decide import PolicySet
from gateway.core.policy.pattern import Pattern, PatternMistake, Shape, covers, fill, has_controls, parse_pattern
from gateway.core.policy.table import (
    CERTIFICATE_FIELDS,
    Binding,
    Grant,
    LimitRow,
    Place,
    Role,
    Rule,
    Target,
)
from gateway.core.vocabulary import COMMON_VERBS, Kind, System, Vocabulary

FILES_MAX = 1000
MISTAKES_MAX = 1000
"""Mistakes told at once."""

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _File:
    """A file's pieces that are sound by themselves, each with its place in the file."""

    document: Document
    roles: dict[str, list[tuple[int, model.Rule]]]
    bindings: list[tuple[int, model.Binding]]
    limits: list[tuple[int, model.Limit]]

    @classmethod
    def of(cls, document: Document) -> _File:
        """Also of a file with mistakes in it, so that those in its other parts are told at once with them."""
        data = document.data if isinstance(document.data, dict) else {}
        roles = data.get("roles")
        return cls(
            document,
            {name: _sound(model.Rule, rules) for name, rules in roles.items()} if isinstance(roles, dict) else {},
            _sound(model.Binding, data.get("bindings")),
            _sound(model.Limit, data.get("limits")),
        )

    def still_to_be_judged(self) -> Document:
        """The document to be typed as a whole: of lists whose every member is sound, the first member is enough.

        Typing is one call that lets no other thread in between; with thousands of rules everybody would notice.
        """
        data = self.document.data
        if not isinstance(data, dict):
            return self.document
        less = dict(data)
        roles = data.get("roles")
        if isinstance(roles, dict):
            less["roles"] = {name: _first(rules, self.roles[name]) for name, rules in roles.items()}
        for section, sound in (("bindings", self.bindings), ("limits", self.limits)):
            if section in data:
                less[section] = _first(data[section], sound)
        return Document(self.document.file, less, self.document.lines)

    def let_go(self) -> None:
        """Take it apart piece by piece: to let go of it all at once lets no other thread in between either."""
        lines = self.document.lines
        while lines:
            lines.popitem()
        for rules in self.roles.values():
            while rules:
                rules.pop()
        roles = self.document.data.get("roles", {})
        for written in (*roles.values(), self.document.data.get("bindings"), self.document.data.get("limits")):
            while written:
                written.pop()


def _first(items: object, sound: Sequence[object]) -> object:
    return items[:1] if isinstance(items, list) and len(sound) == len(items) else items


def _sound(kind: type[M], items: object) -> list[tuple[int, M]]:
    found = []
    for index, item in enumerate(items if isinstance(items, list) else ()):
        with suppress(ValidationError):
            found.append((index, kind.model_validate(item)))
    return found


def load_policy(files: Sequence[tuple[str, bytes]], vocabulary: Vocabulary) -> PolicySet:
    """All files, as (name, content), as one revision. Raises Mistakes. Called at start, on a reload, by the commands.

    The revision is a digest of the contents and of the files' own names without their folder, in order: two gateways
    with the same files show the same revision.
    """
    if not 0 < len(files) <= FILES_MAX:
        raise Mistakes([Mistake("policies", 0, "", f"{len(files)} files", f"1 to {FILES_MAX} policy files")])
    mistakes: list[Mistake] = []
    read: list[_File] = []
    for name, content in files:
        try:
            document = documents.parse(content, name)
            file = _File.of(document)
            read.append(file)
            documents.typed(model.PolicyFile, file.still_to_be_judged())
        except Mistakes as error:
            mistakes += error.mistakes
    loader = _Loader(vocabulary, mistakes, whole=len(read) == len(files))
    roles, bindings, limits = loader.roles(read), loader.bindings(read), loader.limits(read)
    if mistakes:
        raise Mistakes(mistakes[:MISTAKES_MAX])
    for file in read:
        file.let_go()
    return PolicySet(policy_revision(files), vocabulary, roles, bindings, limits)


def policy_revision(files: Iterable[tuple[str, bytes]]) -> str:
    """Names policy files, see `load_policy`."""
    digest = hashlib.sha256()
    for name, content in files:
        for part in (PurePath(name).name.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


class _Loader:
    """`whole`: every file could be parsed, so a role that is not there is truly not there."""

    def __init__(self, vocabulary: Vocabulary, mistakes: list[Mistake], *, whole: bool) -> None:
        self._vocabulary = vocabulary
        self._whole = whole
        self._mistakes = mistakes
        self._roles: dict[str, Role] = {}

    def _wrong(self, document: Document, path: Path, found: str, expected: str) -> None:
        self._mistakes.append(Mistake(document.file, document.line(path), spell(path), found, expected))

    def _unknown(self, document: Document, path: Path, found: str, noun: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known))
        self._wrong(
            document, path, f"the unknown {noun} {found!r}", f"one of {names}" if names else f"no {noun} at all"
        )

    # Roles

    def roles(self, read: Sequence[_File]) -> dict[str, Role]:
        ids: dict[str, Place] = {}
        places: dict[str, Place] = {}
        for file in read:
            document = file.document
            for name, rules in file.roles.items():
                path: Path = ("roles", name)
                place = Place(document.file, document.line(path))
                first = places.setdefault(name, place)
                if first is not place:
                    self._wrong(document, path, f"the role {name!r} again", f"each role in one place; it is at {first}")
                    continue
                made = [self._rule(document, (*path, index), name, rule) for index, rule in rules]
                for (index, _), rule in zip(rules, made, strict=True):
                    first = ids.setdefault(rule.id, rule.place)
                    if first is not rule.place:
                        expected = f"ids of their own; {first} has it too"
                        self._wrong(document, (*path, index), f"the rule id {rule.id!r} again", expected)
                self._roles[name] = Role(name, tuple(made))
        return self._roles

    def _rule(self, document: Document, path: Path, role: str, rule: model.Rule) -> Rule:
        place = Place(document.file, document.line(path))
        backends = self._backends(document, path, rule)
        grants: list[Grant] = []
        kinds: list[Kind] = []
        if not rule.systems:
            systems = ", ".join(sorted(self._vocabulary.systems))
            self._wrong(document, path, "a rule without resources", f"at least one of {systems}")
        for name, sections in rule.systems.items():
            system = self._vocabulary.systems.get(name)
            if system is None:
                keys = ("allow", "deny", "id", "backends", *self._vocabulary.systems)
                self._unknown(document, (*path, name), name, "key", keys)
                continue
            if not sections:
                self._wrong(document, (*path, name), "no resources", f"one of {', '.join(sorted(system.kinds))}")
            if backends is not None and not any(self._vocabulary.backends[each] == name for each in backends):
                self._wrong(document, (*path, name), f"{name} resources", f"a backend of {name} in backends as well")
            for kind_name, texts in sections.items():
                kind = system.kinds.get(kind_name)
                if kind is None:
                    self._unknown(document, (*path, name, kind_name), kind_name, f"{name} kind", system.kinds)
                    continue
                kinds.append(kind)
                grants.append(self._grant(document, (*path, name, kind_name), rule, system, kind, texts))
        self._check_verbs(document, path, rule, kinds)
        return Rule(rule.id or str(place), place, role, rule.deny is not None, backends, tuple(grants))

    def _backends(self, document: Document, path: Path, rule: model.Rule) -> frozenset[str] | None:
        if rule.backends is None:
            return None
        for index, name in enumerate(rule.backends):
            if name not in self._vocabulary.backends:
                self._unknown(document, (*path, "backends", index), name, "backend", self._vocabulary.backends)
        known = frozenset(rule.backends) & self._vocabulary.backends.keys()
        return known or None  # None only beside a mistake: the set is refused then

    def _grant(
        self, document: Document, path: Path, rule: model.Rule, system: System, kind: Kind, texts: Sequence[str]
    ) -> Grant:
        operations: set[str] = set()
        for verb in rule.verbs:
            operations |= meaning(verb, system.name, kind)
        if not operations and all(self._is_verb(verb) for verb in rule.verbs):
            self._wrong(document, path, f"{', '.join(rule.verbs)} on a {kind.name}", _possible(system, kind))
        if rule.deny is None:
            operations |= {more for operation in operations for more in kind.implied.get(operation, ())}
        patterns = []
        for index, text in enumerate(texts):
            at = (*path, index) if (*path, index) in document.lines else path
            try:
                pattern = parse_pattern(text, kind.separators)
            except PatternMistake as wrong:
                self._wrong(document, at, *wrong.args)
                continue
            if kind.names and not pattern.claims and not _names_one(pattern, kind):
                self._wrong(document, at, repr(text), f"{' or '.join(sorted(kind.names))}; nothing else is there")
            patterns.append(pattern)
        return Grant(system.name, kind.name, frozenset(operations), tuple(patterns))

    def _is_verb(self, verb: str) -> bool:
        if verb in COMMON_VERBS:
            return True
        system, _, operation = verb.partition(".")
        kinds = self._vocabulary.systems[system].kinds.values() if system in self._vocabulary.systems else ()
        return any(operation in kind.operations for kind in kinds)

    def _check_verbs(self, document: Document, path: Path, rule: model.Rule, kinds: Sequence[Kind]) -> None:
        side = "allow" if rule.allow is not None else "deny"
        for index, verb in enumerate(rule.verbs):
            at = (*path, side, index) if (*path, side, index) in document.lines else (*path, side)
            system_name, dot, _ = verb.partition(".")
            if self._is_verb(verb):
                meant = any(
                    meaning(verb, name, kind) for name in rule.systems for kind in kinds if self._has(name, kind)
                )
                if kinds and not meant:
                    expected = "a verb that means something on a kind of this rule"
                    self._wrong(document, at, f"{verb!r}, which means nothing here", expected)
            elif dot and system_name in self._vocabulary.systems:
                system = self._vocabulary.systems[system_name]
                known = {f"{system_name}.{each}" for kind in system.kinds.values() for each in kind.operations}
                self._unknown(document, at, verb, "operation", known)
            else:
                verbs = (*COMMON_VERBS, *(f"{name}.OPERATION" for name in self._vocabulary.systems))
                self._unknown(document, at, verb, "verb", verbs)

    def _has(self, system: str, kind: Kind) -> bool:
        known = self._vocabulary.systems.get(system)
        return known is not None and known.kinds.get(kind.name) is kind

    # Bindings and limits

    def bindings(self, read: Sequence[_File]) -> list[Binding]:
        made = []
        for file in read:
            document = file.document
            for number, binding in file.bindings:
                path: Path = ("bindings", number)
                roles = []
                for index, name in enumerate(binding.roles):
                    role = self._roles.get(name)
                    if role is not None:
                        roles.append(role)
                    elif self._whole:
                        at = (*path, "roles", index) if (*path, "roles", index) in document.lines else (*path, "roles")
                        self._unknown(document, at, name, "role", self._roles)
                made.append(
                    Binding(
                        Place(document.file, document.line(path)),
                        tuple(roles),
                        self._target(document, (*path, "to"), binding.to),
                        binding.networks,
                        binding.ends,
                        binding.expires.isoformat() if binding.expires else "",
                        binding.owner or "",
                        frozenset(binding.endpoints) if binding.endpoints is not None else None,
                    )
                )
        return made

    def limits(self, read: Sequence[_File]) -> list[LimitRow]:
        made: list[LimitRow] = []
        seen: dict[Target, Place] = {}
        for file in read:
            document = file.document
            for number, limit in file.limits:
                path: Path = ("limits", number)
                target = self._target(document, (*path, "to"), limit.to)
                place = Place(document.file, document.line(path))
                before = seen.get(Target()) or seen.get(target)
                if before is not None:
                    self._wrong(document, path, "a limit that is never reached", f"it before the one at {before}")
                seen.setdefault(target, place)
                made.append(LimitRow(place, target, limit.quota))
        return made

    def _target(self, document: Document, path: Path, to: model.To | None) -> Target:
        if to is None:
            return Target()
        if to.certificate is not None:
            return self._certificate(document, (*path, "certificate"), to.certificate)
        assert to.issuer is not None
        if to.issuer not in self._vocabulary.issuers:
            self._unknown(document, (*path, "issuer"), to.issuer, "issuer", self._vocabulary.issuers)
        claims = sorted((claim, word) for claim, said in to.claims.items() for word in said)
        return Target(issuer=to.issuer, sub=to.sub or "", claims=tuple(claims))

    def _certificate(self, document: Document, path: Path, to: model.CertificateTo) -> Target:
        cas = self._vocabulary.client_cas
        if cas is not None and to.ca is not None and to.ca not in cas:
            self._unknown(document, (*path, "ca"), to.ca, "client CA", cas)
        if cas is not None and to.ca is None and len(cas) > 1:
            expected = f"ca as well, one of {', '.join(sorted(cas))}: each could issue this name"
            self._wrong(document, path, "a certificate of any client CA", expected)
        conditions: list[tuple[str, Shape]] = []
        for name in CERTIFICATE_FIELDS:
            value: str | None = getattr(to, name)
            if value is None:
                continue
            if has_controls(value):
                self._wrong(document, (*path, name), "a control character", "printable characters")
            text = value.lower() if name == "dns" else value
            conditions.append((name, (text[:-1], "") if text.endswith("*") else (text,)))
        return Target(ca=to.ca or "", certificate=tuple(conditions))


def meaning(verb: str, system: str, kind: Kind) -> frozenset[str]:
    """The operations that a verb of a policy or test file stands for on a kind; none if it means nothing there."""
    if verb in COMMON_VERBS:
        return kind.verbs.get(verb, frozenset())
    named, _, operation = verb.partition(".")
    return kind.operations & {operation} if named == system else frozenset()


def _names_one(pattern: Pattern, kind: Kind) -> bool:
    shape = fill(pattern, lambda path: None, widen=True)
    return shape is not None and any(covers(shape, name) for name in kind.names)


def _possible(system: System, kind: Kind) -> str:
    verbs = [verb for verb in COMMON_VERBS if kind.verbs.get(verb)]
    return f"one of {', '.join((*verbs, *(f'{system.name}.{each}' for each in sorted(kind.operations))))}"

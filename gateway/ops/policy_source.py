"""Policy sets for the policy commands: as a configuration names them, or files alone.

Without a configuration nobody says which backends and issuers there are, so those that the files speak of are taken
as given, and each system that no backend was named for gets one of its own name. Misspelt names go unnoticed that
way; with ``--config`` they are mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.core import documents
from gateway.core.documents import FILE_BYTES_MAX, Mistake, Mistakes
from gateway.core.policy import PolicySet
from gateway.core.policy.load import load_policy
from gateway.core.settings import Settings
from gateway.core.vocabulary import Vocabulary
from gateway.ops.config_policies import SYSTEMS, TESTS_SUFFIX, matching, read_files, vocabulary


@dataclass(frozen=True, slots=True)
class Source:
    """`files`: where the policies lie. `settings`: None without a configuration, whose folder is `folder`."""

    policies: PolicySet
    files: tuple[Path, ...]
    settings: Settings | None
    folder: Path


def from_config(file: Path) -> Source:
    """Raises Mistakes."""
    content = _content(file)
    document = documents.parse(content, str(file))
    settings = documents.typed(Settings, document)
    backends = {backend.name: backend.system for backend in settings.backends}
    words = with_every_system(vocabulary(backends, (issuer.name for issuer in settings.issuers)))
    folder = file.absolute().parent
    patterns = settings.policies.files
    found, mistakes = read_files(document, patterns, folder)
    if mistakes:
        raise Mistakes(mistakes)
    paths = tuple(path for pattern in patterns for path in matching(pattern, folder))
    return Source(load_policy(found, words), paths, settings, folder)


def from_files(patterns: Sequence[str]) -> Source:
    """Raises Mistakes."""
    patterns = [pattern for pattern in patterns if not pattern.endswith(TESTS_SUFFIX)]
    folder = Path()
    found, mistakes = read_files(None, patterns, folder)
    if mistakes:
        raise Mistakes(mistakes)
    backends: dict[str, str] = {}
    issuers: set[str] = set()
    for name, content in found:
        try:
            _names(documents.parse(content, name).data, backends, issuers)
        except Mistakes:
            continue  # load_policy says it again, with everything else
    paths = tuple(path for pattern in patterns for path in matching(pattern, folder))
    policies = load_policy(found, with_every_system(vocabulary(backends, issuers)))
    return Source(policies, paths, None, folder)


def with_every_system(words: Vocabulary) -> Vocabulary:
    """A backend of the system's own name for every system without one: its policies can be explained and tested."""
    there = set(words.backends.values())
    more = {name: name for name in SYSTEMS if name not in there and name not in words.backends}
    return Vocabulary(words.systems, {**words.backends, **more}, words.issuers, words.client_cas)


def tests_beside(files: Iterable[Path]) -> list[tuple[str, bytes]]:
    """The test files of a set: ``x_test.yaml`` beside ``x.yaml``, and those beside it that belong to no one file."""
    found: dict[Path, None] = {}
    for file in files:
        for test in sorted(file.parent.glob(f"*{TESTS_SUFFIX}")):
            of = test.with_name(test.name.removesuffix(TESTS_SUFFIX) + ".yaml")
            if of == file or not of.exists():
                found[test] = None
    return [(str(test), _content(test)) for test in found]


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise Mistakes([Mistake(str(file), 0, "", found, "a readable file")]) from None


def _names(data: Any, backends: dict[str, str], issuers: set[str]) -> None:
    """Backends and issuers that a policy file speaks of, whatever else is wrong with it."""
    whole = data if isinstance(data, dict) else {}
    for section in ("bindings", "limits"):
        for item in _items(whole.get(section)):
            to = item.get("to")
            if isinstance(to, dict) and isinstance(to.get("issuer"), str):
                issuers.add(to["issuer"])
    roles = whole.get("roles")
    for rules in roles.values() if isinstance(roles, dict) else ():
        for rule in _items(rules):
            systems = [name for name in SYSTEMS if name in rule]
            named = rule.get("backends")
            for name in [named] if isinstance(named, str) else named if isinstance(named, list) else ():
                if systems and isinstance(name, str):
                    backends.setdefault(name, systems[0])


def _items(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []

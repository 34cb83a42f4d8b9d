"""The policy files a configuration names: found, read whole, and loaded as one set.

Used at start, by ``gateway check``, and by the reload while running. A pattern matches at least one file; test files
(``*_test.yaml``) lie beside the policies and are none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.core.documents import FILE_BYTES_MAX, Document, Mistake, Mistakes
from gateway.core.policy import PolicySet, load_policy
from gateway.core.vocabulary import Vocabulary
from gateway.kafka.vocabulary import SYSTEM as KAFKA
from gateway.kinesis.vocabulary import SYSTEM as KINESIS
from gateway.pulsar.vocabulary import SYSTEM as PULSAR

FILES_MAX = 1000
"""Policy files of one set."""
TESTS_SUFFIX = "_test.yaml"
SYSTEMS = {system.name: system for system in (KAFKA, PULSAR, KINESIS)}


def vocabulary(
    backends: Mapping[str, str], issuers: Iterable[str], client_cas: Iterable[str] | None = None
) -> Vocabulary:
    """The words policies may use under this configuration. `client_cas`: None where nobody knows them."""
    cas = None if client_cas is None else frozenset(client_cas)
    return Vocabulary(SYSTEMS, dict(backends), frozenset(issuers), cas)


def matching(pattern: str, folder: Path) -> list[Path]:
    """The files a pattern stands for, in order of name. A pattern without ``*`` is that one file."""
    whole = folder / pattern
    if "*" not in whole.name:
        return [whole]
    found = [path for path in whole.parent.glob(whole.name) if path.is_file()]
    return sorted(path for path in found if not path.name.endswith(TESTS_SUFFIX) and not path.name.startswith("."))


def load(configuration: Document | None, patterns: Iterable[str], folder: Path, words: Vocabulary) -> PolicySet:
    """All files of all patterns as one set. Raises Mistakes: of finding, of reading, or of what they say.

    `configuration` is the document that names the patterns, for the line of one that finds nothing.
    """
    files, mistakes = read_files(configuration, patterns, folder)
    if mistakes:
        raise Mistakes(mistakes)
    return load_policy(files, words)


def read_files(
    configuration: Document | None, patterns: Iterable[str], folder: Path
) -> tuple[list[tuple[str, bytes]], list[Mistake]]:
    """(name, content) of every file once, names as the configuration spells them; and what could not be read."""
    files: dict[Path, tuple[str, bytes]] = {}
    mistakes: list[Mistake] = []
    for index, pattern in enumerate(patterns):
        path = ("policies", "files", index)
        file, line = (configuration.file, configuration.line(path)) if configuration else (pattern, 0)
        found = matching(pattern, folder)
        if not found:
            mistakes.append(
                Mistake(file, line, "policies.files", f"no file for {pattern!r}", "at least one policy file")
            )
        for each in found:
            if each in files:
                continue
            shown = str(Path(pattern).parent / each.name)
            try:
                with each.open("rb") as stream:
                    files[each] = (shown, stream.read(FILE_BYTES_MAX + 1))
            except OSError as error:
                why = f"{shown}: {error.strerror or type(error).__name__}"
                mistakes.append(Mistake(file, line, "policies.files", why, "a readable policy file"))
    if len(files) > FILES_MAX:
        mistakes.append(Mistake("policies.files", 0, "", f"{len(files)} files", f"at most {FILES_MAX}"))
    return list(files.values()), mistakes

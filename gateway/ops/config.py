"""From ``gateway.yaml`` to settings that are known to fit together, or to every mistake in them at once.

Called by ``gateway check``, ``gateway run`` and the policy commands. Paths in the file are relative to the file.
A secret is only ever a file, or an environment variable, that the configuration names where a secret belongs; values
are taken literally, ``${...}`` means nothing here, so no other value can be drawn from the environment.

What it refuses, each with file, line, what was found and what is expected: whatever the schema refuses (an unknown
key among it), names that are not unique or lead nowhere, ports that two listeners share, files that are missing,
unreadable, not what they should be, or private keys that others may read, and policy files that do not load. The
parts that are sound on their own are cross-checked even when others are not, so that one look shows it all.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gateway.core import documents
from gateway.core.documents import Document, Mistake, Mistakes
from gateway.core.policy import PolicySet, load_policy, policy_revision
from gateway.core.settings import ListenerTls, Settings
from gateway.core.vocabulary import Vocabulary
from gateway.ops import config_files, config_policies
from gateway.ops.config_parts import Parts, sound_parts
from gateway.ops.config_policies import SYSTEMS
from gateway.ops.cores import workers

PATHS: tuple[tuple[str, ...], ...] = (
    ("listeners", "*", "tls", "certificate"),
    ("listeners", "*", "tls", "key"),
    ("listeners", "*", "tls", "certificates", "*", "certificate"),
    ("listeners", "*", "tls", "certificates", "*", "key"),
    ("listeners", "*", "tls", "client_ca"),
    ("listeners", "*", "tls", "client_crl"),
    ("backends", "*", "tls", "ca"),
    ("backends", "*", "tls", "certificate"),
    ("backends", "*", "tls", "key"),
    ("backends", "*", "web", "tls", "ca"),
    ("backends", "*", "web", "tls", "certificate"),
    ("backends", "*", "web", "tls", "key"),
    ("backends", "*", "account", "plain", "password_file"),
    ("backends", "*", "account", "scram", "password_file"),
    ("backends", "*", "account", "oauth", "client_secret_file"),
    ("backends", "*", "account", "oauth", "token_file"),
    ("backends", "*", "account", "oauth", "ca"),
    ("issuers", "*", "keys", "file"),
    ("issuers", "*", "keys", "ca"),
    ("audit", "output"),
    ("admin", "tls", "certificate"),
    ("admin", "tls", "key"),
    ("admin", "token_file"),
)
"""The fields that hold a path; ``*`` stands for every item of a list. (Policies are patterns; see config_policies.)"""

STDOUT = "stdout"


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that passed every check.

    settings: all paths in it are absolute. policies: what the policy files say now. revision: names the
    configuration file's content. warnings: what is allowed, but should be known at every start. document: the file
    as it was read, for the lines of what is said about it later. content: its bytes.
    """

    file: Path
    settings: Settings
    vocabulary: Vocabulary
    policies: PolicySet
    revision: str
    warnings: tuple[str, ...]
    document: Document
    content: bytes

    def mistake(self, path: documents.Path, found: str, expected: str) -> Mistake:
        """Something that came out later than by reading, in the words of a mistake at its place in the file."""
        return _mistake(self.document, path, found, expected)


def read(file: Path, wall: float) -> Configuration:
    """Read, type and cross-check a configuration file. `wall`: now. Raises Mistakes."""
    content, document = _document(file)
    folder = file.absolute().parent
    _make_absolute(document.data, PATHS, folder)
    mistakes: list[Mistake] = []
    settings = _collect(mistakes, lambda: documents.typed(Settings, document))
    parts = sound_parts(document.data)
    mistakes += names_that_lead_nowhere(document, parts)
    mistakes += ports_in_use_twice(document, parts)
    mistakes += limits_at_odds(document, parts)
    warnings = list(workers_at_odds(document, mistakes))
    config_files.check(document, parts, wall, mistakes, warnings)
    vocabulary = _vocabulary(document)
    policies = None
    if parts.policies is not None:
        patterns = parts.policies.files
        policies = _collect(mistakes, lambda: config_policies.load(document, patterns, folder, vocabulary))
    if mistakes or settings is None or policies is None:
        raise Mistakes(
            sorted(set(mistakes), key=lambda mistake: (mistake.file != str(file), mistake.file, mistake.line))
        )
    named = revision_of(content)
    return Configuration(file, settings, vocabulary, policies, named, tuple(warnings), document, content)


def settings_of(file: Path, content: bytes) -> tuple[Document, Settings]:
    """What another process has read and checked, from the same bytes: no file is looked at, whatever lies on the disk
    by now. Raises Mistakes."""
    document = documents.parse(content, str(file))
    _make_absolute(document.data, PATHS, file.absolute().parent)
    return document, documents.typed(Settings, document)


def unchecked(
    file: Path, content: bytes, files: Sequence[tuple[str, bytes]], known: PolicySet | None = None
) -> Configuration:
    """Likewise a whole configuration. files: (name, content) of the policies; `known` is taken if it is of them, and
    for the same names. Raises Mistakes."""
    document, settings = settings_of(file, content)
    vocabulary = _vocabulary(document)
    if known is None or known.vocabulary != vocabulary or known.revision != policy_revision(files):
        known = load_policy(list(files), vocabulary)
    return Configuration(file, settings, vocabulary, known, revision_of(content), (), document, content)


def _vocabulary(document: Document) -> Vocabulary:
    return config_policies.vocabulary(
        _systems(document.data), _raw_names(document.data, "issuers"), _client_cas(document.data)
    )


def revision_of(content: bytes) -> str:
    """Names a configuration file's content."""
    return hashlib.sha256(content).hexdigest()[:12]


def files_named(file: Path) -> tuple[str, ...]:
    """The paths and patterns that a configuration file names, as far as it can be read: what may have to change before
    one that was refused is sound."""
    try:
        _, document = _document(file)
    except Mistakes:
        return ()
    folder = file.absolute().parent
    _make_absolute(document.data, PATHS, folder)
    read_ones = [path for path in PATHS if path != ("audit", "output")]  # which is written, and so always another
    found = [holder[key] for path in read_ones for holder, key in _holders(document.data, path)]
    patterns = [holder[key] for holder, key in _holders(document.data, ("policies", "files"))]
    found += [str(folder / each) for listed in patterns if isinstance(listed, list) for each in listed if each]
    return tuple(dict.fromkeys(each for each in found if isinstance(each, str) and each != STDOUT))


def content_of(file: Path) -> bytes:
    """A configuration file's bytes, no more of them than can be one. Raises Mistakes."""
    try:
        with file.open("rb") as stream:
            return stream.read(documents.FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Mistakes(
            [Mistake(str(file), 0, "", error.strerror or type(error).__name__, "a readable configuration file")]
        ) from None


def _document(file: Path) -> tuple[bytes, Document]:
    content = content_of(file)
    return content, documents.parse(content, str(file))


T = TypeVar("T")


def _collect(mistakes: list[Mistake], step: Callable[[], T]) -> T | None:
    """The step's result; or None, its mistakes added to the others."""
    try:
        return step()
    except Mistakes as error:
        mistakes += error.mistakes
        return None


def _make_absolute(data: Any, paths: Iterable[tuple[str, ...]], folder: Path) -> None:
    for path in paths:
        for holder, key in _holders(data, path):
            value = holder[key]
            if isinstance(value, str) and value != STDOUT:
                holder[key] = str(folder / value)


def _holders(data: Any, path: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], str]]:
    """The mappings that hold the last key of a path, wherever the document has the shape for it."""
    head, rest = path[0], path[1:]
    if head == "*":
        for item in data if isinstance(data, list) else ():
            yield from _holders(item, rest)
    elif isinstance(data, dict) and head in data:
        if rest:
            yield from _holders(data[head], rest)
        else:
            yield data, head


def names_that_lead_nowhere(document: Document, parts: Parts) -> list[Mistake]:
    """Names given twice, and references to a backend or an issuer that is not there."""
    mistakes: list[Mistake] = []
    backends = _raw_names(document.data, "backends")
    issuers = _raw_names(document.data, "issuers")
    for section in ("listeners", "backends", "issuers"):
        mistakes += _given_twice(document, section)
    systems = {backend.name: backend.system for _, backend in parts.backends}
    webs = {backend.name for _, backend in parts.backends if backend.web is not None}
    iss = {issuer.name: issuer.issuer for _, issuer in parts.issuers}
    for index, listener in parts.listeners:
        at = ("listeners", index)
        if listener.backend not in backends:
            mistakes.append(_refer(document, (*at, "backend"), listener.backend, "backend", backends))
        elif systems.get(listener.backend, listener.system) != listener.system:
            found = f"the backend {listener.backend!r}, which is {systems[listener.backend]}"
            mistakes.append(_mistake(document, (*at, "backend"), found, f"a {listener.system} backend"))
        elif listener.protocol == "pulsar-http" and listener.backend in systems and listener.backend not in webs:
            found = f"the backend {listener.backend!r}, which says nothing of `web`"
            mistakes.append(_mistake(document, (*at, "backend"), found, "a backend with web: {addresses: [...]}"))
        seen: dict[str, str] = {}
        for position, name in enumerate(listener.authentication.issuers):
            place = (*at, "authentication", "issuers", position)
            if name not in issuers:
                mistakes.append(_refer(document, place, name, "issuer", issuers))
            elif name in iss and seen.setdefault(iss[name], name) != name:
                found = f"{name!r}, whose iss is that of {seen[iss[name]]!r}"
                mistakes.append(_mistake(document, place, found, "issuers of different iss on one listener"))
            elif listener.authentication.issuers.index(name) != position:
                mistakes.append(_mistake(document, place, f"{name!r} a second time", "each issuer once"))
    return mistakes


def _raw_names(data: Any, section: str) -> list[str]:
    items = data.get(section) if isinstance(data, dict) else None
    found = [item.get("name") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return [name for name in found if isinstance(name, str)]


def _systems(data: Any) -> dict[str, str]:
    """Backend name -> system, also of backends that are wrong elsewhere: no policy is to blame for that."""
    items = data.get("backends") if isinstance(data, dict) else None
    named = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    systems = {item.get("name"): item.get("system", "kafka") for item in named}
    return {name: system for name, system in systems.items() if isinstance(name, str) and system in SYSTEMS}


def _client_cas(data: Any) -> Iterator[str]:
    """What listeners call the CAs of client certificates, for those that ask for one."""
    items = data.get("listeners") if isinstance(data, dict) else None
    for item in items if isinstance(items, list) else ():
        tls = item.get("tls") if isinstance(item, dict) else None
        if isinstance(tls, dict) and tls.get("client_ca") is not None:
            name = tls.get("client_ca_name", ListenerTls.model_fields["client_ca_name"].default)
            if isinstance(name, str):
                yield name


def _given_twice(document: Document, section: str) -> Iterator[Mistake]:
    seen: set[str] = set()
    items = document.data.get(section) if isinstance(document.data, dict) else None
    for index, item in enumerate(items if isinstance(items, list) else ()):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            continue
        if name in seen:
            yield _mistake(
                document, (section, index, "name"), f"{name!r} a second time", f"a name of its own in {section}"
            )
        seen.add(name)


def _refer(document: Document, path: documents.Path, name: str, noun: str, known: list[str]) -> Mistake:
    expected = (
        f"the name of a configured {noun}: {', '.join(known)}" if known else f"a configured {noun}; there is none"
    )
    return _mistake(document, path, repr(name), expected)


def _mistake(document: Document, path: documents.Path, found: str, expected: str) -> Mistake:
    return Mistake(document.file, document.line(path), documents.spell(path), found, expected)


def ports_in_use_twice(document: Document, parts: Parts) -> list[Mistake]:
    """Every bootstrap port, broker port range and the admin port has ports of its own.

    Addresses are not compared: two listeners on one port of two addresses would work until somebody binds one to
    0.0.0.0, and then fail at the next start.
    """
    claims: list[tuple[int, int, documents.Path]] = []
    for index, listener in parts.listeners:
        at: documents.Path = ("listeners", index)
        ports = listener.broker_ports
        claims.append((listener.port, listener.port, (*at, "port")))
        if ports is not None:
            claims.append((ports.base + ports.first, ports.base + ports.last, (*at, "broker_ports")))
    if parts.admin is not None:
        claims.append((parts.admin.port, parts.admin.port, ("admin", "port")))
        if parts.admin.health is not None:
            claims.append((parts.admin.health.port, parts.admin.health.port, ("admin", "health", "port")))
    mistakes = []
    for position, (first, last, path) in enumerate(claims):
        for other_first, other_last, other in claims[:position]:
            if first <= other_last and other_first <= last and path[:2] != other[:2]:
                mine, theirs = _range(first, last), _range(other_first, other_last)
                found = f"{mine}, of which {documents.spell(other)} (line {document.line(other)}) has {theirs}"
                mistakes.append(_mistake(document, path, found, "ports that nothing else here listens on"))
    return mistakes


def workers_at_odds(document: Document, mistakes: list[Mistake], system: str = sys.platform) -> Iterator[str]:
    """Several workers where there can be only one, added to the mistakes; more than there are cores, as a warning."""
    wanted = str(document.data.get("workers", 1)) if isinstance(document.data, dict) else "1"
    number = int(wanted) if wanted.isdecimal() else 0
    if system != "linux" and (wanted == "auto" or number > 1):
        mistakes.append(_mistake(document, ("workers",), wanted, "1; several workers need Linux"))
    elif number > workers("auto"):
        yield f"workers: {number}, on a machine that gives this process {workers('auto')} cores"


def limits_at_odds(document: Document, parts: Parts) -> list[Mistake]:
    """Limits that make each other pointless."""
    limits = parts.limits
    if limits is None:
        return []
    mistakes = []
    # edge.budget keeps a quarter of the budget for small frames; a frame that never fits would wait for ever.
    if limits.frame_bytes_max > limits.buffered_bytes_max // 4 * 3:
        found = f"{limits.frame_bytes_max} bytes, with buffered_bytes_max of {limits.buffered_bytes_max}"
        mistakes.append(_mistake(document, ("limits", "frame_bytes_max"), found, "at most three quarters of it"))
    if limits.frame_bytes_before_authentication_max > limits.frame_bytes_max:
        found = f"{limits.frame_bytes_before_authentication_max} bytes, more than frame_bytes_max"
        place = ("limits", "frame_bytes_before_authentication_max")
        mistakes.append(_mistake(document, place, found, "less for clients nobody knows yet"))
    return mistakes


def _range(first: int, last: int) -> str:
    return f"port {first}" if first == last else f"ports {first} to {last}"

"""What all workers have agreed upon: the configuration and the policy files in force, issuers' keys, and what an
operator changed by hand.

The office writes it to the board (places.Board) before it lets anybody take it, and tells it to each worker that
starts; an office that was mended begins with what it finds there, and not with what lies on the disk meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.core.policy import PolicySet, load_policy
from gateway.core.settings import Settings
from gateway.ops.config import Configuration, revision_of, settings_of, unchecked
from gateway.ops.config_changes import InForce, in_force

CONTENTS_MAX = 16
"""Configuration files that what is in force may come from, see `contents_of`."""

Files = tuple[tuple[str, bytes], ...]
"""(name, content), as ops.config_policies reads them."""


@dataclass(frozen=True, slots=True)
class Present:
    """`contents`: the configuration file, after those of which something is still in force that waits for a restart,
    oldest first. `revision` and `files` are the policies'. `keys`: issuer -> its key document, and when it was
    confirmed. `log_level`: "" as configured. `retired`: what workers that are gone had counted (summing.Sums.kept)."""

    contents: tuple[bytes, ...]
    revision: str
    files: Files
    keys: Mapping[str, tuple[bytes, float]] = field(default_factory=lambda: MappingProxyType({}))
    log_level: str = ""
    retired: tuple[Any, ...] = ()

    @property
    def configured(self) -> str:
        """The revision of the configuration."""
        return revision_of(self.contents[-1])

    def policies(self, known: PolicySet) -> PolicySet:
        """The policy set of the files; `known` itself if it is that one."""
        return known if known.revision == self.revision else load_policy(list(self.files), known.vocabulary)

    def configuration(self, file: Path, connections_most: int, known: PolicySet) -> Configuration:
        """The configuration in force, its settings as they are. No file is looked at. Raises Mistakes."""
        found = unchecked(file, self.contents[-1], self.files, known)
        before = [settings_of(file, content)[1] for content in self.contents[:-1]]
        return replace(found, settings=folded([*before, found.settings], connections_most).settings)

    def waiting(self, file: Path, connections_most: int) -> tuple[str, ...]:
        """What of the last file waits for a restart."""
        return folded([settings_of(file, content)[1] for content in self.contents], connections_most).waiting


def folded(taken: Sequence[Settings], connections_most: int) -> InForce:
    """What is in force after these were taken, one after the other."""
    found = InForce(taken[0], ())
    for each in taken[1:]:
        found = in_force(found.settings, each, connections_most)
    return found


def contents_of(present: Present, found: Configuration, connections_most: int) -> tuple[bytes, ...] | None:
    """The files from which what is in force once `found` is taken can be had again, the fewest that do. None if these
    are too many: only the start of a gateway makes them one."""
    before = present.contents
    file = found.file
    wanted = folded([settings_of(file, each)[1] for each in (*before, found.content)], connections_most).settings
    for tried in ((), before[:1], before):
        contents = (*tried, found.content)
        if folded([settings_of(file, each)[1] for each in contents], connections_most).settings == wanted:
            return contents if len(contents) <= CONTENTS_MAX else None
    return None


def to_json(present: Present) -> dict[str, Any]:
    """Bytes as text, each byte a character of its own."""
    return {
        "contents": [content.decode("latin-1") for content in present.contents],
        "revision": present.revision,
        "files": files_to_json(present.files),
        "keys": {issuer: [jwks.decode("latin-1"), at] for issuer, (jwks, at) in present.keys.items()},
        "log_level": present.log_level,
        "retired": list(present.retired),
    }


def from_json(found: Mapping[str, Any]) -> Present:
    return Present(
        tuple(content.encode("latin-1") for content in found["contents"]),
        found["revision"],
        files_from_json(found["files"]),
        MappingProxyType({issuer: (jwks.encode("latin-1"), at) for issuer, (jwks, at) in found["keys"].items()}),
        found["log_level"],
        tuple(found["retired"]),
    )


def files_to_json(files: Sequence[tuple[str, bytes]]) -> list[list[str]]:
    return [[name, content.decode("latin-1")] for name, content in files]


def files_from_json(found: list[list[str]]) -> Files:
    return tuple((name, content.encode("latin-1")) for name, content in found)


def to_bytes(present: Present) -> bytes:
    return json.dumps(to_json(present)).encode()


def from_bytes(text: bytes) -> Present:
    return from_json(json.loads(text))

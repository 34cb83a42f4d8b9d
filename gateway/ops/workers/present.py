"""What all workers have agreed upon: the policy files in force, issuers' keys, and what an operator changed by hand.

The office writes it to the board (places.Board) before it lets anybody take it, and tells it to each worker that
starts; an office that was mended begins with what it finds there, and not with what lies on the disk meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gateway.core.policy import PolicySet, load_policy
from gateway.core.vocabulary import Vocabulary

Files = tuple[tuple[str, bytes], ...]
"""(name, content), as ops.config_policies reads them."""


@dataclass(frozen=True, slots=True)
class Present:
    """`keys`: issuer -> its key document, and when it was confirmed. `log_level`: "" as configured. `retired`: what
    workers that are gone had counted (summing.Sums.kept)."""

    revision: str
    files: Files
    keys: Mapping[str, tuple[bytes, float]] = field(default_factory=lambda: MappingProxyType({}))
    log_level: str = ""
    retired: tuple[Any, ...] = ()

    def policies(self, vocabulary: Vocabulary, known: PolicySet) -> PolicySet:
        """The policy set of the files; `known` itself if it is that one."""
        return known if known.revision == self.revision else load_policy(list(self.files), vocabulary)


def to_json(present: Present) -> dict[str, Any]:
    """Bytes as text, each byte a character of its own."""
    return {
        "revision": present.revision,
        "files": [[name, content.decode("latin-1")] for name, content in present.files],
        "keys": {issuer: [jwks.decode("latin-1"), at] for issuer, (jwks, at) in present.keys.items()},
        "log_level": present.log_level,
        "retired": list(present.retired),
    }


def from_json(found: Mapping[str, Any]) -> Present:
    return Present(
        found["revision"],
        files_from_json(found["files"]),
        MappingProxyType({issuer: (jwks.encode("latin-1"), at) for issuer, (jwks, at) in found["keys"].items()}),
        found["log_level"],
        tuple(found["retired"]),
    )


def files_from_json(found: list[list[str]]) -> Files:
    return tuple((name, content.encode("latin-1")) for name, content in found)


def to_bytes(present: Present) -> bytes:
    return json.dumps(to_json(present)).encode()


def from_bytes(text: bytes) -> Present:
    return from_json(json.loads(text))

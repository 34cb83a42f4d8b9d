"""The table of Kafka's messages, read once: messages, their fields, and at which versions each exists."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

UNBOUNDED = 0x7FFF
"""The end of a range that stays open (``3+``); versions are int16."""


@dataclass(frozen=True, slots=True)
class Versions:
    """A range of versions, both ends included; empty when `first` is above `last`."""

    first: int
    last: int

    def __contains__(self, version: int) -> bool:
        return self.first <= version <= self.last


NO_VERSION = Versions(0, -1)


def versions(text: str) -> Versions:
    """``3``, ``0-12``, ``3+`` or ``none``. Raises ValueError on anything else."""
    if text == "none":
        return NO_VERSION
    if text.endswith("+"):
        return Versions(int(text[:-1]), UNBOUNDED)
    first, _, last = text.partition("-")
    return Versions(int(first), int(last or first))


@dataclass(frozen=True, slots=True)
class Field:
    """A field as defined, over all versions. `type` is spelt as in the definitions (``[]TopicProduceData``).

    fields: of a struct defined in place; None for other types and for a struct defined beside the message.
    flexible: the versions at which this field may be in its compact form, where that differs from the message's.
    """

    name: str
    type: str
    versions: Versions
    nullable: Versions
    tagged: Versions
    tag: int | None
    default: str | None
    ignorable: bool
    entity: str
    flexible: Versions | None
    fields: tuple[Field, ...] | None


@dataclass(frozen=True, slots=True)
class Message:
    """A request, response or header. `stable` ends before a version that Kafka still marks as unstable."""

    name: str
    key: int
    kind: Literal["request", "response", "header"]
    versions: Versions
    stable: Versions
    flexible: Versions
    fields: tuple[Field, ...]
    structs: dict[str, tuple[Field, ...]]


@dataclass(frozen=True, slots=True)
class Table:
    """Everything in `messages.json`."""

    release: str
    requests: dict[int, Message]
    responses: dict[int, Message]
    headers: dict[str, Message]


@cache
def table() -> Table:
    """The committed table."""
    data = json.loads(files(__package__).joinpath("messages.json").read_text(encoding="utf-8"))
    messages = [_message(entry) for entry in data["messages"]]
    return Table(
        data["kafka"],
        {message.key: message for message in messages if message.kind == "request"},
        {message.key: message for message in messages if message.kind == "response"},
        {message.name: message for message in messages if message.kind == "header"},
    )


def _message(entry: dict[str, Any]) -> Message:
    valid = versions(entry["validVersions"])
    unstable = entry.get("latestVersionUnstable", False)
    return Message(
        name=entry["name"],
        key=entry.get("apiKey", -1),
        kind=entry["type"],
        versions=valid,
        stable=Versions(valid.first, valid.last - 1) if unstable else valid,
        flexible=versions(entry["flexibleVersions"]),
        fields=_fields(entry["fields"]),
        structs={struct["name"]: _fields(struct["fields"]) for struct in entry.get("commonStructs", ())},
    )


def _fields(entries: list[dict[str, Any]]) -> tuple[Field, ...]:
    return tuple(
        Field(
            name=entry["name"],
            type=entry["type"],
            versions=versions(entry.get("versions", entry.get("taggedVersions", "none"))),
            nullable=versions(entry.get("nullableVersions", "none")),
            tagged=versions(entry.get("taggedVersions", "none")),
            tag=entry.get("tag"),
            default=entry.get("default"),
            ignorable=entry.get("ignorable", False),
            entity=entry.get("entityType", ""),
            flexible=versions(entry["flexibleVersions"]) if "flexibleVersions" in entry else None,
            fields=_fields(entry["fields"]) if "fields" in entry else None,
        )
        for entry in entries
    )

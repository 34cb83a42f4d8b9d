"""Make `messages.json` from the message definitions inside a `kafka-clients` jar.

    python -m gateway.kafka.schema.generate --jar kafka-clients-4.4.0.jar

Run by hand for a new Kafka release; a test says that it reproduces the committed file. Kept: what the codec needs
of every request, response and header that still has a version. Dropped: comments and explanations, `mapKey`,
`zeroCopy`, `listeners`. A definition that holds a word this generator has not met is refused, since what it means
for the bytes would be a guess.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

FOLDER = "common/message/"
OUTPUT = Path(__file__).with_name("messages.json")

_DROPPED = {"about", "mapKey", "zeroCopy", "listeners"}
_MESSAGE_WORDS = {
    "apiKey", "type", "name", "validVersions", "flexibleVersions", "latestVersionUnstable", "fields", "commonStructs",
}  # fmt: skip
_FIELD_WORDS = {
    "name", "type", "versions", "nullableVersions", "taggedVersions", "tag", "default", "ignorable", "entityType",
    "flexibleVersions", "fields",
}  # fmt: skip


class UnknownWord(Exception):
    """A message definition says something this generator does not know."""


def generate(jar: Path) -> str:
    """The text of `messages.json` for a jar. Raises UnknownWord, and KeyError or ValueError for what is no such jar."""
    release = re.search(r"-(\d+\.\d+\.\d+)\.jar$", jar.name)
    messages = []
    with zipfile.ZipFile(jar) as archive:
        for path in sorted(archive.namelist()):
            if path.startswith(FOLDER) and path.endswith(".json"):
                made = _message(json.loads(_without_comments(archive.read(path).decode())))
                if made is not None:
                    messages.append(made)
    messages.sort(key=lambda message: (message.get("apiKey", -1), message["type"], message["name"]))
    lines = ",\n".join(_compact(message) for message in messages)
    return f'{{"kafka":"{release[1] if release else "unknown"}","messages":[\n{lines}\n]}}\n'


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("//"))


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _message(definition: dict[str, Any]) -> dict[str, Any] | None:
    if definition["type"] not in ("request", "response", "header") or definition["validVersions"] == "none":
        return None
    kept = _kept(definition, _MESSAGE_WORDS, definition["name"])
    if not kept.get("latestVersionUnstable"):
        kept.pop("latestVersionUnstable", None)
    kept["fields"] = [_field(field, kept["name"]) for field in kept["fields"]]
    if "commonStructs" in kept:
        kept["commonStructs"] = [_field(struct, kept["name"]) for struct in kept["commonStructs"]]
    return kept


def _field(definition: dict[str, Any], where: str) -> dict[str, Any]:
    kept = _kept(definition, _FIELD_WORDS, f"{where}.{definition['name']}")
    kept["name"] = definition["name"][:1].lower() + definition["name"][1:] if "type" in kept else definition["name"]
    if "default" in kept and not isinstance(kept["default"], str):
        kept["default"] = json.dumps(kept["default"])
    if not kept.get("ignorable"):
        kept.pop("ignorable", None)
    if "fields" in kept:
        kept["fields"] = [_field(field, where) for field in kept["fields"]]
    return kept


def _kept(definition: dict[str, Any], words: set[str], where: str) -> dict[str, Any]:
    unknown = definition.keys() - words - _DROPPED
    if unknown:
        raise UnknownWord(f"{where}: {', '.join(sorted(unknown))}")
    return {word: value for word, value in definition.items() if word in words}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the table of Kafka's messages from a kafka-clients jar.")
    parser.add_argument("--jar", type=Path, required=True, help="kafka-clients-<release>.jar")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="left out: the committed file")
    options = parser.parse_args(arguments)
    options.output.write_text(generate(options.jar), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The table of messages: how it is made from the jar's definitions, and what it refuses."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gateway.kafka.schema.generate import OUTPUT, UnknownWord, generate, main
from gateway.kafka.schema.model import NO_VERSION, Versions, table, versions
from tests.real.jars import KAFKA_VERSION, kafka_libs

DEFINITION: dict[str, Any] = {
    "apiKey": 9,
    "type": "request",
    "name": "ThingRequest",
    "listeners": ["broker"],
    "validVersions": "0-2",
    "flexibleVersions": "2+",
    "fields": [{"name": "TimeoutMs", "type": "int32", "versions": "0+", "default": -1, "about": "How long."}],
}


def jar(folder: Path, *definitions: dict[str, Any]) -> Path:
    path = folder / "kafka-clients-1.2.3.jar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("common/message/README.md", "not a definition")
        for number, definition in enumerate(definitions):
            archive.writestr(f"common/message/{number}.json", "// a comment\n" + json.dumps(definition, indent=1))
    return path


@pytest.mark.real
def test_the_committed_table_is_what_the_jar_says() -> None:
    made = generate(kafka_libs() / f"kafka-clients-{KAFKA_VERSION}.jar")
    assert made == OUTPUT.read_text(encoding="utf-8")


def test_what_is_kept_of_a_definition(tmp_path: Path) -> None:
    made = json.loads(generate(jar(tmp_path, DEFINITION)))
    assert made["kafka"] == "1.2.3"
    assert made["messages"] == [
        {
            "apiKey": 9, "type": "request", "name": "ThingRequest", "validVersions": "0-2", "flexibleVersions": "2+",
            "fields": [{"name": "timeoutMs", "type": "int32", "versions": "0+", "default": "-1"}],
        }
    ]  # fmt: skip


def test_a_message_without_versions_and_data_of_other_kinds_are_left_out(tmp_path: Path) -> None:
    made = generate(jar(tmp_path, {**DEFINITION, "validVersions": "none"}, {**DEFINITION, "type": "data"}))
    assert json.loads(made)["messages"] == []


@pytest.mark.parametrize("word", [{"encoding": "other"}, {"fields": [{"name": "X", "type": "int8", "scale": 2}]}])
def test_a_word_it_does_not_know_is_refused(tmp_path: Path, word: dict[str, Any]) -> None:
    with pytest.raises(UnknownWord):
        generate(jar(tmp_path, {**DEFINITION, **word}))


def test_the_command_writes_the_file(tmp_path: Path) -> None:
    output = tmp_path / "made.json"
    assert main(["--jar", str(jar(tmp_path, DEFINITION)), "--output", str(output)]) == 0
    assert output.read_text() == generate(jar(tmp_path, DEFINITION))


def test_ranges_of_versions() -> None:
    assert versions("3") == Versions(3, 3)
    assert versions("0-12") == Versions(0, 12)
    assert versions("none") == NO_VERSION
    assert 0 not in NO_VERSION
    assert [version in versions("3+") for version in (2, 3, 99)] == [False, True, True]
    with pytest.raises(ValueError, match="invalid literal"):
        versions("some")


def test_the_table() -> None:
    assert table().release == KAFKA_VERSION
    assert table().requests.keys() == table().responses.keys()
    assert set(table().headers) == {"RequestHeader", "ResponseHeader"}
    for key, request in table().requests.items():
        assert request.versions == table().responses[key].versions
        assert request.flexible == table().responses[key].flexible

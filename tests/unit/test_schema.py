"""The schemas that editors use take what the loaders take, and the committed pages and schemas are current."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.core import settings
from gateway.ops import docs, schema

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", docs.PAGES)
def test_the_committed_page_is_what_the_code_makes(path: str) -> None:
    committed = (ROOT / path).read_text(encoding="utf-8")
    assert committed == docs.PAGES[path](), f"{path} is out of date: run `make docs`"


def problems(value: Any, rule: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """A JSON Schema check of the few words that the schemas here use; an unknown word would be a problem too."""
    if "$ref" in rule:
        return problems(value, root["$defs"][rule["$ref"].rpartition("/")[2]], root, at)
    if "anyOf" in rule:
        found = [problems(value, each, root, at) for each in rule["anyOf"]]
        return [] if any(not each for each in found) else found[0]
    if "const" in rule:
        return [] if value == rule["const"] else [f"{at}: {value!r} is not {rule['const']!r}"]
    if "enum" in rule and value not in rule["enum"]:
        return [f"{at}: {value!r} is none of {rule['enum']}"]
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    types["null"] = type(None)
    if kinds and not any(isinstance(value, types[kind]) for kind in kinds):
        return [f"{at}: {value!r} is no {kinds}"]
    if isinstance(value, str) and "pattern" in rule and not re.search(rule["pattern"], value):
        return [f"{at}: {value!r} does not match {rule['pattern']}"]
    found_here: list[str] = []
    if isinstance(value, dict):
        for key in rule.get("required", ()):
            if key not in value:
                found_here.append(f"{at}.{key} is missing")
        for key, inside in value.items():
            if key in rule.get("properties", {}):
                found_here += problems(inside, rule["properties"][key], root, f"{at}.{key}")
            elif rule.get("additionalProperties", True) is False:
                found_here.append(f"{at}.{key} is unknown")
            elif isinstance(rule.get("additionalProperties"), dict):
                found_here += problems(inside, rule["additionalProperties"], root, f"{at}.{key}")
    if isinstance(value, list) and isinstance(rule.get("items"), dict):
        for index, item in enumerate(value):
            found_here += problems(item, rule["items"], root, f"{at}[{index}]")
    return found_here


def as_editor_sees(path: Path) -> Any:
    """Plain YAML 1.2-like values; dates stay text, as in JSON."""
    loader = type(
        "Loader", (yaml.SafeLoader,), {"yaml_implicit_resolvers": dict(yaml.SafeLoader.yaml_implicit_resolvers)}
    )
    for letter, resolvers in loader.yaml_implicit_resolvers.items():
        kept = [each for each in resolvers if each[0] != "tag:yaml.org,2002:timestamp"]
        loader.yaml_implicit_resolvers[letter] = kept
    return yaml.load(path.read_text(), Loader=loader)


CONFIGURATIONS = [path for path in sorted((ROOT / "conf").glob("*.yaml")) if not path.stem.endswith("-policy")]
POLICIES = sorted(
    [*(ROOT / "conf").glob("*-policy.yaml"), *(p for p in (ROOT / "policies").glob("*.yaml") if "_test" not in p.stem)]
)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.name)
def test_example_configurations_fit_the_schema(path: Path) -> None:
    made = schema.config_schema()
    assert problems(as_editor_sees(path), made, made) == []


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
def test_example_policies_fit_the_schema(path: Path) -> None:
    made = schema.policy_schema()
    assert problems(as_editor_sees(path), made, made) == []


def test_the_schema_refuses_an_unknown_key_and_a_wrong_type() -> None:
    made = schema.config_schema()
    found = problems({"version": 1, "listners": [], "limits": {"frame_bytes_max": "much"}}, made, made)
    assert any("listners is unknown" in each for each in found)
    assert any("frame_bytes_max" in each for each in found)
    assert any("listeners is missing" in each for each in found)


def test_every_setting_is_described_or_speaks_for_itself() -> None:
    said_by_name = {"name", "system", "protocol", "tls", "authentication", "broker_ports"}
    made = schema.config_schema()
    silent = [
        f"{owner}.{name}"
        for owner, model in made["$defs"].items()
        for name, field in model["properties"].items()
        if not field.get("description") and name not in said_by_name
    ]
    assert silent == []


def test_every_setting_has_some_effect() -> None:
    """Each is read by some code. A promise that nothing keeps is worse than none."""
    read = {
        node.attr
        for path in ROOT.glob("gateway/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    unread = {
        f"{name}.{field}"
        for name, model in vars(settings).items()
        if isinstance(model, type) and issubclass(model, settings.Model)
        for field in model.model_fields
        if field not in read
    }
    # The bootstrap port is no broker's, so clients are told it by their own configuration alone.
    assert unread <= {"Listener.advertised_port"}


def test_a_policy_schema_knows_every_system_and_kind() -> None:
    rule = schema.policy_schema()["$defs"]["Rule"]["properties"]
    assert "topic" in rule["kafka"]["properties"]
    assert "subscription" in rule["pulsar"]["properties"]
    assert "stream" in rule["kinesis"]["properties"]

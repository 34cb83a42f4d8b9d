"""JSON Schemas for editors, from the types that read the files. Committed under conf/; a test keeps them current.

Pydantic's schema describes typed values; an editor looks at YAML, where ``version: 1`` is a number, one word stands
for a list of one, and a rate is text. `_as_written` makes up the difference.
"""

from __future__ import annotations

import json
from typing import Any

from gateway.core.policy.model import PolicyFile
from gateway.core.settings import Settings
from gateway.ops.config_policies import SYSTEMS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
WORDS: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
BYTES_RATE = {"type": "string", "pattern": r"^[0-9.]+\s*(B|KiB|MiB|GiB)\s*/\s*s$", "examples": ["50 MiB/s"]}
COUNT_RATE = {"type": "string", "pattern": r"^[0-9.]+\s*/\s*s$", "examples": ["2000/s"]}


def config_schema() -> dict[str, Any]:
    """The schema of gateway.yaml; descriptions are the settings' docstrings."""
    made: dict[str, Any] = _as_written(Settings.model_json_schema(mode="validation"), one_for_list=False)
    addressing = made["$defs"]["Listener"]["properties"]["addressing"]
    addressing["anyOf"] = [{"const": "ports"}, {"$ref": "#/$defs/Addressing"}]
    return {"$schema": DIALECT, **made, "title": "Configuration of the gateway"}


def policy_schema() -> dict[str, Any]:
    """The schema of a policy file, with the kinds of every system a rule may speak of."""
    made: dict[str, Any] = _as_written(
        PolicyFile.model_json_schema(mode="validation", by_alias=True), one_for_list=True
    )
    rule = made["$defs"]["Rule"]
    rule["additionalProperties"] = False
    for system in SYSTEMS.values():
        kinds = dict.fromkeys(sorted(system.kinds), WORDS)
        rule["properties"][system.name] = {"type": "object", "additionalProperties": False, "properties": kinds}
    for holder in ("Binding", "Limit"):
        made["$defs"][holder]["properties"]["to"] = {"anyOf": [{"$ref": "#/$defs/To"}, {"const": "any"}]}
    made["$defs"]["Binding"]["properties"]["from"] = WORDS
    limit = made["$defs"]["Limit"]["properties"]
    limit["produce"] = limit["consume"] = BYTES_RATE
    limit["requests"] = COUNT_RATE
    return {"$schema": DIALECT, **made, "title": "Policy file of the gateway"}


def _as_written(schema: Any, *, one_for_list: bool) -> Any:
    """A schema of typed values as one of what stands in the file; policies take one word for a list of one."""
    if isinstance(schema, list):
        return [_as_written(each, one_for_list=one_for_list) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("const") in ("1", "true"):
        return {**schema, "const": json.loads(schema["const"])}
    made = {key: _as_written(value, one_for_list=one_for_list) for key, value in schema.items() if key != "default"}
    items = made.get("items")
    if one_for_list and made.get("type") == "array" and isinstance(items, dict) and items.get("type") == "string":
        return {**{key: value for key, value in made.items() if key in ("title", "description")}, **WORDS}
    return made


def rendered(schema: dict[str, Any]) -> str:
    """The schema's text."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"

"""Writes the pages and schemas that follow from the code: ``python -m gateway.ops.docs [ROOT]``, or ``make docs``.

Tests compare the committed files with what is made here, so neither can fall behind.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import gateway
from gateway.core import settings
from gateway.core.meters import Meter
from gateway.core.policy import DEFAULT_QUOTA
from gateway.core.reasons import all_reasons
from gateway.ops import schema

NOTE = "<!-- Made by `make docs` from the code. Change it there. -->"

SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("limits", settings.Limits),
    ("issuers[]", settings.Issuer),
    ("issuers[].keys", settings.KeySource),
    ("listeners[].authentication", settings.Authentication),
    ("backends[]", settings.Backend),
    ("backends[].account.oauth", settings.OauthAccount),
    ("audit", settings.AuditSettings),
    ("policies", settings.Policies),
)
"""Where in gateway.yaml numbers bound something, and the type that holds them."""


def modules() -> list[str]:
    """Every module of the gateway, imported, so that all it declares is known."""
    found = [module.name for module in pkgutil.walk_packages(gateway.__path__, "gateway.")]
    names = sorted(name for name in found if not name.endswith("__main__"))
    for name in names:
        importlib.import_module(name)
    return names


def reasons_page() -> str:
    """docs/reasons.md."""
    modules()
    lines = [
        "# Reasons",
        NOTE,
        "",
        "Everything the gateway refuses, throttles or closes carries one of these codes: in the audit (`reason`), in",
        "`gateway policy explain`, in the metrics. A code keeps its meaning for ever.",
        "",
        "The client is often told less than the audit: all tokens are refused with the same words, so that nobody",
        "learns from the answer which check a forged one failed.",
        "",
    ]
    for reason in all_reasons():
        lines += [
            f"## `{reason.code}`",
            f"- Cause: {reason.cause}",
            f"- The client shows: {reason.client_sees}",
            f"- Remedy: {reason.remedy}",
            "",
        ]
    return "\n".join(lines)


def limits_page() -> str:
    """docs/limits.md."""
    lines = [
        "# Limits",
        NOTE,
        "",
        "Nothing the gateway holds, waits for or counts is without a bound. What can be set is set in `gateway.yaml`,",
        "at the place in the heading; sizes are written like `64 KiB`, times like `30 s`. What one principal may use",
        "(bytes and requests per second, connections) is set in the policy files: `docs/policy.md`.",
        "",
    ]
    for place, model in SECTIONS:
        rows = [(name, field) for name, field in model.model_fields.items() if _is_limit(field)]
        lines += [f"## {place}", "| name | default | what it bounds |", "|---|---|---|"]
        lines += [f"| `{name}` | {shown(name, field.default)} | {_meaning(name, field)} |" for name, field in rows]
        lines.append("")
    lines += [
        "## Of one principal",
        "Over all its connections, where no row of the policies' `limits` says otherwise:",
        "",
        "| word | default |",
        "|---|---|",
        f"| `produce` | {shown('bytes', DEFAULT_QUOTA.produce_bytes)}/s |",
        f"| `consume` | {shown('bytes', DEFAULT_QUOTA.consume_bytes)}/s |",
        f"| `requests` | {DEFAULT_QUOTA.requests:,.0f}/s |",
        f"| `connections` | {DEFAULT_QUOTA.connections:,} |",
        f"| `producers`, `consumers` (Pulsar) | {DEFAULT_QUOTA.producers:,} each |",
        "",
        "## Fixed",
        "Bounds that are part of the code, by module.",
        "",
        "| where | name | value | what it bounds |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{module.removeprefix('gateway.')}` | `{name}` | {value} | {meaning} |"
        for module in modules()
        for name, value, meaning in constants(module)
    ]
    lines.append("")
    return "\n".join(lines)


def _is_limit(field: FieldInfo) -> bool:
    return isinstance(field.default, int | float) and not isinstance(field.default, bool)


def _meaning(name: str, field: FieldInfo) -> str:
    words = " ".join((field.description or "").split())
    return words or name.removesuffix("_max").replace("_", " ").capitalize() + "."


def shown(name: str, value: float) -> str:
    """A default as an operator writes it."""
    if "bytes" in name:
        for unit, octets in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value % octets == 0:
                return f"{value // octets:.0f} {unit}"
        return f"{value} B"
    if isinstance(value, float):
        for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
            if value % seconds == 0 and value >= 2 * seconds:
                return f"{value // seconds:.0f} {unit}"
        return f"{value:g} s"
    return f"{value:,}"


def constants(module: str) -> Iterator[tuple[str, str, str]]:
    """(name, value, docstring) of a module's own ``..._MAX`` numbers."""
    loaded = importlib.import_module(module)
    source = Path(str(loaded.__file__))
    if source.suffix != ".py":  # a compiled piece, whose numbers are those of its interpreted form
        return
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for position, node in enumerate(tree.body):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if not isinstance(target, ast.Name) or not target.id.endswith("_MAX"):
                continue
            value = getattr(loaded, target.id)
            if isinstance(value, int | float):
                following = tree.body[position + 1] if position + 1 < len(tree.body) else None
                yield target.id, f"{value:,}", _docstring(following) or _spoken(target.id)


def _spoken(name: str) -> str:
    """``DEPTH_MAX`` as words, where they say enough."""
    return name.removesuffix("_MAX").replace("_", " ").capitalize() + "."


def _docstring(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def metrics_page() -> str:
    """docs/metrics.md."""
    meters = {
        each.name: each
        for module in modules()
        for each in vars(importlib.import_module(module)).values()
        if isinstance(each, Meter)
    }
    lines = [
        "# Metrics",
        NOTE,
        "",
        "`GET /metrics` of the admin port, as Prometheus reads it. Labels are words of the configuration, API names",
        "and reason codes, never what a client sends; beyond 1,000 label sets of one metric the rest is summed under",
        "`other`.",
        "",
        "| name | kind | labels | what it counts |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.help} |"
        for each in sorted(meters.values(), key=lambda each: each.name)
    ]
    lines.append("")
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "docs/reasons.md": reasons_page,
    "docs/limits.md": limits_page,
    "docs/metrics.md": metrics_page,
    "conf/gateway.schema.json": lambda: schema.rendered(schema.config_schema()),
    "conf/policy.schema.json": lambda: schema.rendered(schema.policy_schema()),
}
"""Path from the project's root -> what belongs there."""


def main(arguments: list[str]) -> int:
    """Write all pages, below a folder (default: this one)."""
    root = Path(arguments[0] if arguments else ".")
    for name, page in PAGES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(page(), encoding="utf-8")
        print(root / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

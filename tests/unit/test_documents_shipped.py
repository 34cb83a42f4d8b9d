"""What the documents promise is there: tests that threats.md names, files that pages link to, commands they show."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

from gateway.core.reasons import all_reasons
from gateway.ops import cli, docs

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "docs/threats.md",
    "docs/operations.md",
    "docs/handling-tokens.md",
)
THREATS = ROOT / "docs/threats.md"


def rows() -> list[list[str]]:
    """The cells of every row of threats.md that is no head."""
    lines = [line for line in THREATS.read_text().splitlines() if line.startswith("| ") and "| shown by |" not in line]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]


def defined(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_the_threats_name_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", THREATS.read_text())
    assert len(named) > 30
    missing = [f"{file}::{name}" for file, name in named if name not in defined(ROOT / file)]
    assert not missing


def test_every_threat_has_a_measure_and_a_test() -> None:
    assert len(rows()) > 20
    for cells in rows():
        assert len(cells) == 5, cells
        assert all(cells[:4]), cells
        assert "`tests/" in cells[3], cells


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page: str) -> None:
    file = ROOT / page
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", file.read_text()):
        if "://" not in target:
            assert (file.parent / target).exists(), f"{page} links to {target}"


def commands() -> dict[str, argparse.ArgumentParser]:
    subparsers = next(
        action for action in cli.build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    return dict(subparsers.choices)


@pytest.mark.parametrize("page", ["docs/operations.md", "docs/handling-tokens.md"])
def test_every_command_and_option_that_a_page_shows_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    shown = re.findall(r"\bgateway (status|health|close|log-level|check|run|policy)((?: [^\n`#]*)?)", text)
    assert shown
    for name, rest in shown:
        assert name in commands()
        known = commands()[name].format_help()
        if name != "policy":
            for option in re.findall(r"(?<!\S)--[a-z]+", rest):
                assert option in known, f"{name} {option}"


def test_every_make_target_that_a_page_shows_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)`", (ROOT / page).read_text()):
            assert target in targets, f"{page}: make {target}"


def test_every_audit_word_that_operators_are_pointed_to_is_a_reason() -> None:
    docs.modules()
    codes = {reason.code for reason in all_reasons()}
    assert {"closed-by-operator", "shutting-down", "tls-key-exposed", "admin-token-unusable"} <= codes

"""A short run of each target of the fuzzing that coverage guides; a long one is a command (tests.fuzz.guided)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.guided import TARGETS, Nursery, ending, summary

SECONDS, RUNS = 4, 20_000
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris (Linux on x86-64): make test"),
]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as running:
        yield running


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_a_short_run(nursery: Nursery, target: str, tmp_path: Path) -> None:
    done = nursery.fuzz(target, seconds=SECONDS, runs=RUNS, corpus=tmp_path, seed=1)
    assert done.code == 0, ending(done)
    assert summary(done.said) != "nothing was reached", ending(done)


def test_what_only_guidance_finds_is_found(nursery: Nursery, tmp_path: Path) -> None:
    """Four octets in a row, each behind a branch of its own: by chance it would take four thousand million tries."""
    done = nursery.fuzz("planted", seconds=400, runs=400_000, corpus=tmp_path, seed=1)
    assert done.code != 0
    assert "a planted flaw" in done.said

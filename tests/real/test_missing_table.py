"""What is left out is said at the end of a run, and is a failure where everything is required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SUITE = """
import pytest
from tests.real.missing import Missing

@pytest.fixture
def broker():
    raise Missing("a Java runtime", "install a JDK")

def test_needs_it(broker): ...

def test_needs_it_too(broker): ...

def test_skips():
    pytest.skip("no such thing here")

def test_runs(): ...
"""


@pytest.fixture
def run(tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / "conftest.py").write_text("from tests.conftest import *  # noqa: F403\n")
    (tmp_path / "test_it.py").write_text(SUITE)

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, cwd=tmp_path,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def test_left_out_tests_are_named_with_the_remedy(run) -> None:  # type: ignore[no-untyped-def]
    done = run(REQUIRE_ALL="0")
    assert done.returncode == 0, done.stdout
    assert "2 tests  a Java runtime (install a JDK)" in done.stdout
    assert "1 test   no such thing here" in done.stdout
    assert "1 passed, 3 skipped" in done.stdout


def test_each_is_a_failure_where_all_is_required(run) -> None:  # type: ignore[no-untyped-def]
    done = run(REQUIRE_ALL="1")
    assert done.returncode == 1, done.stdout
    assert "REQUIRE_ALL=1 asks for everything: a Java runtime (install a JDK)" in done.stdout

"""What `make test` counts: a run without tests has failed, what was left out is listed, and is a failure if asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import run

SUITE = """
import pytest

def test_good(): ...

def test_bad():
    raise AssertionError("no")

def test_left_out():
    pytest.skip("a Java runtime (install a JDK)")

@pytest.fixture
def broken():
    raise RuntimeError("no broker")

def test_error(broken): ...
"""


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "OUT", tmp_path)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    return tmp_path


def suite(folder: Path, text: str) -> run.Step:
    (folder / "test_it.py").write_text(text)
    (folder / "conftest.py").write_text("from tests.conftest import *  # noqa: F403\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    made = run.pytest("it", "test_it.py", "-p", "no:cacheprovider")
    return run.Step(made.name, made.command, True, {"PYTHONPATH": str(Path(__file__).parents[2]), "REQUIRE_ALL": "0"})


def test_tests_are_counted_by_what_became_of_them(out: Path) -> None:
    outcome = run.perform(suite(out, SUITE))
    assert (outcome.ok, outcome.passed, outcome.failed, outcome.skipped) == (False, 1, 2, 1)
    assert outcome.left_out == {"a Java runtime (install a JDK)": 1}


def test_what_was_left_out_is_listed_though_it_failed_for_it(out: Path) -> None:
    step = suite(out, SUITE)
    outcome = run.perform(run.Step(step.name, step.command, True, {**step.environment, "REQUIRE_ALL": "1"}))
    assert (outcome.passed, outcome.failed, outcome.skipped) == (1, 3, 0)
    assert outcome.left_out == {"a Java runtime (install a JDK)": 1}


@pytest.mark.parametrize("text", ["", "this is no Python"])
def test_a_run_without_tests_has_failed(out: Path, text: str) -> None:
    outcome = run.perform(suite(out, text))
    assert not outcome.ok
    assert outcome.failed == 1


def test_a_step_that_is_no_suite_counts_as_one(out: Path) -> None:
    assert run.perform(run.Step("yes", (sys.executable, "-c", "print(1)"))).passed == 1
    assert run.perform(run.Step("no", (sys.executable, "-c", "raise SystemExit(3)"))).failed == 1
    assert (out / "yes.log").read_text() == "1\n"


def test_the_last_line_says_how_many_passed_and_failed(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = run.Step("good", (sys.executable, "-c", ""))
    bad = run.Step("bad", (sys.executable, "-c", "raise SystemExit(1)"))
    monkeypatch.setattr(run, "steps", lambda which: [good, bad])
    monkeypatch.setattr(run.signal, "signal", lambda number, handler: None)
    assert run.main(["quick"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed"


def test_every_file_of_tests_is_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(run.__file__).parents[1]
    monkeypatch.setattr(run, "ROOT", root)
    asked: list[Path] = []
    for step in run.steps("all"):
        if step.tests:
            words = [word for word in step.command if word.startswith(("tests", "--ignore="))]
            within = {file for word in words for file in files_below(root / word) if not word.startswith("--")}
            asked += within - {file for word in words for file in files_below(root / word.removeprefix("--ignore="))
                               if word.startswith("--")}  # fmt: skip
    assert sorted(asked) == sorted(files_below(root / "tests"))
    assert all((root / "tests/real" / file).exists() for files in run.REAL.values() for file in files)


def files_below(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("test_*.py"))


def test_wrong_use_is_told() -> None:
    done = subprocess.run([sys.executable, run.__file__, "some"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "python tests/run.py quick" in done.stderr


def test_what_python_has_compiled_is_kept_for_the_next_gateway(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that wants none of it kept would have each of them compile all of the project again."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (out / "imported.py").write_text("")
    step = run.Step("it", (sys.executable, "-c", "import imported"), environment={"PYTHONPATH": str(out)})
    assert run.perform(step).ok
    assert list((out / "__pycache__").glob("imported.*.pyc"))

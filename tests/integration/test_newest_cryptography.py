"""The TLS engine with the newest release of `cryptography`, if that is newer than the locked one.

An urgent OpenSSL update comes as such a release: what the engine takes from its binding must still be there and mean
the same. The release is installed beside the environment, by pip from its index, and the engine's tests run with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cryptography
import pytest

from tests.real.missing import Missing

ROOT = Path(__file__).parents[2]
TESTS = tuple(f"tests/integration/edge/test_{name}.py" for name in ("channels", "shortcut", "broker_tls"))
INSTALL_SECONDS_MAX = 120
TESTS_SECONDS_MAX = 400


@pytest.mark.timeout(INSTALL_SECONDS_MAX + TESTS_SECONDS_MAX)
def test_the_engine_runs_with_the_newest_release(tmp_path: Path) -> None:
    beside = tmp_path / "newest"
    install = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:")
    try:
        done = subprocess.run(
            (*install, "--target", str(beside), "cryptography"), capture_output=True, text=True, check=False,
            timeout=INSTALL_SECONDS_MAX,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Missing("the newest release of cryptography", "a package index that pip reaches") from None
    if done.returncode:
        raise Missing("the newest release of cryptography", "a package index that pip reaches")
    environment = {**os.environ, "PYTHONPATH": str(beside)}
    asked = (sys.executable, "-c", "import cryptography; print(cryptography.__version__)")
    newest = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    if newest == cryptography.__version__:
        return  # these tests run with it anyway
    ran = subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS), cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False, timeout=TESTS_SECONDS_MAX,
    )  # fmt: skip
    assert ran.returncode == 0, f"cryptography {newest}:\n{ran.stdout[-4000:]}{ran.stderr[-2000:]}"

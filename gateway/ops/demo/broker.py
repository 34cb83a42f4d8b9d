"""An embedded broker without Java: noida-db's binary as a process, on loopback, with its data in the demo's folder.

The package has no Python interface, so the binary inside it is run. It speaks produce, fetch, groups, transactions and
admin with every client tried; it is one broker. Why this one: docs/decisions/0008-demo-cluster.md. Used by
``gateway demo``, which falls back to `cluster.EmbeddedCluster` where the package cannot be had.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
from pathlib import Path


class NoEmbeddedBroker(Exception):
    """noida-db is not installed or does not run here."""


class EmbeddedBroker:
    """One broker from construction until `stop`."""

    def __init__(self, folder: Path) -> None:
        binary = _binary(folder)
        data = folder / "broker"
        data.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.bootstrap = f"127.0.0.1:{port}"
        with open(folder / "broker.log", "wb") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the pinned package's own binary
                    [
                        str(binary), "start", "--only", "kafka", "--kafka-port", str(port), "--host", "127.0.0.1",
                        "--data-dir", str(data),
                    ],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise NoEmbeddedBroker(f"{binary.name}: {error.strerror}") from None
        try:  # a system it was not built for shows at once
            self._process.wait(0.3)
        except subprocess.TimeoutExpired:
            return
        raise NoEmbeddedBroker(f"{binary.name} ended at once: {(folder / 'broker.log').read_text()[-200:].strip()}")

    def stop(self) -> None:
        """SIGKILL: nothing is to be kept, and it would write its data on SIGTERM first."""
        self._process.kill()
        self._process.wait()


def _binary(folder: Path) -> Path:
    """The package's binary, in a copy that may be executed: a wheel does not keep the mode."""
    spec = importlib.util.find_spec("noida_db")
    if spec is None or not spec.submodule_search_locations:
        raise NoEmbeddedBroker("noida-db is not installed")
    found = Path(spec.submodule_search_locations[0]) / "noida-db"
    if not found.exists():
        raise NoEmbeddedBroker("noida-db holds no binary")
    copy = folder / "noida-db"
    shutil.copyfile(found, copy)
    copy.chmod(0o700)
    return copy

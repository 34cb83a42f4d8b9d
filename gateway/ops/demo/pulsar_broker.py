"""An embedded broker of Pulsar's protocol without Java: pulsar-lite's binary as a process, on loopback.

The binary inside the package is run, since the package's own way of starting it takes a port of its choosing, says so
on the terminal, and leaves a metrics port open to the network. Its data is in the demo's folder. Why this one, and what
it cannot do: docs/decisions/0025-pulsar-proofs.md. Used by ``gateway demo --protocol pulsar``, which has no second one.
"""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path

START_SECONDS_MAX = 60.0


class NoEmbeddedPulsar(Exception):
    """pulsar-lite is not installed or does not run here."""


class EmbeddedPulsar:
    """One broker from construction until `stop`."""

    def __init__(self, folder: Path) -> None:
        binary = _binary(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.bootstrap = f"127.0.0.1:{self._port}"
        self._log = folder / "broker.log"
        settings = folder / "broker.toml"
        settings.write_text("[metrics]\nenabled = false\n")
        command = [
            str(binary), "--config", str(settings), "--addr", self.bootstrap, "--db-path", str(folder / "broker.db"),
            "--log-level", "warn",
        ]  # fmt: skip
        with open(self._log, "wb") as log:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the pinned package's own binary
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            except OSError as error:
                raise NoEmbeddedPulsar(f"{binary.name}: {error.strerror}") from None
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """SIGKILL: nothing is to be kept."""
        self._process.kill()
        self._process.wait()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                words = self._log.read_text(errors="replace")[-200:].strip()
                raise NoEmbeddedPulsar(f"pulsar-lite ended with {self._process.returncode}: {words}")
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
                continue
            return
        raise NoEmbeddedPulsar(f"pulsar-lite took no connection in {START_SECONDS_MAX:g} s")


def _binary(folder: Path) -> Path:
    """The package's binary, in a copy that may be executed: a wheel does not keep the mode."""
    spec = importlib.util.find_spec("pulsar_lite")
    if spec is None or not spec.submodule_search_locations:
        raise NoEmbeddedPulsar("pulsar-lite is not installed (it is there for Linux on x86-64)")
    found = Path(spec.submodule_search_locations[0]) / "bin" / "pulsar-lite"
    if not found.exists():
        raise NoEmbeddedPulsar("pulsar-lite holds no binary")
    copy = folder / "pulsar-lite"
    shutil.copyfile(found, copy)
    copy.chmod(0o700)
    return copy

"""The gateway of the demo: its configuration files, its process, and its audit log as it grows."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import yaml

from gateway.ops.demo.authority import Certificates
from gateway.ops.demo.issuer import AUDIENCE, TokenIssuer

READY_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 15.0
PORT_DEFAULT = 19092
BACKENDS = {"kafka": "kafka-demo", "pulsar": "pulsar-demo"}
ISSUER = "dev"
"""As policies/demo*.yaml call them."""
_PORT_STEP, _PORT_LAST = 100, 30_000

AuditLine = dict[str, Any]


class GatewayFailed(Exception):
    """The gateway did not start or did not become ready; the message holds its own words."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the gateway listens: clients' bootstrap port, the base of the brokers' ports, and the admin port.

    Pulsar's clients reach every broker by the one port; it has no node ids.
    """

    bootstrap: int
    broker_base: int
    admin: int


def choose_ports(wanted: int | None, node_ids: range) -> Ports:
    """The ports `wanted` asks for, else the first free run from the default on. Raises GatewayFailed if taken."""
    first = wanted or PORT_DEFAULT
    while True:
        ports = Ports(first, first + 1 - node_ids.start, first + 1 + len(node_ids))
        if all(_free(port) for port in range(ports.bootstrap, ports.admin + 1)):
            return ports
        if wanted is not None:
            raise GatewayFailed(f"ports {ports.bootstrap} to {ports.admin} are not all free; choose another --port")
        first += _PORT_STEP
        if first > _PORT_LAST:
            raise GatewayFailed("no free run of ports was found; choose one with --port")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def write_config(
    folder: Path, certificates: Certificates, issuer: TokenIssuer, system: str, bootstrap: Sequence[str], ports: Ports,
    node_ids: range, policy: Path,
) -> Path:  # fmt: skip
    """The gateway's configuration as an operator would write it. `system` is one of BACKENDS."""
    backend = {"name": BACKENDS[system], "system": system, "bootstrap": list(bootstrap), "insecure_plaintext": True}
    by_brokers = {
        "broker_ports": {"base": ports.broker_base, "node_ids": f"{node_ids.start}-{node_ids.stop - 1}"},
        "advertised": "localhost",
    }
    config = {
        "version": "1",
        "listeners": [
            {
                "name": "demo",
                "protocol": system,
                "backend": BACKENDS[system],
                "bind": "127.0.0.1",
                "port": ports.bootstrap,
                **(by_brokers if system == "kafka" else {}),
                "tls": {"certificate": str(certificates.certificate), "key": str(certificates.key)},
                "authentication": {"issuers": [ISSUER]},
            }
        ],
        "backends": [backend],
        "issuers": [
            {
                "name": ISSUER,
                "issuer": issuer.url,
                "audiences": [AUDIENCE],
                "algorithms": ["ES256"],
                "keys": {"url": issuer.jwks_url, "ca": str(certificates.ca)},
            }
        ],
        "policies": {"files": [str(policy)]},
        "audit": {"output": str(folder / "audit.jsonl"), "allowed_interval": "500 ms"},
        "limits": {"failed_login_delay_max": "500 ms"},  # a refused client tries again for as long as it is let
        "admin": {"port": ports.admin},
        "log_level": "info",
    }  # fmt: skip
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


class GatewayProcess:
    """``gateway run`` as a process of its own, so that the demo shows what an operator would run."""

    def __init__(self, folder: Path, config: Path, ports: Ports) -> None:
        self._log_path = folder / "gateway.log"
        self._log: BinaryIO = open(self._log_path, "wb")  # noqa: SIM115 - lives as long as the process
        self._ports = ports
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
            [sys.executable, "-m", "gateway", "run", "--config", str(config)],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Until /readyz says so. Raises GatewayFailed with the gateway's own words."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        answer = "no answer yet"
        while time.monotonic() < deadline:
            if not self.running():
                raise GatewayFailed(f"the gateway ended with {self._process.returncode}:\n{self._tail()}")
            try:
                found = httpx.get(f"http://127.0.0.1:{self._ports.admin}/readyz", timeout=2, trust_env=False)
            except httpx.HTTPError:
                time.sleep(0.05)
                continue
            if found.status_code == httpx.codes.OK:
                return
            answer = found.text.strip()
            time.sleep(0.05)
        raise GatewayFailed(f"the gateway is not ready: {answer}\n{self._tail()}")

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that is not heard."""
        if self.running():
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def _tail(self) -> str:
        return "\n".join(self._log_path.read_text(errors="replace").splitlines()[-20:])


class AuditLog:
    """The audit file, read as it grows. `mark` forgets what came before; `find` waits for a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def mark(self) -> None:
        self._offset = os.path.getsize(self._path) if self._path.exists() else 0

    def find(self, wanted: Callable[[AuditLine], bool], timeout: float = 5.0) -> str | None:
        """The first line since the mark that `wanted` says yes to, as it was written; None if none comes in time."""
        deadline = time.monotonic() + timeout
        while True:
            for text in self._lines():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                if wanted(line):
                    return text
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)

    def _lines(self) -> list[str]:
        if not self._path.exists():
            return []
        with open(self._path, encoding="utf-8") as file:
            file.seek(self._offset)
            return [line.rstrip("\n") for line in file if line.endswith("\n")]

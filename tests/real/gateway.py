"""``gateway run`` as a process, for tests: its files, its readiness, its audit lines, its policy as it changes.

    with GatewayProcess(folder, {"main": cluster.bootstrap}, policy=POLICY) as gateway:
        token = gateway.issuer.token("svc-orders", groups=["orders"])
        Producer(gateway.confluent(token))
        gateway.wait_audit(event="denied", resource="payroll.salaries")
        gateway.change_policy(OTHER)

Every backend gets one listener with a bootstrap port and ten broker ports. Real process, real TLS; ended by its pid.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import yaml

from tests.certificates import Ca, make_ca
from tests.real.names import without_names
from tests.real.ports import free_ports
from tests.tokens import TokenIssuer

READY_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 60.0
AUDIT_SECONDS_MAX = 60.0
NODE_IDS = "0-9"

Line = dict[str, Any]


class GatewayFailed(AssertionError):
    """The gateway did not become ready or did not end; the message ends with its own words."""


class GatewayProcess:
    """One gateway process in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        backends: Mapping[str, str],
        *,
        policy: str,
        issuer: TokenIssuer | None = None,
        limits: Mapping[str, Any] | None = None,
        listener: Mapping[str, Any] | None = None,
        workers: int = 1,
        ready_seconds: float = READY_SECONDS_MAX,
    ) -> None:
        """`backends`: name -> plaintext bootstrap servers. `limits` and `listener` override the configuration."""
        self._ready_seconds = ready_seconds
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca: Ca = make_ca(folder / "certificates")
        self.issuer = issuer or TokenIssuer()
        self.ports = {name: free_ports(12, consecutive=True) for name in backends}
        self.before: tuple[str, ...] = ()
        """What stands before its command, such as a shell that lowers a limit."""
        self._hosts: dict[str, str] = {}
        """Doors with a host name per broker, and the name clients start with."""
        self.admin_port = free_ports(1)[0]
        self.policy_path = folder / "policy.yaml"
        self.policy_path.write_text(policy)
        self.issuer.write_jwks(folder / "jwks.json")
        self._audit_path = folder / "audit.jsonl"
        self.config_path = folder / "gateway.yaml"
        self.config = self._made_config(backends, dict(limits or {}), dict(listener or {}))
        self.config["workers"] = workers
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._audited = 0
        self._audit_lines: list[Line] = []

    # --- addresses and what clients need

    def port(self, backend: str = "main") -> int:
        """The bootstrap port."""
        return self.ports[backend][0]

    def bootstrap(self, backend: str = "main") -> str:
        return f"{self._hosts.get(backend, 'localhost')}:{self.port(backend)}"

    def broker_address(self, node: int, door: str = "main") -> tuple[str, int]:
        """Under which host name and port clients are told of a broker."""
        if door in self._hosts:
            return f"b{node}.{self._hosts[door]}", self.port(door)
        return "localhost", self.ports[door][1] + node

    def add_names(self, door: str = "names", host: str = "kafka.test", bind: str = "127.0.0.1", **more: Any) -> None:
        """One more listener for the first backend: one port, a host name per broker (tests/real/hosts has them), and a
        certificate of their own for the bootstrap name, for broker 1, and for the others. Before `start`."""
        self.ports[door] = free_ports(1)
        self._hosts[door] = host
        pairs = [self.ca.server(door, hosts=[host]), self.ca.server(door, hosts=[f"b1.{host}"])]
        pairs.append(self.ca.server(door, hosts=[f"*.{host}"], rsa=True))
        first, *others = [{"certificate": str(certificate), "key": str(key)} for certificate, key in pairs]
        listener = {name: copy.deepcopy(self.config["listeners"][0][name]) for name in ("backend", "authentication")}
        self.config["listeners"].append(
            listener
            | {
                "name": f"{door}-listener", "bind": bind, "port": self.ports[door][0],
                "addressing": {"sni": {"pattern": f"b{{node_id}}.{host}", "bootstrap": host, "node_ids": NODE_IDS}},
                "tls": {**first, "certificates": others},
                **more,
            }
        )  # fmt: skip

    @property
    def ca_file(self) -> str:
        return str(self.ca.path)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def confluent(self, token: str | Callable[[], str], **more: Any) -> dict[str, Any]:
        """Settings for confluent-kafka with OAUTHBEARER; `token` may be called again and again.

        The library is told that a token lasts as long as its `exp` says, so that it refreshes in time.
        """
        give = token if callable(token) else lambda: token

        def oauth(_: object) -> tuple[str, float]:
            made = give()
            return made, expiry(made)

        return {
            "bootstrap.servers": self.bootstrap(),
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": self.ca_file,
            "sasl.mechanism": "OAUTHBEARER",
            "oauth_cb": oauth,
            **more,
        }

    def confluent_plain(self, token: str, **more: Any) -> dict[str, Any]:
        """Settings for confluent-kafka with the token as SASL/PLAIN's password."""
        return {
            "bootstrap.servers": self.bootstrap(),
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": self.ca_file,
            "sasl.mechanism": "PLAIN",
            "sasl.username": "token",
            "sasl.password": token,
            **more,
        }

    # --- life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, ready: bool = True) -> Self:
        """Start it and wait until /readyz says yes, if it is to become `ready`. Raises GatewayFailed."""
        self.config_path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        self._log = open(self.folder / "gateway.log", "ab")  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [*self.before, sys.executable, "-m", "gateway", "run", "--config", str(self.config_path)],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
            env=without_names(PYTHONPATH=str(Path(__file__).parents[2])),
        )  # fmt: skip
        try:
            if ready:
                self._wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL if that is not heard (then GatewayFailed). Returns the exit code."""
        process, self._process = self._process, None
        heard = True
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                heard = False
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None
        if not heard:
            raise GatewayFailed(f"the gateway did not end on SIGTERM within {STOP_SECONDS_MAX} s{self._tail()}")
        return process.returncode if process is not None else None

    def wait(self) -> int:
        """For the end that somebody else has asked for; returns the exit code. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(STOP_SECONDS_MAX)

    def kill(self) -> None:
        """SIGKILL, as a machine that falls out; `start` brings it back at its old ports."""
        process, self._process = self._process, None
        assert process is not None
        process.kill()
        process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def change_policy(self, policy: str) -> str:
        """Write another policy and wait for its revision in the audit; returns the revision."""
        at = len(self.audit())
        scratch = self.policy_path.with_suffix(".new")
        scratch.write_text(policy)
        os.replace(scratch, self.policy_path)
        line = self.wait_audit(lambda line: line["event"] in ("policy-revision", "policy-refused"), after=at)
        return str(line.get("revision"))

    # --- what it says

    def log(self) -> str:
        """Its standard output and error."""
        path = self.folder / "gateway.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def audit(self) -> list[Line]:
        """Every line so far. What was read before is not read again."""
        if not self._audit_path.exists():
            return []
        with self._audit_path.open("rb") as stream:
            if stream.seek(0, os.SEEK_END) < self._audited:
                self._audited, self._audit_lines = 0, []
            stream.seek(self._audited)
            octets = stream.read()
        octets = octets[: octets.rfind(b"\n") + 1]
        self._audited += len(octets)
        self._audit_lines += [json.loads(line) for line in octets.splitlines()]
        return list(self._audit_lines)

    def wait_audit(
        self,
        wanted: Callable[[Line], bool] | None = None,
        *,
        after: int = 0,
        timeout: float = AUDIT_SECONDS_MAX,
        **fields: Any,
    ) -> Line:
        """The first line after the first `after` ones that `wanted` says yes to and that has these fields."""
        deadline = time.monotonic() + timeout
        while True:
            lines = self.audit()[after:]
            for line in lines:
                if all(line.get(name) == value for name, value in fields.items()) and (wanted is None or wanted(line)):
                    return line
            if time.monotonic() > deadline:
                shown = "\n".join(json.dumps(line) for line in lines[-25:])
                raise GatewayFailed(f"no audit line with {fields} within {timeout} s; the last ones:\n{shown}")
            time.sleep(0.02)

    def admin(self, path: str) -> tuple[int, str]:
        """GET a path of the admin port: status and text."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=30) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def readyz(self) -> tuple[int, str]:
        """Status and text; 0 and the cause while nothing answers there, since the gateway starts or is restarted."""
        try:
            return self.admin("/readyz")
        except OSError as error:
            return 0, str(error)

    # --- how

    def _wait_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._ready_seconds
        said = "no answer"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise GatewayFailed(f"the gateway ended with {self._process.returncode}{self._tail()}")
            status, said = self.readyz()
            if status == 200:
                return
            time.sleep(0.05)
        raise GatewayFailed(f"the gateway is not ready: {said}{self._tail()}")

    def _tail(self) -> str:
        return "\n" + "\n".join(self.log().splitlines()[-40:])

    def _made_config(self, backends: Mapping[str, str], limits: dict[str, Any], listener: dict[str, Any]) -> Line:
        certificate, key = self.ca.server("gateway", hosts=["localhost", "127.0.0.1"])
        return {
            "version": "1",
            "listeners": [
                {
                    "name": f"{name}-listener",
                    "backend": name,
                    "bind": "127.0.0.1",
                    "port": self.ports[name][0],
                    "broker_ports": {"base": self.ports[name][1], "node_ids": NODE_IDS},
                    "advertised": "localhost",
                    "tls": {"certificate": str(certificate), "key": str(key)},
                    "authentication": {"issuers": [self.issuer.name]},
                    **listener,
                }
                for name in backends
            ],
            "backends": [
                {
                    "name": name, "bootstrap": bootstrap.split(","), "insecure_plaintext": True,
                    "metadata_refresh": "1 s",
                }
                for name, bootstrap in backends.items()
            ],
            "issuers": [
                {
                    "name": self.issuer.name, "issuer": self.issuer.url, "audiences": [self.issuer.audience],
                    "keys": {"file": str(self.folder / "jwks.json")},
                }
            ],
            "policies": {"files": [str(self.policy_path)], "poll": "200 ms"},
            "limits": limits,
            "audit": {"output": str(self._audit_path), "allowed_interval": "500 ms"},
            "admin": {"port": self.admin_port},
            "log_level": "debug",
        }  # fmt: skip


def expiry(token: str) -> float:
    """`exp` of a token, unverified."""
    import jwt

    return float(jwt.decode(token, options={"verify_signature": False})["exp"])

"""A real Apache Pulsar standalone as a process: resolved once by Maven, started on free ports, ended by its pid.

``PULSAR_HOME`` names an unpacked distribution that is there already; else it is kept beside Kafka's jars (real.jars).
The broker authenticates by tokens of an issuer of its own and authorizes too: `gw` is a proxy's role, `admin` may do
all. What roles may do there is set by `grant`, through its admin interface.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.certificates import make_ca
from tests.real.jars import cache, java, locked
from tests.real.missing import Missing
from tests.real.ports import free_ports
from tests.tokens import TokenIssuer

PULSAR_VERSION = "4.0.8"
START_SECONDS_MAX = 240.0
STOP_SECONDS_MAX = 20.0
HOST = "127.0.0.1"
PROXY_ROLE = "gw"
NAMESPACES = ("public/default", "pulsar/system")
"""Made by the broker itself some time after its start; the latter is where transactions are coordinated."""
SUPERUSER = "admin"
_ARTIFACT = f"org.apache.pulsar:pulsar-server-distribution:{PULSAR_VERSION}:tar.gz:bin"
_RESOLVE_SECONDS_MAX = 900


def pulsar_home() -> Path:
    """The folder of an unpacked distribution. Raises Missing."""
    given = os.environ.get("PULSAR_HOME")
    if given:
        if not (Path(given) / "bin" / "pulsar").exists():
            raise Missing("Apache Pulsar", f"PULSAR_HOME={given} holds no bin/pulsar")
        return Path(given)
    target = cache() / f"pulsar-{PULSAR_VERSION}"
    if target.is_dir():
        return target
    with locked(target):
        if not target.is_dir():
            _resolve(target)
    return target


def _resolve(target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("Apache Maven", "install it (Debian: `apt-get install maven`), or set PULSAR_HOME")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.") as scratch:
        command = [maven, "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"]
        command += [f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={scratch}"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_RESOLVE_SECONDS_MAX, cwd=scratch, check=False
        )
        archives = list(Path(scratch).glob("*.tar.gz"))
        if done.returncode != 0 or not archives:
            raise Missing(f"Apache Pulsar {PULSAR_VERSION}", f"Maven could not get it: {done.stdout[-400:].strip()}")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(scratch, filter="data")
        archives[0].unlink()
        unpacked = next(each for each in Path(scratch).iterdir() if (each / "bin" / "pulsar").exists())
        os.rename(unpacked, target)


class PulsarFailed(AssertionError):
    """The broker did not start or did not do as told; the message ends with its own words."""


class PulsarBroker:
    """One standalone in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = pulsar_home()
        self.issuer = TokenIssuer("https://brokers.test", name="brokers", audience="brokers", algorithm="RS256")
        self.port, self.tls_port, self.web_port, self.web_tls_port, self._bookie_port = free_ports(5)
        self.ca = make_ca(folder / "certificates")
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        key = folder / "tokens.der"
        public = self.issuer.key.public_key()
        key.write_bytes(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        self._configure(key)

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    def token(self, role: str, lifetime: float = 86400.0) -> str:
        """One that the broker itself believes."""
        return self.issuer.token(role, lifetime=lifetime)

    # --- life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Raises PulsarFailed."""
        data = self.folder / "data"
        command = [
            str(self.home / "bin" / "pulsar"), "standalone", "-c", str(self.folder / "standalone.conf"), "-nfw", "-nss",
            "-a", HOST, "--metadata-dir", str(data / "metadata"), "--bookkeeper-dir", str(data / "bookkeeper"),
            "--bookkeeper-port", str(self._bookie_port),
        ]  # fmt: skip
        self._log = open(self.folder / "broker.log", "ab")  # noqa: SIM115 - lives as long as the process
        home = Path(java()).parent.parent
        environment = {
            **os.environ,
            "JAVA_HOME": str(home),
            "PULSAR_MEM": "-Xms256m -Xmx256m -XX:MaxDirectMemorySize=512m -XX:TieredStopAtLevel=1",
            "PULSAR_GC": "-XX:+UseSerialGC",
            "PULSAR_EXTRA_OPTS": "-XX:-UsePerfData",
            "PULSAR_LOG_DIR": str(self.folder),
            "PULSAR_LOG_APPENDER": "Console",
            "PULSAR_LOG_LEVEL": "info",
        }
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
            cwd=self.folder, env=environment,
        )  # fmt: skip
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """SIGTERM to the process and what it started, SIGKILL if that is not heard."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def kill(self) -> None:
        """SIGKILL, as a machine that falls out; `start` brings it back at its old ports with its old data."""
        process, self._process = self._process, None
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def log(self) -> str:
        path = self.folder / "broker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # --- its admin interface, straight

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the REST interface as the superuser. Raises PulsarFailed on a refusal."""
        request = urllib.request.Request(
            f"http://{HOST}:{self.web_port}/admin/v2{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self.token(SUPERUSER)}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                said = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise PulsarFailed(f"{method} {path}: {error.code} {error.read().decode()[:300]}") from None
        return json.loads(said) if said else None

    def grant(self, role: str, *actions: str, namespace: str = "public/default") -> None:
        self.admin("POST", f"/namespaces/{namespace}/permissions/{quote(role, safe='')}", list(actions))

    # --- how

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        assert self._process is not None
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise PulsarFailed(f"the broker ended with {self._process.returncode}\n{self.log()[-3000:]}")
            try:
                if all(name in self.admin("GET", f"/namespaces/{name.partition('/')[0]}") for name in NAMESPACES):
                    return
            except (OSError, PulsarFailed):
                pass
            time.sleep(0.1)
        raise PulsarFailed(f"the broker is not ready after {START_SECONDS_MAX} s\n{self.log()[-3000:]}")

    def _configure(self, key: Path) -> None:
        """A copy of the distribution's own standalone.conf with these values in place of its own."""
        token = self.token(SUPERUSER)
        certificate, certificate_key = self.ca.server("broker", hosts=["localhost", "127.0.0.1"])
        plugin = "org.apache.pulsar.client.impl.auth.AuthenticationToken"
        wanted = {
            "bindAddress": HOST,
            "advertisedAddress": HOST,
            "brokerServicePort": str(self.port),
            "brokerServicePortTls": str(self.tls_port),
            "tlsCertificateFilePath": str(certificate),
            "tlsKeyFilePath": str(certificate_key),
            "tlsTrustCertsFilePath": str(self.ca.path),
            "webServicePort": str(self.web_port),
            "webServicePortTls": str(self.web_tls_port),
            "allowLoopback": "true",
            "listeningInterface": "lo",
            "transactionCoordinatorEnabled": "true",
            "webSocketServiceEnabled": "false",
            "authenticationEnabled": "true",
            "authenticationProviders": "org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
            "authorizationEnabled": "true",
            "superUserRoles": SUPERUSER,
            "proxyRoles": PROXY_ROLE,
            "tokenPublicKey": key.as_uri(),
            "tokenPublicAlg": "RS256",
            "brokerClientAuthenticationPlugin": plugin,
            "brokerClientAuthenticationParameters": f"token:{token}",
            "brokerDeleteInactiveTopicsEnabled": "false",
        }
        lines = (self.home / "conf" / "standalone.conf").read_text().splitlines()
        kept = [line for line in lines if line.partition("=")[0].strip() not in wanted]
        made = [*kept, *(f"{name}={value}" for name, value in wanted.items())]
        (self.folder / "standalone.conf").write_text("\n".join(made) + "\n")

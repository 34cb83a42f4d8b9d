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

import yaml
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.certificates import make_ca
from tests.real.jars import cache, java, locked
from tests.real.missing import Missing
from tests.real.ports import free_ports
from tests.tokens import TokenIssuer

PULSAR_VERSION = "4.0.8"
START_SECONDS_MAX = 240.0
STOP_SECONDS_MAX = 60.0
REDIRECTS_MAX = 6
SESSION_MS = 4000
"""After so long without a broker the others take over what it had."""
KEEP_ALIVE_SECONDS = 15
"""After so long a broker asks whether a connection's other side is there, and after as long again it ends it."""
OWNER_SECONDS_MAX = 90.0
HOST = "127.0.0.1"
PROXY_ROLE = "gw"
SYSTEM_NAMESPACE = "pulsar/system"
"""Where transactions are coordinated."""
NAMESPACES = ("public/default", SYSTEM_NAMESPACE)
"""Made by the broker itself some time after its start."""
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
    """One standalone in a folder of its own: broker, bookie and ZooKeeper."""

    def __init__(self, folder: Path, *, memory: str = "", functions: bool = False) -> None:
        """`memory`: how its JVM is set, where it is to be fast and not small. `functions`: with a worker for them."""
        self._functions = functions
        self._memory = memory or "-Xms256m -Xmx256m -XX:MaxDirectMemorySize=512m -XX:TieredStopAtLevel=1"
        self.folder = folder
        self.home = pulsar_home()
        self.issuer = self._issuer()
        self.port, self.tls_port, self.web_port, self.web_tls_port, self._bookie_port = free_ports(5)
        self.metadata_port = self._metadata_port()
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

    @property
    def web(self) -> str:
        """As brokers name each other."""
        return f"{HOST}:{self.web_port}"

    def token(self, role: str, lifetime: float = 86400.0) -> str:
        """One that the broker itself believes."""
        return self.issuer.token(role, lifetime=lifetime)

    def _issuer(self) -> TokenIssuer:
        return TokenIssuer("https://brokers.test", name="brokers", audience="brokers", algorithm="RS256")

    def _metadata_port(self) -> int:
        return free_ports(1)[0]

    def _command(self) -> list[str]:
        data = self.folder / "data"
        return [
            "standalone", "-c", str(self.folder / "broker.conf"), *self._functions_worker(), "-nss", "-a", HOST,
            "--zookeeper-dir", str(data / "metadata"), "--zookeeper-port", str(self.metadata_port),
            "--bookkeeper-dir", str(data / "bookkeeper"), "--bookkeeper-port", str(self._bookie_port),
        ]  # fmt: skip

    def _functions_worker(self) -> list[str]:
        """Functions run as threads of the broker's own process; packages are files."""
        if not self._functions:
            return ["-nfw"]
        settings = yaml.safe_load((self.home / "conf" / "functions_worker.yml").read_text())
        settings |= {
            "downloadDirectory": str(self.folder / "functions-downloads"),
            "functionRuntimeFactoryClassName": "org.apache.pulsar.functions.runtime.thread.ThreadRuntimeFactory",
            "functionRuntimeFactoryConfigs": {"threadGroupName": "functions"},
            "connectorsDirectory": str(self.folder / "connectors"),
            "functionsDirectory": str(self.folder / "functions"),
        }
        file = self.folder / "functions_worker.yml"
        file.write_text(yaml.safe_dump(settings))
        return ["-fwc", str(file)]

    # --- life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Raises PulsarFailed."""
        command = [str(self.home / "bin" / "pulsar"), *self._command()]
        self._log = open(self.folder / "broker.log", "ab")  # noqa: SIM115 - lives as long as the process
        home = Path(java()).parent.parent
        environment = {
            **os.environ,
            "JAVA_HOME": str(home),
            "PULSAR_MEM": self._memory,
            "PULSAR_GC": "-XX:+UseSerialGC",
            "PULSAR_EXTRA_OPTS": "-XX:-UsePerfData",
            "PULSAR_LOG_DIR": str(self.folder),
            "PULSAR_LOG_APPENDER": "Console",
            "PULSAR_LOG_LEVEL": "info",
            "PULSAR_STANDALONE_USE_ZOOKEEPER": "1",
            "PULSAR_BROKER_CONF": str(self.folder / "broker.conf"),
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
        return self._called(method, f"/admin/v2{path}", body)

    def lookup(self, path: str) -> Any:
        """Where a topic is, and in which bundle. A bundle that moves is nobody's for a moment (500): asked again."""
        deadline = time.monotonic() + OWNER_SECONDS_MAX
        while True:
            try:
                return self._called("GET", f"/lookup/v2{path}")
            except PulsarFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _called(self, method: str, path: str, body: Any = None) -> Any:
        """By this broker, or by whichever it sends the caller on to (its leader, a bundle's owner)."""
        url = f"http://{HOST}:{self.web_port}{path}"
        for _ in range(REDIRECTS_MAX):
            request = urllib.request.Request(
                url,
                method=method,
                data=None if body is None else json.dumps(body).encode(),
                headers={"authorization": f"Bearer {self.token(SUPERUSER)}", "content-type": "application/json"},
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    said = answer.read()
                    break
            except urllib.error.HTTPError as error:
                with error:
                    if error.code != 307:
                        words = error.read().decode()[:300]
                        raise PulsarFailed(f"{method} {path}: {error.code} {words}") from None
                    url = error.headers["location"]
        else:
            raise PulsarFailed(f"{method} {path}: sent on and on")
        try:
            return json.loads(said) if said else None
        except ValueError:  # a bundle's name comes as it is
            return said.decode()

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
                if self._ready():
                    return
            except (OSError, PulsarFailed):
                pass
            time.sleep(0.1)
        raise PulsarFailed(f"the broker is not ready after {START_SECONDS_MAX} s\n{self.log()[-3000:]}")

    def _ready(self) -> bool:
        return all(name in self.admin("GET", f"/namespaces/{name.partition('/')[0]}") for name in NAMESPACES)

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
            "keepAliveIntervalSeconds": str(KEEP_ALIVE_SECONDS),
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
            "loadBalancerEnabled": "true",
            "loadManagerClassName": "org.apache.pulsar.broker.loadbalance.impl.ModularLoadManagerImpl",
            "loadBalancerLoadPlacementStrategy": "org.apache.pulsar.broker.loadbalance.impl.RoundRobinBrokerSelector",
            "loadBalancerBrokerOverloadedThresholdPercentage": "10000",  # small heaps are always full
            "topicLevelPoliciesEnabled": "false",  # a topic less in each namespace
            "loadBalancerSheddingEnabled": "false",
            "loadBalancerAutoBundleSplitEnabled": "false",
            "metadataStoreSessionTimeoutMillis": str(SESSION_MS),
            **self._more(),
        }
        lines = (self.home / "conf" / "standalone.conf").read_text().splitlines()
        kept = [line for line in lines if line.partition("=")[0].strip() not in wanted]
        made = [*kept, *(f"{name}={value}" for name, value in wanted.items())]
        (self.folder / "broker.conf").write_text("\n".join(made) + "\n")

    def _more(self) -> dict[str, str]:
        if not self._functions:
            return {}
        storage = "org.apache.pulsar.packages.management.storage.filesystem.FileSystemPackagesStorageProvider"
        return {
            "functionsWorkerEnabled": "true",
            "enablePackagesManagement": "true",
            "packagesManagementStorageProvider": storage,
            "STORAGE_PATH": str(self.folder / "packages"),
        }

"""Kroxylicious, a Kafka proxy on the JVM: the newest release that Maven Central has, its runtime started as it is.

It ends TLS and does a Kafka proxy's own work (requests decoded, addresses rewritten). No filter is set up, so nobody is
authenticated and nothing is decided.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from loadtest.processes import CIPHER, Daemon
from tests.real.jars import java, resolved
from tests.real.missing import Missing

VERSION = "0.12.0"
HEAP_MIB = 512
SETTINGS = (
    f"no filters, one event loop (-XX:ActiveProcessorCount=1), heap {HEAP_MIB} MiB, epoll, the JDK's TLS, {CIPHER}; "
    "the JVM's compiler and collector count as its CPU"
)
NODE_IDS = (0, 9)

_SOURCE = Path(__file__).parent / "Kroxylicious.java"
_COMPILE_SECONDS_MAX = 120


def kroxylicious(
    folder: Path, port: int, upstream: str, certificate: tuple[Path, Path], *, fast_start: bool = False
) -> Daemon:
    """One that is to be entered: its bootstrap port is `port`, its brokers' ports follow. Raises Missing.

    `fast_start`, for runs that judge nothing: its compiler does not try hard.
    """
    folder.mkdir(parents=True, exist_ok=True)
    libs = _libs()
    compiler = shutil.which("javac")
    if compiler is None:
        raise Missing("a Java compiler", "on Debian: apt-get install openjdk-17-jdk-headless")
    subprocess.run(
        [compiler, "-cp", f"{libs}/*", "-d", str(folder), str(_SOURCE)],
        check=True, capture_output=True, timeout=_COMPILE_SECONDS_MAX,
    )  # fmt: skip
    config = folder / "proxy.yaml"
    config.write_text(_config(port, upstream, certificate))
    command = [
        java(), f"-Xms{HEAP_MIB}m", f"-Xmx{HEAP_MIB}m", "-XX:ActiveProcessorCount=1", "-XX:-UsePerfData",
        *(["-XX:TieredStopAtLevel=1"] if fast_start else []),
        "-cp", f"{folder}:{libs}/*", "Kroxylicious", str(config),
    ]  # fmt: skip
    return Daemon("kroxylicious", command, folder, port)


def version() -> str:
    """What is run. Raises Missing if it is not to be had."""
    _libs()
    said = subprocess.run([java(), "-version"], capture_output=True, text=True, check=True, timeout=30).stderr
    return f"Kroxylicious {VERSION}, {said.splitlines()[0]}"


def _libs() -> Path:
    return resolved(f"kroxylicious-{VERSION}", ("io.kroxylicious", "kroxylicious-runtime", VERSION))


def _config(port: int, upstream: str, certificate: tuple[Path, Path]) -> str:
    return f"""\
virtualClusters:
  - name: load
    targetCluster:
      bootstrapServers: {upstream}
    gateways:
      - name: default
        portIdentifiesNode:
          bootstrapAddress: localhost:{port}
          nodeStartPort: {port + 1}
          nodeIdRanges:
            - name: all
              start: {NODE_IDS[0]}
              end: {NODE_IDS[1]}
        tls:
          key:
            certificateFile: {certificate[0]}
            privateKeyFile: {certificate[1]}
          cipherSuites:
            allowed: [{CIPHER}]
          protocols:
            allowed: [TLSv1.3]
"""

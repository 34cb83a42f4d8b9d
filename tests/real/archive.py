"""What a short Java program has loaded, kept for the next run: half of such a program's CPU time is loading classes.

The JVM's own class data sharing: a first run writes an archive at its end (``-XX:ArchiveClassesAtExit``, JDK 13 and
newer), all later ones map it. An archive of another JVM or of other jars is not used: its name says of which it is, and
the JVM itself compares. Where none can be written everything runs as without.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.jars import cache, java

_SILENT = "-Xlog:disable"
"""The JVM's own words about classes that are not archived would stand in a program's output."""


@contextmanager
def shared_classes(name: str, libs: Path) -> Iterator[list[str]]:
    """Flags for one run of a program with these jars; `name`: of the archive. The run ends within the block."""
    archive = cache() / f"{name}-{fingerprint(libs)}.jsa"
    if archive.exists():
        yield [f"-XX:SharedArchiveFile={archive}", _SILENT]
        return
    archive.parent.mkdir(parents=True, exist_ok=True)
    with open(archive.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another run writes it
            yield []
            return
        with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f"{name}.") as scratch:
            made = Path(scratch) / archive.name
            yield [f"-XX:ArchiveClassesAtExit={made}", _SILENT]
            if made.exists():
                os.rename(made, archive)


def fingerprint(libs: Path) -> str:
    """The JVM and the jars, in a few letters."""
    program = Path(java()).resolve()
    files = [program, *sorted(libs.glob("*.jar"))]
    told = [f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]

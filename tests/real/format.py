"""What Kafka's own tool writes into an empty log folder, made once for the same jars and copied from then on.

Formatting takes a JVM, which costs a third of what the broker's own start does. What it writes are two files: one says
whose the folder is (cluster, node, folder), the other which features the first controller begins with, by the jars
alone. So a copy with ids of its own is what the tool would have written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.real.archive import fingerprint
from tests.real.jars import cache, locked

_CLUSTER, _NODE = "AAAAAAAAAAAAAAAAAAAAAA", 1
_CONFIGURATION = f"""\
node.id={_NODE}
process.roles=broker,controller
controller.quorum.voters={_NODE}@127.0.0.1:9093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
"""
_FORMAT_SECONDS_MAX = 180


class NotFormatted(Exception):
    """Kafka's tool did not; the message is its own."""


def format_folder(
    folder: Path, libs: Path, command: Callable[[Sequence[str]], list[str]], cluster: str, node: int, identity: str
) -> None:
    """Make the log folder of a node of this cluster, which has no such folder yet; `identity`: the folder's own id.
    `command` starts a program of the jars in `libs`. Raises NotFormatted."""
    source = _pattern(libs, command)
    shutil.copytree(source, folder)
    meta = (folder / "meta.properties").read_text()
    for name, value in (("cluster.id", cluster), ("node.id", str(node)), ("directory.id", identity)):
        meta, found = re.subn(rf"(?m)^{re.escape(name)}=.*$", f"{name}={value}", meta)
        if found != 1:
            raise NotFormatted(f"{found} times {name} in\n{meta}")
    (folder / "meta.properties").write_text(meta)


def _pattern(libs: Path, command: Callable[[Sequence[str]], list[str]]) -> Path:
    """The folder that is copied, made by the tool if there is none for these jars."""
    target = cache() / f"kafka-format-{fingerprint(libs)}"
    if target.is_dir():
        return target
    with locked(target):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}.") as scratch:
                made, configuration = Path(scratch) / "data", Path(scratch) / "node.properties"
                configuration.write_text(f"{_CONFIGURATION}log.dirs={made}\n")
                words = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(configuration)]
                done = subprocess.run(
                    command(words), capture_output=True, text=True, timeout=_FORMAT_SECONDS_MAX, check=False
                )
                if done.returncode != 0:
                    raise NotFormatted(done.stdout + done.stderr)
                os.rename(made, target)
    return target

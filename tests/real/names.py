"""Host names for the gateway's SNI listeners, which every client library resolves and the machine does not know.

The names are in tests/real/hosts. Libraries that ask the C library (librdkafka, Python's, Node's) are given them by
nss_wrapper, which has to be loaded before the process starts: tests/run.py does so for its steps. It takes no comments,
and one line for each address, since it answers an address with one result per line. The Java tools are told of the file
by ``-Djdk.net.hosts.file``. Brokers and gateway are started without any of this.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.real.missing import Missing

HOSTS = Path(__file__).parent / "hosts"
LIBRARY = "libnss_wrapper.so"
_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", *(str(path) for path in Path("/usr/lib").glob("*-linux-gnu")))
_WANTED = {"LD_PRELOAD": LIBRARY, "NSS_WRAPPER_HOSTS": str(HOSTS)}


def with_names() -> dict[str, str]:
    """What a process that is to know the names is started with; nothing where nss_wrapper is not installed."""
    return _WANTED if any((Path(folder) / LIBRARY).exists() for folder in _FOLDERS) else {}


def without_names(**more: str) -> dict[str, str]:
    """This process's environment for one that is to resolve as the machine does."""
    return {name: value for name, value in os.environ.items() if name not in _WANTED} | more


def need_names() -> None:
    """Raises Missing in a process that does not know the names."""
    try:
        socket.getaddrinfo("kafka.test", 9092)
    except socket.gaierror:
        how = f"LD_PRELOAD={LIBRARY} NSS_WRAPPER_HOSTS=$PWD/tests/real/hosts, as tests/run.py does"
        raise Missing("host names for SNI", f"Debian: `apt-get install libnss-wrapper`, and start with {how}") from None


def python_with_names(program: str, *arguments: str, names: Iterable[str], folder: Path) -> str:
    """Run a program in a Python of its own that knows these names, all of them this machine's; what it said."""
    wanted = with_names()
    if not wanted:
        raise Missing("host names", "Debian: `apt-get install libnss-wrapper`")
    hosts = folder / "hosts"
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in ("localhost", *names)))
    environment = {**os.environ, **wanted, "NSS_WRAPPER_HOSTS": str(hosts)}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=90, env=environment,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

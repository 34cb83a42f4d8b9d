"""HAProxy in TCP mode: TLS in front of one broker, bytes moved. The other common proxy that knows nothing of Kafka."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from loadtest.processes import CIPHER, GROUP, Daemon
from tests.real.missing import Missing

BUFFER = 65536
SETTINGS = (
    f"mode tcp, one thread, tune.bufsize {BUFFER}, no log, session tickets as by default, {CIPHER}, {GROUP}; "
    "handshakes alone are taken at a port of its own that waits for the first byte"
)


def haproxy(folder: Path, port: int, handshake_port: int, upstream: str, certificate: tuple[Path, Path]) -> Daemon:
    """One that is to be entered. Raises Missing."""
    folder.mkdir(parents=True, exist_ok=True)
    program = _program()
    pem = folder / "server.pem"
    pem.touch(mode=0o600)
    pem.write_bytes(b"".join(path.read_bytes() for path in certificate))
    config = folder / "haproxy.cfg"
    config.write_text(_config(port, handshake_port, upstream, pem))
    return Daemon("haproxy", [program, "-db", "-f", str(config)], folder, port)


def version() -> str:
    """HAProxy's version and the OpenSSL it runs with. Raises Missing."""
    said = subprocess.run([_program(), "-vv"], capture_output=True, text=True, check=True, timeout=10).stdout
    found = re.search(r"HAProxy version (\S+)", said)
    library = re.search(r"Running on OpenSSL version : (OpenSSL \S+)", said)
    return f"HAProxy {found[1] if found else '?'}, {library[1] if library else 'OpenSSL ?'}"


def _program() -> str:
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing("HAProxy", "on Debian: apt-get install haproxy")
    return found


def _config(port: int, handshake_port: int, upstream: str, pem: Path) -> str:
    bind = f"ssl crt {pem} curves {GROUP}"
    return f"""\
global
    nbthread 1
    maxconn 9500
    tune.bufsize {BUFFER}
    ssl-default-bind-ciphersuites {CIPHER}
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen kafka
    bind 127.0.0.1:{port} {bind} backlog 4096
    server broker {upstream}
listen handshakes
    bind 127.0.0.1:{handshake_port} {bind} backlog 4096
    tcp-request inspect-delay 10s
    tcp-request content accept if {{ req.len gt 0 }}
    server broker {upstream}
"""

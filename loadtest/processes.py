"""The proxies under load: what their processes cost, and nginx as the one that only moves bytes.

nginx ends TLS in front of one broker and forwards plaintext; it knows nothing of Kafka, so it is the limit of what a
proxy with TLS can reach. Processes are ended by their own pid.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.real.missing import Missing

CIPHER = "TLS_AES_128_GCM_SHA256"
BUFFER = "64k"
START_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 10.0

_HOW = "on Debian: apt-get install nginx libnginx-mod-stream"
_TICKS = os.sysconf("SC_CLK_TCK")
_MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, of its living descendants, and of the children it has waited for.

    Raises ProcessLookupError if it has ended.
    """
    parents: dict[int, list[int]] = {}
    times: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents.setdefault(int(fields[1]), []).append(int(entry.name))
        times[int(entry.name)] = sum(int(field) for field in fields[11:15]) / _TICKS
    if pid not in times:
        raise ProcessLookupError(f"process {pid} has ended")
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        total += times.get(one, 0.0)
        waiting += parents.get(one, [])
    return total


def peak_memory_mib(pid: int) -> float:
    """The most a process has held in memory; of nginx's workers the largest."""
    peaks = [0.0]
    for one in (pid, *_children(pid)):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text())
        peaks.append(int(found[1]) / 1024 if found else 0.0)
    return max(peaks)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


class Nginx:
    """nginx's stream module with TLS in front of one upstream: one worker, 64 KiB buffers, one cipher suite."""

    def __init__(self, folder: Path, port: int, upstream: str, certificate: tuple[Path, Path]) -> None:
        """Raises Missing where nginx or its stream module is not installed."""
        self.folder = folder
        self.port = port
        self._command = _nginx()
        self._config = folder / "nginx.conf"
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(_config(folder, port, upstream, certificate))
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        self._log = open(self.folder / "nginx.log", "ab")
        self._process = subprocess.Popen(
            [self._command, "-p", str(self.folder), "-c", str(self._config)],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS_MAX
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError("nginx did not start: " + (self.folder / "nginx.log").read_text()[-2000:])
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None

    def version(self) -> str:
        """nginx's version and the OpenSSL it runs with."""
        said = subprocess.run([self._command, "-V"], capture_output=True, text=True, check=True, timeout=10).stderr
        nginx = re.search(r"nginx/(\S+)", said)
        library = re.search(r"running with (OpenSSL \S+)", said) or re.search(r"built with (OpenSSL \S+)", said)
        return f"nginx {nginx[1] if nginx else '?'}, {library[1] if library else 'OpenSSL ?'}"

    def ciphers(self) -> set[str]:
        """The cipher suites of the connections that have ended so far."""
        path = self.folder / "access.log"
        return set(path.read_text().split()) - {"-"} if path.exists() else set()


def _nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing("nginx", _HOW)
    return found


def _stream_module() -> str:
    """The line that loads the stream module; "" where it is built in."""
    for folder in _MODULE_FOLDERS:
        path = Path(folder) / "ngx_stream_module.so"
        if path.exists():
            return f"load_module {path};"
    said = subprocess.run([_nginx(), "-V"], capture_output=True, text=True, check=True, timeout=10).stderr
    if re.search(r"--with-stream(\s|$)", said):
        return ""
    raise Missing("nginx's stream module", _HOW)


def _config(folder: Path, port: int, upstream: str, certificate: tuple[Path, Path]) -> str:
    return f"""\
{_stream_module()}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
stream {{
    log_format suite '$ssl_cipher';
    access_log {folder}/access.log suite;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate[0]};
        ssl_certificate_key {certificate[1]};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_conf_command Ciphersuites {CIPHER};
        proxy_pass {upstream};
        proxy_buffer_size {BUFFER};
        tcp_nodelay on;
    }}
}}
"""


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False

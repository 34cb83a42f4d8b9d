"""nginx's stream module: TLS in front of one broker, bytes moved, nothing known of Kafka. It is 1.00 in every row."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from loadtest.processes import CIPHER, GROUP, Daemon
from tests.real.missing import Missing

BUFFER = "64k"
SETTINGS = (
    f"stream, one worker, proxy_buffer_size {BUFFER}, tcp_nodelay, no access log, session tickets as by default, "
    f"{CIPHER}, {GROUP}; handshakes alone are taken at a port of its own that returns at once"
)

_HOW = "on Debian: apt-get install nginx libnginx-mod-stream"
_MODULE_FOLDERS = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")


def nginx(
    folder: Path, port: int, handshake_port: int, upstream: str, certificate: tuple[Path, Path], upstream_ca: str = ""
) -> Daemon:
    """One that is to be entered. With `upstream_ca` it speaks TLS to the broker too. Raises Missing."""
    folder.mkdir(parents=True, exist_ok=True)
    program = _program()
    config = folder / "nginx.conf"
    config.write_text(_config(folder, port, handshake_port, upstream, certificate, upstream_ca))
    return Daemon("nginx", [program, "-p", str(folder), "-c", str(config)], folder, port)


def version() -> str:
    """nginx's version and the OpenSSL it runs with. Raises Missing."""
    said = subprocess.run([_program(), "-V"], capture_output=True, text=True, check=True, timeout=10).stderr
    found = re.search(r"nginx/(\S+)", said)
    library = re.search(r"running with (OpenSSL \S+)", said) or re.search(r"built with (OpenSSL \S+)", said)
    return f"nginx {found[1] if found else '?'}, {library[1] if library else 'OpenSSL ?'}"


def _program() -> str:
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing("nginx", _HOW)
    return found


def stream_module() -> str:
    """The line that loads the stream module; "" where it is built in."""
    for folder in _MODULE_FOLDERS:
        path = Path(folder) / "ngx_stream_module.so"
        if path.exists():
            return f"load_module {path};"
    said = subprocess.run([_program(), "-V"], capture_output=True, text=True, check=True, timeout=10).stderr
    if re.search(r"--with-stream(\s|$)", said):
        return ""
    raise Missing("nginx's stream module", _HOW)


def _config(
    folder: Path, port: int, handshake_port: int, upstream: str, certificate: tuple[Path, Path], upstream_ca: str
) -> str:
    to_broker = ""
    if upstream_ca:
        to_broker = f"""
        proxy_ssl on;
        proxy_ssl_protocols TLSv1.3;
        proxy_ssl_conf_command Ciphersuites {CIPHER};
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate {upstream_ca};
        proxy_ssl_name localhost;"""
    return f"""\
{stream_module()}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 19000; }}
stream {{
    access_log off;
    ssl_certificate {certificate[0]};
    ssl_certificate_key {certificate[1]};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_conf_command Ciphersuites {CIPHER};
    ssl_ecdh_curve {GROUP};
    tcp_nodelay on;
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        proxy_pass {upstream};
        proxy_timeout 1h;
        proxy_buffer_size {BUFFER};{to_broker}
    }}
    server {{
        listen 127.0.0.1:{handshake_port} ssl backlog=4096;
        return "";
    }}
}}
"""

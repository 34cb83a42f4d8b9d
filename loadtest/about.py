"""The machine and the versions of a run, without the machine's name or paths, and how each peer was set."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import confluent_kafka
from cryptography.hazmat.backends.openssl import backend

from gateway.ops import compiled_pieces
from loadtest import gateways, haproxy, kroxylicious, nginx
from tests.real.jars import KAFKA_VERSION

ROOT = Path(__file__).parents[1]
_PEERS = {"nginx": nginx, "haproxy": haproxy, "kroxylicious": kroxylicious}


def facts(peers: Sequence[str]) -> dict[str, dict[str, str]]:
    """All of it. Raises Missing where a peer is not installed."""
    run = versions()
    settings = {"direct": "the broker's own listener, plaintext"} if "direct" in peers else {}
    for name, module in _PEERS.items():
        if name in peers:
            run[name] = module.version()
            settings[name] = module.SETTINGS
    settings |= {name: text for name, text in gateways.STEPS.items() if name in peers}
    return {"machine": machine(), "versions": run, "settings": settings}


def machine() -> dict[str, str]:
    memory = _found(r"MemTotal:\s+(\d+)", Path("/proc/meminfo"))
    return {
        "processor": _found(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo")) or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory or 0) >> 20} GiB",
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    """Of the gateway, the broker and the client."""
    return {
        "gateway": f"{_commit()}, Python {platform.python_version()}",
        "gateway's TLS": f"{backend.openssl_version_text()} (cryptography {version('cryptography')})",
        "gateway's hot path": ", ".join(compiled_pieces.lines()),
        "broker": f"Apache Kafka {KAFKA_VERSION}",
        "client": f"librdkafka {confluent_kafka.libversion()[0]} (confluent-kafka {version('confluent-kafka')})",
    }


def _found(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text()) if path.exists() else None
    return found[1].strip() if found else ""


def _commit() -> str:
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return "not in a git checkout"
    return said.stdout.strip()

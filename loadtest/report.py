"""What was measured, as JSON and as a Markdown table, with what is needed to judge it: machine and versions."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import confluent_kafka
from cryptography.hazmat.backends.openssl import backend

from loadtest.client import Window
from tests.real.jars import KAFKA_VERSION

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Pair:
    """The same work through both, one right after the other."""

    nginx: Window
    gateway: Window

    @property
    def ratio(self) -> float:
        return self.gateway.mib_per_cpu / self.nginx.mib_per_cpu if self.nginx.mib_per_cpu else 0.0


def table(results: dict[str, list[Pair]]) -> str:
    """One row per workload: medians over the pairs, and the median of the pairs' ratios."""
    lines = [
        "| work | nginx, MiB per CPU s | gateway, MiB per CPU s | ratio | nginx, MiB/s | gateway, MiB/s | pairs |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, pairs in results.items():
        nginx = statistics.median(pair.nginx.mib_per_cpu for pair in pairs)
        gateway = statistics.median(pair.gateway.mib_per_cpu for pair in pairs)
        ratio = statistics.median(pair.ratio for pair in pairs)
        speeds = [statistics.median(_speed(getattr(pair, side)) for pair in pairs) for side in ("nginx", "gateway")]
        lines.append(
            f"| {name} | {nginx:.0f} | {gateway:.0f} | {ratio:.2f} | {speeds[0]:.0f} | {speeds[1]:.0f} | {len(pairs)} |"
        )
    return "\n".join(lines) + "\n"


def _speed(window: Window) -> float:
    return window.octets / (1 << 20) / window.seconds


def facts(nginx: str) -> dict[str, str]:
    """The machine and the versions, without its name or paths."""
    memory = _found(r"MemTotal:\s+(\d+)", Path("/proc/meminfo"))
    return {
        "processor": _found(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo")) or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory or 0) >> 20} GiB",
        "load before": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "gateway": _commit(),
        "gateway's TLS": f"{backend.openssl_version_text()} (cryptography {version('cryptography')})",
        "peer": nginx,
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


def store(
    folder: Path,
    results: dict[str, list[Pair]],
    about: dict[str, str],
    settings: dict[str, Any],
    memory: dict[str, float],
) -> None:
    """Write first.json and first.md."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "facts": about,
        "settings": settings,
        "peak_memory_mib": memory,
        "work": {name: [_pair(pair) for pair in pairs] for name, pairs in results.items()},
    }
    (folder / "first.json").write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
    (folder / "first.md").write_text(_page(results, about, settings, memory))


def _page(
    results: dict[str, list[Pair]], about: dict[str, str], settings: dict[str, Any], memory: dict[str, float]
) -> str:
    rows = "".join(f"| {name} | {value} |\n" for name, value in about.items())
    peaks = ", ".join(f"{name} {value:.0f} MiB" for name, value in memory.items())
    return f"""\
# Beside nginx: bytes per CPU second of the proxy

Made by `make bench-first` (loadtest/first.py). One real broker; TLS 1.3 with AES-128-GCM in front of both, plaintext
behind. nginx moves bytes; the gateway also authenticates by token, decides every topic, limits and audits. CPU is the
proxy's own user and system time. Read the ratio, not the absolute figures: client, broker and proxy share the cores.

{table(results)}
Each window is at most {settings["seconds"]:g} s or {settings["bytes_max"] >> 20} MiB. Peak memory: {peaks}.

| machine and versions | |
|---|---|
{rows}"""


def _pair(pair: Pair) -> dict[str, Any]:
    return {"nginx": _window(pair.nginx), "gateway": _window(pair.gateway), "ratio": round(pair.ratio, 3)}


def _window(window: Window) -> dict[str, float]:
    return {
        "octets": window.octets,
        "cpu_seconds": round(window.cpu, 3),
        "seconds": round(window.seconds, 3),
        "mib_per_cpu_second": round(window.mib_per_cpu, 1),
    }

"""The first load test: MiB per CPU second of the proxy, the gateway beside nginx.

    python loadtest/first.py [--seconds N] [--runs N] [--quick] [--output FOLDER]

Brings up a real broker, nginx and the gateway, runs the same librdkafka clients through both in alternation, prints
the medians and stores them in loadtest/results/. Everything is on loopback, in a temporary folder, and bounded in time
and bytes. It judges nothing: no figure makes it fail.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from confluent_kafka.admin import AdminClient  # noqa: E402 - run as a script, so the path comes first
from confluent_kafka.cimpl import NewTopic  # noqa: E402

from loadtest.client import Window, Work  # noqa: E402
from loadtest.processes import CIPHER, Nginx, peak_memory_mib  # noqa: E402
from loadtest.report import Pair, facts, store, table  # noqa: E402
from tests.certificates import make_ca  # noqa: E402
from tests.real.gateway import GatewayProcess  # noqa: E402
from tests.real.kafka import KafkaCluster  # noqa: E402
from tests.real.missing import Missing  # noqa: E402
from tests.real.ports import free_ports  # noqa: E402

NODE = 1
RESULTS = ROOT / "loadtest" / "results"
TOKEN_SECONDS = 3600.0
CLIENT_SECONDS_MAX = 120.0
"""Beyond the window: start, warm-up, the last acknowledgements."""

POLICY = """\
version: 1
roles:
  load:
    - allow: [produce, consume]
      kafka: {topic: ["load.*"], group: [loadtest]}
    - deny: [produce, consume]
      id: no-pii
      kafka: {topic: ["*.pii"]}
bindings:
  - {roles: [load], to: {issuer: test, sub: load}}
limits:
  - {to: any, produce: 100 GiB/s, consume: 100 GiB/s, requests: 1000000/s, connections: 1000}
end: true
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of it: a full run, or one that only shows that everything works."""

    seconds: float
    runs: int
    warm_up: float
    bytes_max: int
    stored: int
    """Bytes in the topic that is consumed."""
    fast_start: bool


FULL = Scale(seconds=10.0, runs=3, warm_up=3.0, bytes_max=3 << 30, stored=192 << 20, fast_start=False)
QUICK = Scale(seconds=1.5, runs=1, warm_up=0.5, bytes_max=256 << 20, stored=24 << 20, fast_start=True)


@dataclass(frozen=True, slots=True)
class Job:
    """One workload."""

    name: str
    kind: str
    topic: str
    partitions: int


JOBS = (
    Job("produce, 12 partitions, 1 KiB records", "produce", "load.produce12", 12),
    Job("produce, 1 partition, 1 KiB records", "produce", "load.produce1", 1),
    Job("consume, 12 partitions, 1 KiB records", "consume", "load.consume12", 12),
)


@dataclass(frozen=True, slots=True)
class Door:
    """A way to the broker: what the client is told, and whose CPU is counted."""

    settings: dict[str, Any]
    pid: int
    token: str | None = None


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    scale = QUICK if options.quick else FULL
    seconds = options.seconds or scale.seconds
    runs = options.runs or scale.runs
    try:
        with tempfile.TemporaryDirectory(prefix="loadtest-") as scratch, doors(Path(scratch), scale) as made:
            nginx, by_nginx, by_gateway, broker = made
            before = facts(nginx.version())
            _prepare(broker, scale)
            results = _alternate(by_nginx, by_gateway, scale, seconds, runs, print)
            memory = {"nginx": peak_memory_mib(by_nginx.pid), "gateway": peak_memory_mib(by_gateway.pid)}
    except Missing as missing:
        print(f"left out: {missing}", file=sys.stderr)
        return 2
    print("\n" + table(results))
    output = options.output or (None if options.quick else RESULTS)
    if output is not None:
        settings = {"seconds": seconds, "runs": runs, "warm_up": scale.warm_up, "bytes_max": scale.bytes_max,
                    "cipher": CIPHER}  # fmt: skip
        store(output, results, before, settings, memory)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="MiB per CPU second of the proxy, the gateway beside nginx.")
    parser.add_argument("--seconds", type=float, help=f"length of a window (default: {FULL.seconds:g})")
    parser.add_argument("--runs", type=int, help=f"pairs per workload (default: {FULL.runs})")
    parser.add_argument("--quick", action="store_true", help="only show that it works; nothing is stored by default")
    parser.add_argument("--output", type=Path, help="where to store (default: loadtest/results)")
    return parser.parse_args(arguments)


@contextmanager
def doors(scratch: Path, scale: Scale) -> Iterator[tuple[Nginx, Door, Door, str]]:
    """A broker with nginx and the gateway before it: (nginx, its door, the gateway's, the broker's own address)."""
    with ExitStack() as stack:
        port = free_ports(1)[0]
        cluster = stack.enter_context(
            KafkaCluster(
                scratch / "kafka", heap_mb=1024, extra={"NGINX": {NODE: port}}, fast_start=scale.fast_start,
                properties={"log.retention.check.interval.ms": "2000", "log.segment.delete.delay.ms": "1000"},
            )
        )  # fmt: skip
        ca = make_ca(scratch / "certificates")
        upstream = f"127.0.0.1:{cluster.port(NODE, 'NGINX')}"
        nginx = stack.enter_context(Nginx(scratch / "nginx", port, upstream, ca.server("nginx")))
        gateway = GatewayProcess(scratch / "gateway", {"main": cluster.bootstrap}, policy=POLICY)
        _as_in_production(gateway.config)
        stack.enter_context(gateway)
        common = {"linger.ms": 5, "compression.type": "none", "acks": "all"}
        through_nginx = {
            "bootstrap.servers": f"localhost:{port}",
            "security.protocol": "SSL",
            "ssl.ca.location": str(ca.path),
        }
        by_nginx = Door(through_nginx | common, nginx.pid)
        token = gateway.issuer.token("load", lifetime=TOKEN_SECONDS)
        settings = gateway.confluent(token, **common)
        del settings["oauth_cb"]  # the client's process makes its own
        yield nginx, by_nginx, Door(settings, gateway.pid, token), cluster.bootstrap


def _as_in_production(config: dict[str, Any]) -> None:
    """The defaults again where the tests' gateway is set to be quick or talkative."""
    for backend in config["backends"]:
        del backend["metadata_refresh"]
    del config["audit"]["allowed_interval"]
    del config["policies"]["poll"]
    config["log_level"] = "info"


def _prepare(broker: str, scale: Scale) -> None:
    """The topics, the one that is consumed filled; those produced to keep little."""
    admin = AdminClient({"bootstrap.servers": broker})
    small = {"retention.bytes": str(64 << 20), "segment.bytes": str(32 << 20)}
    topics = [
        NewTopic(job.topic, num_partitions=job.partitions, replication_factor=1,
                 config=small if job.kind == "produce" else {})
        for job in JOBS
    ]  # fmt: skip
    for made in admin.create_topics(topics, operation_timeout=20).values():
        made.result()
    for job in JOBS:
        if job.kind == "consume":
            fill = Work("produce", {"bootstrap.servers": broker, "linger.ms": 5}, job.topic, job.partitions,
                        seconds=60.0, warm_up=0.0, bytes_max=scale.stored, proxy=0)  # fmt: skip
            _run(fill)


def _alternate(
    by_nginx: Door, by_gateway: Door, scale: Scale, seconds: float, runs: int, say: Callable[[str], None]
) -> dict[str, list[Pair]]:
    """Every workload in pairs; which of the two comes first changes from pair to pair."""
    results: dict[str, list[Pair]] = {job.name: [] for job in JOBS}
    for number in range(runs):
        for job in JOBS:
            doors = [("nginx", by_nginx), ("gateway", by_gateway)]
            windows: dict[str, Window] = {}
            for name, door in doors if number % 2 == 0 else reversed(doors):
                windows[name] = _run(_work(job, door, scale, seconds))
            pair = Pair(windows["nginx"], windows["gateway"])
            results[job.name].append(pair)
            say(
                f"{job.name}: nginx {pair.nginx.mib_per_cpu:.0f}, gateway {pair.gateway.mib_per_cpu:.0f} "
                f"MiB per CPU s, ratio {pair.ratio:.2f}"
            )
    return results


def _work(job: Job, door: Door, scale: Scale, seconds: float) -> Work:
    return Work(
        "produce" if job.kind == "produce" else "consume",
        door.settings,
        job.topic,
        job.partitions,
        seconds,
        scale.warm_up,
        scale.bytes_max,
        door.pid,
        door.token,
        time.time() + TOKEN_SECONDS,
    )


def _run(work: Work) -> Window:
    """The client in a process of its own, with the one cipher suite that both proxies are measured with."""
    with tempfile.TemporaryDirectory(prefix="client-") as folder:
        openssl = Path(folder) / "openssl.cnf"
        openssl.write_text(
            "openssl_conf = all\n[all]\nssl_conf = tls\n[tls]\nsystem_default = suites\n"
            f"[suites]\nCiphersuites = {CIPHER}\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "loadtest.client"],
            input=json.dumps(asdict(work)), capture_output=True, text=True, cwd=ROOT, check=False,
            env={**os.environ, "OPENSSL_CONF": str(openssl)}, timeout=work.seconds + CLIENT_SECONDS_MAX,
        )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{work.kind} {work.topic}: {done.stderr[-4000:]}")
    return Window(**json.loads(done.stdout))


if __name__ == "__main__":
    sys.exit(main())

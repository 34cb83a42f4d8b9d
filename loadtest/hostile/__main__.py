"""2,000 idle and 200 busy clients at work, quietly, and then while 5,000 strangers hang, trickle and send garbage.

    python -m loadtest.hostile [--short] [--seconds S] [--into FOLDER]

Brings up a real broker and the gateway on loopback, in a temporary folder. The known clients have TLS and a token, and
produce through the gateway at a fixed rate; others with a token come and go. Ends with 0 if none of them met an error
and no connection was lost, else with 1; with 2 if the machine lacks something. No time is judged.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from loadtest.about import machine, versions
from loadtest.hostile.report import Result, store, table
from loadtest.processes import cpu_seconds
from tests.real.gateway import GatewayProcess
from tests.real.kafka import KafkaCluster
from tests.real.missing import Missing

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "loadtest" / "results"
TOPIC = "load.hostile"
SETTLE_SECONDS = 6.0
"""After the crowd has begun to come: the house is full, and the first have had their time."""
CLIENT_SECONDS_MAX = 600.0
SERIES = re.compile(r'gateway_connections_refused_total\{.*reason="([^"]+)".*\} (\S+)')

POLICY = """\
version: 1
roles:
  load:
    - allow: [produce]
      kafka: {topic: ["load.*"]}
bindings:
  - {roles: [load], to: {issuer: test, sub: load}}
limits:
  - {to: any, produce: 1 GiB/s, consume: 1 GiB/s, requests: 1000000/s, connections: 5000}
end: true
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of it."""

    idle: int = 2000
    busy: int = 200
    rate: float = 600.0
    peers: int = 5000
    addresses: int = 20
    seconds: float = 40.0
    unauthenticated_max: int = 1000


SHORT = Scale(idle=60, busy=20, rate=100.0, peers=300, addresses=4, seconds=4.0, unauthenticated_max=60)


class Process:
    """A process that speaks JSON by lines."""

    def __init__(self, module: str, first: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.tell(json.dumps(first))

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a client ended with {self._process.wait(CLIENT_SECONDS_MAX)}")
        return json.loads(line)

    def over(self) -> Any:
        """Its input ends; what it says last."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        said = self.hear()
        self._process.wait(CLIENT_SECONDS_MAX)
        return said

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def gateway(folder: Path, scale: Scale) -> Iterator[GatewayProcess]:
    """The broker, the topic and the gateway in front."""
    with ExitStack() as stack:
        cluster = stack.enter_context(KafkaCluster(folder / "kafka", heap_mb=512, fast_start=True))
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
        made = admin.create_topics([NewTopic(TOPIC, 1, 1)])
        made[TOPIC].result(30)
        del admin
        limits = {"connections_per_address_max": 4000, "unauthenticated_max": scale.unauthenticated_max}
        door = GatewayProcess(folder / "gateway", {"main": cluster.bootstrap}, policy=POLICY, limits=limits)
        door.config["log_level"] = "info"
        yield stack.enter_context(door)


def run(folder: Path, scale: Scale) -> Result:
    """The whole of it."""
    with gateway(folder, scale) as door, ExitStack() as stack:
        token = door.issuer.token("load", lifetime=7200.0)
        party = {"port": door.port(), "ca": door.ca_file, "token": token, "topic": TOPIC}
        party |= {"idle": scale.idle, "busy": scale.busy, "rate": scale.rate}
        known = Process("loadtest.hostile.known", party)
        stack.callback(known.close)
        known.hear()

        def window() -> dict[str, Any]:
            before, began = cpu_seconds(door.pid), time.monotonic()
            known.tell(str(scale.seconds))
            made: dict[str, Any] = known.hear()
            return made | {"cpu": (cpu_seconds(door.pid) - before) / (time.monotonic() - began)}

        quiet = window()
        crowd = {"port": door.port(), "peers": scale.peers, "addresses": scale.addresses}
        peers = Process("loadtest.hostile.peers", crowd)
        stack.callback(peers.close)
        time.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        attacked = window()
        lasted = time.monotonic() - began
        came = peers.over()
        known.tell("")
        last = known.hear()
        return Result(asdict(scale), quiet, attacked, last, came, lasted + SETTLE_SECONDS, counted(door))


def counted(door: GatewayProcess) -> dict[str, int]:
    """What the gateway says of it in its metrics: refused by reason."""
    found: Counter[str] = Counter()
    for line in door.admin("/metrics")[1].splitlines():
        series = re.fullmatch(r'gateway_connections_refused_total\{.*reason="([^"]+)".*\} (\S+)', line)
        if series is not None:
            found[series[1]] += int(float(series[2]))
    return dict(found)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.hostile", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a small crowd: only shows that it works")
    parser.add_argument("--seconds", type=float, help="of each of the two windows")
    parser.add_argument("--into", type=Path, default=RESULTS, help="where hostile.json and hostile.md go")
    asked = parser.parse_args(arguments)
    scale = SHORT if asked.short else Scale()
    if asked.seconds is not None:
        scale = Scale(**{**asdict(scale), "seconds": asked.seconds})
    with tempfile.TemporaryDirectory(prefix="hostile-", ignore_cleanup_errors=True) as folder:
        try:
            result = run(Path(folder), scale)
        except Missing as missing:
            print(missing, file=sys.stderr)
            return 2
    print(table(result))
    store(asked.into, result, {"machine": machine(), "versions": versions()})
    return 1 if result.mistakes() else 0


if __name__ == "__main__":
    sys.exit(main())

"""A million records through the gateway while brokers and gateway are killed, leaders move and files are renewed.

    python -m loadtest.million [--records N] [--seconds S] [--rate N] [--seed N] [--minutes N] [--output FOLDER]

Brings up three real brokers and the gateway on loopback, in a temporary folder. Ends with 0 if every acknowledged
record is there exactly once, unaltered and in order; with 1 and the findings if not; with 2 if the machine lacks
something. Ctrl-C ends everything it started.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from loadtest.about import machine, versions
from loadtest.million.clients import (
    Client,
    GroupReader,
    IdempotentProducer,
    Tokens,
    TransactionalProducer,
    read_all,
)
from loadtest.million.records import Reading, Stream, tally
from loadtest.million.report import Result, progress, store, table
from loadtest.million.storm import Mount, Storm, StormFailed
from tests.real.gateway import GatewayProcess, expiry
from tests.real.guarded import SCRAM_PASSWORD, guarded_backend, guarded_kafka
from tests.real.kafka import KafkaCluster
from tests.real.missing import Missing

RESULTS = Path(__file__).parents[1] / "results"
HEAP_MB = 384
PARTITIONS = 12
READERS = 2
CATCH_UP_SECONDS = 120.0
"""For the group and for the last replicas, after the last record was sent."""
SAID_EACH = 5.0
TRACEBACK_MAX = 20_000
"""Characters of the gateway's log that are shown from a traceback on: its last line says what it was."""
REAUTHENTICATION_MS = 10_000

POLICY = """\
version: 1
roles:
  storm:
    - allow: [produce, consume]
      kafka: {topic: ["storm.*"], group: ["storm-*"], transactional-id: ["storm-*"]}
bindings:
  - {roles: [storm], to: {issuer: test, sub: storm}}
limits:
  - {to: any, produce: 1 GiB/s, consume: 1 GiB/s, requests: 100000/s, connections: 1000}
end: true
"""


@dataclass(frozen=True)
class Plan:
    records: int
    seconds: float
    rate: float
    seed: int
    minutes: float
    workers: int
    faults_min: int
    """Of each kind: the storm goes on until so many were done, though the records are through."""
    output: Path | None


def main(arguments: Sequence[str] | None = None) -> int:
    plan = _plan(arguments)
    try:
        with _interruptible(), tempfile.TemporaryDirectory(prefix="million-") as scratch:
            result = run(Path(scratch), plan, lambda words: print(words, flush=True))
    except Missing as missing:
        print(f"left out: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; everything that was started has been ended", file=sys.stderr)
        return 130
    print("\n" + table(result))
    for finding in result.findings:
        print(f"NOT AS PROMISED: {finding}")
    print("every acknowledged record is there exactly once, unaltered and in order" if result.ok else "failed")
    if plan.output is not None:
        store(plan.output, result)
    return 0 if result.ok else 1


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT, which a shell has background jobs ignore, and SIGTERM end the run in good order."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _plan(arguments: Sequence[str] | None) -> Plan:
    parser = argparse.ArgumentParser(prog="python -m loadtest.million", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=1_000_000, help="acknowledged ones (default: 1000000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="between two faults, about (default: 3)")
    parser.add_argument("--rate", type=float, default=4000.0, help="records per second at most (default: 4000)")
    parser.add_argument("--seed", type=int, default=None, help="of the lots that are drawn (default: by chance)")
    parser.add_argument("--minutes", type=float, default=30.0, help="the longest it may take (default: 30)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the gateway (default: 2)")
    parser.add_argument("--faults-min", type=int, default=1, help="of each kind, whatever the records (default: 1)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where to store (default: loadtest/results)")
    parser.add_argument("--no-output", dest="output", action="store_const", const=None, help="store nothing")
    told = parser.parse_args(arguments)
    seed = random.randrange(1 << 32) if told.seed is None else told.seed
    return Plan(told.records, told.seconds, told.rate, seed, told.minutes, told.workers, told.faults_min, told.output)


@dataclass
class Site:
    cluster: KafkaCluster
    gateway: GatewayProcess
    mount: Mount
    tokens: Tokens

    def settings(self) -> dict[str, Any]:
        """What a client is told."""

        def oauth(_: object) -> tuple[str, float]:
            token = self.tokens.give()
            return token, expiry(token)

        return self.gateway.confluent("") | {"oauth_cb": oauth}


@contextmanager
def site(folder: Path, workers: int) -> Iterator[Site]:
    """Three brokers that all vote, want an account and want it again; the gateway before them."""
    properties = {"min.insync.replicas": "2", "transaction.state.log.min.isr": "2",
                  "auto.create.topics.enable": "false"}  # fmt: skip
    with guarded_kafka(
        folder / "brokers", 3, controllers=3, heap_mb=HEAP_MB, reauthentication_ms=REAUTHENTICATION_MS,
        properties=properties,
    ) as kafka:  # fmt: skip
        gateway = GatewayProcess(folder / "gateway", {"main": kafka.bootstrap}, policy=POLICY)
        password = folder / "gateway" / "own.password"
        password.touch(mode=0o600)
        password.write_text(SCRAM_PASSWORD)
        account = {"scram": {"username": "gw", "password_file": str(password)}}
        guarded_backend(gateway.config["backends"][0], kafka, account)
        mount = Mount(folder / "mount", gateway.ca.server("gateway", hosts=["localhost", "127.0.0.1"]))
        gateway.config["listeners"][0]["tls"] = {"certificate": str(mount.certificate), "key": str(mount.key)}
        gateway.config |= {"log_level": "info", "workers": workers}
        del gateway.config["audit"]["allowed_interval"]
        with gateway:
            yield Site(kafka.cluster, gateway, mount, Tokens(gateway.issuer, gateway.folder / "jwks.json"))


def run(folder: Path, plan: Plan, say: Callable[[str], None]) -> Result:
    """The whole run. Raises Missing, KeyboardInterrupt; everything else becomes a finding."""
    result = Result(plan.records, plan.seed, plan.seconds, plan.workers)
    result.about = machine() | versions()
    streams = [Stream(0, "storm.first", PARTITIONS), Stream(1, "storm.second", PARTITIONS), Stream(2, "storm.tx", 6)]
    begun = time.monotonic()
    with site(folder, plan.workers) as made:
        say(f"three brokers and the gateway are up after {time.monotonic() - begun:.0f} s; seed {plan.seed}")
        _topics(made.cluster, streams)
        begun = time.monotonic()
        storm = Storm(made.cluster, made.gateway, made.mount, made.tokens, POLICY, plan.workers, plan.seed,
                      lambda words: say(f"{time.monotonic() - begun:6.0f} s  {words}"))  # fmt: skip
        stop, readers_stop = threading.Event(), threading.Event()
        senders = _senders(streams, plan, made.settings(), stop)
        reading = Reading(streams)
        topics = [stream.topic for stream in streams]
        readers: list[Client] = [
            GroupReader(f"reader {number}", topics, reading, made.settings(), readers_stop) for number in range(READERS)
        ]
        clients = senders + readers
        for client in clients:
            client.start()
        try:
            _through(storm, senders, clients, streams, reading, plan, say, begun)
            storm.calm(CATCH_UP_SECONDS)
            _caught_up(reading, clients, CATCH_UP_SECONDS)
        except Exception as error:
            result.findings.append(f"{type(error).__name__}: {error}")
        finally:
            stop.set()
            for sender in senders:
                sender.join(15)
            readers_stop.set()
            for reader in readers:
                reader.join(15)
        say("reading everything again, through the gateway and straight from the brokers")
        _judge(result, made, streams, reading, clients)
        result.seconds = time.monotonic() - begun
        _tell(result, storm, streams, senders, clients, made.gateway)
    return result


def _topics(cluster: KafkaCluster, streams: list[Stream]) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    wanted = [NewTopic(each.topic, each.partitions, 3, config={"min.insync.replicas": "2"}) for each in streams]
    for made in admin.create_topics(wanted, operation_timeout=20).values():
        made.result(30)


def _senders(streams: list[Stream], plan: Plan, settings: dict[str, Any], stop: threading.Event) -> list[Client]:
    """Nearly all records by the two idempotent producers, one of which compresses; one of twenty in a transaction."""
    in_transactions = plan.records // 20
    half = (plan.records - in_transactions) // 2
    rate = plan.rate
    packed = {**settings, "compression.type": "lz4"}
    return [
        IdempotentProducer(streams[0], half, rate * 0.45, settings, stop),
        IdempotentProducer(streams[1], plan.records - in_transactions - half, rate * 0.45, packed, stop),
        TransactionalProducer(streams[2], in_transactions, rate * 0.1, settings, stop),
    ]


def _through(
    storm: Storm,
    senders: list[Client],
    clients: list[Client],
    streams: list[Stream],
    reading: Reading,
    plan: Plan,
    say: Callable[[str], None],
    begun: float,
) -> None:
    """Until all is sent and enough has happened. Raises StormFailed."""
    lots = random.Random(plan.seed + 1)
    deadline = begun + plan.minutes * 60
    next_fault = next_word = time.monotonic()
    while any(sender.is_alive() for sender in senders) or storm.least() < plan.faults_min:
        now = time.monotonic()
        _alive(clients)
        if now > deadline:
            raise StormFailed(f"not through within {plan.minutes:g} minutes")
        if now >= next_word:
            sent, acknowledged = sum(len(each.states) for each in streams), sum(each.acknowledged for each in streams)
            say(progress(now - begun, sent, acknowledged, reading.count, plan.records))
            next_word = now + SAID_EACH
        if now >= next_fault:
            storm.step()
            next_fault = time.monotonic() + plan.seconds * lots.uniform(0.3, 1.7)
        storm.mend()
        time.sleep(0.1)


def _alive(clients: list[Client]) -> None:
    for client in clients:
        if client.failure is not None:
            raise StormFailed(client.failure)


def _caught_up(reading: Reading, clients: list[Client], seconds: float) -> None:
    """The group has read whatever was acknowledged. Raises StormFailed."""
    deadline = time.monotonic() + seconds
    while missing := reading.missing():
        _alive(clients)
        if time.monotonic() > deadline:
            raise StormFailed(f"the group has not read {missing} acknowledged records within {seconds:.0f} s")
        time.sleep(1.0)


def _judge(result: Result, made: Site, streams: list[Stream], reading: Reading, clients: list[Client]) -> None:
    """Compare what was promised with what each reader found."""
    result.findings += [client.failure for client in clients if client.failure is not None]
    result.findings += [f"{client.name} does not end" for client in clients if client.is_alive()]
    direct = {"bootstrap.servers": made.cluster.bootstrap}
    found: dict[str, Reading] = {"read by the group": reading}
    for name, settings in (("read through the gateway", made.settings()), ("read from the brokers", direct)):
        try:
            found[name] = read_all(settings, streams, CATCH_UP_SECONDS * 3)
        except TimeoutError as error:
            result.findings.append(f"{name}: {error}")
            found[name] = Reading(streams)
    for name, each in found.items():
        each.compare()
        result.findings += [f"{name}: {count} x {kind}" for kind, count in each.wrong.items()]
        result.findings += [f"{name}: {example}" for example in each.examples]
    result.read_by_the_group, result.read_again_by_the_group = reading.count, reading.again
    result.read_at_the_end = found["read through the gateway"].count
    result.read_from_the_brokers = found["read from the brokers"].count
    log = made.gateway.log()
    if "Traceback" in log:
        result.findings.append("the gateway's log has a traceback: " + log[log.index("Traceback") :][:TRACEBACK_MAX])


def _tell(
    result: Result,
    storm: Storm,
    streams: list[Stream],
    senders: list[Client],
    clients: list[Client],
    gateway: GatewayProcess,
) -> None:
    """What was done, and what the clients saw of it."""
    result.states = tally(streams)
    result.faults = {kind: storm.done[kind] for kind in storm.kinds}
    result.fault_seconds = {kind: round(storm.seconds[kind], 1) for kind in storm.kinds}
    result.gateway_away_seconds = round(storm.unavailable, 1)
    for sender in senders:
        if isinstance(sender, TransactionalProducer):
            result.transactions = {
                "committed": sender.committed, "aborted": sender.aborted, "begun anew by another instance":
                sender.restarted,
            }  # fmt: skip
    errors: Counter[str] = Counter()
    for client in clients:
        errors.update(client.errors)
    result.client_errors = dict(errors.most_common())
    events = Counter(line["event"] for line in gateway.audit())
    told = ("connected", "authenticated", "reauthenticated", "refused", "closed", "denied")
    result.logins = {name: events[name] for name in told}
    refused = Counter(f"refused: {line['reason']}" for line in gateway.audit() if line["event"] == "refused")
    result.logins |= dict(refused.most_common())
    for client in clients:
        result.examples.update(client.examples)


if __name__ == "__main__":
    sys.exit(main())

"""The ``gateway demo`` command: set everything up, play the steps, stay up, and clean away.

Ends with 0 when every step came out as it should, 1 when one did not, 2 when the demo could not be set up.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import gateway

if TYPE_CHECKING:
    from gateway.ops.demo.process import GatewayProcess, Ports
    from gateway.ops.demo.screen import Screen
    from gateway.ops.demo.shown import Stage

OK, STEP_FAILED, NOT_SET_UP = 0, 1, 2
POLICIES = Path(gateway.__file__).parents[1] / "policies"
POLICY_DEFAULT = {"kafka": POLICIES / "demo.yaml", "pulsar": POLICIES / "demo_pulsar.yaml"}
CLIENT_LIBRARIES = {"confluent_kafka": "confluent-kafka", "pulsar": "pulsar-client"}
"""Modules of the `demo` extra, and the packages they come in."""
NODE_IDS_EMBEDDED = range(1, 4)
NODE_IDS_MAX = 1000


class DemoFailed(Exception):
    """The demo could not be set up; the message says why and what to do."""


def add_demo_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``demo`` to the command line; ``gateway.ops.cli`` calls this."""
    parser = commands.add_parser(
        "demo",
        help="show the gateway at work on this machine",
        description="Start a token issuer, an embedded cluster and the gateway on loopback; show an allowed and a "
        "denied topic, an expired and a forged token and a flood through a real client; then stay up for yours.",
    )
    parser.add_argument("--protocol", choices=sorted(POLICY_DEFAULT), default="kafka", help="kafka, if not said")
    parser.add_argument("--once", action="store_true", help="play the steps, check each, and end with 0 or 1")
    parser.add_argument(
        "--bootstrap", metavar="HOST:PORT", help="use this broker (plaintext) instead of the embedded one"
    )
    parser.add_argument("--port", type=_port, metavar="N", help="the gateway's port; the brokers' ports follow it")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="another policy file")
    parser.add_argument("--keep-dir", type=Path, metavar="DIR", help="write the files here and keep them")
    parser.set_defaults(command=run_demo)


def _port(text: str) -> int:
    if not text.isdigit() or not 1024 <= int(text) <= 60000:
        raise argparse.ArgumentTypeError("a port from 1024 to 60000")
    return int(text)


def run_demo(chosen: argparse.Namespace) -> int:
    """Run the demo as asked. Errors of the set-up are words on standard error."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(chosen)
    except KeyboardInterrupt:  # all is removed by now
        print("\nended")
        return OK if not chosen.once else 130
    except ImportError as error:
        package = CLIENT_LIBRARIES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        print(f"the demo needs {package}: pip install 'streaming-gateway[demo]'", file=sys.stderr)
        return NOT_SET_UP
    except DemoFailed as error:
        print(f"the demo could not be set up: {error}", file=sys.stderr)
        return NOT_SET_UP
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(chosen: argparse.Namespace) -> int:
    from gateway.ops.demo.screen import Screen

    if chosen.protocol == "pulsar":
        from gateway.ops.demo.pulsar_steps import play
    else:
        from gateway.ops.demo.steps import play

    screen = Screen()
    with _set_up(chosen, screen) as demo:
        good = True
        began = time.monotonic()
        for shown in play(demo.stage):
            screen.heading(shown.title)
            screen.fact("does", shown.does)
            screen.fact("sees", shown.sees)
            for line in shown.audit:
                screen.audit(line)
            screen.verdict(shown.good, shown.expected, shown.seconds)
            good = good and shown.good
        screen.line()
        result = "All five steps came out as they should" if good else "A step did not come out as it should"
        screen.line(f"{result} ({time.monotonic() - began:.1f} s).")
        if not chosen.once:
            demo.stay(screen)
        return OK if good else STEP_FAILED


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo once it is up."""

    system: str
    stage: Stage
    process: GatewayProcess
    ports: Ports
    folder: Path
    kept: bool

    def _settings(self) -> str:
        from gateway.ops.demo import paste, pulsar_paste
        from gateway.ops.demo.shown import APPLICATION

        stage = self.stage
        client = stage.issuer.clients[APPLICATION]
        text = pulsar_paste.settings if self.system == "pulsar" else paste.settings
        return text(
            stage.bootstrap,
            stage.ca,
            stage.issuer.token(client.name),
            stage.issuer.token_url,
            client.name,
            client.secret,
        )

    def stay(self, screen: Screen) -> None:
        """Print settings to paste and wait for Ctrl-C, or for the gateway to end."""
        screen.line()
        screen.line(self._settings())
        screen.fact("audit", f"tail -f {self.folder / 'audit.jsonl'}")
        screen.fact("metrics", f"http://127.0.0.1:{self.ports.admin}/metrics")
        screen.line()
        kept = "" if self.kept else " and removes everything"
        screen.line(f"The gateway stays up; Ctrl-C ends it{kept}.")
        while self.process.running():
            time.sleep(0.2)
        raise DemoFailed("the gateway ended by itself")


@contextlib.contextmanager
def _set_up(chosen: argparse.Namespace, screen: Screen) -> Iterator[Demo]:
    """Everything started, and everything ended and removed whatever happens."""
    from gateway.ops.demo.authority import make_certificates
    from gateway.ops.demo.issuer import Client, TokenIssuer
    from gateway.ops.demo.process import AuditLog, GatewayFailed, GatewayProcess, choose_ports, write_config
    from gateway.ops.demo.shown import CLAIMS, Stage

    system = chosen.protocol
    named = chosen.policy or POLICY_DEFAULT[system]
    if not named.exists():
        raise DemoFailed(f"{named} is not there; run it from a clone, or name a file with --policy")
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_folder(chosen.keep_dir))
        certificates = make_certificates(folder)
        issuer = TokenIssuer(certificates, tuple(Client(name, claims) for name, claims in CLAIMS.items()))
        stack.callback(issuer.stop)
        issuer.start()
        bootstrap: Sequence[str]
        if system == "pulsar":
            bootstrap, node_ids = (_pulsar(chosen.bootstrap, folder, stack),), range(0)
        else:
            bootstrap, node_ids = _cluster(chosen.bootstrap, folder, stack, screen)
        try:
            ports = choose_ports(chosen.port, node_ids)
            policy = folder / "policy.yaml"
            shutil.copyfile(named, policy)
            config = write_config(folder, certificates, issuer, system, bootstrap, ports, node_ids, policy)
            process = GatewayProcess(folder, config, ports)
            stack.callback(process.stop)
            process.wait_ready()
        except GatewayFailed as error:
            raise DemoFailed(str(error)) from None
        screen.fact("issuer", f"{issuer.url} (OIDC discovery, JWKS, client credentials)")
        screen.fact("cluster", f"{', '.join(bootstrap)} (plaintext, as a broker behind the gateway)")
        screen.fact("gateway", f"localhost:{ports.bootstrap} (TLS), ready after {time.monotonic() - began:.1f} s")
        screen.fact("policy", str(named))
        gone = "" if chosen.keep_dir else "; removed at the end, --keep-dir DIR keeps it"
        screen.fact("audit", f"shortened below; whole lines in {folder / 'audit.jsonl'}{gone}")
        stage = Stage(f"localhost:{ports.bootstrap}", certificates.ca, issuer, AuditLog(folder / "audit.jsonl"))
        yield Demo(system, stage, process, ports, folder, chosen.keep_dir is not None)


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        if any(kept.iterdir()):
            raise DemoFailed(f"{kept} is not empty")
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="gateway-demo-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def _pulsar(bootstrap: str | None, folder: Path, stack: contextlib.ExitStack) -> str:
    """Where the Pulsar broker is: the embedded one, or the operator's own, which makes topics by itself."""
    from gateway.ops.demo.pulsar_broker import EmbeddedPulsar, NoEmbeddedPulsar

    if bootstrap is not None:
        return bootstrap
    try:
        broker = EmbeddedPulsar(folder)
    except NoEmbeddedPulsar as reason:
        raise DemoFailed(f"{reason}; name a broker of your own with --bootstrap") from None
    stack.callback(broker.stop)
    return broker.bootstrap


def _cluster(
    bootstrap: str | None, folder: Path, stack: contextlib.ExitStack, screen: Screen
) -> tuple[Sequence[str], range]:
    """Where the brokers are, and the range of their node ids: the embedded ones, or the operator's own."""
    from gateway.ops.demo.broker import EmbeddedBroker, NoEmbeddedBroker
    from gateway.ops.demo.cluster import EmbeddedCluster, NoCluster
    from gateway.ops.demo.own_cluster import NoBroker, OwnCluster
    from gateway.ops.demo.steps import TOPICS

    embedded = bootstrap is None
    try:
        if bootstrap is None:
            try:
                broker = EmbeddedBroker(folder)
            except NoEmbeddedBroker as reason:
                mock = EmbeddedCluster(TOPICS)
                stack.callback(mock.stop)
                screen.fact("note", f"{reason}; three mock brokers instead, which Java's consumer groups cannot use")
                return mock.bootstrap, NODE_IDS_EMBEDDED
            stack.callback(broker.stop)
            bootstrap = broker.bootstrap
        own = OwnCluster(bootstrap)
        made = own.prepare(TOPICS)
    except (NoCluster, NoBroker) as error:
        raise DemoFailed(str(error)) from None
    if made and not embedded:
        stack.callback(own.remove, made)
        screen.fact("topics", f"made in your cluster, and removed at the end: {', '.join(made)}")
    if len(own.node_ids) > NODE_IDS_MAX:
        raise DemoFailed(f"node ids from {own.node_ids.start} to {own.node_ids.stop - 1}: more than {NODE_IDS_MAX}")
    return (bootstrap,), own.node_ids

"""The ``gateway`` command.

Ends with 0 when all is well, 1 when a check says no, 2 when the command line or the configuration is wrong. An
operator's mistake is answered with words on standard error, never with a traceback.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway import __version__
from gateway.core.documents import Mistakes
from gateway.ops.exit_codes import INTERRUPTED, OK, WRONG_USE

CONFIG_DEFAULT = Path("conf/gateway.yaml")

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    command: Command = chosen.command
    try:
        return command(chosen)
    except Mistakes as error:
        print_mistakes(error)
        return WRONG_USE
    except BrokenPipeError:  # the reader of our output went away: `gateway schema config | head`
        sys.stderr.close()
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """All commands; also what docs and tests read."""
    from gateway.ops.admin_commands import add_admin_commands
    from gateway.ops.demo.command import add_demo_command
    from gateway.ops.policy_commands import add_policy_commands

    parser = argparse.ArgumentParser(
        prog="gateway", description="A security gateway for Apache Kafka, Apache Pulsar and Amazon Kinesis."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = commands.add_parser

    run = add("run", help="run the gateway", description="Run the gateway until SIGTERM or SIGINT; SIGHUP reloads.")
    _takes_config(run)
    run.set_defaults(command=_run)

    check = add(
        "check",
        help="check a configuration and its policies without starting",
        description="Read the configuration, the files it names and the policies; list every mistake.",
    )
    check.add_argument(
        "--against", choices=("running",), help="also print what would change in the gateway that runs now"
    )
    _takes_config(check)
    check.set_defaults(command=_check)

    add_admin_commands(commands, _takes_config)
    add_policy_commands(commands)
    add_demo_command(commands)

    schema = add("schema", help="print a JSON Schema for editors")
    schema.add_argument("of", choices=("config", "policy"))
    schema.set_defaults(command=_schema)

    version = add("version", help="print the versions of the gateway and what it stands on")
    version.set_defaults(command=_version)
    return parser


def _takes_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, default=CONFIG_DEFAULT, metavar="FILE", help=f"configuration (default: {CONFIG_DEFAULT})"
    )


def print_mistakes(error: Mistakes) -> None:
    """One line each, and how many there are."""
    for mistake in error.mistakes:
        print(mistake, file=sys.stderr)
    count = len(error.mistakes)
    print(f"{count} mistake{'' if count == 1 else 's'}", file=sys.stderr)


def _run(chosen: argparse.Namespace) -> int:
    from gateway.ops.run import run

    return run(chosen.config)


def _check(chosen: argparse.Namespace) -> int:
    from gateway.ops.config import read
    from gateway.ops.cores import workers

    now = time.time()
    found = read(chosen.config, now)
    for warning in (*found.warnings, *found.policies.warnings(now)):
        print(f"warning: {warning}", file=sys.stderr)
    settings = found.settings
    print(f"{chosen.config}: good (revision {found.revision})")
    if settings.workers != 1:
        print(f"  {workers(settings.workers)} workers")
    for listener in settings.listeners:
        if listener.broker_ports is not None:
            ports = listener.broker_ports
            brokers = f"on {ports.base + ports.first} to {ports.base + ports.last}"
        else:
            brokers = f"as {listener.sni.pattern}" if listener.sni is not None else "nowhere"
        print(
            f"  listener {listener.name}: {listener.bind} port {listener.port}, brokers {brokers}, "
            f"backend {listener.backend}"
        )
    print(f"  policies: {', '.join(settings.policies.files)} (revision {found.policies.revision})")
    if chosen.against == "running":
        from gateway.ops.admin_commands import against_running

        return against_running(chosen.config, found)
    return OK


def _schema(chosen: argparse.Namespace) -> int:
    from gateway.ops import schema

    made = schema.config_schema() if chosen.of == "config" else schema.policy_schema()
    print(schema.rendered(made), end="")
    return OK


def _version(chosen: argparse.Namespace) -> int:
    del chosen
    from cryptography.hazmat.backends.openssl.backend import backend

    from gateway.ops import compiled_pieces

    print(f"gateway {__version__}")
    print(f"Python {platform.python_version()} ({platform.python_implementation()}, {platform.machine()})")
    print(backend.openssl_version_text())
    for line in compiled_pieces.lines():
        print(line)
    return OK

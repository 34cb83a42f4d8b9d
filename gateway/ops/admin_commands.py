"""``gateway status``, ``close``, ``log-level``, ``health``, and what ``check --against running`` adds to ``check``."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.ops import admin_client, differences, status_table
from gateway.ops.admin_changes import LEVELS, PRINCIPAL_EXPECTED, parse_principal
from gateway.ops.admin_client import NoAnswer
from gateway.ops.config import Configuration
from gateway.ops.config_changes import waiting_paths
from gateway.ops.exit_codes import CHECK_FAILED, OK, WRONG_USE

RELOAD_SECONDS = 60.0
"""For the answer to a reload: files are read, keys fetched, brokers tried."""

TakesConfig = Callable[[argparse.ArgumentParser], None]


def add_admin_commands(commands: Any, takes_config: TakesConfig) -> None:
    """Each asks the running gateway by the admin port that the configuration names."""
    shown = commands.add_parser(
        "status", help="show what the running gateway does", description="Show what the running gateway does."
    )
    shown.add_argument("--json", action="store_true", help="everything, as JSON")
    takes_config(shown)
    shown.set_defaults(command=_said(_status))

    close = commands.add_parser(
        "close",
        help="close a principal's connections",
        description="Close every connection of a principal now. Its clients connect again, as long as policy and "
        "issuer let them: take its binding away first if it is to stay out. Ends with 1 if it has none.",
    )
    close.add_argument("--principal", required=True, metavar="P", help="as the audit writes it, e.g. jwt:corp:alice")
    close.add_argument("--reason", default="", metavar="TEXT", help="why; kept in the audit")
    takes_config(close)
    close.set_defaults(command=_said(_close))

    level = commands.add_parser(
        "log-level",
        help="change how much the running gateway logs",
        description="Change how much the running gateway logs, until its next start. No level shows a credential.",
    )
    level.add_argument("level", choices=LEVELS)
    takes_config(level)
    level.set_defaults(command=_said(_log_level))

    reload = commands.add_parser(
        "reload",
        help="have the running gateway take its files as they are now",
        description="Have the running gateway look at its configuration, policies and certificates now, and say what "
        "came of it. It does so by itself when a file changes, and on SIGHUP. A configuration that is not sound is "
        "refused as a whole, and this ends with 1.",
    )
    takes_config(reload)
    reload.set_defaults(command=_said(_reload))

    health = commands.add_parser(
        "health",
        help="end with 0 if the running gateway is alive",
        description="For health checks: end with 0 if the running gateway is alive, else 1.",
    )
    health.add_argument(
        "--ready", action="store_true", help="0 only if it is ready as well; what is missing is printed"
    )
    takes_config(health)
    health.set_defaults(command=_said(_health))


def _said(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A gateway that cannot be asked is told in words."""

    def said(chosen: argparse.Namespace) -> int:
        try:
            return command(chosen)
        except NoAnswer as error:
            print(error, file=sys.stderr)
            return CHECK_FAILED

    return said


def _status(chosen: argparse.Namespace) -> int:
    found = admin_client.ask(admin_client.admin_of(chosen.config), "GET", "/status", trusted=False).json()
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        for line in status_table.lines(found):
            print(line)
    return OK


def _close(chosen: argparse.Namespace) -> int:
    if parse_principal(chosen.principal) is None:
        print(f"--principal {chosen.principal!r}: expected {PRINCIPAL_EXPECTED}", file=sys.stderr)
        return WRONG_USE
    body = {"principal": chosen.principal, "reason": chosen.reason, "by": _me()}
    admin = admin_client.admin_of(chosen.config)
    done = admin_client.ask(admin, "POST", "/connections/close", body, trusted=True).json()
    count = done["connections"]
    if not count:
        print(f"{done['principal']}: no connection is open; `gateway status` shows who is connected", file=sys.stderr)
        return CHECK_FAILED
    print(f"{done['principal']}: {count} connection{'' if count == 1 else 's'} closed")
    print("its clients may connect again; to keep it out, take away its binding or have its issuer refuse it")
    return OK


def _log_level(chosen: argparse.Namespace) -> int:
    body = {"level": chosen.level, "by": _me()}
    done = admin_client.ask(admin_client.admin_of(chosen.config), "POST", "/log-level", body, trusted=True).json()
    print(f"log level {done['level']} (was {done['before']}), until the next start")
    return OK


def _reload(chosen: argparse.Namespace) -> int:
    admin = admin_client.admin_of(chosen.config)
    done = admin_client.ask(admin, "POST", "/reload", {"by": _me()}, trusted=True, seconds=RELOAD_SECONDS).json()
    for line in reload_lines(done):
        print(status_table.plain(line))
    return CHECK_FAILED if done["result"] == "refused" or done["refused"] else OK


def reload_lines(done: Mapping[str, Any]) -> Iterator[str]:
    """What a reload came to, line by line."""
    revision = done["revision"]
    if done["result"] == "refused":
        yield f"configuration refused; revision {revision} stays in force:"
        yield from (f"  {mistake}" for mistake in done["mistakes"])
    elif done["result"] == "unchanged":
        yield f"configuration unchanged (revision {revision})"
    else:
        yield f"configuration of revision {revision} is in force (-: gone, +: come, ~: become another):"
        yield from (f"  {change}" for change in done["changes"] or ["no setting is another"])
        if done["changes_more"]:
            yield f"  and {done['changes_more']} more"
    if done["closed"]:
        yield f"{done['closed']} connections were closed: what they had proved does not count any more"
    if done["leaving"]:
        yield f"{done['leaving']} connections are being let go: their listener or their backend's account is another"
    if done["waiting"]:
        yield f"needs a restart: {', '.join(done['waiting'])}"
    yield f"policy revision {done['policy_revision']}"
    yield from (f"! {words}" for words in done["refused"])


def _health(chosen: argparse.Namespace) -> int:
    path = "/readyz" if chosen.ready else "/healthz"
    found = admin_client.ask(admin_client.admin_of(chosen.config), "GET", path, trusted=False)
    print(found.text, end="")
    return OK if found.status == 200 else CHECK_FAILED


def against_running(file: Path, found: Configuration) -> int:
    """Print what would change if the running gateway had these files. What says no ends with CHECK_FAILED."""
    try:
        answer = admin_client.ask(admin_client.admin_of(file), "GET", "/running", trusted=True).json()
    except NoAnswer as error:
        print(error, file=sys.stderr)
        return CHECK_FAILED
    mine = json.loads(json.dumps(differences.described(found.settings, found.policies, found.revision)))
    lines = list(differences.changes(answer, mine))
    if not lines:
        print("against the running gateway: nothing would change")
        return OK
    print("against the running gateway (-: goes, +: comes, ~: becomes another):")
    for line in lines:
        print(f"  {status_table.plain(line)}")
    running, wanted = answer["settings"], mine["settings"]
    fewer = wanted["limits"]["connections_max"] <= running["limits"]["connections_max"]
    room = fewer or running.get("workers", 1) == 1
    waiting = waiting_paths(differences.changed_paths(running, wanted), room=room)
    print(f"needs a restart: {', '.join(waiting)}" if waiting else "all of it is taken while running: gateway reload")
    return OK


def _me() -> str:
    """Who asks, as far as this machine knows; the audit keeps it as the caller's own word."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        name = str(os.getuid())
    behind = os.environ.get("SUDO_USER")
    return f"{behind} (sudo as {name})" if behind else name

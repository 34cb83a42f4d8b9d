"""What stands behind a point of a scale curve: a gateway with so many rules or principals, and a broker's stand-in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest import gateways
from loadtest.gateways import TOKEN_SECONDS, Features
from loadtest.standin import Cluster, standin
from loadtest.work import Door
from tests.real.ports import free_ports

LOGINS_MAX = 2_000
"""Principals that log in; the others only have a binding."""
ITEMS_MAX = 20_000
"""In one policy file, which may have 4 MiB."""
READY_SECONDS_MAX = 300.0


@dataclass(frozen=True, slots=True)
class Site:
    """What is different from a point's neighbours."""

    topics: int = 10
    rules: int = 10
    principals: int = 1
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Rig:
    """What the client needs."""

    door: Door
    tokens: tuple[str, ...]


@contextmanager
def opened(folder: Path, site: Site) -> Iterator[Rig]:
    """Up for as long as this is entered."""
    folder.mkdir(parents=True)
    port = free_ports(1)[0]
    with standin(folder, Cluster(port, topics=site.topics)):
        first, *more = policies(site)
        made = gateways.gateway(
            folder / "gateway",
            f"127.0.0.1:{port}",
            Features(),
            policy=first,
            workers=site.workers,
            ready_seconds=READY_SECONDS_MAX,
        )
        for number, text in enumerate(more):
            (folder / f"more-{number:03}.yaml").write_text(text)
        made.config["policies"]["files"].append(str(folder / "more-*.yaml"))  # fmt: skip
        with made:
            token = made.issuer.token(_name(0), lifetime=TOKEN_SECONDS)
            several = range(min(site.principals, LOGINS_MAX)) if site.principals > 1 else ()
            step = max(site.principals // LOGINS_MAX, 1)
            tokens = tuple(made.issuer.token(_name(number * step), lifetime=TOKEN_SECONDS) for number in several)
            yield Rig(Door(made.port(), made.pid, made.ca_file, token, time.time() + TOKEN_SECONDS), tokens)


def policies(site: Site) -> list[str]:
    """Files of at most ITEMS_MAX rules or bindings. Every second rule is a name, the others are patterns; the one that
    allows the load is the last."""
    rules = [
        f"    - {{allow: [produce, consume], kafka: {{topic: ['team-{rule}.{'orders' if rule % 2 else '*'}']}}}}"
        for rule in range(site.rules - 1)
    ] + ["    - {allow: [produce, consume], kafka: {topic: ['load.*'], group: [loadtest]}}"]
    shares = [rules[at : at + ITEMS_MAX] for at in range(0, len(rules), ITEMS_MAX)]
    files = [f"roles:\n  load-{number}:\n" + "\n".join(share) for number, share in enumerate(shares)]
    mine = ", ".join(f"load-{number}" for number in range(len(shares)))
    bindings = [f"  - {{roles: [{mine}], to: {{issuer: test, sub: {_name(one)}}}}}" for one in range(site.principals)]
    for at in range(0, len(bindings), ITEMS_MAX):
        files.append("bindings:\n" + "\n".join(bindings[at : at + ITEMS_MAX]))
    files.append(
        "limits:\n  - {to: any, produce: 100 GiB/s, consume: 100 GiB/s, requests: 1000000/s, connections: 12000}"
    )
    return [f"version: 1\n{text}\nend: true\n" for text in files]


def _name(number: int) -> str:
    return f"load-{number:06}"

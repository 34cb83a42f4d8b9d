"""Writes docs/pulsar-rest.md: `python -m tests.real.pulsar.rest_page`. A unit test says when it is not current."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gateway.pulsar.rest import Refused
from gateway.pulsar.rest.table import CLOSED, ROWS
from tests.real.pulsar.rest_asking import (
    ADMIN,
    ASKED,
    CONSUME,
    DENIED,
    NOBODY,
    PRODUCE,
    ROLES,
    SUPER,
    Request,
    allowed,
    answers,
    decided,
    missing,
    worlds,
)  # fmt: skip
from tests.unit.rest_world import RestWorld

PAGE = Path(__file__).parents[3] / "docs" / "pulsar-rest.md"
SHOWN = {NOBODY: "anybody", PRODUCE: "produce", CONSUME: "consume", ADMIN: "tenant", SUPER: "superuser"}
_PROGRAMS = "programs run beside the brokers: closed but to a role that names it"
STRICTER = {
    **dict.fromkeys(("function", "source", "sink", "package", "worker"), _PROGRAMS),
    "brokers.Describe": "the broker asks for nothing; strangers need not know its version",
    "brokers.GetTransactions": "the broker asks for nothing, or says that there is none before it asks",
    "tenant.Describe": "the broker looks for something else before it asks who wants it",
    "namespace.GetPolicies": "a namespace's shape is of no use to who only produces or consumes",
    "namespace.ManageBundles": "where topics live concerns more tenants than one",
    "namespace.ClearBacklog": "it would pass rules on topics and subscriptions by",
    "namespace.Unsubscribe": "it would pass rules on topics and subscriptions by",
    "namespace.Offload": "the broker fails before it asks",
    "topic.Consume": "the broker says that there is no such subscription or topic before it asks",
    "topic.ExpireMessages": "it would pass rules on subscriptions by",
    "topic.GetPolicies": "settings are shown to who may describe",
    "topic.GetStats": "statistics tell of others' producers and subscriptions: who may describe sees them",
    "topic.Peek": "reading without a subscription would pass rules on subscriptions by",
    "topic.Replicate": "it takes messages to other clusters",
    "topic.SetPermissions": "the broker finds nothing to do before it asks",
    "topic.Terminate": "the broker finds nothing to do before it asks",
    "topic.Truncate": "the broker finds nothing to do before it asks",
    "topic.UpdatePartitions": "the broker asks for lookup alone; it makes topics",
    "topic.UpdatePolicies": "the broker does not ask, or finds nothing to do before it asks",
    "subscription.Unsubscribe": "as in the binary protocol: `consume` does not delete",
    "subscription.Update": "as in the binary protocol: `consume` does not change what others rely on",
}
"""Why the gateway denies what the broker would have taken; by what is missing, or its kind."""

HEAD = """\
# Pulsar's REST interface, route by route

Every route of the admin interface and of lookup (4.0.8), what a principal needs for it here, and whom the broker lets
in with `authorizationEnabled`. A path that is not in the table is refused (404), as is a method (405) or a parameter
(412) that the broker does not have. Written by `python -m tests.real.pulsar.rest_page` from the table and from what a
real broker answered (`tests/real/pulsar/test_rest_equivalence.py` asks it anew): roles with no grant, with `produce`,
with `consume`, the tenant's administrator and the superuser, each with the same grants here.

**The gateway never allows what the broker denies**; where both deny, the status is the broker's. The last column says
whom the gateway denies though the broker would not have, and why. `{domain}` is `persistent` or `non-persistent`.

## How it is read

- A path is decoded once. What two readers could read in two ways is refused with 400: `..`, `.`, `//`, `;parameters`,
  a slash at the end, `%2F`, `%25`, `+` in a path, octets that are no UTF-8, parameters that come twice. The broker gets
  a path that is written anew. Names with `/ \\ % + ;` in them can be used by the binary protocol alone.
- A partition is its topic. What brokers keep for themselves (`__...`, tenant `pulsar`, `pulsar.repl...`) is nobody's.
- `authoritative`, `listenerName` and `deleteSchema` are taken and not passed on: the gateway follows redirects itself.
- Lists hold the names that the principal may see: topics with Lookup, subscriptions with GetStats, namespaces with
  ListTopics or GetPolicies, tenants and clusters with Describe. Statistics come without addresses and without other
  subscriptions, a namespace's policies without its grants (GetPermissions) and its storage (Offload), a cluster's data
  without addresses and secrets. An answer that cannot be read does not pass.
- A lookup answers with the gateway's own address, by a name for each broker where `broker_names` is set; 501 where
  there are several brokers and no names. Who coordinates transactions may be asked by anybody who is authenticated.
- With `force=true`, a tenant or namespace needs ForceDelete besides: it takes the topics along, whatever rules say.
- Grants on several topics ask for SetPermissions on each; a new namespace that brings policies asks for what each of
  them needs later (also `offload_threshold: 0`, which some clients write), and may bring no unknown ones.
- A topic's properties may not be those that brokers keep for themselves (`PULSAR....`): they make it another's shadow.
- `replicated=true` asks for topic.Replicate besides, `metadata=true` for brokers.GetBookies.

## Closed to everybody

| paths | why |
|---|---|
"""


def page() -> str:
    return HEAD + "".join(f"{line}\n" for line in (*_closed(), "", "## Routes", "", *_table(), "", *_stricter()))


def _closed() -> Iterator[str]:
    words: dict[str, list[str]] = {}
    for each in CLOSED:
        words.setdefault(each.words, []).append(f"`/{'/'.join(each.prefix)}`")
    for why, prefixes in words.items():
        yield f"| {', '.join(prefixes)} | {why} |"


def _table() -> Iterator[str]:
    yield "| route | needs here | denied with | the broker lets in | stricter here for |"
    yield "|---|---|---|---|---|"
    told, made, before = answers(), worlds(), ""
    for line in sorted(_line(request, told, made) for request in ASKED):
        if line != before:
            yield line
        before = line


def _line(request: Request, told: dict[str, dict[str, int]], made: dict[str, RestWorld]) -> str:
    row = request.row
    statuses = told[row.route]
    let_in = [role for role in ROLES if statuses[role] not in DENIED]
    shown = "everybody" if NOBODY in let_in else ", ".join(SHOWN[role] for role in let_in)
    stricter = []
    for role in let_in:
        decision = decided(made[role], request)
        if not allowed(decision):
            stricter.append(f"{SHOWN[role]} ({_mark(missing(made[role], decision))})")
    path = re.sub(r"/(non-)?persistent/\{tenant", "/{domain}/{tenant", row.template)
    needs = " ".join(f"{need.kind}.{need.operation}" for need in row.needs) or "nothing; filtered"
    if row.forced:
        needs += "; force: " + " ".join(f"{need.kind}.{need.operation}" for need in row.forced)
    if row.reads.name == "PERMISSIONS":
        needs = "topic.SetPermissions of each"
    return f"| `{path}` {row.method} | {needs} | {row.denied} | {shown} | {', '.join(stricter)} |"


_KEYS = list(STRICTER)


def _mark(lacking: str) -> str:
    return str(_KEYS.index(lacking if lacking in STRICTER else lacking.partition(".")[0]) + 1)


def _stricter() -> Iterator[str]:
    yield "## Why it is stricter"
    yield ""
    for number, (lacking, why) in enumerate(STRICTER.items(), 1):
        yield f"{number}. {lacking}: {why}."


def unexplained() -> list[str]:
    """What differs from the broker and has no words above; empty."""
    told, made, found = answers(), worlds(), []
    for request in ASKED:
        for role in ROLES:
            decision, status = decided(made[role], request), told[request.row.route][role]
            if allowed(decision):
                if status in DENIED:
                    found.append(f"{role} may {request.row.route} here, and not at the broker ({status})")
            elif isinstance(decision, Refused):
                lacking = missing(made[role], decision)
                if status in DENIED and status != decision.status:
                    found.append(f"{role} {request.row.route}: {status} there, {decision.status} here")
                if status not in DENIED and not {lacking, lacking.partition(".")[0]} & STRICTER.keys():
                    found.append(f"{role} {request.row.route}: {status} there, {lacking} is missing here")
    return found


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"{PAGE.name}: {len(ROWS)} routes")

"""One request for every route of the REST interface, and the roles that ask: their grants at the broker and here.

`ASKED` is used three times: by test_rest_equivalence to ask a real broker, by the unit test that compares what the
broker answered then (rest_answers.txt) with the gateway's decisions now, and by rest_page, which writes the matrix.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gateway.core.policy import PolicySet, load_policy
from gateway.core.vocabulary import Vocabulary
from gateway.pulsar.rest import Decision, Needs, Passed, Refused
from gateway.pulsar.rest.routes import Row
from gateway.pulsar.rest.table import ROWS
from gateway.pulsar.vocabulary import SYSTEM
from tests.unit.policies import NOON, person
from tests.unit.rest_world import RestWorld

ROUTES_FILE = Path(__file__).parents[2] / "unit" / "pulsar_rest_routes.txt"
ANSWERS_FILE = Path(__file__).with_name("rest_answers.txt")
TENANT, SPACE, GONE = "acme", "app", "gone"
"""GONE is a namespace that its own routes may make and remove."""
NOBODY, PRODUCE, CONSUME, ADMIN, SUPER = "svc-nobody", "svc-produce", "svc-consume", "svc-tenant", "admin"
ROLES = (NOBODY, PRODUCE, CONSUME, ADMIN, SUPER)
DENIED = frozenset({401, 403})
_VALUES = {
    "tenant": TENANT, "namespace": SPACE, "topic": "orders", "topic-domain": "persistent", "subName": "sub",
    "subscription": "sub", "cluster": "other", "clusterName": "other", "bundle": "0x00000000_0x40000000",
    "role": "someone", "type": "function",
    **dict.fromkeys(("timestamp", "partition", "mostSigBits", "leastSigBits", "coordinatorId", "instanceId"), "0"),
    **dict.fromkeys(("ledgerId", "entryId", "messagePosition", "numMessages", "expireTimeInSeconds", "timeout"), "1"),
}  # fmt: skip
_QUERIES = {"backlogQuotaType": "destination_storage", "tenant": TENANT}
_ID = {"ledgerId": 1, "entryId": 1, "partitionIndex": -1}
_QUOTA = {"limitSize": 1000, "policy": "producer_exception"}
_BODIES = {
    **dict.fromkeys(("int", "long", "Integer"), 1),
    **dict.fromkeys(("boolean", "Boolean"), True),
    **{each: [] for each in ("Set", "List", "LinkedHashSet")},
    **dict.fromkeys(("MessageIdImpl", "ResetCursorData"), _ID),
    **dict.fromkeys(("BacklogQuotaImpl", "BacklogQuota"), _QUOTA),
    "String": "x", "SchemaCompatibilityStrategy": "FULL", "SchemaAutoUpdateCompatibilityStrategy": "Full",
    "SubscriptionAuthMode": "None", "PostSchemaPayload": {"type": "STRING", "schema": "", "properties": {}},
    "ProducerMessages": {"messages": [{"payload": "eA=="}]},
}  # fmt: skip
_GRANT = [{"topics": [f"persistent://{TENANT}/{SPACE}/orders"], "roles": ["someone"], "actions": ["produce"]}]
_MULTIPART = "multipart"

POLICY = f"""\
roles:
  producer:
    - allow: [produce]
      pulsar: {{topic: ["persistent://acme/app/*", "non-persistent://acme/app/*"]}}
    - allow: [pulsar.ListTopics]
      pulsar: {{namespace: [acme/app]}}
  consumer:
    - allow: [consume]
      pulsar:
        topic: ["persistent://acme/app/*", "non-persistent://acme/app/*"]
        subscription: ["*"]
        namespace: [acme/app]
  administrator:
    - allow: [produce, consume, create, delete, describe, alter, {
    ", ".join(
        f"pulsar.{each}"
        for each in (
            "DeleteSchema",
            "Unload",
            "Compact",
            "Terminate",
            "Truncate",
            "Offload",
            "Replicate",
            "Peek",
            "ExpireMessages",
            "GetPermissions",
            "SetPermissions",
        )
    )
}]
      pulsar: {{topic: ["persistent://acme/*", "non-persistent://acme/*"], subscription: ["*"]}}
    - allow: [consume, create, delete, describe, alter, {
    ", ".join(
        f"pulsar.{each}"
        for each in (
            "ForceDelete",
            "GetPermissions",
            "SetPermissions",
            "Replicate",
            "Offload",
            "ClearBacklog",
            "Unsubscribe",
        )
    )
}]
      pulsar: {{namespace: ["acme/*"]}}
    - allow: [create, delete, describe, alter, pulsar.ForceDelete]
      pulsar: {{tenant: [acme]}}
  everything:
    - allow: [{
    ", ".join(
        f"pulsar.{each}"
        for each in sorted({operation for kind in SYSTEM.kinds.values() for operation in kind.operations})
    )
}]
      pulsar: {{{
    ", ".join(f'{name}: ["{next(iter(kind.names)) if kind.names else "*"}"]' for name, kind in SYSTEM.kinds.items())
}}}
bindings:
  - {{roles: [producer], to: {{issuer: corp, sub: {PRODUCE}}}}}
  - {{roles: [consumer], to: {{issuer: corp, sub: {CONSUME}}}}}
  - {{roles: [administrator], to: {{issuer: corp, sub: {ADMIN}}}}}
  - {{roles: [everything], to: {{issuer: corp, sub: {SUPER}}}}}
"""
"""The grants of `ROLES`, in the gateway's words."""


@dataclass(frozen=True, slots=True)
class Request:
    row: Row
    path: str
    body: bytes | None
    media_type: str


def _filled(row: Row) -> str:
    own = re.fullmatch(r"/admin/v2/namespaces/\{tenant\}/\{namespace\}", row.template) and row.method != "GET"
    values = _VALUES | ({"namespace": GONE} if own else {})
    path = re.sub(r"\{([^}]*)\}", lambda match: values.get(match[1], "x"), row.template)
    query = "&".join(f"{name}={value}" for name, value in _QUERIES.items() if name in row.query)
    return f"{path}?{query}" if query else path


def _request(row: Row, body: str) -> Request:
    if body == _MULTIPART:
        return Request(row, _filled(row), b"--x--\r\n", "multipart/form-data; boundary=x")
    value = _GRANT if row.template.endswith("PermissionsOnTopics") else _BODIES.get(body, {})
    octets = None if body == "-" else json.dumps(value).encode()
    return Request(row, _filled(row), octets, "application/json")


def _asked() -> tuple[Request, ...]:
    lines = [line.split() for line in ROUTES_FILE.read_text().splitlines() if not line.startswith("#")]
    bodies = {(method, re.sub(r"\{[^}]*\}", "{}", path)): body for method, path, body, *_ in lines}
    return tuple(_request(row, bodies[row.method, re.sub(r"\{[^}]*\}", "{}", row.template)]) for row in ROWS)


ASKED = _asked()


@cache
def _policy() -> PolicySet:
    vocabulary = Vocabulary({"pulsar": SYSTEM}, {"main": "pulsar"}, frozenset({"corp"}))
    return load_policy([("p.yaml", f"version: 1\n{POLICY}end: true\n".encode())], vocabulary)


def worlds() -> dict[str, RestWorld]:
    """Each role's view under `POLICY`."""
    policy = _policy()
    made = {}
    for role in ROLES:
        world = RestWorld()
        world.view.use(person(role), policy.rights(person(role), "main", NOON))
        made[role] = world
    return made


def decided(world: RestWorld, request: Request) -> Decision:
    decision = world.decide(request.row.method, request.path)
    if isinstance(decision, Needs):
        return world.decide(request.row.method, request.path, request.body or b"{}")
    return decision


def missing(world: RestWorld, decision: Decision) -> str:
    """The kind and operation that a refusal is for."""
    assert isinstance(decision, Refused)
    return next(
        f"{kind}.{operation}"
        for kind, operation, name in decision.checks
        if not world.view.quietly(kind, operation, name)
    )


def allowed(decision: Decision) -> bool:
    return isinstance(decision, Passed)


def answers() -> dict[str, dict[str, int]]:
    """What the broker answered: status by role, by route."""
    found = {}
    for line in ANSWERS_FILE.read_text().splitlines():
        if not line.startswith("#"):
            *statuses, method, template = line.split()
            found[f"{method} {template}"] = dict(zip(ROLES, map(int, statuses), strict=True))
    return found

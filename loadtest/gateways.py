"""The gateway under load: everything on, and with what can be switched on one by one.

TLS, tokens and decisions cannot be switched off, so the first step has them too, with a single rule. Each step has what
the steps before it have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.real.gateway import READY_SECONDS_MAX, GatewayProcess

TOKEN_SECONDS = 7200.0
RULES = 1000
DENIED_TOPICS = 10
CONNECTIONS_MAX = 12_000

STEPS = {
    "gateway-least": "TLS, token, one rule for everything, limits above what comes; audit to nowhere",
    "gateway-rules": f"+ {RULES} rules in 20 roles, three of them the client's, and a deny rule over a pattern",
    "gateway-audit": "+ audit written to a file, as by default",
    "gateway": "+ /metrics scraped each second: everything on",
}
"""Peer -> what is on."""

_ROLES = 20
_ROLES_OF_CLIENT = 3


@dataclass(frozen=True, slots=True)
class Features:
    """What is switched on."""

    rules: bool = True
    audit: bool = True
    scraped: bool = True


def features(peer: str) -> Features:
    """Of a step by its name."""
    at = list(STEPS).index(peer)
    return Features(*(at > index for index in range(3)))


def gateway(
    folder: Path,
    bootstrap: str,
    on: Features,
    *,
    policy: str = "",
    upstream_ca: str = "",
    workers: int = 1,
    ready_seconds: float = READY_SECONDS_MAX,
) -> GatewayProcess:
    """One that is to be entered, set as in production but for its limits of connections."""
    limits = {"connections_max": CONNECTIONS_MAX, "connections_per_address_max": CONNECTIONS_MAX}
    made = GatewayProcess(
        folder,
        {"main": bootstrap},
        policy=policy or _policy(on),
        limits=limits,
        workers=workers,
        ready_seconds=ready_seconds,
    )
    config: dict[str, Any] = made.config
    for backend in config["backends"]:
        del backend["metadata_refresh"]
        if upstream_ca:
            del backend["insecure_plaintext"]
            backend["tls"] = {"ca": upstream_ca, "server_name": "localhost"}
    del config["audit"]["allowed_interval"]
    del config["policies"]["poll"]
    config["log_level"] = "info"
    if not on.audit:
        config["audit"]["output"] = "/dev/null"
    return made


def _policy(on: Features) -> str:
    own = '    - allow: [produce, consume]\n      kafka: {topic: ["load.*"], group: [loadtest]}\n'
    if not on.rules:
        return _document(f"  load:\n{own}", "load")
    own += '    - deny: [produce, consume]\n      id: no-pii\n      kafka: {topic: ["*.pii"]}\n'
    roles = f"  load:\n{own}"
    for role in range(_ROLES):
        roles += f"  team-{role}:\n"
        for rule in range(RULES // _ROLES):
            topics = f'"team-{role}.orders-{rule}", "team-{role}.area-{rule}.*"'
            roles += f"    - allow: [produce, consume]\n      kafka: {{topic: [{topics}]}}\n"
    mine = ", ".join(["load", *(f"team-{role}" for role in range(_ROLES_OF_CLIENT))])
    return _document(roles, mine)


def _document(roles: str, mine: str) -> str:
    """With limits in each: who has none of his own has the gateway's, which hold back what is to be measured."""
    limits = (
        "limits:\n  - {to: any, produce: 100 GiB/s, consume: 100 GiB/s, requests: 1000000/s, "
        f"connections: {CONNECTIONS_MAX}}}\n"
    )
    bindings = f"bindings:\n  - {{roles: [{mine}], to: {{issuer: test, sub: load}}}}\n"
    return f"version: 1\nroles:\n{roles}{bindings}{limits}end: true\n"

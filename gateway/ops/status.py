"""What ``gateway status`` shows: the running gateway in one mapping of plain values, ready for JSON.

Made on the event loop when the admin port is asked, so everything in it is bounded, and nothing is read from a disk or
a network. It holds who is connected from where, and no credential: no token, key, claim or payload.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from gateway import __version__
from gateway.core.identity import Principal
from gateway.core.keys import KeyRing
from gateway.core.meters import Meters
from gateway.core.pieces import pieces
from gateway.core.session import Described
from gateway.core.settings import Settings
from gateway.edge.connections import Open
from gateway.edge.tls import names_of
from gateway.ops.admin_certificate import AdminCertificate
from gateway.ops.certificate_reload import LiveCertificates
from gateway.ops.live_configuration import RELOADS as CONFIG_RELOADS
from gateway.ops.live_configuration import LiveConfiguration
from gateway.ops.own_log import log_level
from gateway.ops.policy_reload import RELOADS, LivePolicies

if TYPE_CHECKING:
    from gateway.ops.composition import Gateway

PRINCIPALS_SHOWN_MAX = 200
"""Those with the most connections; the rest is counted."""
CONNECTIONS_SHOWN_MAX = 20
"""Of one principal, the oldest; the rest is counted."""
THROTTLED_SHOWN_MAX = 100
"""Those that wait longest; the rest is counted."""
BROKERS_SHOWN_MAX = 100
"""Of one backend."""

NAMES_SHOWN_MAX = 20
"""Of one certificate."""
MISTAKES_SHOWN_MAX = 20
"""Of a configuration that is refused."""

DAY = 86400.0


def status(gateway: Gateway) -> dict[str, object]:
    """Everything, at this moment. Times are seconds since the epoch, ages and what is left are seconds."""
    now = gateway.clock.wall()
    missing = gateway.missing()
    return {
        "version": __version__,
        "pid": os.getpid(),
        "at": now,
        "started_at": gateway.started_at,
        "ready": not missing,
        "missing": missing,
        "notes": gateway.notes(),
        "log_level": log_level(),
        "interpreted": {piece.name: piece.why for piece in pieces() if not piece.compiled},
        "configuration": configuration(gateway, now),
        "policy": policy(gateway, now),
        "listeners": list(_listeners(gateway)),
        "backends": list(_backends(gateway)),
        "issuers": list(issuers(gateway, now)),
        "certificates": list(certificates(gateway, now)),
        "connections": _connections(list(gateway.server.connections()), gateway.server.unauthenticated, now),
        "budget": {
            "used_bytes": gateway.server.budget.used,
            "bytes_max": gateway.settings.limits.buffered_bytes_max,
            "waits": gateway.server.budget.waits,
        },
        "throttled": _throttled(gateway.quotas.in_debt(gateway.clock.monotonic())),
    }


class Keeper(Protocol):
    """The process that keeps policies and keys true: the only one, or the office of several."""

    settings: Settings
    meters: Meters
    policies: LivePolicies
    live: LiveConfiguration

    @property
    def ring(self) -> KeyRing: ...

    @property
    def keys(self) -> HasErrors: ...


class HasCertificates(Protocol):
    """Likewise of the certificates."""

    certificates: LiveCertificates
    admin_certificate: AdminCertificate | None


class HasErrors(Protocol):
    def last_errors(self) -> dict[str, str]: ...


def configuration(gateway: Keeper, now: float) -> dict[str, object]:
    live = gateway.live
    return {
        "file": str(live.file),
        "revision": live.revision,
        "loaded_at": live.loaded_at,
        "age": now - live.loaded_at,
        "refused_since": live.refused_since,
        "reloads_refused": int(gateway.meters.cell(CONFIG_RELOADS, "refused").value),
        "mistakes": list(live.mistakes[:MISTAKES_SHOWN_MAX]),
        "mistakes_more": max(0, len(live.mistakes) - MISTAKES_SHOWN_MAX),
        "waiting": list(live.waiting),
    }


def policy(gateway: Keeper, now: float) -> dict[str, object]:
    policies = gateway.policies
    return {
        "revision": policies.current.revision,
        "loaded_at": policies.loaded_at,
        "age": now - policies.loaded_at,
        "refused_since": policies.refused_since,
        "reloads_refused": int(gateway.meters.cell(RELOADS, "refused").value),
        "files": list(gateway.settings.policies.files),
    }


def _listeners(gateway: Gateway) -> Iterator[dict[str, object]]:
    lacking = gateway.server.missing()
    counts: dict[str, int] = {}
    for line in gateway.server.connections():
        counts[line.listener] = counts.get(line.listener, 0) + 1
    for each in gateway.settings.listeners:
        start = f"listener {each.name}: "
        yield {
            "name": each.name,
            "bind": each.bind,
            "port": each.port,
            "advertised": each.advertised,
            "backend": each.backend,
            "connections": counts.get(each.name, 0),
            "missing": next((words.removeprefix(start) for words in lacking if words.startswith(start)), ""),
        }


def _backends(gateway: Gateway) -> Iterator[dict[str, object]]:
    for name, state in gateway.backends.items():
        control = gateway.controls.get(name)
        brokers = list(state.brokers.items())
        yield {
            "name": name,
            "ready": state.ready,
            "cluster_id": state.cluster_id,
            "brokers": [{"node_id": node, "address": str(end)} for node, end in brokers[:BROKERS_SHOWN_MAX]],
            "brokers_more": max(0, len(brokers) - BROKERS_SHOWN_MAX),
            "error": control.last_error_words()[2:-1] if control is not None else "",
        }


def issuers(gateway: Keeper, now: float) -> Iterator[dict[str, object]]:
    errors = gateway.keys.last_errors()
    for each in gateway.settings.issuers:
        keys = gateway.ring.get(each.name)
        yield {
            "name": each.name,
            "issuer": each.issuer,
            "keys": sum(1 for _ in keys.members()) if keys is not None else 0,
            "keys_age": gateway.ring.age(each.name, now),
            "error": errors.get(each.name, ""),
        }


def certificates(gateway: HasCertificates, now: float) -> Iterator[dict[str, object]]:
    own = gateway.admin_certificate.shown() if gateway.admin_certificate is not None else None
    for listener, leaf, refused in (*gateway.certificates.shown(), *([own] if own is not None else ())):
        ends = leaf.not_valid_after_utc.timestamp()
        yield {
            "listener": listener,
            "subject": leaf.subject.rfc4514_string(),
            "names": sorted(names_of(leaf))[:NAMES_SHOWN_MAX],
            "names_more": max(0, len(names_of(leaf)) - NAMES_SHOWN_MAX),
            "serial": f"{leaf.serial_number:x}",
            "ends_at": ends,
            "days_left": round((ends - now) / DAY, 1),
            "refused": refused,
        }


def _connections(lines: list[Open], unauthenticated: int, now: float) -> dict[str, object]:
    by_principal: dict[Principal, list[Open]] = {}
    for line in lines:
        principal = line.principal
        if principal is not None:
            by_principal.setdefault(principal, []).append(line)
    most = heapq.nlargest(PRINCIPALS_SHOWN_MAX, by_principal.items(), key=lambda each: len(each[1]))
    return {
        "total": len(lines),
        "unauthenticated": unauthenticated,
        "principals": [
            {
                "principal": str(principal),
                "connections": len(theirs),
                "shown": [_connection(line, now) for line in theirs[:CONNECTIONS_SHOWN_MAX]],
            }
            for principal, theirs in most
        ],
        "principals_more": len(by_principal) - len(most),
    }


def _connection(line: Open, now: float) -> dict[str, object]:
    session = line.session
    described = session if isinstance(session, Described) else None
    expires = described.expires_at if described is not None else float("inf")
    return {
        "connection": line.connection,
        "listener": line.listener,
        "address": str(line.address),
        "mechanism": described.mechanism if described is not None else "",
        "age": now - line.since,
        "expires_in": expires - now if expires != float("inf") else None,
    }


def _throttled(owing: Iterable[tuple[Principal, float]]) -> dict[str, object]:
    found = list(owing)
    longest = heapq.nlargest(THROTTLED_SHOWN_MAX, found, key=lambda each: each[1])
    return {
        "principals": [{"principal": str(principal), "seconds": round(seconds, 3)} for principal, seconds in longest],
        "principals_more": len(found) - len(longest),
    }

"""The workers' statuses as one (ops.status): what they have in common once, what they count together."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.ops.status import CONNECTIONS_SHOWN_MAX, PRINCIPALS_SHOWN_MAX, THROTTLED_SHOWN_MAX

Status = Mapping[str, Any]


def lines(said: Mapping[int, Sequence[str]], own: Sequence[str] = ()) -> list[str]:
    """What workers say is missing: once where all say it, else with the worker's number."""
    found = list(own)
    for line in dict.fromkeys(line for theirs in said.values() for line in theirs):
        who = [worker for worker, theirs in said.items() if line in theirs]
        if line in found:
            continue
        found += [line] if len(who) == len(said) else [f"worker {worker}: {line}" for worker in who]
    return found


def listeners(statuses: Sequence[Status]) -> list[dict[str, Any]]:
    """Those of the first worker, with the connections of all."""
    found = []
    for each in statuses[0]["listeners"] if statuses else ():
        same = [other for status in statuses for other in status["listeners"] if other["name"] == each["name"]]
        missing = next((other["missing"] for other in same if other["missing"]), "")
        found.append({**each, "connections": sum(other["connections"] for other in same), "missing": missing})
    return found


def backends(statuses: Sequence[Status]) -> list[dict[str, Any]]:
    """As one worker sees them that does not reach them, if there is one."""
    found = []
    for each in statuses[0]["backends"] if statuses else ():
        same = [other for status in statuses for other in status["backends"] if other["name"] == each["name"]]
        found.append(min(same, key=lambda other: (other["ready"], not other["error"])))
    return found


def connections(statuses: Sequence[Status]) -> dict[str, Any]:
    by_principal: dict[str, dict[str, Any]] = {}
    for status in statuses:
        for theirs in status["connections"]["principals"]:
            known = by_principal.setdefault(theirs["principal"], {**theirs, "connections": 0, "shown": []})
            known["connections"] += theirs["connections"]
            known["shown"] += theirs["shown"]
    for known in by_principal.values():
        oldest = sorted(known["shown"], key=lambda each: -each["age"])
        known["shown"] = oldest[:CONNECTIONS_SHOWN_MAX]
    most = heapq.nlargest(PRINCIPALS_SHOWN_MAX, by_principal.values(), key=lambda each: each["connections"])
    return {
        "total": _sum(statuses, "connections", "total"),
        "unauthenticated": _sum(statuses, "connections", "unauthenticated"),
        "principals": most,
        "principals_more": len(by_principal) - len(most) + _sum(statuses, "connections", "principals_more"),
    }


def budget(statuses: Sequence[Status]) -> dict[str, Any]:
    return {word: _sum(statuses, "budget", word) for word in ("used_bytes", "bytes_max", "waits")}


def throttled(statuses: Sequence[Status]) -> dict[str, Any]:
    longest: dict[str, float] = {}
    for status in statuses:
        for each in status["throttled"]["principals"]:
            longest[each["principal"]] = max(each["seconds"], longest.get(each["principal"], 0.0))
    shown = heapq.nlargest(THROTTLED_SHOWN_MAX, longest.items(), key=lambda each: each[1])
    return {
        "principals": [{"principal": principal, "seconds": seconds} for principal, seconds in shown],
        "principals_more": len(longest) - len(shown) + _sum(statuses, "throttled", "principals_more"),
    }


def _sum(statuses: Iterable[Status], part: str, word: str) -> int:
    return sum(status[part][word] for status in statuses)

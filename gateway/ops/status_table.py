"""The answer of ``GET /status`` as a page for a terminal at three in the morning: what is wrong stands first."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

SOON_DAYS = 14
NAMES_SHOWN = 3
"""Of one certificate, in its row."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The page, line by line."""
    up = span(found["at"] - found["started_at"])
    yield f"gateway {found['version']}, process {found['pid']}, up {up}, log level {found['log_level']}"
    yield "ready" if found["ready"] else "NOT READY"
    for words in found["missing"]:
        yield f"  ! {plain(words)}"
    for words in found["notes"]:
        yield f"  note: {plain(words)}"
    for name, why in found.get("interpreted", {}).items():
        yield f"  note: {name} runs interpreted: {plain(why)}"
    yield from _files(found)
    yield from _parts(found)
    yield from _workers(found)
    yield from _use(found)


def _files(found: dict[str, Any]) -> Iterator[str]:
    configuration, policy = found["configuration"], found["policy"]
    yield ""
    yield f"configuration  {configuration['revision']}  {configuration['file']}, {_loaded(configuration)}"
    if configuration["refused_since"] is not None:
        yield f"  ! the file on disk is refused since {moment(configuration['refused_since'])}:"
        yield from (f"    {plain(mistake)}" for mistake in configuration["mistakes"])
        if configuration["mistakes_more"]:
            yield f"    and {configuration['mistakes_more']} more; try: gateway check"
    if configuration["waiting"]:
        yield f"  needs a restart: {', '.join(configuration['waiting'])}"
    yield f"policy         {policy['revision']}  {_loaded(policy)}"
    if policy["refused_since"] is not None:
        yield f"  ! the files on disk are refused since {moment(policy['refused_since'])}; try: gateway check"


def _loaded(part: dict[str, Any]) -> str:
    refused = part["reloads_refused"]
    failed = f", {refused} reload{'' if refused == 1 else 's'} refused" if refused else ""
    return f"loaded {moment(part['loaded_at'])}, {span(part['age'])} ago{failed}"


def _parts(found: dict[str, Any]) -> Iterator[str]:
    yield from table(
        ("listener", "address", "advertised", "backend", "connections", ""),
        [
            (each["name"], f"{each['bind']} port {each['port']}", each["advertised"], each["backend"],
             str(each["connections"]), each["missing"])
            for each in found["listeners"]
        ],
    )  # fmt: skip
    yield from table(
        ("backend", "state", "cluster", "brokers"),
        [
            (each["name"], _reached(each), each["cluster_id"] or "-",
             _brokers(each) + (f"  ! {each['error']}" if each["error"] else ""))
            for each in found["backends"]
        ],
    )  # fmt: skip
    yield from table(
        ("issuer", "keys", "read", ""),
        [
            (each["name"], str(each["keys"]) if each["keys"] else "NONE",
             "never" if each["keys_age"] is None else f"{span(each['keys_age'])} ago",
             f"! {each['error']}" if each["error"] else "")
            for each in found["issuers"]
        ],
    )  # fmt: skip
    yield from table(
        ("certificate of", "for", "ends", "days left"),
        [
            (each["listener"], _names(each), moment(each["ends_at"]),
             f"{each['days_left']:g}" + ("  ! renew it" if each["days_left"] < SOON_DAYS else "")
             + (f"  ! the new files are refused: {each['refused']}" if each["refused"] else ""))
            for each in found["certificates"]
        ],
    )  # fmt: skip


def _names(certificate: dict[str, Any]) -> str:
    """What a certificate is for, shortly: its names, or its subject where it has none."""
    names = certificate["names"]
    more = len(names) + certificate["names_more"] - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "") or certificate["subject"]


def _workers(found: dict[str, Any]) -> Iterator[str]:
    """Nothing for a gateway of one process."""
    if "workers" not in found:
        return
    yield from table(
        ("worker", "process", "state", "connections", "configuration", ""),
        [
            (str(each["worker"]), str(each["pid"] or "-"),
             f"serves since {span(each['age'])}" if each["serving"] else "NOT SERVING", str(each["connections"]),
             each["configuration"] or "-",
             f"start {each['starts']}, the one before ended with {each['last_end']}" if each["last_end"] else "")
            for each in found["workers"]
        ],
    )  # fmt: skip


def _reached(backend: dict[str, Any]) -> str:
    """A backend that was reached once stays ready for new connections; who looks is told that it is gone now."""
    if not backend["ready"]:
        return "NOT REACHED"
    return "LOST" if backend["error"] else "ready"


def _brokers(backend: dict[str, Any]) -> str:
    shown = [f"{each['node_id']}={each['address']}" for each in backend["brokers"]]
    more = [f"and {backend['brokers_more']} more"] if backend["brokers_more"] else []
    return " ".join(shown + more) or "-"


def _use(found: dict[str, Any]) -> Iterator[str]:
    connections, budget = found["connections"], found["budget"]
    yield ""
    percent = 100 * budget["used_bytes"] / budget["bytes_max"]
    waits = f"{budget['waits']} waits since the start"
    yield f"buffers        {percent:.1f} % of {budget['bytes_max'] >> 20} MiB in use, {waits}"
    unknown = f"{connections['unauthenticated']} have not yet said who they are"
    yield f"connections    {connections['total']}, of which {unknown}"
    rows = []
    for principal in connections["principals"]:
        name = f"{principal['principal']} ({principal['connections']})"
        for each in principal["shown"]:
            ends = "-" if each["expires_in"] is None else f"in {span(each['expires_in'])}"
            rows.append((name, each["mechanism"] or "-", each["address"], each["listener"], span(each["age"]), ends))
            name = ""
        more = principal["connections"] - len(principal["shown"])
        if more > 0:
            rows.append(("", f"and {more} more", "", "", "", ""))
    yield from table(("principal", "mechanism", "address", "listener", "age", "ends"), rows)
    if connections["principals_more"]:
        yield f"and {connections['principals_more']} more principals"
    throttled = found["throttled"]
    yield from table(
        ("throttled", "waits"), [(each["principal"], span(each["seconds"])) for each in throttled["principals"]]
    )
    if throttled["principals_more"]:
        yield f"and {throttled['principals_more']} more throttled principals"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """An empty line, the head, and the rows in columns; nothing without rows."""
    if not rows:
        return
    cells = [[plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    yield ""
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def plain(text: str) -> str:
    """Without what a terminal would act upon: names come from tokens and certificates."""
    return _CONTROL.sub("?", text)


def span(seconds: float) -> str:
    """Seconds in the two units that matter."""
    if seconds < 0:
        return "0 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, size, part, of in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // of} {part}"
    return f"{whole} s"


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))

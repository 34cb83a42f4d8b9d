"""What of a changed configuration a running gateway takes, and what only a restart brings.

Pure: asked by the reload, by ``gateway check --against running`` and by the tests. What is not known to be taken while
running needs a restart, so a setting that is new here is on the safe side until somebody says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.core.settings import Backend, Listener, Settings

TAKEN = frozenset({"version", "listeners", "backends", "issuers", "policies", "limits", "audit", "log_level"})
"""Parts of the configuration that a running gateway takes; any other waits for a restart."""

MOVING = frozenset({"kafka", "pulsar"})
"""Systems whose backends may become others while running."""
CONNECTIONS_MAX = "limits.connections_max"
_BIND = re.compile(r"listeners\[[^\]]*\]\.bind")


@dataclass(frozen=True, slots=True)
class InForce:
    """The settings that hold from now on, and the paths of what is kept as it was until the next start."""

    settings: Settings
    waiting: tuple[str, ...]


def in_force(running: Settings, wanted: Settings, connections_most: int | None = None) -> InForce:
    """What comes of `wanted` in a gateway that runs with `running`. connections_most: as many as the memory has room
    for that several workers share, which is made at the start; None for one process."""
    waiting = [
        name for name in Settings.model_fields if name not in TAKEN and getattr(running, name) != getattr(wanted, name)
    ]
    kept = {name: getattr(running, name) for name in waiting}
    listeners = []
    before = {each.name: each for each in running.listeners}
    for listener in wanted.listeners:
        old = before.get(listener.name)
        if old is not None and _binds_over_itself(old, listener):
            waiting.append(f"listeners[{listener.name}].bind")
            listeners.append(listener.model_copy(update={"bind": old.bind}))
        else:
            listeners.append(listener)
    backends, held = _backends(running, wanted)
    waiting += held
    if connections_most is not None and wanted.limits.connections_max > connections_most:
        waiting.append(CONNECTIONS_MAX)
        fewer = {"connections_max": running.limits.connections_max}
        kept["limits"] = wanted.limits.model_copy(update=fewer)
    settings = wanted.model_copy(update={**kept, "listeners": tuple(listeners), "backends": backends})
    return InForce(settings, tuple(waiting))


def _backends(running: Settings, wanted: Settings) -> tuple[tuple[Backend, ...], list[str]]:
    """Kafka's and Pulsar's are taken; one of another system that is there already stays as it is."""
    before = {each.name: each for each in running.backends}
    found, held = [], []
    for backend in wanted.backends:
        old = before.get(backend.name)
        stays = old is not None and old != backend and backend.system == old.system and backend.system not in MOVING
        found.append(old if stays and old is not None else backend)
        held += [f"backends[{backend.name}]"] if stays else []
    return tuple(found), held


def _binds_over_itself(old: Listener, new: Listener) -> bool:
    """The same port at another address: while the old one is listened on, the system may refuse the new one."""
    return old.bind != new.bind and bool({port for _, port in old.ports()} & {port for _, port in new.ports()})


def waiting_paths(changed: Iterable[str], *, room: bool = True) -> tuple[str, ...]:
    """Likewise for paths as `ops.differences` spells them, where only these are known of a running gateway. A listener
    that is new or gone shows by its name, and its address needs nothing. room: for as many connections as are wanted;
    several workers may have none for more than at their start."""
    paths = list(changed)
    parts = {path.partition(".")[0].partition("[")[0] for path in paths}
    whole = {path.removesuffix(".name") for path in paths if path.endswith("].name")}
    binds = [path for path in paths if _BIND.fullmatch(path) and path.removesuffix(".bind") not in whole]
    more = [CONNECTIONS_MAX] if not room and CONNECTIONS_MAX in paths else []
    return (*(name for name in Settings.model_fields if name in parts - TAKEN), *binds, *more)


def renamed_systems(running: Settings, wanted: Settings) -> Iterator[tuple[int, Backend, Backend]]:
    """(index, old, new) of backends that are to be another system under the same name: nothing of the one fits the
    other, so it is refused."""
    before = {each.name: each for each in running.backends}
    for index, backend in enumerate(wanted.backends):
        old = before.get(backend.name)
        if old is not None and old.system != backend.system:
            yield index, old, backend


def moved_listeners(running: Settings, wanted: Settings) -> frozenset[str]:
    """Listeners that are gone, or lead to another backend: their connections cannot go on."""
    after = {each.name: each for each in wanted.listeners}
    return frozenset(
        each.name for each in running.listeners if each.name not in after or _leads(each) != _leads(after[each.name])
    )


def _leads(listener: Listener) -> tuple[str, str]:
    return listener.protocol, listener.backend

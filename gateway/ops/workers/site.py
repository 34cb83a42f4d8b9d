"""What the supervisor makes before it forks, and every process of the gateway finds: nothing in it changes afterwards
but the memory that is shared.

Refused here, before anything is served: what one process would refuse at its start, and ports that are not free. All
ports are bound for all workers, or none: a port is first asked for alone, since the system lets any process of this
user in beside sockets that share (SO_REUSEPORT).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.documents import Mistakes
from gateway.core.policy import PolicySet, load_policy
from gateway.edge.listener import BoundPort, bind
from gateway.edge.watch import Fingerprint, fingerprint
from gateway.ops import config_policies
from gateway.ops.admin_sockets import admin_sockets
from gateway.ops.certificate_reload import GivenContext, given_context
from gateway.ops.config import Configuration
from gateway.ops.workers.crowd import Crowd
from gateway.ops.workers.places import Board, Places, SharedTurns
from gateway.ops.workers.present import Present, to_bytes

BOARD_BYTES_MAX = 64 << 20
"""Policy files and keys that can be agreed upon. Memory is used for what is there."""
CHANNELS_MAX = 256
"""Workers that wait to be let in by the office."""

Bound = Mapping[str, list[BoundPort]]


@dataclass(frozen=True, slots=True)
class Door:
    """Where workers find the office: a local socket without a file, and the word that only this gateway's own know."""

    sock: socket.socket
    name: str
    word: str = field(repr=False)

    def knock(self) -> socket.socket:
        """A connection to it. Raises OSError."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(self.name)
        except OSError:
            sock.close()
            raise
        return sock


@dataclass(frozen=True, slots=True)
class Site:
    """`sockets`: by worker, the first is worker 1's. `seen`: the policy files before they were read."""

    configuration: Configuration
    workers: int
    policies: PolicySet
    seen: Fingerprint
    contexts: Mapping[str, GivenContext]
    sockets: tuple[Bound, ...]
    admin: tuple[socket.socket, ...]
    places: Places
    crowd: Crowd
    board: Board
    turns: SharedTurns
    door: Door
    started_at: float
    """Wall."""

    def let_go(self, worker: int | None = None) -> None:
        """Give up the listening sockets of all workers but one, in the process that does not serve them."""
        for number, bound in enumerate(self.sockets, 1):
            if number != worker:
                for each in (each for listener in bound.values() for each in listener):
                    each.sock.close()


def make(configuration: Configuration, workers: int) -> Site:
    """Raises StartRefused, Mistakes."""
    settings = configuration.settings
    folder = configuration.file.absolute().parent
    seen = fingerprint([str(folder / pattern) for pattern in settings.policies.files])
    files, mistakes = config_policies.read_files(None, settings.policies.files, folder)
    if mistakes:
        raise Mistakes(mistakes)
    policies = load_policy(files, configuration.vocabulary)
    contexts = {listener.name: given_context(listener) for listener in settings.listeners}
    with contextlib.ExitStack() as undo:
        admin = admin_sockets(settings.admin)
        for sock in admin:
            undo.callback(sock.close)
        sockets = _bound(configuration, workers, undo)
        board = Board(BOARD_BYTES_MAX)
        board.write(to_bytes(Present(policies.revision, tuple(files))))
        made = Site(
            configuration, workers, policies, seen, contexts, sockets, tuple(admin), Places(workers),
            Crowd(workers, settings.limits), board,
            SharedTurns(), _door(), time.time(),
        )  # fmt: skip
        undo.pop_all()
    return made


def _bound(configuration: Configuration, workers: int, undo: contextlib.ExitStack) -> tuple[Bound, ...]:
    listeners = configuration.settings.listeners
    for listener in listeners:
        for each in bind(listener):
            each.sock.close()
    made: list[dict[str, list[BoundPort]]] = []
    for _ in range(workers):
        made.append({})
        for listener in listeners:
            made[-1][listener.name] = bind(listener, together=True)
            for each in made[-1][listener.name]:
                undo.callback(each.sock.close)
    return tuple(made)


def _door() -> Door:
    """A socket in the abstract namespace (unix(7)): it has no file to guard or to remove. Anybody of this machine may
    knock, and only who knows the word is let in."""
    name = f"\0gateway-{os.getpid()}-{secrets.token_hex(8)}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(name)
    sock.listen(CHANNELS_MAX)
    sock.setblocking(False)
    return Door(sock, name, secrets.token_hex(32))

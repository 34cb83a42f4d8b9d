"""What the supervisor makes before it forks, and every process of the gateway finds. When the configuration or TLS
files have changed, the supervisor makes another (`renewed`): who is forked from then on begins with what is in force.

Refused here, before anything is served: what one process would refuse at its start, and ports that are not free. All
ports are bound for all workers, or none: a port is first asked for alone, since the system lets any process of this
user in beside sockets that share (SO_REUSEPORT).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core.documents import Mistakes
from gateway.core.policy import PolicySet, load_policy
from gateway.core.settings import Settings
from gateway.edge.listener import Held, bind, try_ports
from gateway.edge.reasons import StartRefused
from gateway.edge.tickets import Tickets
from gateway.edge.tls import stem, stem_versions
from gateway.edge.watch import Fingerprint, fingerprint
from gateway.ops import compiled_pieces, config_policies
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


log = logging.getLogger("gateway.supervisor")


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
    """`sockets`: by worker, the first is worker 1's. `seen`: the policy files before they were read.
    `connections_most`: what the shared memory has room for."""

    configuration: Configuration
    workers: int
    policies: PolicySet
    seen: Fingerprint
    contexts: Mapping[str, GivenContext]
    sockets: tuple[Held, ...]
    admin: tuple[socket.socket, ...]
    places: Places
    crowd: Crowd
    board: Board
    turns: SharedTurns
    door: Door
    tickets: Tickets
    started_at: float
    """Wall."""
    connections_most: int

    def let_go(self, worker: int | None = None) -> None:
        """Give up the listening sockets of all workers but one, in the process that does not serve them."""
        for number, held in enumerate(self.sockets, 1):
            if number != worker:
                for sock in (sock for socks in held.values() for sock in socks):
                    sock.close()


def make(configuration: Configuration, workers: int) -> Site:
    """Raises StartRefused, Mistakes."""
    settings = configuration.settings
    compiled_pieces.check(settings)
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
        board.write(to_bytes(Present((configuration.content,), policies.revision, tuple(files))))
        made = Site(
            configuration, workers, policies, seen, contexts, sockets, tuple(admin), Places(workers),
            Crowd(workers, settings.limits), board,
            SharedTurns(), _door(), _tickets(settings), time.time(), settings.limits.connections_max,
        )  # fmt: skip
        undo.pop_all()
    return made


def _tickets(settings: Settings) -> Tickets:
    made = Tickets(stem, time.monotonic)
    made.make_ahead({stem_versions(listener.tls) for listener in settings.listeners})
    return made


def renewed(site: Site, present: Present) -> Site:
    """What it is now that another configuration, or other TLS files, are in force. Raises Mistakes.

    Ports that no listener has any more are closed; those that are new each worker has bound by itself, and one that is
    mended binds its own again. A listener's TLS files that were changed again meanwhile, and cannot serve, leave it the
    context that it had, if the listener is configured as before; else it has none, and a worker that is mended reads
    the files itself, and does not start without them: an old context would let in who is not to come in any more.
    """
    configuration = site.configuration
    if present.configured != configuration.revision:
        configuration = present.configuration(configuration.file, site.connections_most, site.policies)
    listeners = configuration.settings.listeners
    wanted = {(listener.bind, port) for listener in listeners for _, port in listener.ports()}
    for held in site.sockets:
        for sock in (sock for place, socks in held.items() if place not in wanted for sock in socks):
            sock.close()
    sockets = tuple({place: socks for place, socks in held.items() if place in wanted} for held in site.sockets)
    contexts: dict[str, GivenContext] = {}
    for listener in listeners:
        known = listener in site.configuration.settings.listeners
        before = site.contexts.get(listener.name) if known else None
        try:
            contexts[listener.name] = given_context(listener, before)
        except StartRefused as refused:
            log.error("the TLS files of listener %s cannot serve just now: %s", listener.name, refused)
            if before is not None:
                contexts[listener.name] = before
    return replace(
        site, configuration=configuration, policies=configuration.policies, contexts=contexts, sockets=sockets
    )


def _bound(configuration: Configuration, workers: int, undo: contextlib.ExitStack) -> tuple[Held, ...]:
    listeners = configuration.settings.listeners
    for listener in listeners:
        try_ports(listener, ())
    made: list[dict[tuple[str, int], list[socket.socket]]] = []
    for _ in range(workers):
        made.append({})
        for listener in listeners:
            for each in bind(listener, together=True):
                undo.callback(each.sock.close)
                made[-1].setdefault((listener.bind, each.port), []).append(each.sock)
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

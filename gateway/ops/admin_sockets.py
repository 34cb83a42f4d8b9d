"""The listening sockets of the admin port and the health port, bound before anything is served."""

from __future__ import annotations

import errno
import socket

from gateway.core.settings import Admin
from gateway.edge.reasons import BIND_ADDRESS, PORT_IN_USE, StartRefused

CONNECTIONS_MAX = 64
"""That wait to be accepted."""


def admin_sockets(settings: Admin) -> list[socket.socket]:
    """The admin port's, and the health port's if there is one. Raises StartRefused, and then none is bound."""
    ports = [(settings.bind, settings.port, "admin")]
    if settings.health is not None:
        ports.append((settings.health.bind, settings.health.port, "admin.health"))
    made: list[socket.socket] = []
    try:
        for each in ports:
            made.append(_bound(*each))
    except StartRefused:
        for sock in made:
            sock.close()
        raise
    return made


def _bound(address: str, port: int, name: str) -> socket.socket:
    try:
        return bind(address, port)
    except OSError as error:
        detail = f"{name} port {port} on {address}: {error.strerror or type(error).__name__}"
        reason = PORT_IN_USE if error.errno in (errno.EADDRINUSE, errno.EACCES) else BIND_ADDRESS
        raise StartRefused(reason, detail) from None


def bind(address: str, port: int) -> socket.socket:
    """The listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(CONNECTIONS_MAX)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made

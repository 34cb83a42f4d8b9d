"""Which certificate a client gets, and which broker it means, by the server name it asks for (SNI, RFC 6066).

A listener with one port per broker gives the first certificate that covers the name, else its first one at all: clients
that dial an address send no name. Certificates with keys of two kinds (ECDSA, RSA) for the same names stand together
(`together`): which of them a client gets OpenSSL decides by what the client can verify, ECDSA first. A listener with
one name per broker knows its own names only; any other, or none, ends the handshake with the alert unrecognized_name.
A broker's name is taken from this handshake alone: such listeners resume no sessions.

pyOpenSSL's own callback prints to standard error what it is told by an exception, which anybody could make happen; the
call below it is taken from the binding that pyOpenSSL itself uses, as in edge.engine.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

from gateway.core.settings import SniNames

SERVER_NAME_MAX = 255

_lib, _ffi = Binding().lib, Binding.ffi
_FATAL: int = _lib.SSL_TLSEXT_ERR_ALERT_FATAL
"""The alert is OpenSSL's own choice for this callback: unrecognized_name (112)."""
_connections = SSL.Connection._reverse_mapping
"""SSL* -> Connection."""


class NameVerdict(Protocol):
    """A connection's app data."""

    unknown_name: str | None


@dataclass(slots=True)
class Chooser:
    """`contexts` with the names their certificates cover; `sni`: the names that are served, None for any."""

    contexts: Sequence[SSL.Context]
    names: Sequence[Collection[str]]
    sni: SniNames | None = None
    _hosts: Collection[str] = field(init=False, default=())

    def __post_init__(self) -> None:
        self._hosts = {self.sni.bootstrap, *self.sni.hosts()} if self.sni is not None else ()

    def choose(self, name: str) -> int | None:
        """The number of the context for a name; None: the name is not served here."""
        name = name.lower()
        if self.sni is not None and name not in self._hosts:
            return None
        return next((number for number, names in enumerate(self.names) if name and covered(names, name)), 0)


def together(kinds: Sequence[object], names: Sequence[Collection[str]]) -> list[tuple[int, ...]]:
    """Which certificates stand in one context, by their numbers: the one that is chosen by its names, and of each other
    kind of key the first that covers all of them too. `kinds`, `names`: of each certificate. One whose names earlier
    ones cover is chosen by no name, and begins no context."""
    contexts: list[tuple[int, ...]] = []
    for number, own in enumerate(names):
        if number and all(any(covered(names[first], name) for first, *_ in contexts) for name in own):
            continue
        beside = {kinds[number]: number}
        for other, theirs in enumerate(names):
            if own and all(covered(theirs, name) for name in own):
                beside.setdefault(kinds[other], other)
        contexts.append(tuple(beside.values()))
    return contexts


def none_of_old(context: SSL.Context) -> None:
    """Have handshakes of `context` that come to TLS 1.2 give no ticket (edge.tickets says why). By the callback for
    server names, which OpenSSL calls for each client once the version is agreed, with a name or without, and after
    which it looks whether tickets are still wanted."""

    def called(ssl: object, alert: object, argument: object) -> int:
        del alert, argument
        _keep_ticket_back(ssl)
        return 0

    _call_back(context, called)


def _keep_ticket_back(ssl: object) -> None:
    if _lib.SSL_version(ssl) == SSL.TLS1_2_VERSION:
        _lib.SSL_set_options(ssl, SSL.OP_NO_TICKET)


def _call_back(context: SSL.Context, called: Callable[[object, object, object], int]) -> None:
    callback = _ffi.callback("int (*)(SSL *, int *, void *)", called, error=_FATAL)
    context._tlsext_servername_callback = callback  # keeps it alive as long as the context, as pyOpenSSL does
    _lib.SSL_CTX_set_tlsext_servername_callback(context._context, callback)


def choose_by_name(context: SSL.Context, chooser: Chooser) -> None:
    """Have each handshake of `context`, which is the chooser's first, choose by the name that the client gives."""
    others = dict(enumerate(chooser.contexts[1:], 1))  # not the first: a context that held itself would never be freed

    def called(ssl: object, alert: object, argument: object) -> int:
        del alert, argument
        try:
            _keep_ticket_back(ssl)
            connection = _connections[ssl]
            name = readable(connection.get_servername() or b"")
            number = chooser.choose(name)
            if number is None:
                cast(NameVerdict, connection.get_app_data()).unknown_name = name
                return _FATAL
            if number:
                connection.set_context(others[number])
        except Exception:  # nothing may be raised into OpenSSL; what cannot be decided is refused
            return _FATAL
        return 0

    chooser.contexts = ()
    _call_back(context, called)


def readable(server_name: bytes) -> str:
    return server_name.decode("ascii", "replace")[:SERVER_NAME_MAX]


def covered(names: Collection[str], name: str) -> bool:
    """Whether a certificate with these names is for `name`; a wildcard stands for the whole leftmost label."""
    try:
        return str(ipaddress.ip_address(name.strip("[]"))) in names
    except ValueError:
        name = name.lower().rstrip(".")
        _, _, parent = name.partition(".")
        return name in names or (parent.count(".") >= 1 and f"*.{parent}" in names)

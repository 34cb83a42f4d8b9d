"""The alerts of the handshake that is under way: which one was sent, which one was received (RFC 8446, 6).

OpenSSL tells of them by a callback that it makes for every step of a handshake, some forty times. So the compiled form
(`channels_compiled`), which leaves at once where no alert is told of, saves a tenth of a handshake. One handshake is
advanced at a time: `forget`, then a call into OpenSSL, then `noted`. Used by edge.engine.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

_lib: Any = _openssl.lib
_ffi: Any = _openssl.ffi

_ALERT_READ = SSL.SSL_CB_ALERT | SSL.SSL_CB_READ
_ALERT_WRITTEN = SSL.SSL_CB_ALERT | SSL.SSL_CB_WRITE

_noted = {_ALERT_WRITTEN: -1, _ALERT_READ: -1}


def _note(ssl: object, where: int, value: int) -> None:
    del ssl
    if where in _noted:
        _noted[where] = value & 0xFF


_callback = _ffi.callback("void (*)(const SSL *, int, int)", _note)


def watch(tls: SSL.Connection) -> None:
    """Have this connection's alerts noted."""
    _lib.SSL_set_info_callback(tls._ssl, _callback)


def forget() -> None:
    for where in _noted:
        _noted[where] = -1


def noted() -> tuple[int, int]:
    """The last alert sent and the last received since `forget`; -1 for none."""
    return _noted[_ALERT_WRITTEN], _noted[_ALERT_READ]

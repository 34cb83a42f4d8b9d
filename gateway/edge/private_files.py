"""Reads what nobody else may read: secrets and keys of the gateway's own towards backends.

Others may do nothing with such a file; its group may read it. Refused: more than a secret's size, nothing in it.
"""

from __future__ import annotations

import os
import stat

from gateway.edge import reasons
from gateway.edge.reasons import StartRefused

SECRET_BYTES_MAX = 64 * 1024

EXPECTED = (
    "a file that others cannot read: chmod 0600 it, or 0440 for a group of the gateway's own; in Kubernetes "
    "`defaultMode: 0440` at the secret's volume and `fsGroup` in the pod's securityContext"
)
"""What to do about an exposed file."""


def exposed(mode: int) -> bool:
    """Whether a file of this mode is open to more than its owner, and its group's reading."""
    return bool(mode & (stat.S_IRWXO | stat.S_IWGRP))


def check_permissions(path: str) -> None:
    """Raises StartRefused."""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError as error:
        raise StartRefused(reasons.SECRET_UNREADABLE, f"{path}: {error.strerror}") from None
    if exposed(mode):
        raise StartRefused(reasons.SECRET_EXPOSED, f"{path} has mode {mode:04o}; chmod 0600 {path}")


def secret_of_file(path: str) -> str:
    """The file's text without the end of its last line. Raises StartRefused."""
    check_permissions(path)
    try:
        with open(path, "rb") as file:
            data = file.read(SECRET_BYTES_MAX + 1)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise StartRefused(reasons.SECRET_UNREADABLE, f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartRefused(reasons.SECRET_UNREADABLE, f"{path} holds no UTF-8 text") from None
    if not text or len(data) > SECRET_BYTES_MAX:
        size = "nothing" if not text else f"more than {SECRET_BYTES_MAX} bytes"
        raise StartRefused(reasons.SECRET_UNREADABLE, f"{path} holds {size}")
    return text


def secret_of_environment(name: str) -> str:
    """Raises StartRefused."""
    text = os.environ.get(name, "")
    if not text:
        raise StartRefused(reasons.SECRET_UNREADABLE, f"the environment variable {name} is not there, or empty")
    return text


def secret(file: str | None, variable: str | None) -> str:
    """The one of the two that is given. Raises StartRefused."""
    if file is not None:
        return secret_of_file(file)
    assert variable is not None
    return secret_of_environment(variable)

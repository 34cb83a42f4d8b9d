"""The credential of the admin port: where it lies, how it is made, read and compared.

Reading the admin port on loopback needs none; changing anything does. The operator names a file (``admin.token_file``),
or the gateway makes a token of 256 random bits at each start, in a folder that only its user can enter. The commands
(``gateway close`` and the like) find it in the same place, so whoever may read the file may operate the gateway.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

from gateway.core.settings import Admin
from gateway.edge.private_files import EXPECTED, exposed

TOKEN_CHARS_MIN = 32
TOKEN_CHARS_MAX = 1024
"""Of the admin port's credential; letters, digits and ``-._~+/=``, as HTTP's Bearer scheme has it (RFC 6750)."""
FOLDER = "streaming-gateway"
SUBFOLDER = "admin"
"""Ours alone, also where the folder around it belongs to somebody else (a volume of Kubernetes does)."""
SERVICE_FOLDER = Path("/run") / FOLDER / SUBFOLDER
"""What systemd makes of the unit's RuntimeDirectory, where a command's environment does not name it."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")


class Unusable(Exception):
    """A token file that cannot be used: what was found, what is expected."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(f"found {found}; expected {expected}")
        self.found = found
        self.expected = expected


def read(file: Path) -> str:
    """The token in a file, without the line's end. Raises Unusable: also if others than its owner and group read it."""
    try:
        with file.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(TOKEN_CHARS_MAX + 3)
    except OSError as error:
        raise Unusable(f"{file}: {error.strerror or type(error).__name__}", "a readable file") from None
    if exposed(mode):
        raise Unusable(f"{file} with mode {mode:04o}", EXPECTED)
    token = content.decode("ascii", "replace").strip()
    if not TOKEN_CHARS_MIN <= len(token) <= TOKEN_CHARS_MAX or _TOKEN.fullmatch(token) is None:
        expected = (
            f"one line of {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} letters and digits, e.g. from: openssl rand -hex 32"
        )
        raise Unusable(f"{file}: {len(token)} characters that are no token", expected)
    return token


def place(admin: Admin) -> Path:
    """Where the token is: the configured file, or the one of this user and port that a start makes.

    systemd names the folder by RUNTIME_DIRECTORY, a login by XDG_RUNTIME_DIR; else it is below the temporary folder.
    """
    if admin.token_file is not None:
        return Path(admin.token_file)
    return _folder() / f"admin-{admin.port}.token"


def _folder() -> Path:
    by_systemd = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if by_systemd:
        return Path(by_systemd) / SUBFOLDER
    by_login = os.environ.get("XDG_RUNTIME_DIR", "")
    if by_login:
        return Path(by_login) / FOLDER
    return Path(tempfile.gettempdir()) / f"{FOLDER}-{os.getuid()}"


def found(admin: Admin) -> Path:
    """Where a command finds the token of a gateway that may run as a service, or under this very user."""
    if admin.token_file is not None:
        return Path(admin.token_file)
    name = f"admin-{admin.port}.token"
    served = SERVICE_FOLDER / name
    return served if served.exists() else _folder() / name


def at_start(admin: Admin) -> str:
    """The token of this run: read, or made anew. Raises Unusable; nothing can then be changed by the admin port."""
    file = place(admin)
    if admin.token_file is not None:
        return read(file)
    token = secrets.token_hex(32)
    try:
        _own_folder(file.parent)
        scratch = file.with_name(f".{file.name}.{os.getpid()}")
        scratch.unlink(missing_ok=True)
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="ascii") as stream:
            stream.write(token + "\n")
        scratch.replace(file)
    except OSError as error:
        found = f"{file}: {error.strerror or type(error).__name__}"
        raise Unusable(found, "a folder to write in, or admin.token_file") from None
    return token


def _own_folder(folder: Path) -> None:
    """Make the folder; one that is there must be ours and closed to others. Raises Unusable, OSError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
        raise Unusable(f"{folder}, which belongs to, or can be changed by, somebody else", "a folder of the gateway's")


def remove(admin: Admin, token: str) -> None:
    """At the end of a run: take away the token that it made, unless a later run has made its own."""
    if admin.token_file is None:
        file = place(admin)
        try:
            if same(read(file), token):
                file.unlink()
        except (Unusable, OSError):
            return


def same(one: str, other: str) -> bool:
    """Compared in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())

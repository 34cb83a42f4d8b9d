"""TCP sockets of this machine and of one process, as Linux tells them in /proc (proc(5))."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ESTABLISHED, LISTENING = "01", "0A"


@dataclass(frozen=True, slots=True)
class Socket:
    local: int
    remote: int
    state: str
    timer: str
    """Its kind and the time that is left, in hexadecimal hundredths of a second: ``02:00000A28``."""
    inode: int


def every_socket() -> Iterator[Socket]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            local, remote = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
            yield Socket(local, remote, fields[3], fields[5], int(fields[9]))


def sockets_of(pid: int) -> list[Socket]:
    """Those that a process holds open."""
    mine = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = str(entry.readlink())
        except OSError:  # closed meanwhile
            continue
        if name.startswith("socket:["):
            mine.add(int(name[8:-1]))
    return [each for each in every_socket() if each.inode in mine]

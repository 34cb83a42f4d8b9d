"""``gateway run`` with more than one worker: what is made before the first fork, and who becomes what after it."""

from __future__ import annotations

import logging

from gateway.core.documents import Mistakes
from gateway.ops.config import Configuration
from gateway.ops.workers import site, worker
from gateway.ops.workers.places import OFFICE, Field
from gateway.ops.workers.present import from_bytes
from gateway.ops.workers.site import Site
from gateway.ops.workers.supervisor import Supervisor

log = logging.getLogger("gateway.supervisor")


def run_several(configuration: Configuration, workers: int) -> int:
    """Until it is told to end; returns the exit code. Raises StartRefused, Mistakes."""
    return Supervisor(Home(site.make(configuration, workers))).run()


class Home:
    """What the supervisor keeps for those that it forks (supervisor.Family): the site, as it is in force."""

    def __init__(self, made: Site) -> None:
        self.site = made
        self.places = made.places

    @property
    def shutdown_seconds(self) -> float:
        return self.site.configuration.settings.limits.shutdown_timeout

    def body(self, place: int, line: int) -> int:
        """In a child: be what the place says."""
        if place != OFFICE:
            return worker.work(self.site, place, line)
        from gateway.ops.workers.office import keep_office  # an HTTP server and client, which nobody else loads
        from gateway.ops.workers.office_reload import apply

        return keep_office(self.site, line, apply)

    def let_go(self) -> None:
        self.site.let_go()

    def ended(self, worker: int) -> None:
        self.site.crowd.empty(worker)

    def renew(self) -> None:
        """Take what was agreed upon since the last time; tried again at the next if the board is just being written."""
        self.site.tickets.forget()
        agreed = self.places.get(OFFICE, Field.AGREED)
        if agreed == self.places.get(OFFICE, Field.RENEWED):
            return
        try:
            self.site = site.renewed(self.site, from_bytes(self.site.board.read()))
        except (ValueError, Mistakes) as error:
            log.error("what was agreed upon cannot be read just now: %s", error)
            return
        self.places.put(OFFICE, Field.RENEWED, agreed)

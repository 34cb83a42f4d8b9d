"""``gateway run`` with more than one worker: what is made before the first fork, and who becomes what after it."""

from __future__ import annotations

from functools import partial

from gateway.ops.config import Configuration
from gateway.ops.workers import site, worker
from gateway.ops.workers.places import OFFICE
from gateway.ops.workers.site import Site
from gateway.ops.workers.supervisor import Supervisor


def run_several(configuration: Configuration, workers: int) -> int:
    """Until it is told to end; returns the exit code. Raises StartRefused, Mistakes."""
    made = site.make(configuration, workers)
    return Supervisor(
        made.places,
        partial(_become, made),
        configuration.settings.limits.shutdown_timeout,
        made.let_go,
        made.crowd.empty,
    ).run()


def _become(made: Site, place: int, line: int) -> int:
    """In a child: be what the place says."""
    if place != OFFICE:
        return worker.work(made, place, line)
    from gateway.ops.workers.office import keep_office  # an HTTP server and client, which nobody else loads

    return keep_office(made, line)

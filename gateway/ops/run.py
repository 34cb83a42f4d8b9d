"""``gateway run``: from a configuration file to a process that serves until it is told to stop.

The order of the start: read and check everything, take the ports, then fetch keys, reach brokers and watch files;
clients are accepted from then on, and each listener is ready when a broker of its backend was reached. SIGTERM and
SIGINT drain; a second one does not wait. SIGHUP reads configuration, policies and certificates again, and opens the
audit file anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import time
from pathlib import Path

import uvloop

from gateway.edge.reasons import StartRefused
from gateway.ops.collector import spare_the_collector
from gateway.ops.composition import Gateway, NoAudit, announce_start
from gateway.ops.config import read
from gateway.ops.cores import workers
from gateway.ops.exit_codes import INTERRUPTED, OK, WRONG_USE
from gateway.ops.own_log import set_up_log
from gateway.ops.reload import attach

log = logging.getLogger("gateway")


def run(file: Path) -> int:
    """Run until told to stop; returns the exit code. Raises Mistakes if the configuration is wrong."""
    configuration = read(file, time.time())
    number = workers(configuration.settings.workers)
    set_up_log(configuration.settings.log_level, "supervisor" if number > 1 else "")
    try:
        if number > 1:
            from gateway.ops.workers.several import run_several

            return run_several(configuration, number)
        gateway = Gateway(configuration)
        attach(gateway)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(gateway))
    except NoAudit as error:
        print(f"the gateway does not start: {error}", file=sys.stderr)
        return WRONG_USE
    except StartRefused as refused:
        print(f"the gateway does not start: {refused}", file=sys.stderr)
        return WRONG_USE


async def _serve(gateway: Gateway) -> int:
    from gateway.ops.admin_serving import serving, spoken

    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as ending:
        gateway.server.bind()
        await ending.enter_async_context(serving(spoken(gateway)))
        await gateway.audit.start()
        ending.push_async_callback(gateway.audit.close)
        announce_start(gateway.announce, gateway.configuration)
        _hear_signals(gateway, stop)
        ending.push_async_callback(gateway.close)
        await gateway.start()
        gc.collect()
        gc.freeze()  # what is there now stays; the collector need not look at it again and again
        gateway.server.start()
        ending.push_async_callback(gateway.server.shutdown)
        ending.push_async_callback(gateway.live.close)
        spare_the_collector()
        for listener in gateway.settings.listeners:
            log.info("listener %s takes connections at %s port %d", listener.name, listener.bind, listener.port)
        await stop.wait()
        log.info("stopping; connections have %g s", gateway.settings.limits.shutdown_timeout)
        gateway.announce("stopping")
    return OK


def _hear_signals(gateway: Gateway, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def hear_stop() -> None:
        if stop.is_set():  # asked twice: whoever asks does not want to wait
            os._exit(INTERRUPTED)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, hear_stop)
    loop.add_signal_handler(signal.SIGINT, hear_stop)
    loop.add_signal_handler(signal.SIGHUP, gateway.hangup)

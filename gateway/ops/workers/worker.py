"""One worker process: a gateway without admin port, key fetching or file watching, which the office does for all.

It serves from when the office has let it in and said what is in force; if the office goes away, it serves on with what
it has, and knocks again. It ends when its line to the supervisor ends, or by SIGTERM: both drain.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from dataclasses import astuple
from typing import Any

import uvloop

from gateway.core.documents import Mistakes
from gateway.core.identity import Principal
from gateway.core.keys import BadKeySet, KeyRing
from gateway.core.policy import PolicySet, load_policy
from gateway.core.shared_failed_logins import OtherFailures
from gateway.core.shared_limits import SharedQuotas
from gateway.edge.reasons import StartRefused
from gateway.ops.collector import spare_the_collector
from gateway.ops.composition import Gateway, Given, Keys, NoAudit, Part
from gateway.ops.config import unchecked
from gateway.ops.exit_codes import OK, WRONG_USE
from gateway.ops.gently import gently
from gateway.ops.live_configuration import Done
from gateway.ops.own_log import set_log_level, set_up_log
from gateway.ops.reload import Prepared, attach, begin, closing, commit, prepare
from gateway.ops.status import status
from gateway.ops.workers import summing
from gateway.ops.workers.background import Stop
from gateway.ops.workers.channel import Channel, ChannelLost, Fields, Refused
from gateway.ops.workers.crowd import OtherWorkers
from gateway.ops.workers.handed_keys import HandedKeys
from gateway.ops.workers.mending import FAILED
from gateway.ops.workers.places import Field
from gateway.ops.workers.present import Files, Present, files_from_json, from_json
from gateway.ops.workers.site import Site

BEAT_SECONDS = 1.0
KNOCK_SECONDS = 0.2
"""Between two tries to reach the office."""
HELLO_SECONDS = 30.0
REACH_LOOK_SECONDS = 0.01
REACH_LOOKS_MAX = 500
"""So long do clients wait for a worker that reaches no broker; then they are sent away."""

log = logging.getLogger("gateway.workers")


def work(site: Site, place: int, line: int) -> int:
    """The whole life of a worker process; returns its exit code. Called by the supervisor's child."""
    set_up_log(site.configuration.settings.log_level, f"worker {place}")
    site.let_go(place)
    site.door.sock.close()
    for sock in site.admin:
        sock.close()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Worker(site, place).serve(line))
    except (StartRefused, NoAudit) as refused:
        log.error("it does not start: %s", refused)
        return WRONG_USE


class Worker:
    """One worker, composed."""

    def __init__(self, site: Site, place: int) -> None:
        """Raises StartRefused, NoAudit."""
        self._site = site
        self._place = place
        self._handed: HandedKeys | None = None
        quotas = SharedQuotas(site.crowd.principals(place))
        given = Given(
            site.contexts,
            site.policies,
            self._hand_keys,
            site.tickets,
            site.turns,
            quotas,
            OtherWorkers(site.places, place, site.crowd.addresses(place)),
            OtherFailures(site.crowd.failures(place)),
            site.workers,
            site.connections_most,
        )
        self.gateway = Gateway(site.configuration, given)
        attach(self.gateway)
        self._prepared: PolicySet | None = None
        self._next: Prepared | None = None
        """The configuration that was prepared, until it is committed or abandoned."""
        self._closing: asyncio.Task[Done] | None = None
        self._stop = Stop()
        self._serves = asyncio.Event()
        self._turn = asyncio.Lock()
        """What is taken into force is taken in the order in which the office says it."""
        self._let_in = asyncio.Event()

    def _hand_keys(self, ring: KeyRing) -> Keys:
        self._handed = HandedKeys(ring, self._site.configuration.settings.issuers)
        return self._handed

    @property
    def handed(self) -> HandedKeys:
        assert self._handed is not None
        return self._handed

    async def serve(self, line: int) -> int:
        """Until it is to end."""
        gateway, stop = self.gateway, self._stop
        loop = asyncio.get_running_loop()
        loop.add_reader(line, stop.set)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        gateway.server.bind(self._site.sockets[self._place - 1])
        async with contextlib.AsyncExitStack() as ending:
            await gateway.audit.start()
            ending.push_async_callback(gateway.audit.close)
            await ending.enter_async_context(stop.background(self._beat(), "beat"))
            ending.push_async_callback(self.handed.close)
            await ending.enter_async_context(stop.background(self._keep_channel(), "channel to the office"))
            if await self._first(self._let_in, stop):
                ending.push_async_callback(gateway.close)
                parts: list[Part] = [*gateway.upstreams.values(), *gateway.controls.values()]
                for part in parts:
                    await part.start()
                await gateway.certificates.reload("start")
                await self._backends_reached()
                spare_the_collector()
                gateway.server.start()
                ending.push_async_callback(gateway.server.shutdown)
                self._site.places.put(self._place, Field.SERVING, 1.0)
                self._serves.set()
                log.info("serves clients")
                await stop.wait()
                log.info("stopping; connections have %g s", gateway.settings.limits.shutdown_timeout)
            loop.remove_reader(line)
        return FAILED if stop.failed else OK

    async def _backends_reached(self) -> None:
        """For a moment clients wait in the queue rather than be sent away while no broker is known."""
        wanted = {listener.backend for listener in self.gateway.settings.listeners}
        for _ in range(REACH_LOOKS_MAX):
            if all(self.gateway.backends[name].ready for name in wanted):
                return
            await asyncio.sleep(REACH_LOOK_SECONDS)

    @staticmethod
    async def _first(good: asyncio.Event, other: Stop) -> bool:
        """Whether `good` comes before `other`."""
        waits = [asyncio.create_task(good.wait()), asyncio.create_task(other.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return good.is_set()

    async def _beat(self) -> None:
        places, place, gateway = self._site.places, self._place, self.gateway
        while True:
            places.put(place, Field.BEAT, gateway.clock.monotonic())
            await asyncio.sleep(BEAT_SECONDS)

    # ---- the office -------------------------------------------------------------------------------------------

    async def _keep_channel(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(sock=self._site.door.knock())
                channel = Channel(reader, writer, self._answers(), self._hears())
                running = asyncio.create_task(channel.run(), name="channel")
                try:
                    await self._hello(channel)
                    await running
                finally:
                    self.handed.channel = None
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                    await self._abandon_configuration({})
            await asyncio.sleep(KNOCK_SECONDS)

    async def _hello(self, channel: Channel) -> None:
        """Be let in, and take what is in force now."""
        mine = {"place": self._place, "pid": os.getpid(), "word": self._site.door.word}
        try:
            said = await channel.ask("hello", seconds=HELLO_SECONDS, **mine)
        except (ChannelLost, Refused):
            channel.close()
            return
        present, gateway = from_json(said), self.gateway
        async with self._turn:
            if present.configured != gateway.configuration.revision and not await self._catch_up(present):
                self._stop.set()  # the one that follows begins with what is in force
                channel.close()
                return
            if present.revision != gateway.policies.current.revision:
                gateway.policies.take(await gently(present.policies, gateway.policies.loaded))
            for issuer, (jwks, at) in present.keys.items():
                self._take_keys(issuer, jwks, at)
            if present.log_level:
                set_log_level(present.log_level)
        self.handed.channel = channel
        self._let_in.set()

    def _answers(self) -> dict[str, Any]:
        return {
            "status": self._status,
            "lacks": self._lacks,
            "series": self._series,
            "close": self._close,
            "prepare-policies": self._prepare_policies,
            "commit-policies": self._commit_policies,
            "prepare-configuration": self._prepare_configuration,
            "commit-configuration": self._commit_configuration,
            "abandon-configuration": self._abandon_configuration,
            "certificates": self._certificates,
        }

    def _hears(self) -> dict[str, Any]:
        return {"keys": self._hear_keys, "log-level": self._hear_level, "reopen-audit": self._hear_reopen}

    async def _status(self, _: Fields) -> object:
        return {**status(self.gateway), "revision": self.gateway.configuration.revision}

    async def _lacks(self, _: Fields) -> object:
        return [self.gateway.missing(), self.gateway.notes()]

    async def _series(self, _: Fields) -> object:
        readings = [*self.gateway.readings()]  # first: it brings cells up to date
        process = int(self._site.places.get(self._place, Field.STARTS))  # until this one ends there is no other
        return [process, summing.to_json([*self.gateway.meters.series(), *readings]), self.gateway.missing()]

    async def _close(self, asked: Fields) -> object:
        return self.gateway.server.close_principal(Principal(*asked["principal"]), asked["reason"])

    async def _prepare_policies(self, asked: Fields) -> object:
        async with self._turn:
            files = files_from_json(asked["files"])
            self._prepared = await gently(load_policy, list(files), self.gateway.configuration.vocabulary)
            return self._prepared.revision

    async def _commit_policies(self, asked: Fields) -> object:
        """Put the set in force that was prepared, if it is the one that is meant."""
        async with self._turn:
            found, self._prepared = self._prepared, None
            if found is not None and found.revision == asked["revision"]:
                self.gateway.policies.take(found)
            return self.gateway.policies.current.revision

    # ---- another configuration: see office_reload ----------------------------------------------------------------

    async def _prepare_configuration(self, asked: Fields) -> object:
        """Make everything ready that can fail; what has failed, or what the TLS files were that were read."""
        await self._serves.wait()
        async with self._turn:
            await self._give_back()
            files, content = files_from_json(asked["files"]), asked["content"].encode("latin-1")
            try:
                self._next = await self._make_ready(content, files)
            except Mistakes as error:
                return {"mistakes": [astuple(mistake) for mistake in error.mistakes]}
            found = self._next.certificates
            return {"certificates": {name: loaded.revision for name, loaded in found.items()}}

    async def _make_ready(self, content: bytes, files: Files) -> Prepared:
        gateway = self.gateway
        found = await asyncio.to_thread(unchecked, gateway.configuration.file, content, files, gateway.policies.loaded)
        return await prepare(gateway, found)

    async def _commit_configuration(self, asked: Fields) -> object:
        """Put the configuration in force that was prepared, if it is the one that is meant."""
        async with self._turn:
            found, self._next = self._next, None
            closed = leaving = 0
            if found is not None and found.configuration.revision == asked["revision"]:
                done = await self._put_in_force(found)
                closed, leaving = done.closed, done.leaving
            return {"revision": self.gateway.configuration.revision, "closed": closed, "leaving": leaving}

    async def _abandon_configuration(self, _: Fields) -> object:
        async with self._turn:
            await self._give_back()
        return True

    async def _give_back(self) -> None:
        found, self._next = self._next, None
        if found is not None:
            await found.abandon()

    async def _catch_up(self, present: Present) -> bool:
        """An office that follows another says that a configuration is in force which the first could not tell of any
        more. Whether it could be taken."""
        if not self._serves.is_set():
            return False
        try:
            found = await self._make_ready(present.contents[-1], present.files)
        except Mistakes as error:
            log.error("what is in force cannot be taken: %s", error)
            return False
        await self._put_in_force(found)
        return True

    async def _put_in_force(self, found: Prepared) -> Done:
        """What follows upon it is done also if the office that asked is gone meanwhile."""
        committed = commit(self.gateway, found, "")
        self.gateway.afterwards(begin(self.gateway, committed))
        self._closing = asyncio.create_task(closing(self.gateway, committed), name="closing after a reload")
        return await asyncio.shield(self._closing)

    async def _certificates(self, asked: Fields) -> object:
        async with self._turn:
            return await self.gateway.certificates.reload(asked["trigger"])

    def _hear_keys(self, told: Fields) -> None:
        self._take_keys(told["issuer"], told["jwks"].encode("latin-1"), told["at"])

    def _take_keys(self, issuer: str, jwks: bytes, at: float) -> None:
        try:
            self.handed.take(issuer, jwks, at)
        except BadKeySet:  # the office has looked at it
            log.exception("keys of issuer %s were handed in that cannot be used", issuer)

    @staticmethod
    def _hear_level(told: Fields) -> None:
        set_log_level(told["level"])

    def _hear_reopen(self, _: Fields) -> None:
        self.gateway.audit.reopen()

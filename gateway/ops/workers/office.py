"""The office process: it speaks for all workers, and finds out once what all of them have to know.

It has the admin port, fetches issuers' keys, watches policies and certificates. A new policy revision comes into force
in all workers or in none: each reads and prepares it, and only when all have does each put it in the place of the old
one. A worker that (re)starts is told what is in force before it serves. A worker that does not do what it had agreed
to is killed, and is told when it starts anew. An office that is mended begins with what is on the board, and clients
notice nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias

import uvloop
from OpenSSL import SSL

from gateway import __version__
from gateway.core.audit import AllowedTally, AuditEvent, Event, FieldValue
from gateway.core.documents import Mistakes
from gateway.core.identity import Principal
from gateway.core.keys import BadKeySet, KeyRing, KeySet
from gateway.core.meters import Meters, Reading
from gateway.core.policy import PolicySet, load_policy
from gateway.core.session import KeysRefreshed, KeysWanted
from gateway.edge.audit import AuditSink
from gateway.edge.clock import SystemClock
from gateway.edge.keys import KeyKeeper
from gateway.edge.reasons import StartRefused
from gateway.edge.watch import Watch, fingerprint
from gateway.ops import config_policies, differences
from gateway.ops.admin_certificate import AdminCertificate
from gateway.ops.admin_serving import Spoken, serving
from gateway.ops.certificate_reload import LiveCertificates, watched_files
from gateway.ops.composition import READY, Part, announce_start
from gateway.ops.config import Configuration
from gateway.ops.exit_codes import OK, WRONG_USE
from gateway.ops.live_configuration import Done, LiveConfiguration, Outcome
from gateway.ops.metrics import exposition
from gateway.ops.own_log import log_level, set_log_level, set_up_log
from gateway.ops.policy_reload import LivePolicies
from gateway.ops.status import certificates, configuration, issuers, policy
from gateway.ops.workers import merging, summing
from gateway.ops.workers.background import Stop
from gateway.ops.workers.channel import GREETING_BYTES_MAX, MESSAGE_BYTES_MAX, Channel, ChannelLost, Fields, Refused
from gateway.ops.workers.mending import FAILED
from gateway.ops.workers.places import OFFICE, Field
from gateway.ops.workers.present import Files, Present, from_bytes, to_bytes, to_json
from gateway.ops.workers.roll import Roll
from gateway.ops.workers.site import Site

LOOK_SECONDS = 0.5
"""How often the places are looked at, and the beat is told."""
COUNT_SECONDS = 2.0
"""How often the workers' counters are fetched: what one counted after that is lost if it dies."""
STRANGERS_MAX = 128
"""Who may be at the door at one time; twice the workers there can be."""
GREETING_SECONDS = 30.0
ANSWER_SECONDS = 2.0
"""For what the admin port is asked."""
PREPARE_SECONDS = 30.0
COMMIT_SECONDS = 5.0

log = logging.getLogger("gateway.workers")


def keep_office(site: Site, line: int, apply: ApplyTo) -> int:
    """The whole life of the office process; returns its exit code. Called by the supervisor's child. `apply`: takes a
    changed configuration (office_reload)."""
    set_up_log(site.configuration.settings.log_level, "office")
    site.let_go()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(Office(site, apply).serve(line))
    except (StartRefused, Mistakes) as refused:
        log.error("it does not start: %s", refused)
        return WRONG_USE


ApplyTo: TypeAlias = "Callable[[Office, Configuration, str], Awaitable[Done]]"


class _TellingRing(KeyRing):
    """A key ring that passes on what it takes."""

    def __init__(self, office: Office) -> None:
        super().__init__()
        self._office = office

    def replace(self, issuer: str, jwks: bytes, wall: float) -> KeySet:
        found = super().replace(issuer, jwks, wall)
        self._office.hand_keys(issuer, jwks, wall)
        return found


class Office:
    """Composed from what the supervisor made, and from the board."""

    def __init__(self, site: Site, apply: ApplyTo) -> None:
        """Raises StartRefused, Mistakes, OSError."""
        self.site = site
        self._apply_to = apply
        self.configuration = configuration = site.configuration
        self.settings = settings = configuration.settings
        self.clock = SystemClock()
        self.meters = Meters()
        self.audit = AuditSink(settings.audit, AllowedTally(), self.clock, self.meters, site.turns)
        self.present = from_bytes(site.board.read())
        if self.present.log_level:
            set_log_level(self.present.log_level)
        self.members: dict[int, Channel] = {}
        self._strangers: set[Channel] = set()
        """Who has knocked, and has not said the word yet."""
        self.turn = asyncio.Lock()
        """One change at a time, and nobody is let in during one."""
        self._first = site.places.get(OFFICE, Field.STARTS) <= 1
        self._sums = summing.Sums()
        self._sums.keep(summing.from_json(self.present.retired))
        self.roll = Roll(site.places, self._tell_of_worker)
        self._ready = False
        self._stopping = False
        self._afterwards: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        """Held while anything is reloaded."""
        self.ring = _TellingRing(self)
        for issuer, (jwks, at) in self.present.keys.items():
            with contextlib.suppress(BadKeySet):
                self.ring.replace(issuer, jwks, at)
        self.keys = KeyKeeper(settings.issuers, self.ring, self.audit, self.clock, self.meters)
        self._folder = configuration.file.absolute().parent
        self.files: Files = self.present.files
        first = self.present.policies(site.policies)
        self.policies = LivePolicies(first, self._load, self.audit, self.meters, self.clock.wall, self._agree)
        seen = site.seen if self._first else None
        self.watch = Watch(self.policy_patterns, self._policies_changed, settings.policies.poll, seen)
        files = watched_files(settings.listeners)
        self.certificates = LiveCertificates(
            settings.listeners, _unused, self.audit, self.meters, self.clock.wall, site.contexts
        )
        self.live = LiveConfiguration(
            configuration, self._apply, self._changing, self.audit, self.meters, self.clock.wall
        )
        self.live.waiting = self.present.waiting(configuration.file, site.connections_most)
        tls = settings.admin.tls
        self.admin_certificate = AdminCertificate(tls, self.clock.wall) if tls is not None else None
        self.certificate_watch = Watch(files, self._certificates_changed, settings.policies.poll, fingerprint(files))

    async def serve(self, line: int) -> int:
        """Until the line ends."""
        site, stop = self.site, Stop()
        loop = asyncio.get_running_loop()
        loop.add_reader(line, stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        async with contextlib.AsyncExitStack() as ending:
            await ending.enter_async_context(serving(self.spoken(), site.admin))
            await self.audit.start()
            ending.push_async_callback(self.audit.close)
            if self._first:
                announce_start(self._announce, self.configuration, workers=site.workers)
            server = await asyncio.start_unix_server(self._knocked, sock=site.door.sock.dup())
            ending.callback(server.close)
            ending.callback(self._close_channels)
            await ending.enter_async_context(stop.background(self._keep_looking(), "looking after the workers"))
            await ending.enter_async_context(stop.background(self._keep_counting(), "counting for the workers"))
            ending.push_async_callback(self._give_up)
            parts: list[Part] = [self.keys, self.policies, self.live, self.watch, self.certificate_watch]
            for part in parts:
                await part.start()
                ending.push_async_callback(part.close)
            if not self._first:  # whatever changed while there was no office
                self.watch.poke()
                self.certificate_watch.poke()
            site.places.put(OFFICE, Field.SERVING, 1.0)
            await stop.wait()
            self._tell_stopping()
            loop.remove_reader(line)
        return FAILED if stop.failed else OK

    async def _apply(self, found: Configuration, trigger: str) -> Done:
        return await self._apply_to(self, found, trigger)

    async def _reload_all(self, trigger: str) -> Outcome:
        """Look at the configuration, the policies and the certificates now; what came of the configuration."""
        async with self._changing:
            outcome = await self.live.reload_now(trigger)
            if outcome.result != "changed":
                await self.policies.reload(trigger)
                await self._reload_certificates(trigger)
        return outcome

    async def reloaded(self) -> Mapping[str, object]:
        """Look at everything now; what came of it, for ``gateway reload``."""
        outcome = await self._reload_all("gateway reload")
        refused = [*self.policies.notes(), *self.certificates.notes()]
        return outcome.described(self.live.revision, self.policies.current.revision, refused)

    def _hang_up(self) -> None:
        self.audit.reopen()
        self.tell("reopen-audit")
        self.afterwards(self._reload_all("SIGHUP"))

    def afterwards(self, work: Coroutine[None, None, object]) -> None:
        """Let something be done that nobody waits for; at the end it is given up."""
        task = asyncio.create_task(_logged(work), name="after a reload")
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)

    async def _give_up(self) -> None:
        for task in list(self._afterwards):
            task.cancel()
        await asyncio.gather(*self._afterwards, return_exceptions=True)

    def _announce(self, event: Event, **fields: FieldValue) -> None:
        self.audit(AuditEvent(event, self.clock.wall(), fields=MappingProxyType(fields)))

    # ---- workers --------------------------------------------------------------------------------------------------

    async def _knocked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel: Channel

        async def hello(asked: Fields) -> object:
            return await self._let_in(channel, asked)

        async def keys(asked: Fields) -> object:
            if channel not in self.members.values():
                raise PermissionError
            fact = await self.keys.refresh(KeysWanted(asked["issuer"], asked["kid"]))
            return isinstance(fact, KeysRefreshed)

        channel = Channel(reader, writer, {"hello": hello, "keys": keys}, {})
        channel.octets_max = GREETING_BYTES_MAX
        if len(self._strangers) >= STRANGERS_MAX:
            channel.close()
            return
        self._strangers.add(channel)
        patience = asyncio.get_running_loop().call_later(GREETING_SECONDS, self._turn_away, channel)
        try:
            await channel.run()
        finally:
            patience.cancel()
            self._strangers.discard(channel)
            for worker, known in list(self.members.items()):
                if known is channel:
                    del self.members[worker]

    def _turn_away(self, channel: Channel) -> None:
        """Somebody who has not said the word in time."""
        if channel in self._strangers:
            channel.close()

    async def _let_in(self, channel: Channel, asked: Fields) -> object:
        """A worker's first word: the present state, for one that proves to be of this gateway."""
        if not secrets.compare_digest(str(asked["word"]), self.site.door.word):
            channel.close()
            raise PermissionError
        async with self.turn:
            self._strangers.discard(channel)
            channel.octets_max = MESSAGE_BYTES_MAX
            self.members[int(asked["place"])] = channel
            return to_json(self.present)

    def _close_channels(self) -> None:
        for channel in self.members.values():
            channel.close()

    async def _keep_looking(self) -> None:
        while True:
            self.site.places.put(OFFICE, Field.BEAT, self.clock.monotonic())
            for worker, process in self.roll.look():
                self._sums.gone(worker, process)
                self.keep(replace(self.present, retired=tuple(summing.to_json(self._sums.kept()))))
            if self.site.places.stopping:
                self._tell_stopping()
            await asyncio.sleep(LOOK_SECONDS)

    def _tell_stopping(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._announce("stopping")

    async def _keep_counting(self) -> None:
        while True:
            await self.count()
            await asyncio.sleep(COUNT_SECONDS)

    async def count(self) -> None:
        """Fetch what the workers have counted."""
        said = await self.ask_all("series")
        self._ready = not self._lacking({worker: lacks for worker, (_, _, lacks) in said.items()})
        for worker, (process, series, _) in said.items():
            self._sums.take(worker, process, summing.from_json(series))

    def _tell_of_worker(self, fields: Mapping[str, FieldValue]) -> None:
        self._announce("worker", **fields)

    def tell(self, word: str, **fields: object) -> None:
        for channel in self.members.values():
            channel.tell(word, **fields)

    async def ask_all(self, word: str, seconds: float = ANSWER_SECONDS, **fields: object) -> dict[int, Any]:
        """Worker -> its answer, of those that give one in time."""
        members = dict(self.members)
        asked = (channel.ask(word, seconds=seconds, **fields) for channel in members.values())
        found = await asyncio.gather(*asked, return_exceptions=True)
        return {
            worker: answer
            for worker, answer in zip(members, found, strict=True)
            if not isinstance(answer, BaseException)
        }

    def keep(self, present: Present) -> None:
        """Put it on the board. Raises ValueError if it is too much for it."""
        self.site.board.write(to_bytes(present))
        self.present = present

    def renew(self) -> float:
        """Have the supervisor take what is in force, for those that it forks; the number of what it is to have."""
        places = self.site.places
        agreed = places.get(OFFICE, Field.AGREED) + 1
        places.put(OFFICE, Field.AGREED, agreed)
        with contextlib.suppress(ProcessLookupError):
            os.kill(os.getppid(), signal.SIGUSR2)
        return agreed

    # ---- what all have to know ------------------------------------------------------------------------------------

    def hand_keys(self, issuer: str, jwks: bytes, at: float) -> None:
        """An issuer's keys were fetched well."""
        self.keep(replace(self.present, keys={**self.present.keys, issuer: (jwks, at)}))
        self.tell("keys", issuer=issuer, jwks=jwks.decode("latin-1"), at=at)

    @property
    def policy_patterns(self) -> tuple[str, ...]:
        """Where the policy files are."""
        return tuple(str(self._folder / pattern) for pattern in self.settings.policies.files)

    def _load(self) -> PolicySet:
        """On a thread; one reload at a time."""
        configuration = self.configuration
        files, mistakes = config_policies.read_files(None, self.settings.policies.files, self._folder)
        if mistakes:
            raise Mistakes(mistakes)
        self.files = tuple(files)
        return load_policy(files, configuration.vocabulary)

    async def _agree(self, found: PolicySet) -> str:
        """All workers take the set, or none does; why none, else ""."""
        async with self.turn:
            present = replace(self.present, revision=found.revision, files=self.files)
            files = to_json(present)["files"]
            members = dict(self.members)
            asked = (
                channel.ask("prepare-policies", seconds=PREPARE_SECONDS, files=files) for channel in members.values()
            )
            answers = await asyncio.gather(*asked, return_exceptions=True)
            for (worker, channel), answer in zip(members.items(), answers, strict=True):
                if answer != found.revision and not channel.lost:  # one that is gone is told when it comes back
                    return f"worker {worker} cannot take them: {_words(answer)}"
            try:
                self.keep(present)
            except ValueError as error:
                return f"the files are too large for several workers: {error}"
            await self._commit(members, found.revision)
        return ""

    async def _commit(self, members: Mapping[int, Channel], revision: str) -> None:
        asked = (
            channel.ask("commit-policies", seconds=COMMIT_SECONDS, revision=revision) for channel in members.values()
        )
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for worker, answer in zip(members, answers, strict=True):
            if answer != revision:
                log.error("worker %d did not take revision %s and is ended: %s", worker, revision, _words(answer))
                self.roll.kill(worker)

    async def _policies_changed(self, _: str) -> None:
        """If the configuration has changed with them, both are taken as one."""
        async with self._changing:
            if await asyncio.to_thread(lambda: self.live.stale):
                outcome = await self.live.reload_now("changed file")
                if outcome.result == "changed":
                    return
            await self.policies.reload("changed file")

    async def _certificates_changed(self, _: str) -> None:
        async with self._changing:
            await self._reload_certificates("changed file")

    async def _reload_certificates(self, words: str) -> None:
        """Workers first: when it is told of new ones, they are shown."""
        good = await self.ask_all("certificates", PREPARE_SECONDS, trigger=words)
        await self.certificates.reload(words)
        self.renew()
        if any(good.values()) and not all(good.values()):
            those = ", ".join(str(worker) for worker, taken in good.items() if not taken)
            self._announce("warning", warning="TLS files were refused by some workers", workers=those)

    # ---- what it says ---------------------------------------------------------------------------------------------

    def spoken(self) -> Spoken:
        """For the admin port."""
        return Spoken(
            self.settings.admin,
            self.audit,
            self.clock,
            self.meters,
            self.missing,
            self.notes,
            self.status,
            lambda: differences.described(self.settings, self.policies.loaded, self.configuration.revision),
            self.close_principal,
            self.reloaded,
            exposition(Meters(), self.readings),
            self._use_level,
            self.count,
            self.admin_certificate,
        )

    async def missing(self) -> list[str]:
        said = await self.ask_all("lacks")
        return self._lacking({worker: lacks for worker, (lacks, _) in said.items()})

    def _lacking(self, said: Mapping[int, Sequence[str]]) -> list[str]:
        """What is missing by the words of the workers that answered, and by what is known here."""
        own = [*self.roll.missing(said), *self.keys.ready(), *self.certificates.ended()]
        if self.admin_certificate is not None:
            own += self.admin_certificate.ended()
        return merging.lines(said, own)

    async def notes(self) -> list[str]:
        said = await self.ask_all("lacks")
        own = [*self.keys.notes(), *self.certificates.notes(), *self.live.notes(), *self.policies.notes()]
        if self.admin_certificate is not None:
            own += self.admin_certificate.notes()
        return merging.lines({worker: notes for worker, (_, notes) in said.items()}, own)

    async def status(self) -> Mapping[str, object]:
        """As one process would say it (ops.status), with a word on each worker."""
        said = await self.ask_all("status")
        statuses = [said[worker] for worker in sorted(said)]
        missing = await self.missing()
        totals = {worker: one["connections"]["total"] for worker, one in said.items()}
        now = self.clock.wall()
        revisions = {worker: one["revision"] for worker, one in said.items()}
        return {
            "version": __version__,
            "pid": os.getppid(),
            "at": now,
            "started_at": self.site.started_at,
            "ready": not missing,
            "missing": missing,
            "notes": await self.notes(),
            "log_level": log_level(),
            "interpreted": statuses[0]["interpreted"] if statuses else {},
            "configuration": configuration(self, now),
            "policy": policy(self, now),
            "listeners": merging.listeners(statuses),
            "backends": merging.backends(statuses),
            "issuers": list(issuers(self, now)),
            "certificates": list(certificates(self, now)),
            "connections": merging.connections(statuses),
            "budget": merging.budget(statuses),
            "throttled": merging.throttled(statuses),
            "workers": list(self.roll.status(now, totals, revisions)),
        }

    async def close_principal(self, principal: Principal, why: str) -> int:
        whom = [principal.method, principal.issuer, principal.name]
        return sum((await self.ask_all("close", principal=whom, reason=why)).values())

    def _use_level(self, level: str) -> None:
        set_log_level(level)
        self.keep(replace(self.present, log_level=level))
        self.tell("log-level", level=level)

    def readings(self) -> Iterator[Reading]:
        """Everything that all have counted; `count` brings it up to date."""
        own = [*self.meters.series(), *self.keys.readings(), *self.certificates.readings(), *self.policies.readings()]
        own += self.live.readings()
        yield from self._sums.readings([*own, *self.roll.readings(), (READY, (), float(self._ready))])


def _unused(listener: str, context: SSL.Context) -> None:
    """The office serves no client."""
    del listener, context


async def _logged(work: Coroutine[None, None, object]) -> None:
    try:
        await work
    except Exception:
        log.exception("something after a reload failed")


def _words(answer: object) -> str:
    return str(answer) if isinstance(answer, ChannelLost | Refused) else type(answer).__name__

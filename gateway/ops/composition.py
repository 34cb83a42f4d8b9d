"""The gateway put together: which part is handed to which. No part finds another by itself.

`Gateway` is made from a checked configuration; ops.run starts and stops it. What cannot be safe is refused here, before
a port is bound: StartRefused names the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from types import MappingProxyType
from typing import Protocol

from OpenSSL import SSL

from gateway import __version__
from gateway.core.audit import AllowedTally, AuditEvent, Event, FieldValue
from gateway.core.keys import KeyRing
from gateway.core.limits import Quotas
from gateway.core.meters import Meter, Meters
from gateway.core.policy import PolicySet
from gateway.core.session import Ask, Fact, KeysWanted, Unavailable
from gateway.core.settings import Backend, Listener
from gateway.edge.audit import AuditSink
from gateway.edge.clock import SystemClock
from gateway.edge.control import ControlDriver
from gateway.edge.keys import KeyKeeper
from gateway.edge.server import Server
from gateway.edge.watch import Watch, fingerprint
from gateway.kafka.backend import BackendState
from gateway.kafka.control import KafkaControl
from gateway.kafka.login import login
from gateway.kafka.plan import TopicFactsWanted, TopicsToCreate
from gateway.ops import config_policies
from gateway.ops.certificate_reload import LiveCertificates, listener_context, watched_files
from gateway.ops.config import Configuration
from gateway.ops.listening import Listening, Shared
from gateway.ops.live_configuration import LiveConfiguration, Outcome
from gateway.ops.metrics import Reading
from gateway.ops.policy_reload import LivePolicies
from gateway.ops.reload import Done, apply, close_what_may_not_go_on
from gateway.ops.upstreams import Upstream

POLICY_AGE = Meter("gateway_policy_age_seconds", "Time since the policy in force was loaded.", kind="gauge")
POLICY_REFUSED = Meter(
    "gateway_policy_refused", "1 while the policy files on disk do not load and an older revision is in force.",
    kind="gauge",
)  # fmt: skip
BACKEND_READY = Meter("gateway_backend_ready", "1 when some broker of it was reached.", ("backend",), "gauge")
READY = Meter("gateway_ready", "1 when nothing is missing, as /readyz says.", kind="gauge")

log = logging.getLogger("gateway")


class Part(Protocol):
    """What works in the background between the start and the end."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class NoAudit(Exception):
    """The audit cannot be written: what nobody would see is not let happen. Says which file and why."""


class Gateway:
    """All parts of one process. The loop it is started in is the loop of everything."""

    def __init__(self, configuration: Configuration) -> None:
        """Raises StartRefused; Mistakes if the policies were broken just now; NoAudit."""
        self.configuration = configuration
        self.settings = settings = configuration.settings
        self.clock = SystemClock()
        self.started_at = self.clock.wall()
        self.meters = Meters()
        self.tally = AllowedTally()
        try:
            self.audit = AuditSink(settings.audit, self.tally, self.clock, self.meters)
        except OSError as error:
            raise NoAudit(f"audit to {settings.audit.output}: {error.strerror or type(error).__name__}") from None
        self.quotas = Quotas()
        self.ring = KeyRing()
        self.keys = KeyKeeper(settings.issuers, self.ring, self.audit, self.clock, self.meters)
        self.changing = asyncio.Lock()
        """Held while anything is reloaded: one change at a time."""
        patterns = self.policy_patterns
        seen = fingerprint(patterns)  # before they are read, so that no change in between goes unnoticed
        first = self._load_policies()
        self.policies = LivePolicies(first, self._load_policies, self.audit, self.meters, self.clock.wall)
        self.watch = Watch(patterns, self._policies_changed, settings.policies.poll, seen)
        self.backends = {backend.name: BackendState(backend.name) for backend in settings.backends}
        self.upstreams = {backend.name: self.upstream(backend) for backend in settings.backends}
        self.controls = {
            backend.name: self._control(backend) for backend in settings.backends if backend.system == "kafka"
        }
        self._shared = Shared(self.policies, self.ring, self.quotas, self.audit, self.tally, self.meters, self.clock)
        self.listenings = {listener.name: self.listening(listener) for listener in settings.listeners}
        certificate_files = watched_files(settings.listeners)
        seen_certificates = fingerprint(certificate_files)
        self.certificates = LiveCertificates(
            settings.listeners, self._use_context, self.audit, self.meters, self.clock.wall
        )
        self.server = Server(
            [each.setup(listener_context(each.listener)) for each in self.listenings.values()],
            settings.limits,
            self.audit,
            self.meters,
            self.clock,
            self.answer,
        )
        self.certificate_watch = Watch(
            certificate_files, self._certificates_changed, settings.policies.poll, seen_certificates
        )
        self.live = LiveConfiguration(
            configuration, self._apply, self.changing, self.audit, self.meters, self.clock.wall
        )
        self._afterwards: set[asyncio.Task[None]] = set()

    @property
    def policy_patterns(self) -> tuple[str, ...]:
        """Where the policy files are."""
        folder = self.configuration.file.absolute().parent
        return tuple(str(folder / pattern) for pattern in self.settings.policies.files)

    def _load_policies(self) -> PolicySet:
        configuration = self.configuration
        folder = configuration.file.absolute().parent
        return config_policies.load(None, self.settings.policies.files, folder, configuration.vocabulary)

    async def _policies_changed(self, trigger: str) -> None:
        """If the configuration has changed with them, both are taken as one."""
        async with self.changing:
            if await asyncio.to_thread(lambda: self.live.stale):
                outcome = await self.live.reload_now("changed file")
                if outcome.result == "changed":
                    return
            await self.policies.reload("SIGHUP" if trigger == "poke" else "changed file")

    def _use_context(self, listener: str, context: SSL.Context) -> None:
        self.server.use_context(listener, context)

    async def _certificates_changed(self, trigger: str) -> None:
        async with self.changing:
            await self.certificates.reload("SIGHUP" if trigger == "poke" else "changed file")

    async def _apply(self, found: Configuration, trigger: str) -> Done:
        return await apply(self, found, trigger)

    async def reload_all(self, trigger: str) -> Outcome:
        """Look at the configuration, the policies and the certificates now. What came of the configuration; the others
        tell by what is in force, and by what they note."""
        async with self.changing:
            outcome = await self.live.reload_now(trigger)
            if outcome.result != "changed":
                await self.policies.reload(trigger)
                await self.certificates.reload(trigger)
        return outcome

    def hangup(self) -> None:
        """SIGHUP: look at everything now."""
        self.audit.reopen()
        self.afterwards(self._hung_up())

    async def _hung_up(self) -> None:
        await self.reload_all("SIGHUP")

    def afterwards(self, work: Coroutine[None, None, None]) -> None:
        """Let something be done that nobody waits for; at the stop it is given up."""
        task = asyncio.create_task(_logged(work), name="after a reload")
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)

    # ---- backends and listeners, for the start and the reload ---------------------------------------------------

    def upstream(self, backend: Backend) -> Upstream:
        """The way to a backend. Raises StartRefused."""
        return Upstream(backend, login, self.audit, self.clock, self.meters, lambda: self._renamed(backend.name))

    def _renamed(self, backend: str) -> None:
        """The gateway has another certificate towards a backend: no client may be called as it is now."""
        for listening in self.listenings.values():
            if listening.backend == backend:
                listening.renamed()
        self.afterwards(self._look_again())

    async def _look_again(self) -> None:
        await close_what_may_not_go_on(self)

    def _control(self, backend: Backend) -> ControlDriver:
        control = KafkaControl(self.backends[backend.name], backend)
        upstream = self.upstreams[backend.name]
        return ControlDriver(control, backend, upstream.dial, self.audit, self.clock, self.meters, upstream.renew)

    def add_backend(self, backend: Backend, upstream: Upstream) -> None:
        """A backend that was not there before; whoever adds it starts its parts."""
        self.backends[backend.name] = BackendState(backend.name)
        self.upstreams[backend.name] = upstream
        if backend.system == "kafka":
            self.controls[backend.name] = self._control(backend)

    def take_backend(self, name: str) -> list[Part]:
        """Take a backend out; gives its parts, for whoever closes them."""
        del self.backends[name]
        parts: list[Part] = [self.upstreams.pop(name)]
        control = self.controls.pop(name, None)
        if control is not None:
            parts.insert(0, control)
        return parts

    def listening(self, listener: Listener) -> Listening:
        """A listener on the backend that it names."""
        backend = listener.backend
        settings = self.settings
        return Listening(
            self._shared, self.backends[backend], self.upstreams[backend], listener, settings.issuers, settings.limits
        )

    # ---- its life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin everything that works in the background."""
        for part in self._parts():
            await part.start()

    async def close(self) -> None:
        """End it, in the other order, whatever has come and gone since the start."""
        for task in list(self._afterwards):
            task.cancel()
        await asyncio.gather(*self._afterwards, return_exceptions=True)
        for part in reversed(self._parts()):
            await part.close()

    def _parts(self) -> list[Part]:
        return [
            self.keys,
            *self.upstreams.values(),
            *self.controls.values(),
            self.policies,
            self.live,
            self.watch,
            self.certificate_watch,
        ]

    async def answer(self, ask: Ask) -> Fact:
        """What sessions ask for: keys of an issuer, topics of a backend."""
        if isinstance(ask, KeysWanted):
            return await self.keys.refresh(ask)
        if isinstance(ask, TopicFactsWanted | TopicsToCreate) and ask.backend in self.controls:
            return await self.controls[ask.backend].answer(ask)
        return Unavailable(ask)

    def announce(self, event: Event, **fields: FieldValue) -> None:
        """One audit line of the process itself."""
        self.audit(AuditEvent(event, self.clock.wall(), fields=MappingProxyType(fields)))

    def announce_start(self) -> None:
        """Say in audit and log what runs, under which configuration, and what an operator should know of it."""
        configuration = self.configuration
        self.announce("started", version=__version__, listeners=tuple(each.name for each in self.settings.listeners))
        self.announce("config-revision", revision=configuration.revision, file=str(configuration.file))
        for warning in configuration.warnings:
            log.warning("%s", warning)
            self.announce("warning", warning=warning)

    def missing(self) -> list[str]:
        """What keeps the gateway from serving all that is configured; for /readyz."""
        found = list(self.server.missing())
        listened = {listener.backend for listener in self.settings.listeners}
        found += [
            f"backend {name}: no broker was reached yet" + self.controls[name].last_error_words()
            for name, state in self.backends.items()
            if name in listened and not state.ready
        ]
        for name in sorted(listened):
            found += self.upstreams[name].missing()
        found += self.keys.ready()
        found += self.certificates.ended()
        return found

    def notes(self) -> list[str]:
        """What is not as it should be, though clients are served."""
        found = [note for upstream in self.upstreams.values() for note in upstream.notes()]
        found += [
            f"backend {name}: not reached at the last look" + control.last_error_words()
            for name, control in self.controls.items()
            if self.backends[name].ready and control.last_error_words()
        ]
        found += [
            f"issuer {name}: the last good keys are kept ({why})"
            for name, why in self.keys.last_errors().items()
            if self.ring.get(name) is not None
        ]
        found += self.certificates.notes()
        found += self.live.notes()
        found += self.policies.notes()
        return found

    def readings(self) -> Iterator[Reading]:
        """Gauges that are looked up when Prometheus asks."""
        self.server.sample()
        yield POLICY_AGE, (), self.clock.wall() - self.policies.loaded_at
        yield POLICY_REFUSED, (), float(self.policies.refused_since is not None)
        yield READY, (), float(not self.missing())
        for name, state in self.backends.items():
            yield BACKEND_READY, (name,), float(state.ready)
        yield from self.keys.readings()
        yield from self.certificates.readings()
        yield from self.live.readings()


async def _logged(work: Coroutine[None, None, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("something after a reload failed")

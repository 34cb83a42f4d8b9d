"""The gateway put together: which part is handed to which. No part finds another by itself.

`Gateway` is made from a checked configuration; ops.run starts and stops it. What cannot be safe is refused here, before
a port is bound: StartRefused names the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from OpenSSL import SSL

from gateway import __version__
from gateway.core.audit import AllowedTally, AuditEvent, Event, FieldValue
from gateway.core.failed_logins import FailedLogins
from gateway.core.keys import KeyRing
from gateway.core.limits import Quotas
from gateway.core.meters import Meter, Meters, Reading
from gateway.core.policy import PolicySet
from gateway.core.session import Ask, Fact, KeysWanted, Unavailable
from gateway.core.settings import Backend, Issuer, Listener
from gateway.core.shared_failed_logins import OtherFailures
from gateway.edge.admission import Others
from gateway.edge.audit import AuditSink, Turns
from gateway.edge.clock import SystemClock
from gateway.edge.control import Control, ControlDriver
from gateway.edge.keys import KeyKeeper, NextIssuers
from gateway.edge.server import Server
from gateway.edge.tickets import Tickets, give
from gateway.edge.tls import stem
from gateway.edge.watch import Watch, fingerprint
from gateway.kafka.backend import BackendState
from gateway.kafka.control import KafkaControl
from gateway.kafka.login import login
from gateway.kafka.plan import TopicFactsWanted, TopicsToCreate
from gateway.ops import compiled_pieces, config_policies
from gateway.ops import pulsar_parts as pulsar
from gateway.ops.admin_certificate import AdminCertificate
from gateway.ops.certificate_reload import GivenContext, LiveCertificates, listener_context, watched_files
from gateway.ops.config import Configuration
from gateway.ops.listening import Listening, Shared
from gateway.ops.live_configuration import Apply, Done, LiveConfiguration, Outcome
from gateway.ops.policy_reload import LivePolicies
from gateway.ops.upstreams import Upstream
from gateway.pulsar.asks import BrokerWanted
from gateway.pulsar.backend import PulsarBackend

BACKEND_READY = Meter("gateway_backend_ready", "1 when some broker of it was reached.", ("backend",), "gauge", "least")
READY = Meter("gateway_ready", "1 when nothing is missing, as /readyz says.", kind="gauge", over_workers="least")

log = logging.getLogger("gateway")


class NoAudit(Exception):
    """The audit cannot be written: what nobody would see is not let happen. Says which file and why."""


class Part(Protocol):
    """What works in the background between the start and the end."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class Keys(Protocol):
    """Issuers' keys as sessions and /readyz ask for them: fetched here (edge.keys), or handed in by another process."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def refresh(self, wanted: KeysWanted) -> Fact: ...

    async def prepare(self, issuers: Sequence[Issuer]) -> NextIssuers: ...

    def use(self, found: NextIssuers) -> None: ...

    async def settle(self) -> None: ...

    def ready(self) -> tuple[str, ...]: ...

    def notes(self) -> list[str]: ...

    def last_errors(self) -> dict[str, str]: ...

    def readings(self) -> Iterator[Reading]: ...


@dataclass(frozen=True, slots=True)
class Given:
    """What one worker of several is handed by those that watch files, fetch keys and know of the other workers; a
    gateway of one process is given nothing, and does it all itself."""

    contexts: Mapping[str, GivenContext] = field(default_factory=lambda: MappingProxyType({}))
    """By listener, made before the workers were forked."""
    policies: PolicySet | None = None
    keys: Callable[[KeyRing], Keys] | None = None
    tickets: Tickets | None = None
    """Whose stems were made before the workers were forked."""
    turns: Turns | None = None
    quotas: Quotas | None = None
    others: Others | None = None
    failures: OtherFailures | None = None
    workers: int = 1
    connections_most: int | None = None
    """As many as there is room for in the memory that the workers share."""


class Gateway:
    """All parts of one process. The loop it is started in is the loop of everything."""

    def __init__(self, configuration: Configuration, given: Given = Given()) -> None:
        """Raises StartRefused; Mistakes if the policies were broken just now; NoAudit."""
        self.configuration = configuration
        self.given = given
        self.settings = settings = configuration.settings
        compiled_pieces.check(settings)
        self.clock = SystemClock()
        self.started_at = self.clock.wall()
        self.meters = Meters()
        self.tally = AllowedTally()
        try:
            self.audit = AuditSink(settings.audit, self.tally, self.clock, self.meters, given.turns)
        except OSError as error:
            raise NoAudit(f"audit to {settings.audit.output}: {error.strerror or type(error).__name__}") from None
        self.quotas = given.quotas if given.quotas is not None else Quotas()
        self.failures = FailedLogins(given.failures)
        self.ring = KeyRing()
        self.keys: Keys = (
            given.keys(self.ring)
            if given.keys is not None
            else KeyKeeper(settings.issuers, self.ring, self.audit, self.clock, self.meters)
        )
        self.changing = asyncio.Lock()
        """Held while anything is reloaded: one change at a time."""
        patterns = self.policy_patterns
        seen = fingerprint(patterns)  # before they are read, so that no change in between goes unnoticed
        alone = given.policies is None
        first = given.policies if given.policies is not None else self._load_policies()
        told = self.audit if alone else _untold
        self.policies = LivePolicies(first, self._load_policies, told, self.meters, self.clock.wall)
        self.watch = Watch(patterns, self._policies_changed, settings.policies.poll, seen)
        self.backends = {backend.name: self._state(backend) for backend in settings.backends}
        self.upstreams = {backend.name: self.upstream(backend) for backend in settings.backends}
        self.controls = {
            backend.name: self._control(backend) for backend in settings.backends if backend.system != "kinesis"
        }
        self._shared = Shared(
            self.policies, self.ring, self.quotas, self.failures, self.audit, self.tally, self.meters, self.clock
        )
        self.listenings = {listener.name: self.listening(listener) for listener in settings.listeners}
        self.tickets = given.tickets if given.tickets is not None else Tickets(stem, self.clock.monotonic)
        certificate_files = watched_files(settings.listeners)
        seen_certificates = fingerprint(certificate_files)
        self.certificates = LiveCertificates(
            settings.listeners,
            self._use_context,
            told,
            self.meters if alone else Meters(),
            self.clock.wall,
            given.contexts,
        )
        tls = settings.admin.tls if alone else None
        self.admin_certificate = AdminCertificate(tls, self.clock.wall) if tls is not None else None
        self.server = Server(
            [each.setup(self._context(each.listener)) for each in self.listenings.values()],
            settings.limits,
            self.audit,
            self.meters,
            self.clock,
            self.answer,
            given.others,
            given.workers,
        )
        self.certificate_watch = Watch(
            certificate_files, self._certificates_changed, settings.policies.poll, seen_certificates
        )
        self.live = LiveConfiguration(
            configuration, self._apply, self.changing, self.audit, self.meters, self.clock.wall
        )
        self._afterwards: set[asyncio.Task[object]] = set()
        self.apply: Apply | None = None
        """Takes a changed configuration, and `look_again` closes connections that may not go on: see ops.reload."""
        self.look_again: Callable[[], Coroutine[None, None, object]] | None = None

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

    def _context(self, listener: Listener) -> SSL.Context:
        made = self.given.contexts.get(listener.name)
        context = made.context if made is not None else listener_context(listener)
        give(context, self.tickets)
        return context

    def _use_context(self, listener: str, context: SSL.Context) -> None:
        give(context, self.tickets)
        self.server.use_context(listener, context)

    async def _certificates_changed(self, trigger: str) -> None:
        async with self.changing:
            await self.certificates.reload("SIGHUP" if trigger == "poke" else "changed file")

    async def _apply(self, found: Configuration, trigger: str) -> Done:
        assert self.apply is not None
        return await self.apply(found, trigger)

    async def reload_all(self, trigger: str) -> Outcome:
        """Look at the configuration, the policies and the certificates now. What came of the configuration; the others
        tell by what is in force, and by what they note."""
        async with self.changing:
            outcome = await self.live.reload_now(trigger)
            if outcome.result != "changed":
                await self.policies.reload(trigger)
                await self.certificates.reload(trigger)
        return outcome

    async def reloaded(self) -> Mapping[str, object]:
        """Look at everything now; what came of it, for ``gateway reload``."""
        outcome = await self.reload_all("gateway reload")
        refused = [*self.policies.notes(), *self.certificates.notes()]
        return outcome.described(self.live.revision, self.policies.current.revision, refused)

    def hangup(self) -> None:
        """SIGHUP: look at everything now."""
        self.audit.reopen()
        self.afterwards(self._hung_up())

    async def _hung_up(self) -> None:
        await self.reload_all("SIGHUP")

    def afterwards(self, work: Coroutine[None, None, object]) -> None:
        """Let something be done that nobody waits for; at the stop it is given up."""
        task = asyncio.create_task(_logged(work), name="after a reload")
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)

    # ---- backends and listeners, for the start and the reload ---------------------------------------------------

    def upstream(self, backend: Backend) -> Upstream:
        """The way to a backend. Raises StartRefused."""
        before = login if backend.system == "kafka" else None
        return Upstream(backend, before, self.audit, self.clock, self.meters, lambda: self._renamed(backend.name))

    def _renamed(self, backend: str) -> None:
        """The gateway has another certificate towards a backend: no client may be called as it is now."""
        for listening in self.listenings.values():
            if listening.backend == backend:
                listening.renamed()
        if self.look_again is not None:
            self.afterwards(self.look_again())

    def _state(self, backend: Backend) -> BackendState | PulsarBackend:
        return pulsar.state(backend, self.clock) if backend.system == "pulsar" else BackendState(backend.name)

    def _control(self, backend: Backend) -> ControlDriver:
        state, upstream = self.backends[backend.name], self.upstreams[backend.name]
        control: Control
        if isinstance(state, PulsarBackend):
            control = pulsar.control(state, lambda: upstream.account, backend, upstream.dial_web)
        else:
            control = KafkaControl(state, backend)
        return ControlDriver(control, backend, upstream.dial, self.audit, self.clock, self.meters, upstream.renew)

    def add_backend(self, backend: Backend, upstream: Upstream) -> None:
        """A backend that was not there before; whoever adds it starts its parts."""
        self.backends[backend.name] = self._state(backend)
        self.upstreams[backend.name] = upstream
        if backend.system != "kinesis":
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
            self._shared, self.backends[backend], self.upstreams[backend], listener, settings.issuers, settings.limits,
            settings.listeners,
        )  # fmt: skip

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
        if isinstance(ask, TopicFactsWanted | TopicsToCreate | BrokerWanted) and ask.backend in self.controls:
            return await self.controls[ask.backend].answer(ask)
        return Unavailable(ask)

    def announce(self, event: Event, **fields: FieldValue) -> None:
        """One audit line of the process itself."""
        self.audit(AuditEvent(event, self.clock.wall(), fields=MappingProxyType(fields)))

    def missing(self) -> list[str]:
        """What keeps the gateway from serving all that is configured; for /readyz."""
        found = list(self.server.missing())
        listened = {listener.backend for listener in self.settings.listeners}
        found += [
            f"backend {name}: no broker was reached yet" + self.controls[name].last_error_words()
            for name, state in self.backends.items()
            if name in listened and not state.ready
        ]
        by_web = {listener.backend for listener in self.settings.listeners if listener.protocol == "pulsar-http"}
        found += [
            f"backend {name}: its web service was not reached yet" + self.controls[name].last_error_words()
            for name in sorted(by_web)
            if isinstance(state := self.backends[name], PulsarBackend) and not state.web_reached
        ]
        for name in sorted(listened):
            found += self.upstreams[name].missing()
        found += self.keys.ready()
        found += self.certificates.ended()
        if self.admin_certificate is not None:
            found += self.admin_certificate.ended()
        return found

    def notes(self) -> list[str]:
        """What is not as it should be, though clients are served."""
        found = [note for upstream in self.upstreams.values() for note in upstream.notes()]
        found += [
            f"backend {name}: not reached at the last look" + control.last_error_words()
            for name, control in self.controls.items()
            if self.backends[name].ready and control.last_error_words()
        ]
        found += [*self.keys.notes(), *self.certificates.notes()]
        if self.admin_certificate is not None:
            found += self.admin_certificate.notes()
        return [*found, *self.live.notes(), *self.policies.notes()]

    def readings(self) -> Iterator[Reading]:
        """Gauges that are looked up when Prometheus asks."""
        self.server.sample()
        yield READY, (), float(not self.missing())
        yield from compiled_pieces.readings()
        for name, state in self.backends.items():
            yield BACKEND_READY, (name,), float(state.ready)
        yield from self.keys.readings()
        if self.given.policies is None:  # else by the process that keeps them true
            yield from self.policies.readings()
            yield from self.certificates.readings()
            yield from self.live.readings()


class Announce(Protocol):
    """Writes one audit line of the process itself."""

    def __call__(self, event: Event, **fields: FieldValue) -> None: ...


def announce_start(announce: Announce, configuration: Configuration, workers: int = 1) -> None:
    """Say in audit and log what runs, under which configuration, and what an operator should know of it."""
    names = tuple(each.name for each in configuration.settings.listeners)
    announce("started", version=__version__, listeners=names, workers=workers)
    announce("config-revision", revision=configuration.revision, file=str(configuration.file))
    for warning in (*configuration.warnings, *compiled_pieces.warnings()):
        log.warning("%s", warning)
        announce("warning", warning=warning)


def _untold(event: AuditEvent) -> None:
    """What all workers find out at the same time is told once, by the process that told them."""
    del event


async def _logged(work: Coroutine[None, None, object]) -> None:
    try:
        await work
    except Exception:
        log.exception("something after a reload failed")

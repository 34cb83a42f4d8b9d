"""From one configuration to the next in a gateway that serves: `apply`, which `attach` gives to it.

`prepare` makes everything ready that can fail: files are read, keys fetched that come from another place, a backend
that changes is reached under its new settings, new ports are bound. Whatever fails is told as `gateway check` tells its
mistakes, and nothing has changed. `commit` then puts all of it in place in one turn of the loop, and `settle` does
what takes time: ends what belonged to the old configuration, begins what belongs to the new one, and looks at the
connections that are open. They go on, but for these:

* what they proved is not believed any more (core.standing), or their principal has a name of the gateway's own now:
  they are closed at once, with the reason;
* their listener is gone or leads to another backend, or the gateway has another account for their backend: what is
  under way is answered, then they are closed, spread over time as at a stop.

Limits hold for connections from then on; who is open keeps what it began with, and nobody is closed because a number
was lowered. One of several workers calls `prepare` and `commit` apart, so that all of them change, or none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.core.documents import Mistake, Mistakes
from gateway.core.reasons import Reason
from gateway.core.session import Endpoint, Identified
from gateway.core.settings import Backend, Limits, Settings
from gateway.core.standing import no_longer_believed
from gateway.edge import reasons
from gateway.edge.audit import Output
from gateway.edge.connections import Open
from gateway.edge.keys import NextIssuers, NoNewKeys
from gateway.edge.process import Dial, DialFailed
from gateway.edge.reasons import StartRefused
from gateway.edge.server import Ports
from gateway.edge.tickets import give
from gateway.kafka.reasons import PRINCIPAL_IS_GATEWAY_ACCOUNT
from gateway.ops import compiled_pieces, differences, pulsar_parts
from gateway.ops.certificate_reload import ListenerRefused, Loaded, watched_files
from gateway.ops.config import Configuration
from gateway.ops.config_changes import in_force, moved_listeners, renamed_systems
from gateway.ops.listening import Listening
from gateway.ops.live_configuration import Done
from gateway.ops.own_log import set_log_level
from gateway.ops.upstreams import Upstream, Way
from gateway.pulsar.backend import PulsarBackend

if TYPE_CHECKING:
    from gateway.ops.composition import Gateway

PROBED_MAX = 3
"""Bootstrap addresses at which it is tried whether a changed backend can be reached."""
CLOSED_PER_TURN = 50
"""Connections that one turn of the loop closes."""

log = logging.getLogger("gateway.reload")


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a new configuration needs, ready; `undo` gives it back."""

    configuration: Configuration
    settings: Settings
    waiting: tuple[str, ...]
    certificates: Mapping[str, Loaded]
    ways: Mapping[str, Way]
    fresh: Mapping[str, Upstream]
    issuers: NextIssuers
    output: Output | None
    limits: Limits
    ports: Ports
    undo: contextlib.AsyncExitStack

    async def abandon(self) -> None:
        """Nothing comes of it."""
        await self.undo.aclose()


def attach(gateway: Gateway) -> None:
    """Let a gateway take changed configurations."""
    gateway.apply = partial(apply, gateway)
    gateway.look_again = partial(close_what_may_not_go_on, gateway)


async def apply(gateway: Gateway, new: Configuration, trigger: str) -> Done:
    """Take a configuration that has passed every check. Raises Mistakes, and then nothing has changed."""
    prepared = await prepare(gateway, new)
    return await settle(gateway, commit(gateway, prepared, trigger))


async def prepare(gateway: Gateway, new: Configuration) -> Prepared:
    """Everything that can fail. Raises Mistakes."""
    refuse_renamed_systems(gateway.settings, new)
    found = in_force(gateway.settings, new.settings, gateway.given.connections_most)
    settings = found.settings
    async with contextlib.AsyncExitStack() as undo:
        try:
            await asyncio.to_thread(compiled_pieces.check, settings)
            certificates = await asyncio.to_thread(gateway.certificates.prepare, settings.listeners)
            ways, fresh = await _ways(gateway, new, settings, undo)
            issuers = await gateway.keys.prepare(settings.issuers)
            output = gateway.audit.prepare(settings.audit)
            if output is not None:
                undo.callback(output.close)
            limits = gateway.server.fitting(settings.limits)
            ports = gateway.server.prepare(settings.listeners)
            undo.callback(gateway.server.abandon, ports)
        except (ListenerRefused, NoNewKeys, StartRefused, OSError) as error:
            raise Mistakes([mistake(new, error)]) from None
        kept = undo.pop_all()
    return Prepared(new, settings, found.waiting, certificates, ways, fresh, issuers, output, limits, ports, kept)


def refuse_renamed_systems(running: Settings, new: Configuration) -> None:
    """Raises Mistakes."""
    wrong = [
        new.mistake(("backends", index, "system"), backend.system, f"{old.system}, or a name of its own; or a restart")
        for index, old, backend in renamed_systems(running, new.settings)
    ]
    if wrong:
        raise Mistakes(wrong)


async def _ways(
    gateway: Gateway, new: Configuration, settings: Settings, undo: contextlib.AsyncExitStack
) -> tuple[dict[str, Way], dict[str, Upstream]]:
    """How backends are reached that have changed, and those that are new. Raises Mistakes."""
    ways: dict[str, Way] = {}
    fresh: dict[str, Upstream] = {}
    for index, backend in enumerate(settings.backends):
        upstream = gateway.upstreams.get(backend.name)
        try:
            if upstream is None:
                fresh[backend.name] = gateway.upstream(backend)
                continue
            if upstream.way.backend == backend:
                continue
            way = ways[backend.name] = await asyncio.to_thread(upstream.prepare, backend)
        except StartRefused as refused:
            raise Mistakes([_refused(new, ("backends", index), refused)]) from None
        undo.push_async_callback(upstream.abandon, way)
        why = await upstream.begin(way) or await _unreached(gateway, upstream.way.backend, way)
        if why:
            expected = "settings under which brokers are reached, as they are under those in force"
            raise Mistakes([new.mistake(("backends", index), why, expected)])
    return ways, fresh


async def _unreached(gateway: Gateway, old: Backend, way: Way) -> str:
    """Why no broker, or no web service of one, would be reached any more; "" if one is, or if none is as it is."""
    new = way.backend
    control, state = gateway.controls.get(new.name), gateway.backends[new.name]
    if control is None or not state.ready or control.last_error_words():
        return ""
    if _reached_by(old) != _reached_by(new):
        why = await _undialled(new.bootstrap, way.dial)
        if why:
            return why
    reached = isinstance(state, PulsarBackend) and state.web_reached
    if not reached or old.web is None or new.web is None or way.web is None:
        return ""
    return await _undialled(new.web.addresses, way.web) if _reached_by(old.of_web) != _reached_by(new.of_web) else ""


def _reached_by(backend: Backend) -> tuple[object, ...]:
    """What says how its brokers are dialled, and as whom."""
    return backend.bootstrap, backend.tls, backend.account, backend.insecure_plaintext


async def _undialled(addresses: Sequence[str], dial: Dial) -> str:
    """Why none of these can be dialled, "" if one can."""
    failures = []
    for address in addresses[:PROBED_MAX]:
        try:
            stream = await dial(Endpoint.of(address))
        except DialFailed as failed:
            failures.append(str(failed))
            continue
        stream.finish()
        stream.close()
        return ""
    return "; ".join(failures)


def mistake(new: Configuration, error: ListenerRefused | NoNewKeys | StartRefused | OSError) -> Mistake:
    """What failed while a configuration was prepared, at its place in the file. An OSError is the audit's."""
    if isinstance(error, ListenerRefused):
        return _refused(new, ("listeners", _index(new.settings.listeners, error.listener.name), "tls"), error.refused)
    if isinstance(error, NoNewKeys):
        path = ("issuers", _index(new.settings.issuers, error.issuer), "keys")
        expected = "a place where keys of the issuer are now; those in force come from elsewhere"
        return new.mistake(path, error.why, expected)
    if isinstance(error, StartRefused):
        return _refused(new, ("listeners",), error)
    why = f"{new.settings.audit.output}: {error.strerror or type(error).__name__}"
    return new.mistake(("audit", "output"), why, "a file that can be written, or stdout")


def _index(named: Sequence[object], name: str) -> int:
    return next(index for index, each in enumerate(named) if getattr(each, "name", "") == name)


def _refused(new: Configuration, path: tuple[str | int, ...], refused: StartRefused) -> Mistake:
    return new.mistake(path, f"{refused.detail} ({refused.reason.code})", refused.reason.remedy)


@dataclass(frozen=True, slots=True)
class Committed:
    """What is left to do once the new configuration holds: see `settle`."""

    done: Done
    gone: tuple[Open, ...]
    returning: tuple[Open, ...]
    backends_gone: tuple[str, ...]
    begun: tuple[str, ...]


def commit(gateway: Gateway, prepared: Prepared, trigger: str) -> Committed:
    """Put it in force: nothing here fails, and nothing is awaited."""
    old, settings = gateway.settings, prepared.settings
    prepared.undo.pop_all()
    lines = list(gateway.server.connections())
    moved = moved_listeners(old, settings)
    gone = tuple(line for line in lines if line.listener in moved)
    accounts = {name for name, way in prepared.ways.items() if _shown_otherwise(gateway.upstreams[name], way)}
    by_account = {each.name for each in old.listeners if each.backend in accounts} - moved
    returning = tuple(line for line in lines if line.listener in by_account)

    changes = tuple(differences.settings_changes(old, settings))
    gateway.settings, gateway.configuration = settings, prepared.configuration
    _use_backends(gateway, prepared)
    gateway.keys.use(prepared.issuers)
    _use_listeners(gateway, prepared, moved)
    if gateway.given.policies is None:
        gateway.policies.use(prepared.configuration.policies, trigger)
    else:  # the office tells of it
        gateway.policies.take(prepared.configuration.policies)
    gateway.audit.use(settings.audit, prepared.output)
    gateway.watch.use(gateway.policy_patterns, settings.policies.poll, ())
    gateway.certificate_watch.use(watched_files(settings.listeners), settings.policies.poll, ())
    if settings.log_level != old.log_level:
        set_log_level(settings.log_level)
    left = {each.name for each in old.backends} - {each.name for each in settings.backends}
    done = Done(changes, prepared.waiting, 0, len(gone) + len(returning))
    return Committed(done, gone, returning, tuple(left), tuple(prepared.fresh))


def _shown_otherwise(upstream: Upstream, way: Way) -> bool:
    """Whether brokers are shown somebody else from now on: what they were shown is not taken back by them."""
    old, new = upstream.way.backend, way.backend
    return way.account is not upstream.account or (
        new.system == "pulsar" and pulsar_parts.shows(old) != pulsar_parts.shows(new)
    )


def _use_backends(gateway: Gateway, prepared: Prepared) -> None:
    for backend in prepared.settings.backends:
        if backend.name in prepared.fresh:
            gateway.add_backend(backend, prepared.fresh[backend.name])
        elif backend.name in prepared.ways:
            upstream = gateway.upstreams[backend.name]
            upstream.use(prepared.ways[backend.name])
            state = gateway.backends[backend.name]
            if isinstance(state, PulsarBackend):
                pulsar_parts.use(state, backend)
            if backend.name in gateway.controls:
                gateway.controls[backend.name].use(backend, upstream.renew)


def _use_listeners(gateway: Gateway, prepared: Prepared, moved: frozenset[str]) -> None:
    settings = prepared.settings
    before, gateway.listenings = gateway.listenings, {}
    for listener in settings.listeners:
        listening = before.get(listener.name)
        if listening is None or listener.name in moved:
            listening = gateway.listening(listener)
        else:
            listening.use(listener, settings.issuers, settings.limits, settings.listeners)
        gateway.listenings[listener.name] = listening
    for loaded in prepared.certificates.values():
        give(loaded.context, gateway.tickets)
    setups = [gateway.listenings[name].setup(loaded.context) for name, loaded in prepared.certificates.items()]
    gateway.server.use(setups, prepared.limits, prepared.ports)
    gateway.certificates.use(prepared.certificates)


async def settle(gateway: Gateway, committed: Committed) -> Done:
    """Begin and end what the change began and ended, and close or drain the connections that cannot go on."""
    done = await closing(gateway, committed)
    await begin(gateway, committed)
    return done


async def closing(gateway: Gateway, committed: Committed) -> Done:
    """Close the connections that cannot go on, and begin to drain those that are let go."""
    leaving = frozenset(id(line) for line in (*committed.gone, *committed.returning))
    closed = await close_what_may_not_go_on(gateway, leaving)
    gateway.afterwards(_let_go(gateway, committed))
    return replace(committed.done, closed=closed)


async def begin(gateway: Gateway, committed: Committed) -> None:
    """Begin what is new, and end what is gone."""
    await gateway.keys.settle()
    for name in committed.begun:
        await gateway.upstreams[name].start()
        if name in gateway.controls:
            await gateway.controls[name].start()
    for upstream in list(gateway.upstreams.values()):
        await upstream.settle()


async def _let_go(gateway: Gateway, committed: Committed) -> None:
    backends = [gateway.take_backend(name) for name in committed.backends_gone]
    await asyncio.gather(
        gateway.server.let_go(committed.gone, reasons.LISTENER_GONE),
        gateway.server.let_go(committed.returning, reasons.BACKEND_ACCOUNT_CHANGED),
    )
    for parts in backends:
        for part in parts:
            await part.close()


async def close_what_may_not_go_on(gateway: Gateway, leaving: frozenset[int] = frozenset()) -> int:
    """Look at every connection once, but for those that leave anyway; returns how many were closed."""
    closed = 0
    for line in list(gateway.server.connections()):
        if line.pump is None or id(line) in leaving:
            continue
        found = _why_not(gateway, line)
        if found is not None:
            line.pump.abort(*found)
            closed += 1
            if closed % CLOSED_PER_TURN == 0:
                await asyncio.sleep(0)
    if closed:
        log.warning("%d connections were closed: what they had proved is not believed any more", closed)
    return closed


def _why_not(gateway: Gateway, line: Open) -> tuple[Reason, str] | None:
    """Why a connection may not go on under the configuration in force."""
    listening: Listening | None = gateway.listenings.get(line.listener)
    identity = line.session.identity if isinstance(line.session, Identified) else None
    if listening is None or identity is None:
        return None
    words = no_longer_believed(identity, listening.listener, gateway.settings.issuers, gateway.clock.wall())
    if words:
        return reasons.NO_LONGER_BELIEVED, words
    upstream = gateway.upstreams[listening.backend]
    own = upstream.account.names if upstream.account is not None else frozenset()
    if identity.principal.name in own | upstream.names:
        return PRINCIPAL_IS_GATEWAY_ACCOUNT, str(identity.principal)
    return None

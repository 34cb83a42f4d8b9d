"""The listeners' certificates, keys, client CAs and revocation lists, and how they change while the gateway runs.

A listener's files come into force together, for new handshakes; connections that are open stay with what they have.
Files that cannot serve (unreadable, a key of another certificate, expired, for other names, a stale revocation list)
are refused as they would be at the start; the old ones stay in force, and log, audit, metrics and /readyz say so. One
listener's files do not hold back another's. Composed by ops.composition; edge.watch awaits one reload at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from cryptography import x509
from OpenSSL import SSL

from gateway.core.audit import Audit, AuditEvent, Event, FieldValue
from gateway.core.meters import Meter, Meters, Reading
from gateway.core.settings import Listener
from gateway.edge.reasons import StartRefused
from gateway.edge.tls import PEM_BYTES_MAX, certificate_leaves, server_context

RELOADS = Meter(
    "gateway_certificate_reloads_total", "A listener's TLS files looked at while running.", ("listener", "result")
)
REFUSED = Meter(
    "gateway_certificates_refused", "1 while a listener's TLS files cannot serve and older ones are in force.",
    ("listener",), "gauge",
)  # fmt: skip
ENDS = Meter(
    "gateway_certificate_leaves_timestamp_seconds", "When the first certificate in force of a listener ends.",
    ("listener",), "gauge",
)  # fmt: skip

Leaves = tuple[x509.Certificate, ...]

log = logging.getLogger("gateway.certificates")


def listener_context(listener: Listener) -> SSL.Context:
    """Raises StartRefused."""
    tls, names = listener.tls, listener.host_names()
    return server_context(tls, *names, sni=listener.sni, alpn=listener.alpn, listener=listener.name)


@dataclass(frozen=True, slots=True)
class GivenContext:
    """A listener's context that was made by another process, before this one was forked from it."""

    context: SSL.Context
    revision: str
    leaves: Leaves


def given_context(listener: Listener, known: GivenContext | None = None) -> GivenContext:
    """The context of a listener's files; `known` itself if it is of what they hold. Raises StartRefused."""
    revision = _revision(listener)  # first: a file that changes after this is seen as another change
    if known is not None and known.revision == revision:
        return known
    return GivenContext(listener_context(listener), revision, certificate_leaves(listener.tls))


def watched_files(listeners: Sequence[Listener]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for listener in listeners for path in listener.tls.files))


@dataclass(slots=True)
class _Held:
    """What is in force for a listener. `refused`: why what lies on the disk is not, and since when."""

    listener: Listener
    revision: str
    leaves: Leaves
    refused: StartRefused | None = None
    refused_since: float = 0.0

    @property
    def ends(self) -> float:
        """When the first of them ends, in seconds since the epoch."""
        return min(leaf.not_valid_after_utc.timestamp() for leaf in self.leaves)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A listener's files, read, under a configuration that is not in force yet."""

    listener: Listener
    revision: str
    leaves: Leaves
    context: SSL.Context


class ListenerRefused(Exception):
    """A listener's files cannot serve under the new configuration."""

    def __init__(self, listener: Listener, refused: StartRefused) -> None:
        super().__init__(f"listener {listener.name}: {refused}")
        self.listener = listener
        self.refused = refused


class LiveCertificates:
    """What each listener's new handshakes take. `use` is told a listener's name and its new context."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        use: Callable[[str, SSL.Context], None],
        audit: Audit,
        meters: Meters,
        wall: Callable[[], float],
        given: Mapping[str, GivenContext] = MappingProxyType({}),
    ) -> None:
        """Made before the listeners' first contexts, so that no change in between is taken for known; `given` are
        contexts that were made before. Raises StartRefused."""
        self._use = use
        self._audit = audit
        self._meters = meters
        self._wall = wall
        self._held = [
            _Held(each, given[each.name].revision, given[each.name].leaves)
            if each.name in given
            else _Held(each, _revision(each), certificate_leaves(each.tls))
            for each in listeners
        ]

    def prepare(self, listeners: Sequence[Listener]) -> Mapping[str, Loaded]:
        """What these listeners' files come to now, by listener. Reads files. Raises ListenerRefused."""
        found = {}
        for listener in listeners:
            try:
                found[listener.name] = Loaded(listener, *_loaded(listener))
            except StartRefused as refused:
                raise ListenerRefused(listener, refused) from None
        return found

    def use(self, found: Mapping[str, Loaded]) -> None:
        """These are the listeners now, each with what `prepare` read for it."""
        self._held = [_Held(each.listener, each.revision, each.leaves) for each in found.values()]

    async def reload(self, trigger: str) -> bool:
        """Take what has changed and can serve. Returns whether nothing was refused."""
        for held in self._held:
            await self._look(held, trigger)
        return not any(held.refused for held in self._held)

    async def _look(self, held: _Held, trigger: str) -> None:
        name = held.listener.name
        try:
            found = await asyncio.to_thread(_load, held.listener, None if held.refused else held.revision)
        except StartRefused as refused:
            self._refuse(held, refused, trigger)
            return
        held.refused = None
        if found is None or found[0] == held.revision:
            self._meters.cell(RELOADS, name, "unchanged").value += 1
            return
        previous = held.revision
        held.revision, held.leaves, context = found
        self._use(name, context)
        self._meters.cell(RELOADS, name, "changed").value += 1
        log.info("listener %s takes certificates of revision %s (was %s)", name, held.revision, previous)
        self._announce("config-revision", listener=name, certificates=held.revision, previous=previous, trigger=trigger)

    def _refuse(self, held: _Held, refused: StartRefused, trigger: str) -> None:
        name = held.listener.name
        if held.refused is None:
            held.refused_since = self._wall()
        held.refused = refused
        self._meters.cell(RELOADS, name, "refused").value += 1
        log.error("the TLS files of listener %s were refused, the old ones stay in force: %s", name, refused)
        self._announce(
            "warning",
            warning="TLS files were refused; the old ones stay in force",
            listener=name,
            reason=refused.reason.code,
            detail=refused.detail,
            trigger=trigger,
        )

    def shown(self) -> Iterator[tuple[str, x509.Certificate, str]]:
        """(listener, a certificate in force, why the files on disk are refused) of every certificate."""
        for held in self._held:
            refused = f"{held.refused.reason.code}: {held.refused.detail}" if held.refused is not None else ""
            yield from ((held.listener.name, leaf, refused) for leaf in held.leaves)

    def notes(self) -> list[str]:
        """What is refused now, for /readyz."""
        return [
            f"listener {held.listener.name}: TLS files refused for {self._wall() - held.refused_since:.0f} s "
            f"({held.refused.reason.code}: {held.refused.detail}); the old ones are in force"
            for held in self._held
            if held.refused is not None
        ]

    def ended(self) -> list[str]:
        """Listeners whose certificate in force has ended: every client refuses them."""
        now = self._wall()
        return [f"listener {held.listener.name}: its certificate has ended" for held in self._held if held.ends <= now]

    def readings(self) -> Iterator[Reading]:
        for held in self._held:
            yield REFUSED, (held.listener.name,), float(held.refused is not None)
            yield ENDS, (held.listener.name,), held.ends

    def _announce(self, event: Event, **fields: FieldValue) -> None:
        self._audit(AuditEvent(event, self._wall(), fields=MappingProxyType(fields)))


def _load(listener: Listener, known: str | None) -> tuple[str, Leaves, SSL.Context] | None:
    """What a listener's files come to as they are; None if they are `known`. Raises StartRefused."""
    if known is not None and _revision(listener) == known:
        return None
    return _loaded(listener)


def _loaded(listener: Listener) -> tuple[str, Leaves, SSL.Context]:
    revision = _revision(listener)  # first: a file that changes after this is seen as another change
    context = listener_context(listener)
    return revision, certificate_leaves(listener.tls), context


def _revision(listener: Listener) -> str:
    """Names what the files hold; one that cannot be read has its say when the context is made."""
    digest = hashlib.sha256()
    for path in listener.tls.files:
        try:
            with open(path, "rb") as file:
                content = file.read(PEM_BYTES_MAX + 1)
        except OSError:
            content = b""
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:12]

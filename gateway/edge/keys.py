"""Keeps the key ring filled: each issuer's keys fetched on schedule, and when a token names a key that is not there.

One task per issuer fetches, one fetch at a time and never two within `fetch_interval_min`, whoever asks and however
often, but for a file that has changed, which is read at once. A failed fetch keeps the last good keys, is told in the
audit, and is tried again; nothing that fails ends the schedule. Whoever waits for an unknown key is answered after the
next permitted fetch, or at once if that is too far away. Sessions ask by `KeysWanted`; ops composes it, asks `ready()`
for /readyz and `readings()` for the metrics.

When the configuration changes, ops asks `prepare`, then `use`, then awaits `settle`. An issuer whose keys come from
another place from then on keeps none of the old ones, so its new keys are fetched before anything is changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gateway.core.audit import Audit, AuditEvent, FieldValue
from gateway.core.clock import Clock
from gateway.core.keys import BadKeySet, KeyRing, parse_jwks
from gateway.core.meters import Meter, Meters
from gateway.core.session import Fact, KeysRefreshed, KeysWanted, Unavailable
from gateway.core.settings import Issuer
from gateway.edge.key_sources import FetchFailed, source

FETCHES = Meter("gateway_issuer_key_fetches_total", "Fetches of issuers' key sets, by result.", ("issuer", "result"))
AGE = Meter("gateway_issuer_keys_age_seconds", "Time since an issuer's keys were last read well.", ("issuer",), "gauge")

WAIT_MAX = 15.0
"""Seconds that a token waits for an unknown key at most; its connection has a deadline of its own."""
WAITERS_MAX = 1000
"""Per issuer; who comes then is told at once that the key cannot be had."""
JITTER = 0.1
"""The part of the refresh interval by which gateways of one start drift apart."""
NOTES_SHOWN_MAX = 5

log = logging.getLogger("gateway.keys")


class NoNewKeys(Exception):
    """The keys of an issuer cannot be had from where the new configuration says. Says why."""

    def __init__(self, issuer: str, why: str) -> None:
        super().__init__(f"issuer {issuer}: {why}")
        self.issuer = issuer
        self.why = why


@dataclass(frozen=True, slots=True)
class NextIssuers:
    """What `prepare` found: the issuers, and the key documents of those that have moved."""

    issuers: tuple[Issuer, ...]
    documents: tuple[tuple[str, bytes], ...]


def source_of(issuer: Issuer) -> tuple[str | None, ...]:
    """Where an issuer's keys come from; another place, and none of the old ones is believed."""
    keys = issuer.keys
    return keys.file, keys.url, keys.ca


class KeyKeeper:
    """All issuers' keys. `start` and `close` belong to the loop that everything else runs in."""

    def __init__(
        self,
        issuers: Sequence[Issuer],
        ring: KeyRing,
        audit: Audit,
        clock: Clock,
        meters: Meters,
        wait_max: float = WAIT_MAX,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._ring = ring
        self._clock = clock

        def make(issuer: Issuer) -> _Kept:
            return _Kept(issuer, ring, audit, clock, meters, wait_max, jitter)

        self._make = make
        self._kept = {issuer.name: make(issuer) for issuer in issuers}
        self._retired: list[_Kept] = []

    async def start(self) -> None:
        """Fetch every issuer's keys once, then go on by schedule. Never raises: `ready` names who has none."""
        await asyncio.gather(*(kept.fetch() for kept in self._kept.values()))
        for kept in self._kept.values():
            kept.begin()

    async def close(self) -> None:
        """End all tasks; whoever still waits is told that the keys cannot be had."""
        await asyncio.gather(*(kept.end() for kept in (*self._kept.values(), *self._retired)))

    async def prepare(self, issuers: Sequence[Issuer]) -> NextIssuers:
        """Fetch what has to be there before these issuers can take the place of the present ones. Raises NoNewKeys."""
        moved = [each for each in issuers if each.name in self._kept and self._kept[each.name].moves(each)]
        documents = await asyncio.gather(*(_document(issuer) for issuer in moved))
        names = [issuer.name for issuer in moved]
        return NextIssuers(tuple(issuers), tuple(zip(names, documents, strict=True)))

    def use(self, found: NextIssuers) -> None:
        """These are the issuers now. `settle` has to follow."""
        documents = dict(found.documents)
        before, self._kept = self._kept, {}
        for issuer in found.issuers:
            kept = before.pop(issuer.name, None)
            if kept is None or kept.moves(issuer):
                self._retired += [kept] if kept is not None else []
                kept = self._make(issuer)
                if issuer.name in documents:
                    kept.take(documents[issuer.name])
            kept.use(issuer)
            self._kept[issuer.name] = kept
        for name, kept in before.items():
            self._retired.append(kept)
            self._ring.remove(name)

    async def settle(self) -> None:
        """End the tasks of issuers that are gone, begin those of new ones, whose keys are fetched at once."""
        retired, self._retired = self._retired, []
        await asyncio.gather(*(kept.end() for kept in retired))
        for kept in self._kept.values():
            kept.begin()

    async def refresh(self, wanted: KeysWanted) -> Fact:
        """Wait for the issuer's next permitted fetch. KeysRefreshed after one that went well, else Unavailable."""
        kept = self._kept.get(wanted.issuer)
        if kept is None:
            return Unavailable(wanted)
        return await kept.wait_for(wanted)

    def ready(self) -> tuple[str, ...]:
        """Issuers without keys, each with its last error; empty when all have some."""
        return tuple(
            f"no keys of issuer {name}" + (f": {kept.last_error}" if kept.last_error else "")
            for name, kept in self._kept.items()
            if self._ring.get(name) is None
        )

    def last_errors(self) -> dict[str, str]:
        """Issuer -> why its last fetch failed, for those whose last one did."""
        return {name: kept.last_error for name, kept in self._kept.items() if kept.last_error}

    def notes(self) -> list[str]:
        """Issuers whose last good keys are kept, since newer ones could not be had."""
        return [
            f"issuer {name}: the last good keys are kept ({why})"
            for name, why in self.last_errors().items()
            if self._ring.get(name) is not None
        ]

    def readings(self) -> Iterator[tuple[Meter, tuple[str, ...], float]]:
        """The age of each issuer's keys, for the metrics."""
        for name in self._kept:
            age = self._ring.age(name, self._clock.wall())
            if age is not None:
                yield AGE, (name,), age


async def _document(issuer: Issuer) -> bytes:
    """The key document of an issuer, which holds a key that can be used. Raises NoNewKeys."""
    try:
        found = await source(issuer.keys).fetch()
        parse_jwks(found)
    except (FetchFailed, BadKeySet) as failure:
        raise NoNewKeys(issuer.name, str(failure)) from None
    return found


class _Kept:
    """One issuer's keys, and the task that fetches them."""

    def __init__(
        self,
        issuer: Issuer,
        ring: KeyRing,
        audit: Audit,
        clock: Clock,
        meters: Meters,
        wait_max: float,
        jitter: Callable[[], float],
    ) -> None:
        self.last_error = ""
        self.issuer = issuer
        self._source = source(issuer.keys)
        self._ring = ring
        self._audit = audit
        self._clock = clock
        self._meters = meters
        self._wait_max = wait_max
        self._jitter = jitter
        self._fetched_at = -float("inf")
        self._due = 0.0
        self._wanted = asyncio.Event()
        self._moved = asyncio.Event()
        """The file has changed since it was fetched."""
        self._rounds = 0
        self._waiting: dict[asyncio.Future[bool], tuple[str, int]] = {}
        """Who waits -> the key wanted, and how many fetches had begun when the wait did."""
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Go on by schedule. Doing so twice does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"keys of {self.issuer.name}")

    def moves(self, issuer: Issuer) -> bool:
        """Whether the issuer's keys come from elsewhere than so far."""
        return source_of(self.issuer) != source_of(issuer)

    def use(self, issuer: Issuer) -> None:
        """The issuer as it is configured now, its keys in the same place."""
        if issuer.keys != self.issuer.keys:
            self._source.look_away()
            self._source = source(issuer.keys)
            if self._task is not None:
                self._source.look_out(self._has_moved)
        self.issuer = issuer

    def take(self, document: bytes) -> None:
        """A document that was fetched before this was made; it has been looked at."""
        self._fetched_at = self._clock.monotonic()
        found = self._ring.replace(self.issuer.name, document, self._clock.wall())
        self._tell("loaded", keys=sum(1 for _ in found.members()), notes=found.notes[:NOTES_SHOWN_MAX])
        self._schedule()

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._answer(list(self._waiting), False)

    async def wait_for(self, wanted: KeysWanted) -> Fact:
        """See KeyKeeper.refresh."""
        if self._has(wanted.kid):  # fetched since the session looked
            return KeysRefreshed(wanted.issuer)
        away = self._permitted_at() - self._clock.monotonic()
        if self._task is None or len(self._waiting) >= WAITERS_MAX or away > self._wait_max:
            return Unavailable(wanted)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[future] = (wanted.kid, self._rounds)
        self._wanted.set()
        try:
            async with asyncio.timeout(self._wait_max):
                good = await future
        except TimeoutError:
            return Unavailable(wanted)
        finally:
            self._waiting.pop(future, None)
        return KeysRefreshed(wanted.issuer) if good else Unavailable(wanted)

    async def fetch(self) -> None:
        """One fetch, whose outcome is kept, counted and told. Never raises but when cancelled."""
        self._fetched_at = self._clock.monotonic()
        self._rounds += 1
        before = self._ring.get(self.issuer.name)
        error = ""
        try:
            found = self._ring.replace(self.issuer.name, await self._source.fetch(), self._clock.wall())
        except (FetchFailed, BadKeySet) as failure:
            error = str(failure)
        except Exception as failure:  # whatever a library raises, the schedule goes on
            log.exception("fetching the keys of %s failed", self.issuer.name)
            error = type(failure).__name__
        else:
            if found is not before or self.last_error:
                self._tell("loaded", keys=sum(1 for _ in found.members()), notes=found.notes[:NOTES_SHOWN_MAX])
        if error and error != self.last_error:
            self._tell("failed", error=error[:500], kept=before is not None)
        self._meters.cell(FETCHES, self.issuer.name, "failed" if error else "loaded").value += 1
        self.last_error = error
        self._schedule()
        # Who came while the fetch was under way waits for the next one, unless this one already brought the key.
        self._answer(
            [each for each, (kid, came) in self._waiting.items() if came < self._rounds or self._has(kid)], not error
        )

    async def _keep(self) -> None:
        while True:
            self._moved.clear()
            self._source.look_out(self._has_moved)
            try:
                await self._until_due()
            finally:
                self._source.look_away()
            await self.fetch()

    def _has_moved(self) -> None:
        self._moved.set()
        self._wanted.set()

    async def _until_due(self) -> None:
        """Sleep until the schedule or somebody's wish asks for a fetch that is permitted, or the file has changed."""
        while not self._moved.is_set():
            now = self._clock.monotonic()
            asked = bool(self._waiting)
            at = max(now if asked else self._due, self._permitted_at())
            if at <= now:
                return
            self._wanted.clear()
            if asked:  # whoever came first: once between two fetches
                self._source.look_now()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(at - now):
                    # While a fetch is not permitted yet, another wish changes nothing.
                    await (self._moved if asked else self._wanted).wait()

    def _permitted_at(self) -> float:
        return self._fetched_at + self.issuer.keys.fetch_interval_min

    def _schedule(self) -> None:
        """The next fetch: after `refresh`, some time earlier by chance; after a failure as soon as permitted."""
        keys = self.issuer.keys
        pause = keys.fetch_interval_min if self.last_error else keys.refresh
        self._due = self._fetched_at + max(keys.fetch_interval_min, pause * (1 - JITTER * self._jitter()))

    def _has(self, kid: str) -> bool:
        key_set = self._ring.get(self.issuer.name)
        return key_set is not None and (not kid or kid in key_set.by_kid)

    def _answer(self, futures: list[asyncio.Future[bool]], good: bool) -> None:
        for future in futures:
            self._waiting.pop(future, None)
            if not future.done():
                future.set_result(good)

    def _tell(self, result: str, **fields: FieldValue) -> None:
        level = logging.WARNING if result == "failed" else logging.INFO
        log.log(level, "keys of %s: %s %s", self.issuer.name, result, fields.get("error", ""))
        told = {"issuer": self.issuer.name, "result": result, **fields}
        self._audit(AuditEvent("keys", self._clock.wall(), fields=MappingProxyType(told)))

"""The configuration in force, and how it changes: a whole sound file, or nothing of it.

Looked at when the file changes (symlink swaps and renames included), on SIGHUP and by `gateway reload`. A file that is
not sound is refused with the mistakes that `gateway check` prints; log, audit, metrics, status and /readyz say so, and
the old configuration stays. It is looked at again when it, or a file that it names, becomes another one. Composed by
ops.composition; one reload of anything at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from gateway.core.audit import Audit, AuditEvent, FieldValue
from gateway.core.documents import Mistakes
from gateway.core.meters import Meter, Meters, Reading
from gateway.edge.watch import Fingerprint, Watch, fingerprint
from gateway.ops.config import Configuration, content_of, files_named, read, revision_of

SHOWN_MAX = 20
"""Mistakes, and changes, in one audit line; the rest is counted."""

CHANGES_SHOWN_MAX = 1000
"""Of one reload, in the answer to who asked for it; the rest is counted."""

RELOADS = Meter("gateway_config_reloads_total", "Configurations looked at while running, by result.", ("result",))
REFUSED = Meter(
    "gateway_config_refused", "1 while the configuration on disk is not sound and an older one is in force.",
    kind="gauge",
)  # fmt: skip
WAITING = Meter(
    "gateway_config_waiting", "Settings of the configuration on disk that hold from the next start on.", kind="gauge"
)

log = logging.getLogger("gateway.configuration")


@dataclass(frozen=True, slots=True)
class Done:
    """What a reload came to. changes: lines as `gateway check --against running` prints them. waiting: paths of what
    holds from the next start on. closed, leaving: connections that were closed, and that are being drained."""

    changes: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    closed: int = 0
    leaving: int = 0


Apply = Callable[[Configuration, str], Awaitable[Done]]
"""Takes a configuration that has passed every check. Raises Mistakes, and then nothing has changed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one look came to."""

    result: Literal["changed", "unchanged", "refused"]
    done: Done
    mistakes: tuple[str, ...] = ()

    def described(self, revision: str, policy_revision: str, refused: Sequence[str]) -> dict[str, object]:
        """For ``gateway reload``. refused: what of policies and certificates is refused besides."""
        changes = self.done.changes
        return {
            "result": self.result,
            "revision": revision,
            "changes": changes[:CHANGES_SHOWN_MAX],
            "changes_more": max(0, len(changes) - CHANGES_SHOWN_MAX),
            "waiting": self.done.waiting,
            "closed": self.done.closed,
            "leaving": self.done.leaving,
            "mistakes": self.mistakes,
            "policy_revision": policy_revision,
            "refused": list(refused),
        }


class LiveConfiguration:
    """`first` is in force. `refused_since`: wall time since which the file on disk is not sound, else None."""

    def __init__(
        self,
        first: Configuration,
        apply: Apply,
        changing: asyncio.Lock,
        audit: Audit,
        meters: Meters,
        wall: Callable[[], float],
    ) -> None:
        """changing: held while anything of the gateway is reloaded."""
        self.revision = first.revision
        self.loaded_at = wall()
        self.refused_since: float | None = None
        self.mistakes: tuple[str, ...] = ()
        self.waiting: tuple[str, ...] = ()
        self.file = first.file
        self._apply = apply
        self._changing = changing
        self._audit = audit
        self._meters = meters
        self._wall = wall
        self._refused_revision = ""
        self._closed = False
        self._poll = first.settings.policies.poll
        # Nothing is taken for known: what changed since it was read is seen by the first look.
        self._watch = Watch([str(first.file.absolute())], self._seen_changed, self._poll, ())

    async def start(self) -> None:
        await self._watch.start()

    async def close(self) -> None:
        """Nothing is taken any more; one that is being taken is waited for."""
        async with self._changing:
            self._closed = True
        await self._watch.close()

    @property
    def stale(self) -> bool:
        """Whether the file holds something that was not looked at yet."""
        try:
            return revision_of(content_of(self.file)) not in (self.revision, self._refused_revision)
        except Mistakes:
            return self.refused_since is None

    async def _seen_changed(self, trigger: str) -> None:
        del trigger
        await self.reload("changed file")

    async def reload(self, trigger: str) -> Outcome:
        """Read the file; take it if it is sound. One that was not changed, and not refused, is left at that."""
        async with self._changing:
            return await self.reload_now(trigger)

    async def reload_now(self, trigger: str) -> Outcome:
        """Likewise, for who holds the lock."""
        if self._closed or (self.refused_since is None and not await asyncio.to_thread(lambda: self.stale)):
            self._count("unchanged")
            return Outcome("unchanged", Done(waiting=self.waiting))
        named, seen = await asyncio.to_thread(self._named)  # before it is read, so that no change goes unnoticed
        try:
            found = await asyncio.to_thread(read, self.file, self._wall())
            self._refused_revision = found.revision
            done = await self._apply(found, trigger)
        except Mistakes as error:
            mistakes = tuple(str(mistake) for mistake in error.mistakes)
        except Exception as error:  # whatever it is, what is in force stays
            log.exception("the reload failed by an error of the gateway's own")
            mistakes = (f"an error of the gateway's own ({type(error).__name__}); see its log",)
        else:
            return self._took(found, done, trigger)
        self._watch.use(named, self._poll, seen)
        return self._refuse(mistakes, trigger)

    def _named(self) -> tuple[tuple[str, ...], Fingerprint]:
        """The file and all that it names, and what they are now."""
        named = (str(self.file.absolute()), *files_named(self.file))
        return named, fingerprint(named)

    def _took(self, found: Configuration, done: Done, trigger: str) -> Outcome:
        previous, self.revision = self.revision, found.revision
        self.refused_since, self.mistakes, self._refused_revision = None, (), ""
        self.waiting = done.waiting
        self.loaded_at = self._wall()
        self._poll = found.settings.policies.poll
        self._watch.use([str(self.file.absolute())], self._poll, ())
        self._count("changed")
        log.info("configuration %s was taken (before: %s), %d changes", found.revision, previous, len(done.changes))
        if done.waiting:
            log.warning("a restart is needed for %s", ", ".join(done.waiting))
        self._announce(
            "config-revision",
            revision=found.revision,
            previous=previous,
            trigger=trigger,
            file=str(self.file),
            **_some("changes", done.changes),
            waiting=done.waiting,
            closed=done.closed,
            leaving=done.leaving,
        )
        for warning in found.warnings:
            log.warning("%s", warning)
            self._announce("warning", warning=warning)
        return Outcome("changed", done)

    def _refuse(self, mistakes: tuple[str, ...], trigger: str) -> Outcome:
        if self.refused_since is None:
            self.refused_since = self._wall()
        again = mistakes == self.mistakes and trigger == "changed file"
        self.mistakes = mistakes
        self._count("refused")
        if not again:
            log.error("the configuration was refused; revision %s stays in force", self.revision)
            for line in mistakes[:SHOWN_MAX]:
                log.error("%s", line)
            shown = _some("mistakes", mistakes)
            self._announce("config-refused", revision=self.revision, trigger=trigger, file=str(self.file), **shown)
        return Outcome("refused", Done(), mistakes)

    def notes(self) -> Iterator[str]:
        """For /readyz and status."""
        if self.refused_since is not None:
            count = len(self.mistakes)
            yield (
                f"configuration refused for {self._wall() - self.refused_since:.0f} s; revision {self.revision} is in "
                f"force; {count} mistake{'' if count == 1 else 's'}, the first: {self.mistakes[0]}"
            )
        if self.waiting:
            yield f"the configuration on disk needs a restart for {', '.join(self.waiting)}"

    def readings(self) -> Iterator[Reading]:
        yield REFUSED, (), float(self.refused_since is not None)
        yield WAITING, (), float(len(self.waiting))

    def _count(self, result: str) -> None:
        self._meters.cell(RELOADS, result).value += 1

    def _announce(self, event: Literal["config-revision", "config-refused", "warning"], **fields: FieldValue) -> None:
        self._audit(AuditEvent(event, self._wall(), fields=MappingProxyType(fields)))


def _some(name: str, lines: Sequence[str]) -> dict[str, FieldValue]:
    """Lines for the audit, and how many more there are."""
    return {name: tuple(lines[:SHOWN_MAX]), f"{name}_more": max(0, len(lines) - SHOWN_MAX)}

"""Where the current policy is, and how it changes: all files as one new revision, or none.

Composed by ops.composition; sessions hold it as their PolicySource and compare `current` by identity once per chunk.
One reload at a time: edge.watch awaits it before it looks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from types import MappingProxyType
from typing import Literal

from gateway.core.audit import Audit, AuditEvent, FieldValue
from gateway.core.documents import Mistakes
from gateway.core.meters import Meter, Meters, Reading
from gateway.core.policy import PolicySet
from gateway.core.rights import Policy
from gateway.ops.gently import gently

MISTAKES_SHOWN_MAX = 20
"""Of a refused set, in one audit line; the rest is counted."""

REMINDER_SECONDS = 86400.0
"""How often it is said again that a binding ends."""

POLICY_AGE = Meter("gateway_policy_age_seconds", "Time since the policy in force was loaded.", kind="gauge")
POLICY_REFUSED = Meter(
    "gateway_policy_refused", "1 while the policy files on disk do not load and an older revision is in force.",
    kind="gauge",
)  # fmt: skip
RELOADS = Meter("gateway_policy_reloads_total", "Policy sets looked at while running.", ("result",))

log = logging.getLogger("gateway.policy")

Load = Callable[[], PolicySet]
"""Reads all policy files as they are now; called on a thread. Raises Mistakes."""
Agree = Callable[[PolicySet], Awaitable[str]]
"""Has the workers take a new set, all or none; returns why it was none, else ""."""


class LivePolicies:
    """The policy in force. `refused_since`: wall time since which the files on disk have not loaded, else None."""

    def __init__(
        self,
        first: PolicySet,
        load: Load,
        audit: Audit,
        meters: Meters,
        wall: Callable[[], float],
        agree: Agree | None = None,
    ) -> None:
        self.current: Policy = first
        self._loaded = first
        self.loaded_at = wall()
        self.refused_since: float | None = None
        self._load = load
        self._audit = audit
        self._meters = meters
        self._wall = wall
        self._agree = agree
        self._reminder: asyncio.Task[None] | None = None
        self._announce("policy-revision", revision=first.revision, previous="", trigger="start")
        self.remind()

    @property
    def loaded(self) -> PolicySet:
        """The policy in force, as it was read."""
        return self._loaded

    async def start(self) -> None:
        self._reminder = asyncio.create_task(self._keep_reminding(), name="reminding of bindings that end")

    async def close(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            await asyncio.gather(self._reminder, return_exceptions=True)

    async def _keep_reminding(self) -> None:
        while True:
            await asyncio.sleep(REMINDER_SECONDS)
            self.remind()

    def remind(self) -> None:
        """Warn of bindings that have ended or will soon, so that their owners hear of it before their users do."""
        for words in self._loaded.warnings(self._wall()):
            log.warning("%s", words)
            self._announce("warning", warning=words)

    def notes(self) -> list[str]:
        """Files that are refused now, for /readyz."""
        if self.refused_since is None:
            return []
        seconds = self._wall() - self.refused_since
        return [
            f"policy files refused for {seconds:.0f} s; revision {self.current.revision} is in force; "
            "`gateway check` lists the mistakes"
        ]

    def readings(self) -> Iterator[Reading]:
        yield POLICY_AGE, (), self._wall() - self.loaded_at
        yield POLICY_REFUSED, (), float(self.refused_since is not None)

    def take(self, found: PolicySet) -> None:
        """Put a set in force that was read, and told of, elsewhere."""
        self.current = self._loaded = found
        self.loaded_at = self._wall()

    async def reload(self, trigger: str) -> bool:
        """Read the files; put a new revision in force if they are sound and differ. Returns whether they are sound."""
        try:
            found = await gently(self._load)
        except Mistakes as error:
            self._refuse([str(mistake) for mistake in error.mistakes], trigger)
            return False
        except Exception as error:  # whatever it is, it may not cost us the revision in force
            log.exception("reading the policy files failed")
            self._refuse([f"reading failed: {type(error).__name__}"], trigger)
            return False
        if found.revision == self.current.revision:
            self.refused_since = None
            self._meters.cell(RELOADS, "unchanged").value += 1
            return True
        if self._agree is not None and (why := await self._agree(found)):
            self._refuse([why], trigger)
            return False
        self.use(found, trigger)
        return True

    def use(self, found: PolicySet, trigger: str) -> None:
        """This set is in force now: of other files, or of the same under a configuration that has other names."""
        previous, loaded_at = self.current.revision, self.loaded_at
        self.refused_since = None
        self.take(found)
        if found.revision == previous:
            self.loaded_at = loaded_at
        else:
            self._meters.cell(RELOADS, "changed").value += 1
            log.info("policy revision %s is in force (was %s)", found.revision, previous)
            self._announce("policy-revision", revision=found.revision, previous=previous, trigger=trigger)
            self.remind()

    def _refuse(self, mistakes: list[str], trigger: str) -> None:
        if self.refused_since is None:
            self.refused_since = self._wall()
        self._meters.cell(RELOADS, "refused").value += 1
        shown = tuple(mistakes[:MISTAKES_SHOWN_MAX])
        log.error("the policy files were refused; revision %s stays in force", self.current.revision)
        for line in shown:
            log.error("%s", line)
        self._announce(
            "policy-refused",
            revision=self.current.revision,
            trigger=trigger,
            mistakes=shown,
            mistakes_more=len(mistakes) - len(shown),
        )

    def _announce(self, event: Literal["policy-revision", "policy-refused", "warning"], **fields: FieldValue) -> None:
        self._audit(AuditEvent(event, self._wall(), fields=MappingProxyType(fields)))

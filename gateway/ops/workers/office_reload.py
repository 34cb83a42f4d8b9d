"""From one configuration to the next with several workers: `apply`, which the office is given.

All of it in all workers, or nothing in any, in these steps:

1. *prepare*: the office reads what it needs itself (certificates, keys that come from another place, the audit file)
   and tries whether new ports are free; then each worker prepares the same octets as a gateway of one process does
   (ops.reload). Whatever fails is told with the number of the worker, everybody gives back what was made, and nothing
   has changed. A worker that dies meanwhile holds nobody up.
2. *agree*: the board says what is in force from now on, and the supervisor takes it: whoever is forked from here on
   begins with it. Nobody is let in between the first step and the last, and who was forked before the agreement and
   knocks after it ends itself, to be forked again.
3. *commit*: each worker puts it in force, in one turn of its loop. One that does not is killed, and mended with it.

If the office dies before the agreement, workers give back what they prepared as their channel ends; if it dies after
it, the next office says what is in force, and a worker that does not have it takes it then, or ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gateway.core.documents import Mistake, Mistakes
from gateway.core.policy import policy_revision
from gateway.core.settings import Settings
from gateway.edge.audit import Output
from gateway.edge.keys import NextIssuers, NoNewKeys, source_of
from gateway.edge.listener import try_ports
from gateway.edge.reasons import StartRefused
from gateway.ops import config_policies, differences
from gateway.ops.certificate_reload import ListenerRefused, Loaded, watched_files
from gateway.ops.config import Configuration
from gateway.ops.config_changes import in_force
from gateway.ops.live_configuration import Done
from gateway.ops.own_log import set_log_level
from gateway.ops.reload import mistake, refuse_renamed_systems
from gateway.ops.workers.channel import Channel, Refused
from gateway.ops.workers.places import OFFICE, Field
from gateway.ops.workers.present import CONTENTS_MAX, Files, contents_of, files_to_json

if TYPE_CHECKING:
    from gateway.ops.workers.office import Office

PREPARE_SECONDS = 40.0
"""For a worker: TLS files are read, brokers tried, and one that is just starting waits until it serves."""
COMMIT_SECONDS = 10.0
RENEW_SECONDS = 5.0
"""For the supervisor, which has nothing else to do; later it takes it all the same, before it forks."""
GATHER_SECONDS = 12.0
LOOK_SECONDS = 0.01

log = logging.getLogger("gateway.workers")


async def apply(office: Office, new: Configuration, trigger: str) -> Done:
    """Have all workers take a configuration that has passed every check. Raises Mistakes, and then nothing has
    changed."""
    old = office.settings
    refuse_renamed_systems(old, new)
    found = in_force(old, new.settings, office.site.connections_most)
    settings = found.settings
    await _gathered(office)
    async with office.turn, contextlib.AsyncExitStack() as undo:
        files = await asyncio.to_thread(_policy_files, new)
        contents = await asyncio.to_thread(contents_of, office.present, new, office.site.connections_most)
        if contents is None:
            expected = f"at most {CONTENTS_MAX} changes after which something waits for a restart; now a restart"
            raise Mistakes([Mistake(str(new.file), 0, "", "one more", expected)])
        certificates, issuers, output = await _own(office, new, settings, undo)
        members = dict(office.members)
        undo.push_async_callback(_abandon, members)
        await _prepare(members, new, files, certificates)
        present = replace(
            office.present,
            contents=contents,
            revision=new.policies.revision,
            files=files,
            keys=_keys(office, settings, issuers),
            log_level=office.present.log_level if settings.log_level == old.log_level else "",
        )
        try:
            office.keep(present)
        except ValueError as error:
            raise Mistakes(
                [Mistake(str(new.file), 0, "", str(error), "files that fit the memory of the workers")]
            ) from None
        undo.pop_all()
        await _renewed(office)
        closed, leaving = await _commit(office, members, new.revision)
        _take(office, new, settings, files, certificates, issuers, output, trigger)
    await office.keys.settle()
    return Done(tuple(differences.settings_changes(old, settings)), found.waiting, closed, leaving)


async def _gathered(office: Office) -> None:
    """Until every worker that serves has been let in: an office that has just begun does not know them yet. One that
    hangs is ended before this is given up."""
    places = office.site.places
    for _ in range(int(GATHER_SECONDS / LOOK_SECONDS)):
        serving = {worker for worker in range(1, places.workers + 1) if places.get(worker, Field.SERVING)}
        if serving <= office.members.keys():
            return
        await asyncio.sleep(LOOK_SECONDS)


def _policy_files(new: Configuration) -> Files:
    """The files of the policies that were read with the configuration. Raises Mistakes."""
    folder = new.file.absolute().parent
    files, mistakes = config_policies.read_files(new.document, new.settings.policies.files, folder)
    if not mistakes and policy_revision(files) != new.policies.revision:
        mistakes = [new.mistake(("policies", "files"), "files that just change", "files that stay for a moment")]
    if mistakes:
        raise Mistakes(mistakes)
    return tuple(files)


async def _own(
    office: Office, new: Configuration, settings: Settings, undo: contextlib.AsyncExitStack
) -> tuple[Mapping[str, Loaded], NextIssuers, Output | None]:
    """What the office itself needs. Raises Mistakes."""
    try:
        certificates = await asyncio.to_thread(office.certificates.prepare, settings.listeners)
        issuers = await office.keys.prepare(settings.issuers)
        output = office.audit.prepare(settings.audit)
        if output is not None:
            undo.callback(output.close)
        await asyncio.to_thread(_try_ports, office.settings, settings)
    except (ListenerRefused, NoNewKeys, StartRefused, OSError) as error:
        raise Mistakes([mistake(new, error)]) from None
    return certificates, issuers, output


def _try_ports(running: Settings, wanted: Settings) -> None:
    """Raises StartRefused. Workers could not tell: they share ports with whoever is the same user (SO_REUSEPORT)."""
    held = {(listener.bind, port) for listener in running.listeners for _, port in listener.ports()}
    for listener in wanted.listeners:
        try_ports(listener, held)


async def _prepare(
    members: Mapping[int, Channel], new: Configuration, files: Files, certificates: Mapping[str, Loaded]
) -> None:
    """Have every worker prepare it. Raises Mistakes, each with the workers that have it."""
    with_it = {"content": new.content.decode("latin-1"), "files": files_to_json(files)}
    asked = (channel.ask("prepare-configuration", seconds=PREPARE_SECONDS, **with_it) for channel in members.values())
    answers = await asyncio.gather(*asked, return_exceptions=True)
    revisions = {name: loaded.revision for name, loaded in certificates.items()}
    found: dict[Mistake, list[int]] = {}
    for (worker, channel), answer in zip(members.items(), answers, strict=True):
        if not channel.lost:  # one that is gone begins with what is agreed upon
            for each in _mistakes(new, answer, revisions):
                found.setdefault(each, []).append(worker)
    if found:
        raise Mistakes([replace(each, file=f"{_named(workers)}: {each.file}") for each, workers in found.items()])


def _mistakes(new: Configuration, answer: Any, revisions: Mapping[str, str]) -> list[Mistake]:
    """What a worker's answer says is wrong."""
    if isinstance(answer, BaseException):
        how = f"an error of its own ({answer})" if isinstance(answer, Refused) else str(answer)
        return [Mistake(str(new.file), 0, "", how, "a worker that prepares it")]
    if "mistakes" in answer:
        return [Mistake(*each) for each in answer["mistakes"]]
    if answer["certificates"] != revisions:
        return [new.mistake(("listeners",), "TLS files that just change", "files that stay for a moment")]
    return []


def _named(workers: list[int]) -> str:
    return f"worker{'s' if len(workers) > 1 else ''} {', '.join(map(str, workers))}"


async def _abandon(members: Mapping[int, Channel]) -> None:
    asked = (channel.ask("abandon-configuration", seconds=COMMIT_SECONDS) for channel in members.values())
    await asyncio.gather(*asked, return_exceptions=True)


def _keys(office: Office, settings: Settings, issuers: NextIssuers) -> Mapping[str, tuple[bytes, float]]:
    """Issuers' keys from then on: none of an issuer that is gone, or whose keys come from elsewhere but there."""
    before = {issuer.name: source_of(issuer) for issuer in office.settings.issuers}
    same = {issuer.name for issuer in settings.issuers if before.get(issuer.name) == source_of(issuer)}
    now = office.clock.wall()
    kept = {name: keys for name, keys in office.present.keys.items() if name in same}
    return MappingProxyType({**kept, **{name: (document, now) for name, document in issuers.documents}})


async def _renewed(office: Office) -> None:
    """Until the supervisor has taken what is in force."""
    agreed = office.renew()
    for _ in range(int(RENEW_SECONDS / LOOK_SECONDS)):
        if office.site.places.get(OFFICE, Field.RENEWED) >= agreed:
            return
        await asyncio.sleep(LOOK_SECONDS)
    log.warning("the supervisor has not taken the configuration within %g s; it does before it forks", RENEW_SECONDS)


async def _commit(office: Office, members: Mapping[int, Channel], revision: str) -> tuple[int, int]:
    """(closed, leaving) connections in all workers."""
    asked = (
        channel.ask("commit-configuration", seconds=COMMIT_SECONDS, revision=revision) for channel in members.values()
    )
    answers: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
    closed = leaving = 0
    for worker, answer in zip(members, answers, strict=True):
        if isinstance(answer, BaseException) or answer["revision"] != revision:
            how = str(answer) if isinstance(answer, BaseException) else f"it has {answer['revision']}"
            log.error("worker %d did not take configuration %s and is ended: %s", worker, revision, how)
            office.roll.kill(worker)
            continue
        closed += answer["closed"]
        leaving += answer["leaving"]
    return closed, leaving


def _take(
    office: Office,
    new: Configuration,
    settings: Settings,
    files: Files,
    certificates: Mapping[str, Loaded],
    issuers: NextIssuers,
    output: Output | None,
    trigger: str,
) -> None:
    """The office's own part. Nothing here fails."""
    old, office.settings, office.configuration, office.files = office.settings, settings, new, files
    office.keys.use(issuers)
    office.policies.use(new.policies, trigger)
    office.audit.use(settings.audit, output)
    office.certificates.use(certificates)
    office.watch.use(office.policy_patterns, settings.policies.poll, ())
    office.certificate_watch.use(watched_files(settings.listeners), settings.policies.poll, ())
    if settings.log_level != old.log_level:
        set_log_level(settings.log_level)

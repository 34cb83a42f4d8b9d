"""A reload makes one new revision of all files, or none: a refused set leaves the old one and says so loudly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.audit import AuditEvent
from gateway.core.meters import Meters
from gateway.ops import config_policies
from gateway.ops.policy_reload import MISTAKES_SHOWN_MAX, RELOADS, LivePolicies

WORDS = config_policies.vocabulary({"main": "kafka"}, ["corp"])
ROLE = "version: 1\nroles:\n  {name}:\n    - allow: [produce]\n      kafka: {{topic: [{topic}]}}\nend: true\n"
BINDING = "version: 1\nbindings:\n  - {roles: [app], to: {issuer: corp, sub: app}}\nend: true\n"


class Live:
    """A folder of policies and what became of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[AuditEvent] = []
        self.meters = Meters()
        self.now = 1000.0
        self.write("role.yaml", ROLE.format(name="app", topic="orders"))
        self.write("binding.yaml", BINDING)
        self.policies = LivePolicies(self.load(), self.load, self.events.append, self.meters, lambda: self.now)

    def load(self):  # type: ignore[no-untyped-def]
        return config_policies.load(None, ["*.yaml"], self.folder, WORDS)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def counted(self, result: str) -> float:
        return self.meters.cell(RELOADS, result).value


@pytest.fixture
def live(tmp_path: Path) -> Live:
    return Live(tmp_path)


async def test_the_first_revision_is_announced(live: Live) -> None:
    assert [event.event for event in live.events] == ["policy-revision"]
    assert live.events[0].fields["revision"] == live.policies.current.revision


async def test_changed_files_make_one_new_revision(live: Live) -> None:
    before = live.policies.current
    live.write("role.yaml", ROLE.format(name="app", topic="payments"))
    live.now = 1005.0
    assert await live.policies.reload("changed file")
    after = live.policies.current
    assert after is not before
    assert live.policies.loaded_at == 1005.0
    assert live.events[-1].fields == {
        "revision": after.revision, "previous": before.revision, "trigger": "changed file",
    }  # fmt: skip
    assert live.counted("changed") == 1


async def test_unchanged_files_change_nothing(live: Live) -> None:
    before = live.policies.current
    assert await live.policies.reload("SIGHUP")
    assert live.policies.current is before
    assert len(live.events) == 1


BREAK: list[Callable[[Live], None]] = [
    lambda live: live.write("role.yaml", "version: 1\nroles:"),  # cut short
    lambda live: live.write("role.yaml", ""),
    lambda live: live.write("role.yaml", ROLE.format(name="other", topic="orders")),  # the binding leads nowhere
    lambda live: live.write("role.yaml", ROLE.format(name="app", topic="orders").replace("produce", "fly")),
    lambda live: (live.folder / "role.yaml").unlink(),
    lambda live: [path.unlink() for path in live.folder.iterdir()],  # type: ignore[misc, list-item]
]


@pytest.mark.parametrize("breaking", BREAK)
async def test_a_broken_set_leaves_the_old_one_and_says_so(live: Live, breaking: Callable[[Live], None]) -> None:
    before = live.policies.current
    breaking(live)
    live.now = 1007.0
    assert not await live.policies.reload("changed file")
    assert live.policies.current is before
    assert live.policies.refused_since == 1007.0
    refused = live.events[-1]
    assert refused.event == "policy-refused"
    assert refused.fields["revision"] == before.revision
    assert refused.fields["mistakes"]
    assert live.counted("refused") == 1


async def test_refused_since_keeps_the_first_time_and_ends_with_a_sound_set(live: Live) -> None:
    live.write("role.yaml", "broken")
    await live.policies.reload("changed file")
    live.now = 1010.0
    await live.policies.reload("SIGHUP")
    assert live.policies.refused_since == 1000.0
    live.write("role.yaml", ROLE.format(name="app", topic="orders"))
    assert await live.policies.reload("changed file")
    assert live.policies.refused_since is None


async def test_an_audit_line_holds_so_many_mistakes_and_counts_the_rest(live: Live) -> None:
    bindings = "".join(f"  - {{roles: [absent{n}], to: {{issuer: corp}}}}\n" for n in range(MISTAKES_SHOWN_MAX + 7))
    live.write("binding.yaml", f"version: 1\nbindings:\n{bindings}end: true\n")
    assert not await live.policies.reload("changed file")
    fields = live.events[-1].fields
    assert len(fields["mistakes"]) == MISTAKES_SHOWN_MAX  # type: ignore[arg-type]
    assert fields["mistakes_more"] == 7


async def test_bindings_that_end_are_warned_of_at_each_revision_and_again(live: Live) -> None:
    live.now = 1795000000.0  # 2026-11-18
    live.write("binding.yaml", BINDING.replace("sub: app}", "sub: app}, expires: 2026-11-25, owner: team-app"))
    await live.policies.reload("changed file")
    assert [event.event for event in live.events] == ["policy-revision", "policy-revision", "warning"]
    assert "2026-11-25" in str(live.events[-1].fields["warning"])
    live.policies.remind()
    assert [event.event for event in live.events][-1] == "warning"
    assert len(live.events) == 4


async def test_an_error_of_another_kind_does_not_cost_the_old_revision(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = live.policies.current

    def broken() -> None:
        raise RecursionError

    monkeypatch.setattr(live.policies, "_load", broken)
    assert not await live.policies.reload("SIGHUP")
    assert live.policies.current is before

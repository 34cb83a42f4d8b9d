"""The gateway's answers beside the broker's own authorization, with equal grants.

Each command goes straight to the broker as a role with or without grants, and through the gateway as a principal with
or without the same rights. The gateway never allows what the broker denies; where it denies more, STRICTER says why;
otherwise the answers have the same command and the same code. docs/pulsar-commands.md is made of what comes of it.
"""

from __future__ import annotations

import pytest

from tests.real.pulsar.command_cases import AUTHORIZATION_ERROR, CASES, GROUPS, PAGE, THE_BROKERS, asked, line
from tests.real.pulsar.site import Site


@pytest.mark.parametrize("case", CASES)
def test_answers_are_the_brokers_own(site: Site, case: str) -> None:
    """And the page says so, word for word. Where both deny it is the gateway that does: its audit has it."""
    found = {}
    for role in GROUPS:
        at = site.audited()
        found[role] = asked(site, case, role)
        shown = f"{role}: {found[role].broker} / {found[role].gateway}"
        assert found[role].verdict != "DIFFERS", shown
        if found[role].broker[1] == AUTHORIZATION_ERROR:
            assert found[role].gateway[1] == AUTHORIZATION_ERROR, shown
        if found[role].gateway[1] == AUTHORIZATION_ERROR and case not in THE_BROKERS:
            site.gateway.wait_audit(event="denied", after=at)
    assert line(case, found) in PAGE.read_text(), "python -m tests.real.pulsar.command_cases"

"""From which configuration files what is in force can be had again, for a worker that is forked later."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.settings import Settings
from gateway.ops.config import Configuration, unchecked
from gateway.ops.config_changes import in_force
from gateway.ops.workers.present import Present, contents_of

FILE = Path("gateway.yaml")
POLICY = b"version: 1\nroles:\n  r:\n    - {allow: consume, kafka: {topic: [orders]}}\nbindings: []\nend: true\n"
MOST = 20_000


def text(listeners: dict[str, str], **limits: int) -> bytes:
    """Listeners by name, with where each binds; a port of its own each."""
    lines = ["version: 1", "listeners:"]
    for number, (name, bind) in enumerate(listeners.items()):
        lines += [
            f"  - name: {name}", "    protocol: kafka", f"    bind: {bind}", f"    port: {9000 + 100 * number}",
            "    advertised: localhost", "    backend: main",
            f"    broker_ports: {{base: {9001 + 100 * number}, node_ids: 0-9}}",
            "    tls: {certificate: tls.crt, key: tls.key}", "    authentication: {issuers: [corp]}",
        ]  # fmt: skip
    lines += [
        "backends:", "  - {name: main, system: kafka, bootstrap: [localhost:9092], insecure_plaintext: true}",
        "issuers:", "  - {name: corp, issuer: https://corp.test, audiences: [kafka], keys: {file: keys.json}}",
        "policies: {files: [policy.yaml]}", f"limits: {limits}",
    ]  # fmt: skip
    return "\n".join(lines).encode()


def configuration(content: bytes) -> Configuration:
    return unchecked(FILE, content, FILES)


FILES = (("policy.yaml", POLICY),)
A = text({"one": "127.0.0.1"}, connections_max=500)
MOVED = text({"one": "0.0.0.0"}, connections_max=500)
"""Which waits for a restart: the port is bound."""
PLAIN = text({"one": "127.0.0.1"}, connections_max=500, in_flight_max=7)


def run(*contents: bytes) -> tuple[Present, Settings]:
    """What is agreed upon after these, and the settings of a gateway that took them one by one."""
    first = configuration(contents[0])
    present, settings = Present((contents[0],), first.policies.revision, FILES), first.settings
    for content in contents[1:]:
        found = configuration(content)
        contents_now = contents_of(present, found, MOST)
        assert contents_now is not None
        settings = in_force(settings, found.settings, MOST).settings
        present = Present(contents_now, present.revision, FILES)
    return present, settings


@pytest.mark.parametrize(
    ("contents", "kept"),
    [
        ((A, PLAIN), 1),
        ((A, MOVED), 2),
        ((A, MOVED, PLAIN), 1),
        ((A, MOVED, text({"one": "0.0.0.0"}, connections_max=500, in_flight_max=8)), 2),
        ((A, text({"one": "127.0.0.1"}, connections_max=MOST + 1)), 2),
        ((A, text({"one": "127.0.0.1", "two": "127.0.0.1"}), text({"one": "0.0.0.0", "two": "0.0.0.0"})), 2),
    ],
)  # fmt: skip
def test_what_is_in_force_is_had_again_from_as_few_files_as_can_be(contents: tuple[bytes, ...], kept: int) -> None:
    present, settings = run(*contents)
    again = present.configuration(FILE, MOST, configuration(A).policies)
    assert again.settings == settings
    assert again.revision == present.configured == configuration(contents[-1]).revision
    assert len(present.contents) == kept


def test_what_waits_for_a_restart_is_known_to_the_next_office() -> None:
    assert run(A, MOVED)[0].waiting(FILE, MOST) == ("listeners[one].bind",)
    assert run(A, PLAIN)[0].waiting(FILE, MOST) == ()


def test_more_files_than_are_kept_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    present, _ = run(A)
    monkeypatch.setattr("gateway.ops.workers.present.CONTENTS_MAX", 1)
    assert contents_of(present, configuration(MOVED), MOST) is None
    assert contents_of(present, configuration(PLAIN), MOST) == (PLAIN,)

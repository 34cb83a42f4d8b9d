"""What the demo writes: it fits 100 columns, breaks between words only, and tells what the audit line tells."""

from __future__ import annotations

import io
import json

import pytest

from gateway.ops.demo.screen import COLUMNS_MAX, Screen, told

DENIED = {
    "time": "2026-11-22T18:27:25.766Z", "event": "denied", "connection": "0b34ebd7-9",
    "principal": "jwt:dev:orders-service", "who": {"method": "jwt", "issuer": "dev", "name": "orders-service"},
    "decision": "0b34ebd7-9-1", "reason": "not-allowed", "revision": "e335ab6433218290", "system": "kafka",
    "backend": "kafka-demo", "api": "Produce", "address": "127.0.0.1", "resource": "payments.orders.pii",
    "operation": "Write", "kind": "topic", "rule": "no-pii", "why": "no-pii",
}  # fmt: skip


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_denial_tells_who_what_and_why() -> None:
    assert told(DENIED) == [
        "denied", "jwt:dev:orders-service", "Write topic:payments.orders.pii", "api=Produce", "reason=not-allowed",
        "rule=no-pii", "decision=0b34ebd7-9-1",
    ]  # fmt: skip
    assert "why=network" in told(DENIED | {"rule": None, "why": "network"})


def test_lists_and_maps_are_written_short() -> None:
    line = {"event": "authenticated", "principal": "p", "mechanism": "PLAIN", "claims": {"groups": ["a", "b"], "n": 1}}
    assert told(line) == ["authenticated", "p", "mechanism=PLAIN", "claims=groups:a|b,n:1"]


def test_lines_fit_and_break_between_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = io.StringIO()
    screen = Screen(out)
    screen.audit(json.dumps(DENIED))
    screen.fact("sees", "some words " * 30)
    screen.verdict(False, "the library's own words", 1.26)
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= COLUMNS_MAX
    assert lines[:2] == [
        "  audit      denied  jwt:dev:orders-service  Write topic:payments.orders.pii  api=Produce",
        "             reason=not-allowed  rule=no-pii  decision=0b34ebd7-9-1",
    ]
    assert lines[-1] == "  FAILED     the library's own words (1.3 s)"
    assert "\x1b" not in out.getvalue()


def test_a_word_longer_than_a_line_is_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    out = io.StringIO()
    Screen(out).fact("audit", f"here {'x' * 90} there")
    assert [line.split() for line in out.getvalue().splitlines()] == [["audit", "here"], ["x" * 90], ["there"]]


def test_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    Screen(out).verdict(True, "good", 1.0)
    assert "\x1b[32mok\x1b[0m" in out.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    Screen(plain).verdict(True, "good", 1.0)
    assert plain.getvalue() == "  ok         good (1.0 s)\n"

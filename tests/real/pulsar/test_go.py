"""The Go client (github.com/apache/pulsar-client-go) through the gateway."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.real.pulsar.go import asked, go, program
from tests.real.pulsar.site import Site, unique


@pytest.fixture
def token_file(site: Site, tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(site.token())
    return file


def test_produce_and_consume(site: Site, token_file: Path) -> None:
    task = asked(site, "roundtrip", token_file, Topic=site.topic(), Subscription="app-go", Count=200)
    answer = go(task)
    assert sorted(map(int, answer["ok"])) == list(range(200)), answer


def test_partitions(site: Site, token_file: Path) -> None:
    answer = go(asked(site, "roundtrip", token_file, Topic=site.partitioned(3), Subscription="app-go", Count=60))
    assert sorted(map(int, answer["ok"])) == list(range(60)), answer


def test_a_regular_expression_meets_only_what_is_allowed(site: Site, token_file: Path) -> None:
    mark = unique("mark")
    allowed = [f"persistent://public/default/app-{mark}-{each}" for each in "ab"]
    for topic in (*allowed, f"persistent://public/default/app-pii-{mark}", f"persistent://public/default/other-{mark}"):
        site.broker.admin("PUT", f"/persistent/public/default/{topic.rpartition('/')[2]}")
    for topic in allowed:
        assert go(asked(site, "produce", token_file, Topic=topic, Count=1)) == {"ok": None}
    at = site.audited()
    pattern = f"persistent://public/default/.*{mark}.*"
    answer = go(asked(site, "regex", token_file, Pattern=pattern, Subscription="app-go", Count=2))
    assert answer == {"ok": ["0", "0"]}
    denied = [line for line in site.gateway.audit()[at:] if line["event"] == "denied"]
    assert denied == [], "it was told only of topics it may consume"


def test_transactions(site: Site, token_file: Path) -> None:
    """Nothing is seen before the commit, and all of it afterwards."""
    answer = go(asked(site, "transaction", token_file, Topic=site.topic(), Subscription="app-go", Count=10))
    assert answer == {"ok": [str(number) for number in range(10)]}


def test_a_denial_is_the_librarys_own(site: Site, token_file: Path) -> None:
    answer = go(asked(site, "produce", token_file, Topic=site.topic("secret"), Count=1))
    assert "AuthorizationError" in answer["error"]


def test_a_bad_token_is_refused(site: Site, token_file: Path) -> None:
    at = site.audited()
    token_file.write_text("nonsense")
    assert "error" in go(asked(site, "produce", token_file, Topic=site.topic(), Count=1))
    site.gateway.wait_audit(event="refused", after=at)


def test_a_token_is_refreshed_while_messages_flow(site: Site, token_file: Path) -> None:
    """Several lives of a token, no message lost, no connection ended by it."""
    at = site.audited()
    token_file.write_text(site.token(lifetime=8.0))
    task = asked(site, "steady", token_file, Topic=site.topic(), Subscription="app-go", Seconds=12.0)
    with subprocess.Popen([str(program())], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(task))
        process.stdin.close()
        while process.poll() is None:
            fresh = token_file.with_suffix(".new")
            fresh.write_text(site.token(lifetime=8.0))
            fresh.rename(token_file)
            time.sleep(0.2)
        answer = json.loads(process.stdout.read())
    assert list(map(int, answer["ok"])) == list(range(len(answer["ok"]))), answer
    lines = site.gateway.audit()[at:]
    assert sum(line["event"] == "reauthenticated" for line in lines) >= 1
    assert not [line for line in lines if line.get("reason") in ("session-expired", "authentication-unanswered")]

"""The Java client through the gateway, by its own tools: console, admin and performance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.real import java, test_confluent
from tests.real.site import App, Site, unique, until

THREE = pytest.mark.parametrize("site", ["three"], indirect=True)
ADDRESSED = pytest.mark.parametrize("site", ["three", "names"], indirect=True)
"""Each tool is a JVM: three brokers only, which is the harder case."""
BOTH = pytest.mark.parametrize("plain", [False, True], ids=["oauthbearer", "plain"])


def produce(app: App, topic: str, folder: Path, *values: str, plain: bool = False, **more: str) -> java.Ran:
    settings = app.java(folder, plain=plain, **more)
    return java.run(
        java.CONSOLE_PRODUCER, "--bootstrap-server", app.site.bootstrap, "--command-config", str(settings),
        "--topic", topic, folder=folder, stdin="".join(f"{value}\n" for value in values),
    )  # fmt: skip


def consume(
    app: App, topic: str, folder: Path, count: int, group: str, *, plain: bool = False, **more: str
) -> java.Ran:
    settings = app.java(folder, plain=plain, **more)
    return java.run(
        java.CONSOLE_CONSUMER, "--bootstrap-server", app.site.bootstrap, "--command-config", str(settings),
        "--topic", topic, "--group", group, "--from-beginning", "--max-messages", str(count), "--timeout-ms", "90000",
        folder=folder,
    )  # fmt: skip


def tool(app: App, name: str, folder: Path, *arguments: str) -> java.Ran:
    settings = app.java(folder)
    return java.run(
        name, "--bootstrap-server", app.site.bootstrap, "--command-config", str(settings), *arguments, folder=folder
    )


def told(ask: Callable[[], java.Ran], wanted: str) -> None:
    """Until the tool tells it: another broker than the one that did the work may be asked, before it has heard."""
    ran: list[java.Ran] = []

    def said() -> bool:
        ran.append(ask())
        return wanted in ran[-1].text

    until(said, 120, f"{wanted!r} in what the tool tells")


@ADDRESSED
@BOTH
def test_produces_and_consumes_in_a_group(site: Site, tmp_path: Path, plain: bool) -> None:
    """The producer is idempotent, as Java's is by default."""
    app, topic = site.app(), site.topic()
    done = produce(app, topic, tmp_path, "one", "two", "three", plain=plain)
    assert "ERROR" not in done.text, done.text
    found = consume(app, topic, tmp_path, 3, unique("app-g"), plain=plain)
    assert sorted(found.out.split()) == ["one", "three", "two"], found.text


@THREE
def test_the_new_group_protocol(site: Site, tmp_path: Path) -> None:
    """KIP-848: ConsumerGroupHeartbeat instead of JoinGroup."""
    app, topic = site.app(), site.topic()
    produce(app, topic, tmp_path, "one", "two")
    found = consume(app, topic, tmp_path, 2, unique("app-g"), **{"group.protocol": "consumer"})
    assert sorted(found.out.split()) == ["one", "two"], found.text


@ADDRESSED
def test_topics_and_groups(site: Site, tmp_path: Path) -> None:
    app, name, group = site.app(), unique("app.made"), unique("app-g")
    made = tool(app, java.TOPICS, tmp_path, "--create", "--topic", name, "--partitions", "2")
    assert f"Created topic {name}." in made.text
    told(lambda: tool(app, java.TOPICS, tmp_path, "--describe", "--topic", name), "PartitionCount: 2")
    produce(app, name, tmp_path, "one")
    consume(app, name, tmp_path, 1, group)
    groups = tool(app, java.GROUPS, tmp_path, "--describe", "--group", group)
    assert name in groups.out, groups.text
    assert group in tool(app, java.GROUPS, tmp_path, "--list").out
    gone = tool(app, java.TOPICS, tmp_path, "--delete", "--topic", name)
    assert gone.code == 0, gone.text


@ADDRESSED
def test_transactional_performance(site: Site, tmp_path: Path) -> None:
    app, topic = site.app(), site.topic()
    settings = app.java(tmp_path)
    done = java.run(
        java.PRODUCER_PERFORMANCE, "--bootstrap-server", site.bootstrap, "--command-config", str(settings),
        "--topic", topic, "--num-records", "2000", "--record-size", "100", "--throughput", "-1",
        "--transactional-id", unique("app-t"), "--transaction-duration-ms", "200", folder=tmp_path,
    )  # fmt: skip
    assert "2000 records sent" in done.out, done.text
    read = java.run(
        java.CONSUMER_PERFORMANCE, "--bootstrap-server", site.bootstrap, "--command-config", str(settings),
        "--topic", topic, "--num-records", "2000", "--group", unique("app-g"), "--timeout", "90000", folder=tmp_path,
    )  # fmt: skip
    assert ", 2000," in read.out, read.text


# --- denied


@ADDRESSED
def test_a_denied_topic_raises(guarded: Site, tmp_path: Path) -> None:
    denied, at = guarded.topic("closed.pay"), guarded.audited()
    done = produce(guarded.app(), denied, tmp_path, "x")
    assert "TopicAuthorizationException" in done.text
    assert guarded.denied(at, resource=denied)["operation"]
    found = consume(guarded.app(), denied, tmp_path, 1, unique("app-g"))
    assert "TopicAuthorizationException" in found.text


@ADDRESSED
def test_a_denied_group_raises(guarded: Site, tmp_path: Path) -> None:
    found = consume(guarded.app(), guarded.topic(), tmp_path, 1, unique("other"))
    assert "GroupAuthorizationException" in found.text


@ADDRESSED
def test_creating_elsewhere_raises(guarded: Site, tmp_path: Path) -> None:
    done = tool(guarded.app(), java.TOPICS, tmp_path, "--create", "--topic", unique("closed.made"))
    assert "TopicAuthorizationException" in done.text
    assert done.code != 0


@THREE
def test_a_denied_transactional_id_raises(guarded: Site, tmp_path: Path) -> None:
    settings = guarded.app().java(tmp_path)
    done = java.run(
        java.PRODUCER_PERFORMANCE, "--bootstrap-server", guarded.bootstrap, "--command-config", str(settings),
        "--topic", guarded.topic(), "--num-records", "1", "--record-size", "10", "--throughput", "-1",
        "--transactional-id", unique("other"), folder=tmp_path,
    )  # fmt: skip
    assert "TransactionalIdAuthorizationException" in done.text


@THREE
def test_more_partitions_and_what_is_refused(guarded: Site, tmp_path: Path) -> None:
    """kafka-topics alters its own topic, not another's; kafka-acls finds its API not offered at all."""
    app, mine, other = guarded.app(), guarded.topic(), guarded.topic("closed.pay")
    assert tool(app, java.TOPICS, tmp_path, "--alter", "--topic", mine, "--partitions", "5").code == 0
    told(lambda: tool(app, java.TOPICS, tmp_path, "--describe", "--topic", mine), "PartitionCount: 5")
    denied = tool(app, java.TOPICS, tmp_path, "--alter", "--topic", other, "--partitions", "5")
    assert denied.code != 0
    assert "does not exist" in denied.text, denied.text  # the tool looks for it first, and may not see it
    acls = tool(app, java.ACLS, tmp_path, "--list")
    assert "UnsupportedVersionException" in acls.text, acls.text


@THREE
def test_a_consumer_outlives_its_tokens(guarded: Site, tmp_path: Path) -> None:
    """The Java client fetches a new token before the old one ends and re-authenticates on its connections. It ends by
    a record, which is sent once that was seen."""
    app, topic = guarded.app("svc-java", lifetime=10), guarded.topic()
    gateway = guarded.gateway
    assert gateway is not None
    settings = app.java(
        tmp_path,
        **{
            "sasl.login.refresh.min.period.seconds": "1", "sasl.login.refresh.buffer.seconds": "1",
            "sasl.login.refresh.window.factor": "0.5", "sasl.login.refresh.window.jitter": "0.0",
        },
    )  # fmt: skip
    (file,) = tmp_path.glob("token-*")
    at = guarded.audited()

    def lines() -> list[dict[str, Any]]:
        return [line for line in gateway.audit()[at:] if "svc-java" in str(line.get("principal"))]

    def proven() -> Counter[str]:
        return Counter(line["connection"] for line in lines() if line["event"] == "reauthenticated")

    def renewed_twice() -> bool:
        scratch = tmp_path / "scratch"
        scratch.write_text(app.token())
        scratch.replace(file)
        return max(proven().values(), default=0) >= 2

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            java.run, java.CONSOLE_CONSUMER, "--bootstrap-server", guarded.bootstrap, "--command-config", str(settings),
            "--topic", topic, "--group", unique("app-g"), "--from-beginning", "--max-messages", "1",
            "--timeout-ms", "120000", folder=tmp_path,
        )  # fmt: skip
        try:
            until(renewed_twice, 100, "two new logins on one connection")
        finally:
            test_confluent.produce({"bootstrap.servers": guarded.cluster.bootstrap}, topic, count=1)
        ran = running.result()
    assert "AuthenticationException" not in ran.text, ran.text
    assert ran.out.split() == ["0"], ran.text
    expired = [
        line["connection"] for line in lines() if line["event"] == "closed" and line["reason"] == "session-expired"
    ]
    busiest = proven().most_common(1)[0][0]
    assert busiest not in expired, "only a connection that the client does not use any more may end"

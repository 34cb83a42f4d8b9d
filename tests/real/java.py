"""The Java client's own tools, each run as a process of its own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.real.archive import shared_classes
from tests.real.jars import java, tools_libs
from tests.real.names import HOSTS

CONSOLE_PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSOLE_CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
TOPICS = "org.apache.kafka.tools.TopicCommand"
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
ACLS = "org.apache.kafka.tools.AclCommand"
PRODUCER_PERFORMANCE = "org.apache.kafka.tools.ProducerPerformance"
CONSUMER_PERFORMANCE = "org.apache.kafka.tools.ConsumerPerformance"

_LOG4J = """\
status = error
appender.err.type = Console
appender.err.name = err
appender.err.target = SYSTEM_ERR
appender.err.layout.type = PatternLayout
appender.err.layout.pattern = %p %m (%c)%n%throwable
rootLogger.level = warn
rootLogger.appenderRef.err.ref = err
"""


@dataclass(frozen=True)
class Ran:
    """What a tool came to; `text` is its output and its errors."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def run(
    tool: str, *arguments: str, folder: Path, stdin: str = "", timeout: float = 180.0, properties: tuple[str, ...] = ()
) -> Ran:
    """Run one tool to its end. A token file is allowed to be read by its URL (`allowed.urls` and `allowed.files`)."""
    log4j = folder / "log4j2-tools.properties"
    log4j.write_text(_LOG4J)
    tokens = sorted(folder.glob("token-*"))
    flags = [f"-Djdk.net.hosts.file={HOSTS}"]
    flags += ["-Xmx192m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={log4j}"]
    if tokens:
        flags += [
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={','.join(path.as_uri() for path in tokens)}",
            f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={','.join(map(str, tokens))}",
        ]
    libs = tools_libs()
    with shared_classes("kafka-tools", libs) as shared:
        done = subprocess.run(
            [java(), *flags, *shared, *properties, "-cp", f"{libs}/*", tool, *arguments],
            input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)

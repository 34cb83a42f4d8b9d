"""docs/kafka-apis.md: every offered API and version, and how the gateway's answers compare with a real broker's."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from gateway.kafka.table import OFFERED, TABLE
from tests.equivalence.asking import compare
from tests.equivalence.cases import CASES
from tests.equivalence.world import PRINCIPALS, World
from tests.real.jars import KAFKA_VERSION

DOCUMENT = Path(__file__).parents[2] / "docs" / "kafka-apis.md"

_HEAD = """\
# Kafka APIs

What the gateway offers of Kafka {release}, and how its answers compare with the broker's own. Any other API or version
is not in ApiVersions and closes the connection, as at the broker. SaslHandshake, SaslAuthenticate and ApiVersions are
the gateway's own.

Each line was compared with a real broker and its StandardAuthorizer: the same request straight to the broker as a
principal with ACLs, and through the gateway's engine with rights of equal meaning, for {principals} kinds of rights
({names}).
Equal means the same answer field by field, apart from times, made-up ids and the order of lists that Kafka keeps in
hash maps. Written by `python -m tests.equivalence`; the test suite repeats the comparison.

| API | key | versions | compared | result |
|---|---|---|---|---|
"""

_ALSO = """
## Where the gateway differs by intention

{reasons}

Beyond what can be compared request by request:

- Produce with acks=0 and some topics denied: the allowed part is produced and the connection stays, where the broker
  produces it and closes the connection. Where all is denied the connection is closed as by the broker.
- A fetch that names a denied topic gets no fetch session (session id 0), so that the client names all its partitions
  again each time and is told of the denial each time. Clients do the same with a broker whose session cache is full.
- A right withdrawn while a fetch session is open: the broker answers 29 for the topic at once and at every fetch; the
  gateway answers 29 when the topic next has something to say, and ends the session, from when on it is as above.
- DescribeTopicPartitions for all topics asks for those that the gateway saw at its last look (metadata_refresh), and
  OffsetFetch v10 for all topics leaves out one whose id was not seen yet.
- A topic that is made by being asked for is made before the request goes on, so that it may be answered at once where
  the broker says UNKNOWN_TOPIC_OR_PARTITION (3) the first time.
- Metadata v0 to v3 is asked at v4: v0 then does not show a topic as unavailable because one of its replicas' brokers is
  down.
- Configuration names that make a broker load code (sasl.jaas.config, *.class, *.class.name, *.classes, *.reporters,
  *.providers) are refused with POLICY_VIOLATION (44) whatever the rights.
- Replica ids: nobody fetches as a replica, and any other replica id is made -1.
- Share groups' coordinators can be found with ClusterAction on the cluster, but no share group API is offered.
"""


@dataclass
class Result:
    """What came of one version of an API."""

    compared: int = 0
    unexplained: list[str] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)


Results = dict[tuple[int, int], Result]


def measure(world: World) -> Results:
    """Ask every case of every version for every principal."""
    results: Results = defaultdict(Result)
    for case in CASES:
        for version in case.at():
            result = results[case.key, version]
            for principal in PRINCIPALS:
                unexplained, reasons = compare(world, case, version, principal)
                result.compared += 1
                result.unexplained += unexplained
                result.reasons |= reasons
    return results


def render(results: Results) -> str:
    reasons = sorted({reason for result in results.values() for reason in result.reasons})
    number = {reason: index for index, reason in enumerate(reasons, 1)}
    lines = [line for key, versions in OFFERED.items() for line in _lines(key, versions, results, number)]
    head = _HEAD.format(release=KAFKA_VERSION, principals=len(PRINCIPALS), names=", ".join(PRINCIPALS))
    notes = "\n".join(_note(index, reason) for reason, index in number.items())
    return head + "\n".join(lines) + "\n" + _ALSO.format(reasons=notes)


def _note(index: int, reason: str) -> str:
    return textwrap.fill(f"{index}. {reason[0].upper()}{reason[1:]}.", 118, subsequent_indent="   ")


def _lines(key: int, versions: tuple[int, int], results: Results, number: dict[str, int]) -> list[str]:
    """One line for each run of versions with the same result."""
    runs: list[tuple[int, int, int, str]] = []
    for version in range(versions[0], versions[1] + 1):
        result = results[key, version]
        text = _verdict(result, number)
        if runs and runs[-1][3] == text:
            first, _, compared, _ = runs[-1]
            runs[-1] = (first, version, compared + result.compared, text)
        else:
            runs.append((version, version, result.compared, text))
    return [
        f"| {TABLE[key].name} | {key} | {f'v{first}' if first == last else f'v{first}-{last}'} | {compared} | {text} |"
        for first, last, compared, text in runs
    ]


def _verdict(result: Result, number: dict[str, int]) -> str:
    if not result.compared:
        return "not compared"
    if result.unexplained:
        return f"differs: {result.unexplained[0]}"
    notes = ", ".join(str(number[reason]) for reason in sorted(result.reasons, key=lambda each: number[each]))
    return f"equal, except note {notes}" if notes else "equal"

"""Scenarios of the engine: given rights, when a request comes, then this is forwarded and that is answered.

The files kafka_*.yaml hold lists of them:

    name, api
    versions   each is tried; bodies hold only what all of them have
    rights     ``Write topic orders``, ``deny Read topic *``, as ACLs are spelt in tests.equivalence.acls
    topics     topics that exist (default: those of TOPICS); auto_create: the brokers create by being asked
    request    fields that are not given have their default
    wait       the ask that comes first: create: [names], or ids: [names]; told: names that exist afterwards
    forwarded  ``as sent``, ``nothing`` or the body that the broker gets; at: its version, if not the client's
    broker     the broker's answer, if anything was forwarded
    answer     what the client gets: ``as answered``, ``closed``, or a body

In bodies ``id:orders`` is the id of a topic, ``id:?`` an unknown one, ``batch``, ``transactional batch`` and
``no records`` are records.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gateway.core.session import Endpoint
from gateway.kafka import codec
from gateway.kafka.plan import Body
from gateway.kafka.table import TABLE
from tests.equivalence.acls import AclView, Topics, acls
from tests.equivalence.world import batch

FOLDER = Path(__file__).parent
TOPICS = ("orders", "audit", "payroll")
GATEWAY = "gateway.example"
BASE_PORT = 9100
NODES = (1, 2)
"""Brokers that clients can reach; any other is outside the listener's range."""

_WORDS = {"no records": b"", "batch": batch(), "transactional batch": batch(transactional=True, producer_id=7)}
_KEYS = {row.name: key for key, row in TABLE.items()}


@dataclass(frozen=True)
class Scenario:
    """One scenario at one version."""

    file: str
    version: int
    told: dict[str, Any]

    @property
    def key(self) -> int:
        return _KEYS[self.told["api"]]

    @property
    def id(self) -> str:
        return f"{self.told['api']} v{self.version}, {self.told['name']}"

    def request(self) -> Body:
        body = made(self.told["request"])
        return codec.decode_request(self.key, self.version, codec.encode_request(self.key, self.version, body))

    def body_of(self, name: str, version: int, *, request: bool) -> Body:
        """A body of the file as the codec reads it, every default filled in."""
        encode = codec.encode_request if request else codec.encode_response
        decode = codec.decode_request if request else codec.decode_response
        return decode(self.key, version, encode(self.key, version, made(self.told[name])))

    def view(self) -> AclView:
        names = self.told.get("topics", TOPICS)
        addresses = {node: Endpoint(GATEWAY, BASE_PORT + node) for node in NODES}
        topics = Topics({name: topic_id(name) for name in names})
        return AclView(acls(*self.told["rights"]), topics, addresses, self.told.get("auto_create", False))


def topic_id(name: str) -> bytes:
    return name.encode().ljust(16, b"\x01")[:16]


def made(value: Any) -> Any:
    """The YAML value with the words for ids and records replaced."""
    if isinstance(value, dict):
        return {name: made(each) for name, each in value.items()}
    if isinstance(value, list):
        return [made(each) for each in value]
    if isinstance(value, str) and value.startswith("id:"):
        return topic_id(value[3:])
    return _WORDS.get(value, value) if isinstance(value, str) else value


def scenarios() -> list[Scenario]:
    return [
        Scenario(file.name, version, told)
        for file in sorted(FOLDER.glob("kafka_*.yaml"))
        for told in yaml.safe_load(file.read_text())
        for version in told["versions"]
    ]

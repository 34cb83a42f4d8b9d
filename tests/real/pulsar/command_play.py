"""One case of the matrix, played: its commands one after another by a raw client, and what the last one came to."""

from __future__ import annotations

import ssl
import struct
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from gateway.pulsar import commands
from gateway.pulsar.commands import Command
from tests.real.pulsar.broker import PulsarBroker
from tests.real.pulsar.wire import RawPulsar

Step = tuple[str, dict[str, Any]]
Told = tuple[str, int | None]
"""What came of a command: its answer's, or one of the two below; and the code, None for none."""
IGNORED: Told = ("ignored", None)
"""Nothing at all, and the connection goes on."""
ENDED: Told = ("ended", None)
"""The connection was ended."""
THERE, ANOTHERS = "a message is there", "another's transaction"
"""Steps that are no commands: done beforehand, straight at the broker, by somebody who may."""
ANSWERED_WHERE_OPEN = {
    "send": "send_receipt", "ack": "ack_response", "flow": "message", "redeliver_unacknowledged_messages": "message",
}  # fmt: skip
"""Commands that are about what is open: what comes if their producer or consumer is open. If not, nothing does."""
RAW = "raw"
NEVER_ANSWERED = ("auth_response",)
UNASKED = ("active_consumer_change", "close_consumer", "message")
"""What a broker says of its own accord."""
CODES_UNREAD = {"ack_response": 4, "end_txn_on_partition_response": 4, "end_txn_on_subscription_response": 4}
"""Answers whose codes the gateway has no use for: the number of the field."""
LEAST, MOST = 2, 3
"""Likewise the fields of a transaction's id in NEW_TXN's answer."""
_METADATA = b"\x0a\x01p\x10\x00\x18\x01"
PAYLOAD = struct.pack(">I", len(_METADATA)) + _METADATA + b"a message"
"""A producer's name, a sequence number and a time; and what is sent."""
TC: Step = ("tc_client_connect_request", {"tc_id": 0})
BEGIN: Step = ("new_txn", {"txn_ttl_seconds": 60_000, "tc_id": 0})
"""Milliseconds, whatever the field is called."""
SEND: Step = ("send", {"producer_id": 1, "sequence_id": 0, "num_messages": 1})


class Play:
    """One connection on which the steps are taken. `somebody`: a role that may do all that the roles may."""

    def __init__(self, broker: PulsarBroker, somebody: str) -> None:
        self._broker = broker
        self._somebody = somebody
        self._transaction: dict[str, int] = {}

    def played(self, port: int, ca_file: str | None, token: str, steps: list[Step]) -> Told:
        """What the last step came to."""
        try:
            with RawPulsar(port, ca_file) as client:
                return self._steps(client, token, steps)
        except (EOFError, ConnectionError, ssl.SSLError):
            return ENDED

    def _steps(self, client: RawPulsar, token: str, steps: list[Step]) -> Told:
        client.connect(token, feature_flags={"supports_topic_watchers": True})
        told: Told = ("connected", None)
        assert client.receive().name == told[0]
        for number, (name, fields) in enumerate(steps):
            if name == THERE:
                self._straight([("producer", {"producer_id": 1, **fields}), SEND])
            elif name == ANOTHERS:
                self._straight([TC, BEGIN])
            else:
                told = self._step(client, number + 1, name, fields, opened=told[1] is None and told != IGNORED)
        return told

    def _straight(self, steps: list[Step]) -> None:
        with RawPulsar(self._broker.port, None) as client:
            assert self._steps(client, self._broker.token(self._somebody), steps)[1] is None

    def _step(self, client: RawPulsar, number: int, name: str, fields: dict[str, Any], *, opened: bool) -> Told:
        if name.endswith("_to_txn") or name == "end_txn":
            fields = {**fields, **self._transaction}
        if name in ANSWERED_WHERE_OPEN or name in NEVER_ANSWERED:
            return self._unanswered(client, name, fields, opened=opened)
        client.send(framed(name, {**fields, **({} if name in ("ping", "connect") else {"request_id": number})}))
        answer = client.receive()
        while answer.name in UNASKED:
            answer = client.receive()
        if name == "new_txn":
            self._transaction = transaction(answer)
        return answer.name, code_of(answer)

    def _unanswered(self, client: RawPulsar, name: str, fields: dict[str, Any], *, opened: bool) -> Told:
        """Waits for what comes of it; or asks whether anybody is there, where nothing may come."""
        client.send(framed(name, fields, PAYLOAD if name == "send" else b""))
        wanted = ANSWERED_WHERE_OPEN.get(name) if opened else None
        if wanted is None:
            client.send(commands.framed("ping"))
        answer = client.receive()
        while answer.name in UNASKED and answer.name != wanted:
            answer = client.receive()
        return IGNORED if answer.name == "pong" else (answer.name, code_of(answer))


def framed(name: str, fields: dict[str, Any], payload: bytes = b"") -> bytes:
    """Lists of messages are given as mappings too; RAW: octets of fields that the gateway's table does not have."""
    plain = {field: value for field, value in fields.items() if field != RAW and not isinstance(value, list)}
    command = commands.make(name, **plain)
    command.body.MergeFromString(fields.get(RAW, b""))
    for field, value in fields.items():
        for each in value if isinstance(value, list) else ():
            members = getattr(command.body, field)
            members.add(**each) if isinstance(each, dict) else members.append(each)
    command.changed()
    return b"".join(command.parts(payload))


def transaction(begun: Command) -> dict[str, int]:
    """The fields for the transaction that NEW_TXN's answer names."""
    return {"txnid_least_bits": unread(begun, LEAST) or 0, "txnid_most_bits": unread(begun, MOST) or 0}


def code_of(answer: Command) -> int | None:
    body = answer.body
    for field in ("error", "error_code"):
        if hasattr(body, field) and body.HasField(field):
            return int(getattr(body, field))
    return unread(answer, CODES_UNREAD[answer.name]) if answer.name in CODES_UNREAD else None


def unread(answer: Command, number: int) -> int | None:
    """A number in a field that the gateway's table does not have."""
    fields = UnknownFieldSet(answer.body)
    found = [fields[at].data for at in range(len(fields)) if fields[at].field_number == number]
    return int(found[0]) if found else None

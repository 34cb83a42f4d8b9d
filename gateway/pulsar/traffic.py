"""What an authenticated client may send: each command decided, and forwarded, answered, dropped, or the end.

Whatever names a resource is decided by the policy; whatever carries a producer's or consumer's id by what that was
opened for. A denial is answered in the protocol's own words with the request's id, and the connection goes on. A frame
for a producer or consumer that is not open is dropped: where the broker would end the connection over it (SEND), it
goes on for the rest. Called by the session; relay has the broker's side.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from gateway.core.identity import Identity
from gateway.core.limits import Account
from gateway.core.rights import Rights
from gateway.core.session import Close, Effects
from gateway.pulsar import authorize, meters, names, reasons, replies
from gateway.pulsar.authorize import BROKERS_OWN, Asked, BrokersOwn, Needs, Unnameable
from gateway.pulsar.commands import Body, Command, framed
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.handles import Handle, Handles, Kind
from gateway.pulsar.requests import OWN_IDS, Requests, Waiting
from gateway.pulsar.table import (
    AUTHORIZATION_ERROR,
    METADATA_ERROR,
    NOT_ALLOWED_ERROR,
    ROWS,
    SERVICE_NOT_READY,
    TOO_MANY_REQUESTS,
    FromClient,
)
from gateway.pulsar.view import View

WATCHERS_MAX = 1000
"""Topic-list watchers of one connection."""
DENIED = "Client is not authorized"
CREATES = ("Produce", "Consume", "Create")
"""Whoever may do one of these may have a topic made by asking for it."""


class Taken(Enum):
    FORWARD = auto()
    """It goes to the broker, as Command.encoded says."""
    DONE = auto()
    """It was answered or dropped."""


Outcome = Taken | Close


class Traffic:
    """One connection's, from its authentication on."""

    def __init__(self, context: ListenerContext, view: View, account: Account, effects: Effects) -> None:
        self._context = context
        self._effects = effects
        self._backend = context.backend.name
        self.view = view
        self.account = account
        self.producers = Handles("producer", account)
        self.consumers = Handles("consumer", account)
        self.watchers: dict[int, str] = {}
        """Watcher -> its namespace."""
        self.requests = Requests(context.limits.in_flight_max)
        self._transactions = context.account is not None or context.by_certificate or context.tokens_passed
        """Brokers hold transactions to their owner, so they must know who that is."""
        self._decide = {
            FromClient.TOPIC: self._topic,
            FromClient.NAMESPACE: self._namespace,
            FromClient.PRODUCER: self._producer,
            FromClient.SUBSCRIBE: self._subscribe,
            FromClient.OF_PRODUCER: self._of_producer,
            FromClient.OF_CONSUMER: self._of_consumer,
            FromClient.OF_WATCHER: self._of_watcher,
            FromClient.TRANSACTION: self._transaction,
        }

    def send(self, command: Command, octets: int) -> Outcome:
        """One SEND, the frequent one; `octets` of its whole frame."""
        body = command.body
        handle = self.producers.get(body.producer_id)
        if handle is None:
            return self._drop("send")
        if body.marker:  # replicators write markers; from a client one would be a forged transaction's end
            return Close(reasons.COMMAND_FORGED, "send with marker")
        self.view.passed(handle, octets)
        return Taken.FORWARD

    def request(self, command: Command) -> Outcome:
        """Any other command of a client's."""
        name = command.name
        row = ROWS[name]
        decide = self._decide.get(row.client)
        if decide is None:
            return Close(reasons.COMMAND_NOT_FOR_CLIENTS, name)
        self._context.meters.cell(meters.COMMANDS, self._backend, name).value += 1
        request_id = _request_id(command)
        if request_id is not None and name != "ack":
            if request_id >= OWN_IDS:
                return Close(reasons.REQUEST_MALFORMED, "a request id that clients do not reach")
            if self.requests.in_use(request_id):
                return Close(reasons.REQUEST_MALFORMED, "a request id that is still in use")
            if self.requests.full:
                return self._no(command, TOO_MANY_REQUESTS, "too many requests wait for their answers")
        self.view.denials.begin(name)
        outcome: Outcome = decide(command)
        self.view.denials.end()
        return outcome

    # ---- by name ------------------------------------------------------------------------------------------------

    def _topic(self, command: Command) -> Outcome:
        body, name = command.body, command.name
        if name in ("lookup", "partitioned_metadata"):
            if body.original_principal or body.original_auth_data or body.original_auth_method:
                return Close(reasons.COMMAND_FORGED, f"{name} for somebody else")
            if self._transactions and names.topic(body.topic) == names.TRANSACTION_COORDINATORS:
                return self._ask(command, _looked_up(body) if name == "lookup" else None)
        asked = authorize.of_topic(name, body)
        refused = self._refused(command, asked)
        if refused is not None:
            return refused
        assert isinstance(asked, Needs)
        creates = any(self.view.quietly("topic", each, asked.topic) for each in CREATES)
        if name == "partitioned_metadata" and not creates:
            body.metadata_auto_creation_enabled = False
            command.changed()
        return self._ask(command, _looked_up(body) if name == "lookup" else None)

    def _namespace(self, command: Command) -> Outcome:
        body = command.body
        asked = authorize.of_namespace(body)
        refused = self._refused(command, asked)
        if refused is not None:
            return refused
        assert isinstance(asked, Needs)
        if command.name == "watch_topic_list":
            if len(self.watchers) >= WATCHERS_MAX:
                return self._no(command, TOO_MANY_REQUESTS, "too many watchers")
            self.watchers[body.watcher_id] = asked.topic
        body.ClearField("topics_hash")  # it is of the filtered list, which the broker does not know
        command.changed()
        return self._ask(command)

    # ---- producers and consumers --------------------------------------------------------------------------------

    def _producer(self, command: Command) -> Outcome:
        body = command.body
        if body.producer_name.startswith(names.REPLICATOR):
            return Close(reasons.COMMAND_FORGED, "a replicator's name")
        return self._open(command, self.producers, body.producer_id, authorize.of_producer(body))

    def _subscribe(self, command: Command) -> Outcome:
        body = command.body
        asked = authorize.of_consumer(body)
        unsaid = body.HasField("replicate_subscription_state") and not body.replicate_subscription_state
        if unsaid and isinstance(asked, Needs) and not self.view.quietly("topic", authorize.REPLICATE, asked.topic):
            body.ClearField(
                "replicate_subscription_state"
            )  # clients say "no" unasked; it ends what somebody else began
            command.changed()
        return self._open(command, self.consumers, body.consumer_id, asked)

    def _open(self, command: Command, handles: Handles, handle_id: int, asked: Asked) -> Outcome:
        refused = self._refused(command, asked)
        if refused is not None:
            return refused
        assert isinstance(asked, Needs)
        held = handles.held(handle_id)
        if held is not None:
            if held.closing:
                return self._no(command, SERVICE_NOT_READY, "the one of this id is being closed")
            if not held.same(asked.topic, asked.subscription):
                return self._no(command, NOT_ALLOWED_ERROR, "the id is in use for something else")
            return self._ask(command, Waiting(command.name, handle_id))
        handle = Handle(handles.kind, handle_id, asked.topic, asked.subscription, asked.accesses)
        if not handles.open(handle):
            words = f"{reasons.HANDLES_OF_PRINCIPAL.code}: too many {handles.kind}s"
            return self._no(command, TOO_MANY_REQUESTS, words)
        return self._ask(command, Waiting(command.name, handle_id, opens=True))

    def _of_producer(self, command: Command) -> Outcome:
        """close_producer; send has a way of its own."""
        return self._close(command, self.producers, command.body.producer_id)

    def _of_consumer(self, command: Command) -> Outcome:
        name, body = command.name, command.body
        if name == "close_consumer":
            return self._close(command, self.consumers, body.consumer_id)
        handle = self.consumers.get(body.consumer_id)
        if handle is None:
            if _request_id(command) is None or name == "ack":
                return self._drop(name)
            return self._no(command, METADATA_ERROR, "Consumer not found")
        needs = ROWS[name].needs
        if needs and not self.view.allowed(("subscription", needs, handle.subscription)):
            return self._no(command, AUTHORIZATION_ERROR, DENIED)
        if _request_id(command) is None or name == "ack":  # acknowledgements are answered by consumer
            return Taken.FORWARD
        return self._ask(command, Waiting(name, body.consumer_id))

    def _close(self, command: Command, handles: Handles, handle_id: int) -> Outcome:
        handle = handles.get(handle_id)
        if handle is None:  # brokers say so too
            self._effects.to_client.append(framed("success", request_id=command.body.request_id))
            return Taken.DONE
        handle.closing = True
        return self._ask(command, Waiting(command.name, handle_id))

    def _of_watcher(self, command: Command) -> Outcome:
        self.watchers.pop(command.body.watcher_id, None)
        return self._ask(command)

    # ---- transactions -------------------------------------------------------------------------------------------

    def _transaction(self, command: Command) -> Outcome:
        """Where the broker sees the client's own principal; it holds a transaction to its owner."""
        name, body = command.name, command.body
        if not self._transactions:
            return self._no(command, NOT_ALLOWED_ERROR, "brokers here do not know who asks")
        asked: list[Asked] = []
        if name == "add_partition_to_txn":
            asked = [authorize.produced(each) for each in body.partitions]
        elif name == "add_subscription_to_txn":
            asked = [authorize.subscribed(each.topic, each.subscription) for each in body.subscription]
        for each in asked:
            refused = self._refused(command, each)
            if refused is not None:
                return refused
        return self._ask(command)

    # ---- withdrawn rights ---------------------------------------------------------------------------------------

    def use(self, identity: Identity, rights: Rights) -> None:
        """Other rights from now on: what is no longer allowed is closed on both sides, and reopening it is denied."""
        self.view.use(identity, rights)
        for handles in (self.producers, self.consumers):
            for handle in handles.all():
                if not handle.closing and not self.still(handle):
                    self._withdraw(handle)

    def still(self, handle: Handle) -> bool:
        """Whether all that it needs is allowed now."""
        return all(self.view.rights.decide(*access).allowed for access in handle.accesses)

    def _withdraw(self, handle: Handle) -> None:
        self.view.denials.begin(f"withdrawn {handle.kind}")
        self.view.allowed(*handle.accesses)  # writes the denial
        handle.closing = True
        command = f"close_{handle.kind}"
        self._context.meters.cell(meters.WITHDRAWN, self._backend).value += 1
        ids = {f"{handle.kind}_id": handle.id}
        own = self.requests.own(Waiting(command, handle.id))
        self._effects.to_upstream.append(framed(command, request_id=own, **ids))
        self._effects.to_client.append(framed(command, request_id=replies.NO_REQUEST, **ids))

    # ---- how it ends --------------------------------------------------------------------------------------------

    def _ask(self, command: Command, waiting: Waiting | None = None) -> Taken:
        """Forward a request, and expect its answer."""
        request_id = _request_id(command)
        assert request_id is not None
        self.requests.add(request_id, waiting or Waiting(command.name))
        return Taken.FORWARD

    def _refused(self, command: Command, asked: Asked) -> Taken | None:
        """Answer what is not allowed; None if all of it is."""
        if isinstance(asked, Unnameable):
            return self._no(command, asked.code, asked.words)
        if isinstance(asked, BrokersOwn):
            self.view.refused(*asked.access, BROKERS_OWN)
            return self._no(command, AUTHORIZATION_ERROR, DENIED)
        if not self.view.allowed(*asked.accesses):
            return self._no(command, AUTHORIZATION_ERROR, DENIED)
        return None

    def _no(self, command: Command, code: int, words: str) -> Taken:
        request_id = _request_id(command)
        assert request_id is not None
        self._effects.to_client.append(replies.refused(command.name, request_id, code, words))
        return Taken.DONE

    def _drop(self, name: str) -> Taken:
        self._context.meters.cell(meters.DROPPED, self._backend, name).value += 1
        return Taken.DONE

    def handles(self, kind: Kind) -> Handles:
        return self.producers if kind == "producer" else self.consumers

    def close(self) -> None:
        """The connection has ended: give back what was counted."""
        self.producers.clear()
        self.consumers.clear()
        self.view.denials.close()


def _looked_up(body: Body) -> Waiting:
    """A lookup that may have to be followed from broker to broker."""
    return Waiting("lookup", topic=body.topic, listener=body.advertised_listener_name)


def _request_id(command: Command) -> int | None:
    body: Any = command.body
    return body.request_id if hasattr(body, "request_id") else None

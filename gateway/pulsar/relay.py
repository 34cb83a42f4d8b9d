"""What a broker may send: each command forwarded, rewritten, dropped, answered by the gateway, or the end.

Addresses of brokers never lead a client past the gateway: a lookup's answer says that the client comes back through
the gateway, and what else names a broker is taken out. Lists of topics are left with what the client may consume.
Called by the session; traffic has the client's side.
"""

from __future__ import annotations

from enum import Enum, auto

from gateway.core.session import Close, Effects
from gateway.pulsar import meters, names, reasons, replies
from gateway.pulsar.backend import endpoint
from gateway.pulsar.commands import Command
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.requests import OWN_IDS
from gateway.pulsar.table import ROWS, SERVICE_NOT_READY, FromBroker
from gateway.pulsar.traffic import Traffic

REDIRECT, CONNECT = 0, 1
"""LookupType of a lookup's answer."""
ADDRESSES = ("assigned_broker_url", "assigned_broker_url_tls")


class Told(Enum):
    FORWARD = auto()
    """It goes to the client, as Command.encoded says."""
    DONE = auto()


Outcome = Told | Close


class Relay:
    """One connection's."""

    def __init__(self, context: ListenerContext, traffic: Traffic, effects: Effects) -> None:
        self._context = context
        self._traffic = traffic
        self._effects = effects
        self._rewrites = {
            "lookup_response": self._lookup,
            "get_topics_of_namespace_response": self._topics,
            "watch_topic_list_success": self._watched,
        }

    def message(self, command: Command, octets: int) -> Outcome:
        """One MESSAGE, the frequent one; `octets` of its whole frame."""
        handle = self._traffic.consumers.get(command.body.consumer_id)
        if handle is None:
            return self._drop("message")
        self._traffic.view.passed(handle, octets)
        return Told.FORWARD

    def command(self, command: Command) -> Outcome:
        """Any other command, but for those that are the session's own (FromBroker.OWN)."""
        name, body = command.name, command.body
        side = ROWS[name].broker
        if side is FromBroker.ANSWER:
            return self._answer(command)
        if side is FromBroker.OF_PRODUCER:
            if name == "close_producer":
                self._traffic.producers.forget(body.producer_id)
                return _without_addresses(command)
            return Told.FORWARD if self._traffic.producers.held(body.producer_id) is not None else self._drop(name)
        if side is FromBroker.OF_CONSUMER:
            if name == "close_consumer":
                self._traffic.consumers.forget(body.consumer_id)
                return _without_addresses(command)
            return Told.FORWARD if self._traffic.consumers.held(body.consumer_id) is not None else self._drop(name)
        if side is FromBroker.OF_WATCHER:
            return self._changed_topics(command)
        if side is FromBroker.DROPPED:  # brokers close what has migrated, and clients look it up again, here
            return self._drop(name)
        return Close(reasons.UPSTREAM_PROTOCOL, f"{name} from a broker")

    def _answer(self, command: Command) -> Outcome:
        name, request_id = command.name, command.body.request_id
        requests = self._traffic.requests
        waiting = requests.get(request_id)
        if waiting is None:
            return self._drop(name)
        if not _waits_for_its_turn(command):  # it is told twice
            requests.answered(request_id)
        self._settle(name, waiting.command, waiting.handle_id, waiting.opens)
        if request_id >= OWN_IDS:
            return Told.DONE
        rewrite = self._rewrites.get(name)
        return rewrite(command) if rewrite is not None else Told.FORWARD

    def _settle(self, answer: str, asked: str, handle_id: int, opens: bool) -> None:
        """What the broker holds from here on."""
        traffic = self._traffic
        if asked == "producer" and answer == "error" and opens:
            traffic.producers.forget(handle_id)
        elif asked == "subscribe" and answer == "error" and opens:
            traffic.consumers.forget(handle_id)
        elif asked == "close_producer":
            traffic.producers.forget(handle_id)
        elif asked == "close_consumer" or (asked == "unsubscribe" and answer == "success"):
            traffic.consumers.forget(handle_id)

    def _lookup(self, command: Command) -> Outcome:
        body, backend = command.body, self._context.backend
        if body.response not in (REDIRECT, CONNECT):
            return Told.FORWARD
        found = endpoint(body.broker_url if backend.plaintext else body.broker_url_tls)
        if found is None or body.response == REDIRECT:
            words = "the broker sends to another one, whose address the gateway cannot use"
            self._effects.to_client.append(replies.refused("lookup", body.request_id, SERVICE_NOT_READY, words))
            return Told.DONE
        backend.learn(found)
        body.broker_url = f"pulsar://{found}"
        body.broker_url_tls = f"pulsar+ssl://{found}"
        body.proxy_through_service_url = True
        command.changed()
        return Told.FORWARD

    # ---- lists of topics ----------------------------------------------------------------------------------------

    def _visible(self, written: str) -> bool:
        name = names.topic(written)
        if name is None or names.brokers_own(name):
            return False
        return self._traffic.view.quietly("topic", "Consume", name)

    def _topics(self, command: Command) -> Outcome:
        body = command.body
        kept = [each for each in body.topics if self._visible(each)]
        body.ClearField("topics")
        body.topics.extend(kept)
        body.ClearField("topics_hash")
        command.changed()
        return Told.FORWARD

    def _watched(self, command: Command) -> Outcome:
        body = command.body
        kept = [each for each in body.topic if self._visible(each)]
        body.ClearField("topic")
        body.topic.extend(kept)
        body.topics_hash = ""  # not the hash of what is left; clients ask again when theirs is another
        command.changed()
        return Told.FORWARD

    def _changed_topics(self, command: Command) -> Outcome:
        body = command.body
        space = self._traffic.watchers.get(body.watcher_id)
        if space is None or not self._traffic.view.quietly("namespace", "ListTopics", space):
            return self._drop(command.name)
        for field in (body.new_topics, body.deleted_topics):
            kept = [each for each in field if self._visible(each)]
            del field[:]
            field.extend(kept)
        if not body.new_topics and not body.deleted_topics:
            return Told.DONE
        body.topics_hash = ""
        command.changed()
        return Told.FORWARD

    def _drop(self, name: str) -> Told:
        self._context.meters.cell(meters.DROPPED, self._context.backend.name, name).value += 1
        return Told.DONE


def _waits_for_its_turn(command: Command) -> bool:
    """A producer that wants exclusive access, and is not alone yet."""
    body = command.body
    return command.name == "producer_success" and body.HasField("producer_ready") and not body.producer_ready


def _without_addresses(command: Command) -> Told:
    """Clients would go there past the gateway; without an address they look the topic up again."""
    if any(command.body.HasField(each) for each in ADDRESSES):
        for each in ADDRESSES:
            command.body.ClearField(each)
        command.changed()
    return Told.FORWARD

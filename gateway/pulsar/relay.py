"""What a broker may send: each command forwarded, rewritten, dropped, answered by the gateway, or the end.

Addresses of brokers never lead a client past the gateway: a lookup's answer says that the client comes back through
the gateway, and what else names a broker is taken out. Lists of topics are left with what the client may consume.
Called by the session; traffic has the client's side.
"""

from __future__ import annotations

from enum import Enum, auto

from gateway.core.session import Close, Effects, Endpoint, Fact, Unavailable
from gateway.pulsar import meters, names, reasons, replies
from gateway.pulsar.asks import BrokerFound, BrokerWanted
from gateway.pulsar.backend import endpoint
from gateway.pulsar.commands import Command, framed
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.requests import OWN_IDS, Waiting
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
        self._redirected: dict[BrokerWanted, list[int]] = {}
        """Lookups that are being followed, and who waits for them."""
        self._rewrites = {
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
        if name == "lookup_response":
            return self._lookup(command, waiting)
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

    def _lookup(self, command: Command, waiting: Waiting) -> Outcome:
        body, backend = command.body, self._context.backend
        if body.response not in (REDIRECT, CONNECT):
            return Told.FORWARD
        found = endpoint(body.broker_url if backend.plaintext else body.broker_url_tls)
        if found is not None and body.response == REDIRECT:
            principal = self._traffic.view.identity.principal.name
            ask = BrokerWanted(backend.name, found, waiting.topic, principal, body.authoritative, waiting.listener)
            self._redirected.setdefault(ask, []).append(body.request_id)
            self._traffic.requests.add(body.request_id, waiting)  # it is still in use
            self._effects.asks.append(ask)
            return Told.DONE
        self._found(body.request_id, found, body.authoritative)
        return Told.DONE

    def told(self, fact: Fact) -> None:
        """Where a lookup that was sent on has ended."""
        ask = fact.ask if isinstance(fact, BrokerFound | Unavailable) else None
        if not isinstance(ask, BrokerWanted):
            return
        for request_id in self._redirected.pop(ask, []):
            self._traffic.requests.answered(request_id)
            if isinstance(fact, BrokerFound) and fact.broker is None:
                self._effects.to_client.append(replies.refused("lookup", request_id, fact.code, fact.words))
            else:
                self._found(request_id, fact.broker if isinstance(fact, BrokerFound) else None, True)

    def _found(self, request_id: int, broker: Endpoint | None, authoritative: bool) -> None:
        """Tell the client a broker, by a name that leads it back here."""
        name = self._context.backend.names.name(broker) if broker is not None else None
        if name is None:
            words = "the broker of this topic cannot be reached now"
            self._effects.to_client.append(replies.refused("lookup", request_id, SERVICE_NOT_READY, words))
            return
        answer = framed(
            "lookup_response",
            broker_url=f"pulsar://{name}",
            broker_url_tls=f"pulsar+ssl://{name}",
            response=CONNECT,
            request_id=request_id,
            authoritative=authoritative,
            proxy_through_service_url=True,
        )
        self._effects.to_client.append(answer)

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

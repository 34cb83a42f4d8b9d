"""What a client gets of a broker's answer: lists without what it may not see, no addresses but the gateway's own.

Every shape reads the whole answer and writes it anew, in slices where it is called in a walk (core.slices); one that is
not as expected is Unreadable, and nothing of it passes. Only answers of status 200 are shaped: what a broker says of a
refusal passes as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateway.core import long_json
from gateway.core.slices import paced, walking
from gateway.core.strict_json import BadJson, parse_object
from gateway.pulsar import names
from gateway.pulsar.backend import endpoint
from gateway.pulsar.rest.door import Door
from gateway.pulsar.rest.results import Shape, Unreadable
from gateway.pulsar.rest.routes import Answer
from gateway.pulsar.view import View

OK = 200
_ADDRESSES = frozenset({"address", "ownerBroker", "inboundConnection", "outboundConnection", "brokerServiceUrl"})
_BY_SUBSCRIPTION = frozenset({"subscriptions", "cursors", "cursorDetails"})
_OF_CLUSTER = frozenset({"peerClusterNames", "migrated", "brokerClientTlsEnabled"})
"""What is told of a cluster: its other data is addresses, and secrets of the brokers' own clients."""


def shape(answer: Answer, view: View, values: Mapping[str, str], door: Door | None) -> Shape | None:
    """The one for this answer; None where it passes unread. door: where a lookup leads."""
    if answer is Answer.UNREAD:
        return None
    made: Mapping[Answer, Callable[[Any], Any]] = {
        Answer.TOPICS: partial(_kept, _topic_seen, view),
        Answer.NAMESPACES: partial(_kept, _namespace_seen, view),
        Answer.TENANTS: partial(_kept, _tenant_seen, view),
        Answer.CLUSTERS: partial(_kept, _cluster_seen, view),
        Answer.SUBSCRIPTIONS: partial(_kept, _subscription_seen, view),
        Answer.STATS: partial(_stats, view),
        Answer.POLICIES: partial(_policies, view, f"{values.get('tenant')}/{values.get('namespace')}"),
        Answer.ADDRESSES: _cluster,
        Answer.LOOKUP: partial(_lookup, door),
    }
    return partial(_shaped, made[answer])


def _shaped(change: Callable[[Any], Any], status: int, body: bytes | bytearray) -> list[bytes]:
    if status != OK:
        return [bytes(body)]
    try:
        value = long_json.read(body)
        told = change(value)
        parts = long_json.written(told)
    except BadJson as error:
        raise Unreadable(str(error)) from None
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can name and UTF-8 cannot write
        raise Unreadable("text that is no Unicode") from None
    if walking():
        long_json.take_apart(told)
        long_json.take_apart(value)
    return parts


def read(text: bytes) -> Any:
    """Any JSON value, read strictly. Raises Unreadable."""
    try:
        whole = parse_object(b'{"":' + text + b"}")
    except BadJson as error:
        raise Unreadable(str(error)) from None
    if len(whole) != 1:
        raise Unreadable("several values")
    return whole[""]


def _kept(seen: Callable[[View, str], bool], view: View, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise Unreadable("not a list of names")
    kept = []
    for each in paced(value):
        if not isinstance(each, str):
            raise Unreadable("not a list of names")
        if seen(view, each):
            kept.append(each)
    return kept


def _topic_seen(view: View, written: str) -> bool:
    name = names.topic(written)
    return name is not None and not names.brokers_own(name) and view.quietly("topic", "Lookup", name)


def _namespace_seen(view: View, name: str) -> bool:
    return any(view.quietly("namespace", operation, name) for operation in ("ListTopics", "GetPolicies"))


def _tenant_seen(view: View, name: str) -> bool:
    return view.quietly("tenant", "Describe", name)


def _cluster_seen(view: View, name: str) -> bool:
    return view.quietly("cluster", "Describe", name)


def _subscription_seen(view: View, written: str) -> bool:
    name = names.subscription(written)
    return name is not None and view.quietly("subscription", "GetStats", name)


def _stats(view: View, value: Any) -> Any:
    if isinstance(value, list):
        return [_stats(view, each) for each in paced(value)]
    if not isinstance(value, dict):
        return value
    told = {}
    for name, inner in paced(value.items()):
        if name in _ADDRESSES:
            continue
        if name in _BY_SUBSCRIPTION and isinstance(inner, dict):
            told[name] = {each: _stats(view, inner[each]) for each in paced(inner) if _subscription_seen(view, each)}
        else:
            told[name] = _stats(view, inner)
    return told


def _policies(view: View, namespace: str, value: Any) -> Any:
    told = dict(_mapping(value))
    if not view.quietly("namespace", "GetPermissions", namespace):
        told.pop("auth_policies", None)
    if not view.quietly("namespace", "Offload", namespace):
        told.pop("offload_policies", None)
    return told


def _cluster(value: Any) -> Any:
    return {name: inner for name, inner in _mapping(value).items() if name in _OF_CLUSTER}


def _lookup(door: Door | None, value: Any) -> Any:
    """Clients come back to the gateway, and say which broker they mean by the name that they dial."""
    said = _mapping(value)
    broker = endpoint(str(said.get("brokerUrl" if door is None or door.plaintext else "brokerUrlTls")))
    at = door.binary(broker) if door is not None and broker is not None else None
    if door is None or at is None:
        raise Unreadable("no broker in it that can be named")
    binary, web = f"pulsar+ssl://{at}", f"https://{door.web}"
    return {"brokerUrl": binary, "brokerUrlTls": binary, "httpUrl": web, "httpUrlTls": web, "nativeUrl": binary}


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable("not an object")
    return value

"""How clients of one listener tell the brokers apart: by port, or by host name (SNI, RFC 6066)."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from gateway.core.settings.values import Model, Port


def _node_ids(value: object) -> object:
    if isinstance(value, str) and not re.fullmatch(r"\d{1,5}-\d{1,5}", value):
        raise ValueError("the lowest and the highest node id, as in 0-9")
    return value


NodeIdRange = Annotated[str, Field(pattern=r"^\d{1,5}-\d{1,5}$"), BeforeValidator(_node_ids)]


class NodeIds(Model):
    """The brokers that a listener has a place for."""

    node_ids: NodeIdRange = "0-9"
    """The lowest and the highest node id; brokers outside are refused by name."""

    @property
    def first(self) -> int:
        return int(self.node_ids.split("-")[0])

    @property
    def last(self) -> int:
        return int(self.node_ids.split("-")[1])

    def holds(self, node_id: int) -> bool:
        return self.first <= node_id <= self.last

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last < self.first:
            raise ValueError("node_ids from the lower to the higher")
        if self.last - self.first >= 1000:
            raise ValueError("at most 1000 broker ports in a range")
        return self


class BrokerPorts(NodeIds):
    """One port per broker: base + node id, the whole range bound at start."""

    base: Port
    """A broker's port is this plus its node id."""

    def port(self, node_id: int) -> int | None:
        """The port of a broker, None outside the range."""
        return self.base + node_id if self.holds(node_id) else None

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.base + self.last > 65535:
            raise ValueError("base + the highest node id of at most 65535")
        return self


_HOST = re.compile(r"(?=.{1,253}$)(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*")
_NODE = "{node_id}"


def _host(value: str) -> str:
    if not _HOST.fullmatch(value.lower()):
        raise ValueError("a host name such as example.com")
    return value.lower()


def _pattern(value: str) -> str:
    if value.count(_NODE) != 1 or not _HOST.fullmatch(value.lower().replace(_NODE, "0")):
        raise ValueError(f"a host name with {_NODE} in it once, such as b{_NODE}.example.com")
    return value.lower()


def _wildcard(value: str) -> str:
    label, _, rest = value.partition(".")
    if label != "*" or "." not in rest or not _HOST.fullmatch(rest.lower()):
        raise ValueError("a wildcard such as *.brokers.example.com")
    return value.lower()


Wildcard = Annotated[str, AfterValidator(_wildcard)]


class SniNames(NodeIds):
    """One host name per broker on one port; clients say by SNI (RFC 6066) which one they mean."""

    pattern: Annotated[str, AfterValidator(_pattern)]
    """A broker's host name, with `{node_id}` where its node id stands."""
    bootstrap: Annotated[str, AfterValidator(_host)]
    """The host name that clients write into bootstrap.servers."""
    node_ids: NodeIdRange = "0-99"
    """The lowest and the highest node id; the certificates must cover the names of all of them."""

    def host(self, node_id: int) -> str | None:
        """The host name of a broker, None outside the range."""
        return self.pattern.replace(_NODE, str(node_id)) if self.holds(node_id) else None

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.bootstrap in self.hosts():
            raise ValueError("a bootstrap name that is not a broker's as well")
        return self

    def hosts(self) -> dict[str, int]:
        """Every broker's host name."""
        return {self.pattern.replace(_NODE, str(node_id)): node_id for node_id in range(self.first, self.last + 1)}


class Addressing(Model):
    """How clients tell the brokers apart, where it is not by port."""

    sni: SniNames
    """By the host name that a client dials, on one port."""

"""Single values as operators write them: sizes, durations, names, addresses. Units stand last in a name."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _size(value: object) -> object:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(match[1]) * _SIZE_UNITS[match[2]]
    if isinstance(value, int):
        return value
    raise ValueError("a size such as 64 KiB, 256 MiB or 1000")


def _duration(value: object) -> object:
    if isinstance(value, str) and (match := _TIME.fullmatch(value.strip())):
        return float(match[1]) * _TIME_UNITS[match[2]]
    if isinstance(value, int | float):
        return float(value)
    raise ValueError("a duration such as 500 ms, 30 s, 5 m or 24 h")


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", value):
        raise ValueError("a name of letters, digits, dot, dash and underscore, at most 63 long")
    return value


def _host_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536 or (":" in host and not host.startswith("[")):
        raise ValueError("host:port, an IPv6 address in brackets")
    return value


def _broker_pattern(value: str) -> str:
    host = _host_port(value).rpartition(":")[0]
    if "*" in host.removeprefix("*.") or host in ("*", "*."):
        raise ValueError("host:port; the host may begin with *. for any one label")
    return value.lower()


def _network(value: object) -> object:
    try:
        network = ip_network(str(value))
    except ValueError:
        raise ValueError("a network such as 10.20.0.0/16 or 2001:db8:20::/48, no bits set after its length") from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError("the IPv4 network itself; mapped addresses are compared as IPv4")
    return network


_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?")


def is_address(text: str) -> bool:
    """Whether it is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _host(value: str) -> str:
    if value and not is_address(value) and not _HOST.fullmatch(value):
        raise ValueError("a host name such as example.com, or an IP address; no scheme, no port")
    return value


def _listened(value: str) -> str:
    if not is_address(value.partition("%")[0]) and not _HOST.fullmatch(value):
        raise ValueError("an address to listen on, such as 127.0.0.1, 0.0.0.0 or ::")
    return value


Host = Annotated[str, AfterValidator(_host)]
Listened = Annotated[str, AfterValidator(_listened)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(gt=0),
    WithJsonSchema({"type": ["string", "integer"], "pattern": _SIZE.pattern, "examples": ["64 KiB", "256 MiB"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(_duration),
    Field(gt=0),
    WithJsonSchema({"type": ["string", "number"], "pattern": _TIME.pattern, "examples": ["500 ms", "30 s", "24 h"]}),
]
Name = Annotated[str, AfterValidator(_name)]
HostPort = Annotated[str, AfterValidator(_host_port)]
BrokerPattern = Annotated[str, AfterValidator(_broker_pattern)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

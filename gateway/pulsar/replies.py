"""The gateway's own answers, in the protocol's own words: what a broker would have said."""

from __future__ import annotations

from gateway.pulsar.commands import framed
from gateway.pulsar.table import AUTHENTICATION_ERROR, ROWS

NO_REQUEST = 2**64 - 1
"""The request id of what nobody asked for; brokers write -1."""
SERVER_VERSION = "Pulsar gateway"

PING = framed("ping")
PONG = framed("pong")


def refused(command: str, request_id: int, code: int, words: str) -> bytes:
    """The answer to a request of this name that says no."""
    denial = ROWS[command].denial
    fields: dict[str, int | str] = dict(denial.fixed)
    fields |= {"request_id": request_id, denial.code: code, denial.words: words}
    return framed(denial.command, **fields)


def not_authenticated() -> bytes:
    """To CONNECT and AUTH_RESPONSE: the same words whatever was wrong."""
    return framed("error", request_id=NO_REQUEST, error=AUTHENTICATION_ERROR, message="Unable to authenticate")

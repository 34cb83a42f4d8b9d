"""Keep-alive on both sides, with a real broker that asks every `KEEP_ALIVE_SECONDS`.

Who answers stays, however little is said; who does not is let go. What was begun with the suite is looked at here, so
that little is left to wait for.
"""

from __future__ import annotations

from gateway.pulsar.keepalive import SILENCE_SECONDS_MAX
from tests.real.pulsar.broker import KEEP_ALIVE_SECONDS
from tests.real.pulsar.keepalive import Quiet
from tests.real.pulsar.site import QUIET, Site, receive


def test_who_answers_no_ping_is_let_go_by_the_gateway(site: Site, quiet: Quiet) -> None:
    """It was asked, and the broker behind it was answered as long as it was there."""
    line = site.gateway.wait_audit(event="closed", after=quiet.begun, reason="peer-silent", timeout=90)
    assert line["seconds"] >= SILENCE_SECONDS_MAX
    assert quiet.at_gateway.heard() == ["ping"]
    assert SILENCE_SECONDS_MAX > 3 * KEEP_ALIVE_SECONDS, "the broker would have ended it before"


def test_the_broker_ends_who_answers_it_nothing(quiet: Quiet) -> None:
    """So that it is known that this broker asks: nobody stands between."""
    assert "ping" in quiet.at_broker.heard()


def test_who_answers_stays_and_is_heard(site: Site, quiet: Quiet) -> None:
    """One connection from the suite's beginning on: the broker's PINGs were answered by the gateway, its own by the
    client."""
    site.gateway.wait_audit(event="closed", after=quiet.begun, reason="peer-silent", timeout=90)
    quiet.producer.send(b"after a minute's silence")
    assert receive(quiet.consumer, 1) == [b"after a minute's silence"]
    of_client = [line for line in site.gateway.audit()[quiet.begun :] if QUIET in str(line.get("principal"))]
    assert [line["event"] for line in of_client if line["event"] in ("authenticated", "closed")] == [
        "authenticated", "closed",
    ], "those of the raw client alone"  # fmt: skip

"""What the HTTP interface counts. Labels are closed words: configured names, the REST table's routes, kinds of ends."""

from __future__ import annotations

from gateway.core.meters import Meter

REQUESTS = Meter(
    "gateway_pulsar_http_requests_total", "Requests, by route and status class.", ("backend", "route", "status")
)
REDIRECTS = Meter("gateway_pulsar_http_redirects_total", "Requests that a broker sent on to another.", ("backend",))
FAILURES = Meter(
    "gateway_pulsar_http_failures_total",
    "Requests that no broker's answer could be passed on for.",
    ("backend", "reason"),
)

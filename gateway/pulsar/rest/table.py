"""Every route of Pulsar's REST interface (4.0.8): its rows, and what is closed to everybody.

Tests compare it with the routes that the broker's own classes name (tests/unit/pulsar_rest_routes.txt), so that none is
forgotten and none is invented. docs/pulsar-rest.md shows it beside the broker's own checks.
"""

from __future__ import annotations

from gateway.pulsar.rest.routes import Closed, Routes
from gateway.pulsar.rest.rows_cluster import brokers, clusters
from gateway.pulsar.rest.rows_functions import connectors, functions, packages, workers
from gateway.pulsar.rest.rows_namespaces import namespaces, tenants
from gateway.pulsar.rest.rows_topics import topics

ROWS = (
    *topics(), *namespaces(), *tenants(), *clusters(), *brokers(), *functions(), *connectors(), *packages(), *workers(),
)  # fmt: skip

_V1 = "broker-stats brokers clusters functions namespaces non-persistent persistent properties resource-quotas schemas"
_OLD = "the old form of the interface is not offered; use /admin/v2"
CLOSED = (
    *(Closed(("admin", each), _OLD) for each in _V1.split()),
    Closed(("lookup", "v2", "destination"), _OLD),
    Closed(("admin", "v2", "functions"), "the old form of the interface is not offered; use /admin/v3"),
    Closed(("admin", "v3", "functions", "upload"), "writes any path of the workers' storage"),
    Closed(("admin", "v3", "functions", "download"), "reads any path of the workers' storage"),
    Closed(("admin", "v3", "functions", "leader"), "only workers ask each other so"),
    Closed(("admin", "v2", "proxy-stats"), "the gateway shows its own state at its admin port"),
    Closed(("admin", "proxy-stats"), "the gateway shows its own state at its admin port"),
    Closed(("proxy-stats",), "the gateway shows its own state at its admin port"),
    Closed(("metrics",), "names every topic; collect it from the brokers"),
    Closed(("status.html",), "the gateway has a health check of its own"),
    Closed(("ws",), "WebSocket is not offered"),
)

ROUTES = Routes(ROWS, CLOSED)

"""What the Kafka session counts. Labels are closed words: configured names, API names, reason codes."""

from __future__ import annotations

from gateway.core.meters import Meter

CONNECTIONS = Meter("gateway_kafka_connections", "Client connections now.", ("listener",), "gauge")
CONNECTIONS_TOTAL = Meter("gateway_kafka_connections_total", "Client connections since the start.", ("listener",))
CLOSED = Meter("gateway_kafka_closed_total", "Connections ended, by reason.", ("listener", "reason"))
AUTHENTICATIONS = Meter(
    "gateway_kafka_authentications_total",
    "Authentications, by mechanism and result.",
    ("listener", "mechanism", "result"),
)
REQUESTS = Meter("gateway_kafka_requests_total", "Requests decided, by API.", ("backend", "api"))
OWN_ANSWERS = Meter("gateway_kafka_own_answers_total", "Requests the gateway answered by itself.", ("backend", "api"))
DENIALS = Meter("gateway_kafka_denials_total", "Denied actions, by what kept them.", ("backend", "why"))
CLIENT_BYTES = Meter("gateway_kafka_client_bytes_total", "Bytes from clients.", ("backend",))
UPSTREAM_BYTES = Meter("gateway_kafka_upstream_bytes_total", "Bytes from brokers.", ("backend",))
THROTTLE_SECONDS = Meter("gateway_kafka_throttle_seconds_total", "Time that clients were held back.", ("backend",))
RENEWALS = Meter(
    "gateway_kafka_renewals_total", "Re-authentications of the gateway's own account (KIP-368), by result.",
    ("backend", "result"),
)  # fmt: skip

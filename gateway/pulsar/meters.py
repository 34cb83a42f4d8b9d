"""What the Pulsar session counts. Labels are closed words: configured names, command names, reason codes."""

from __future__ import annotations

from gateway.core.connection_log import ConnectionMeters
from gateway.core.meters import Meter

CONNECTIONS = Meter("gateway_pulsar_connections", "Client connections now.", ("listener",), "gauge")
CONNECTIONS_TOTAL = Meter("gateway_pulsar_connections_total", "Client connections since the start.", ("listener",))
CLOSED = Meter("gateway_pulsar_closed_total", "Connections ended, by reason.", ("listener", "reason"))
AUTHENTICATIONS = Meter(
    "gateway_pulsar_authentications_total",
    "Authentications, by method and result.",
    ("listener", "mechanism", "result"),
)
OF_CONNECTIONS = ConnectionMeters(CONNECTIONS, CONNECTIONS_TOTAL, CLOSED, AUTHENTICATIONS)
COMMANDS = Meter("gateway_pulsar_commands_total", "Commands of clients, by name.", ("backend", "command"))
DENIALS = Meter("gateway_pulsar_denials_total", "Denied actions, by what kept them.", ("backend", "why"))
CLIENT_BYTES = Meter("gateway_pulsar_client_bytes_total", "Bytes from clients.", ("backend",))
UPSTREAM_BYTES = Meter("gateway_pulsar_upstream_bytes_total", "Bytes from brokers.", ("backend",))
THROTTLE_SECONDS = Meter("gateway_pulsar_throttle_seconds_total", "Time that clients were held back.", ("backend",))
DROPPED = Meter(
    "gateway_pulsar_dropped_total",
    "Frames for a producer or consumer that is not open any more, by command.",
    ("backend", "command"),
)
WITHDRAWN = Meter(
    "gateway_pulsar_withdrawn_total", "Producers and consumers closed because a grant was withdrawn.", ("backend",)
)

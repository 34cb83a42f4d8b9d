"""What the edge counts. Labels are listener and backend names of the configuration, and reason codes."""

from __future__ import annotations

from gateway.core.meters import Meter

ACCEPTED = Meter("gateway_connections_accepted_total", "Connections accepted.", ("listener",))
REFUSED = Meter(
    "gateway_connections_refused_total", "Connections ended before a session began.", ("listener", "reason")
)
SHED = Meter(
    "gateway_connections_shed_total",
    "Connections of nobody yet that were ended to make room for others, by the limit that was reached.",
    ("listener", "limit"),
)
PROBES = Meter(
    "gateway_connections_probes_total", "Connections that ended without a byte: health checks.", ("listener", "reason")
)
CLOSED = Meter("gateway_connections_closed_total", "Connections ended after a session began.", ("listener", "reason"))
OPEN = Meter("gateway_connections_open", "Connections open now, handshakes included.", ("listener",), "gauge")
CONNECTIONS_MAX = Meter(
    "gateway_connections_max",
    "Connections taken at most: as configured, or as open files permit.",
    (),
    "gauge",
    "least",
)
UNAUTHENTICATED = Meter("gateway_connections_unauthenticated", "Open connections of nobody yet.", (), "gauge")
HANDSHAKES = Meter("gateway_tls_handshakes_total", "TLS handshakes completed.", ("listener", "version", "group"))
FROM_CLIENTS = Meter("gateway_client_received_bytes_total", "Bytes read from clients, inside TLS.", ("listener",))
TO_CLIENTS = Meter("gateway_client_sent_bytes_total", "Bytes written to clients, inside TLS.", ("listener",))
FROM_UPSTREAM = Meter("gateway_upstream_received_bytes_total", "Bytes read from brokers.", ("listener",))
TO_UPSTREAM = Meter("gateway_upstream_sent_bytes_total", "Bytes written to brokers.", ("listener",))
BUFFERED = Meter("gateway_buffered_bytes", "Bytes reserved of the process's buffer budget.", (), "gauge")
BUFFER_WAITS = Meter("gateway_buffer_waits_total", "Frames that waited for a reservation.", ())
ACCEPT_PAUSES = Meter(
    "gateway_accept_pauses_total", "Times that no connection could be accepted for lack of files.", ()
)
EXCEPTIONS = Meter(
    "gateway_session_exceptions_total", "Exceptions in a session, each of which ended its connection.", ()
)
CONTROL = Meter(
    "gateway_control_refreshes_total", "Refreshes of a backend's metadata, by result.", ("backend", "result")
)
LOGINS = Meter(
    "gateway_upstream_logins_total", "Logins of the gateway's own account to brokers, by result.", ("backend", "result")
)

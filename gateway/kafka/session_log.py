"""A Kafka connection's own lines in audit and meters: core.connection_log with Kafka's words."""

from __future__ import annotations

from gateway.core.connection_log import ConnectionLog, ConnectionMeters, Surroundings
from gateway.core.session import Peer
from gateway.kafka import meters
from gateway.kafka.context import ListenerContext

METERS = ConnectionMeters(meters.CONNECTIONS, meters.CONNECTIONS_TOTAL, meters.CLOSED, meters.AUTHENTICATIONS)


def session_log(context: ListenerContext, peer: Peer) -> ConnectionLog:
    """Begin the log of a connection that was just made."""
    around = Surroundings(
        "kafka",
        context.listener.name,
        context.backend.name,
        context.audit,
        context.policies,
        context.meters,
        context.clock,
        METERS,
    )
    return ConnectionLog(around, peer, {"node_id": context.node_id}, silent=True)

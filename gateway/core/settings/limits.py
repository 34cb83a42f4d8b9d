"""What the process and its connections may use. Every limit has a default above zero (docs/limits.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.core.settings.values import Duration, Model, Size


class Limits(Model):
    """Of the gateway and its connections. What one principal may use is in the policy files."""

    connections_max: Annotated[int, Field(gt=0)] = 4000
    """Client connections at one time, over all listeners."""
    connections_per_address_max: Annotated[int, Field(gt=0)] = 400
    """Client connections at one time from one address; of IPv6 from one /64."""
    unauthenticated_max: Annotated[int, Field(gt=0)] = 1000
    """Client connections at one time that have not yet said who they are. At this limit, as at the two above, those
    make room for others: of the address with the most of them first."""
    handshake_timeout: Duration = 10.0
    """From the accepted connection to the end of the TLS handshake."""
    authentication_timeout: Duration = 20.0
    """From the end of the TLS handshake to a successful authentication, however much of it passes before the client's
    first word. So a stranger holds a place for the sum of these two at most."""
    failed_login_delay_max: Duration = 5.0
    """The longest that the refusal of a failed login is held back; it begins with 100 ms and grows with each failure
    from the same address or in the same issuer's name. A valid login never waits."""
    frame_timeout: Duration = 30.0
    """From a frame's first byte to its last."""
    idle_timeout: Duration = 600.0
    """A client that neither sends nor is sent anything for so long is disconnected."""
    frame_bytes_before_authentication_max: Size = 64 << 10
    """The largest frame of a client that has not yet said who it is."""
    frame_bytes_max: Size = 100 << 20
    """The largest frame of an authenticated client, and of a broker's answer."""
    buffered_bytes_max: Size = 256 << 20
    """Of all frames in the process that are being received or wait to be sent; each of several workers has so much."""
    buffered_bytes_free_per_connection: Size = 64 << 10
    """What each connection may hold without a reservation."""
    upload_bytes_max: Size = 256 << 20
    """The longest program or package that is uploaded by HTTP. It passes as it comes, so that it takes no memory."""
    in_flight_max: Annotated[int, Field(gt=0)] = 1000
    """Requests of one connection that wait for an answer."""
    token_bytes_max: Size = 16 << 10
    """The longest token that is looked at."""
    throttle_max: Duration = 2.0
    """The longest a connection is muted at once, so that no group membership is lost by it."""
    shutdown_timeout: Duration = 10.0
    """After SIGTERM, how long connections may finish what they are doing; their closes are spread over half of it."""

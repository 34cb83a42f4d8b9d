"""One request of the gateway's own to a backend's HTTP interface, and the head of the answer.

The connection is dialled like a client's upstream, TLS and name verified, and is let go after the answer's head, which
has `request_timeout` to come; the body is left with the backend. Asked by pulsar.control, driven by edge.control.
"""

from __future__ import annotations

from functools import partial

from gateway.core.exchange import ExchangeFailed
from gateway.core.session import Endpoint
from gateway.edge.exchange import READ_BYTES, FrameExchange
from gateway.edge.process import Dial, DialFailed
from gateway.edge.streams import Stream
from gateway.http.client1 import Answered, BadAnswer, Http1Call
from gateway.http.messages import Response


class HttpExchange(FrameExchange):
    """One connection for one request."""

    async def ask(self, call: Http1Call) -> Response:
        """Raises ExchangeFailed."""
        try:
            return await self._exchanged(b"".join(call.parts), partial(self._head, call))
        except BadAnswer as bad:
            raise ExchangeFailed(f"{self._endpoint}: {bad}") from None
        finally:
            self.close()

    async def _head(self, call: Http1Call, stream: Stream) -> Response:
        received = self._received
        scratch = memoryview(bytearray(READ_BYTES))
        while True:
            octets = stream.read_into(scratch)
            if not octets:
                await self._wait(stream, writing=False)
                continue
            received += scratch[:octets]
            with memoryview(received) as data:
                taken, came = call.receive(data, 0)
            del received[:taken]
            for each in came:
                if isinstance(each, Answered):
                    return each.response


class HttpAsking:
    """Asks one backend's HTTP interface. pulsar.control.AskWeb."""

    def __init__(self, dial: Dial, request_timeout: float) -> None:
        self._dial = dial
        self._timeout = request_timeout

    async def __call__(self, endpoint: Endpoint, call: Http1Call) -> Response:
        """Raises ExchangeFailed."""
        try:
            stream = await self._dial(endpoint)
        except DialFailed as failed:
            raise ExchangeFailed(str(failed)) from None
        return await HttpExchange(stream, endpoint, self._timeout).ask(call)

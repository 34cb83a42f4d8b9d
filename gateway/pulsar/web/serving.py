"""The request at work: decided, its body collected or passed on, sent to a broker, answered.

One at a time. A broker's connection is kept for the next request if it may be; it is let go, with whatever would still
come by it, as soon as anything about it is odd. A request that no broker has seen yet is sent to the next address; one
that a kept connection lost is sent again if it only reads. Whenever it is sent, rights that are others than those by
which it was decided decide it anew. The client's answer begins when the broker's head has come.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.core.limits import Account
from gateway.core.long_json import PART_BYTES
from gateway.core.reasons import Reason
from gateway.core.rights import Rights
from gateway.core.session import Close, Effects, Endpoint
from gateway.core.slices import Walk
from gateway.http.client1 import Answered, BadAnswer, Body, Ended
from gateway.http.messages import Response, Server
from gateway.pulsar import reasons as pulsar_reasons
from gateway.pulsar import rest
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.rest.results import Decision, Needs, Passed, Refused, Unreadable
from gateway.pulsar.view import View
from gateway.pulsar.web import answers, calls, meters, reasons
from gateway.pulsar.web.exchange import Exchange, Stage
from gateway.pulsar.web_brokers import WebBrokers

BODY_BYTES_MAX = 1 << 20
"""Of a request's body that is held whole before anything is sent. A longer one, where its route takes a program or a
package, passes as it comes; then no redirect can be followed, and nothing is sent twice."""
HELD_STEP = 64 << 10
"""Of what nobody has said the length of, so much more is reserved at a time."""
DISCARDED_BYTES_MAX = 64 << 10
"""Of a refused request's body that is read past, so that the connection can go on; with more to come it ends."""
SHAPED_BYTES_MAX = 16 << 20
"""Of an answer that is filtered or rewritten; less where ``limits.frame_bytes_max`` is, or a quarter of
``limits.buffered_bytes_max``: the rest of what a session holds has to find room beside it."""
ANSWER_SECONDS_MAX = 70.0
"""Until a broker has answered; longer than its own longest."""
PLENTY = 1 << 20
"""Octets of an answer that are taken at once where nothing bounds them but the connection."""
LAST_OCTETS = 16
"""Taken though the client's window is used up: with them an answer ends whose client owes nothing more."""
_SAFE = frozenset({"GET", "HEAD"})
_AT_BROKER = frozenset({Stage.SENDING, Stage.ASKED, Stage.ANSWERING})


class Serving:
    """One connection's. `done`: the request at work is over; `close`: so is the connection."""

    def __init__(
        self,
        context: ListenerContext,
        server: Server,
        effects: Effects,
        rights_now: Callable[[float], Rights | None],
    ) -> None:
        """rights_now: the principal's, which the view has as well; None: what was proven of it has ended."""
        self._rights_now = rights_now
        self._context = context
        self._server = server
        self._effects = effects
        self.view: View | None = None
        self._account: Account | None = None
        self.done = False
        self.close: Close | None = None
        self.at: Endpoint | None = None
        """The broker that is reached, or dialled."""
        self.reached = False
        """It has taken the connection."""
        self._open = self._kept = False
        self.wanted = 1
        """Octets of the broker's below which nothing more would be taken."""
        self._token = b""
        self._moves = False
        self._walk: Walk[list[bytes]] | None = None
        """A long answer on its way to what the client may see of it."""
        self._body_max = min(BODY_BYTES_MAX, context.limits.frame_bytes_max)
        limits = context.limits
        self._shaped_max = min(SHAPED_BYTES_MAX, limits.frame_bytes_max, limits.buffered_bytes_max // 4)

    @property
    def _web(self) -> WebBrokers:
        assert self._context.backend.web is not None
        return self._context.backend.web

    def use(self, view: View, account: Account) -> None:
        """From now on these are the principal's."""
        self.view = view
        self._account = account

    def moves(self, exchange: Exchange) -> bool:
        """Whether the last call changed the stage, so that it is to be looked at again."""
        moved, self._moves = self._moves, False
        return moved

    def begin(self, exchange: Exchange, now: float, token: bytes) -> None:
        """It is known whose it is."""
        self._token = token
        exchange.stage = Stage.DECIDING
        self._moves = True

    def go_on(self, exchange: Exchange, now: float) -> None:
        """Do what can be done now."""
        if exchange.stage is Stage.DECIDING:
            if exchange.gone:
                self._over(exchange)
            else:
                self._decide(exchange, now)
        elif exchange.stage is Stage.BODY:
            if exchange.gone:
                self._over(exchange)
            elif len(exchange.body) > exchange.body_max:
                self._too_large(exchange)
            elif exchange.complete:
                self._whole(exchange, now)
        elif exchange.stage is Stage.SENDING:
            if exchange.gone:
                self._part()
                self._over(exchange)
            elif exchange.complete:
                self._sent(exchange, now)
        elif exchange.stage is Stage.SHOWN and not self._server.owed(exchange.stream):
            self._over(exchange)

    # ---- deciding -----------------------------------------------------------------------------------------------

    def _decision(self, exchange: Exchange) -> Decision:
        """By the rights that the view has."""
        assert self.view is not None
        request, body = exchange.request, bytes(exchange.body) if exchange.by_body else None
        door = rest.door(self._context.binary, self._context.backend, request.authority)
        found = rest.decide(request.method, request.target, self.view, door=door, body=body)
        exchange.route, exchange.rights = found.route, self.view.rights
        return found

    def _decide(self, exchange: Exchange, now: float) -> None:
        found = self._decision(exchange)
        if isinstance(found, Refused):
            self.refuse(exchange, found.status, found.body)
            return
        exchange.needs = isinstance(found, Needs)
        if isinstance(found, Passed):
            exchange.passed, exchange.target = found, found.target
            if exchange.by_body:
                self._send(exchange, now)
                return
            length = exchange.request.length
            long = not exchange.complete and (length is None or length > self._body_max)
            if long and found.body_max > BODY_BYTES_MAX:
                self._begin_sending(exchange, min(found.body_max, self._context.limits.upload_bytes_max), now)
                return
        self._want_body(exchange, min(found.body_max, self._body_max))

    def _want_body(self, exchange: Exchange, most: int) -> None:
        exchange.body_max = most
        if exchange.request.length is not None and exchange.request.length > most:
            self._too_large(exchange)
            return
        exchange.stage = Stage.BODY
        self._moves = True
        if exchange.request.length != 0 and not exchange.complete:
            self._server.welcome(exchange.stream)

    def body(self, exchange: Exchange, octets: bytes) -> None:
        """More of a request's body has come."""
        if exchange.refusal is None and not exchange.streams:
            exchange.body += octets
        if exchange.stage in (Stage.BODY, Stage.SENDING):
            self._server.taken(exchange.stream, len(octets))

    def holds(self, exchange: Exchange | None) -> int:
        """Octets of this request, and of its answer, that are held or will be."""
        if exchange is None:
            return 0
        held = len(exchange.body)
        if exchange.stage is Stage.BODY and exchange.refusal is None:
            said = exchange.request.length
            held = max(held, said if said is not None else min(exchange.body_max, _next_step(held)))
        if exchange.passed is not None and exchange.passed.body is not None:
            held += len(exchange.passed.body)
        if exchange.shaped is not None:
            most = exchange.expected if exchange.expected is not None else _next_step(len(exchange.shaped))
            held += max(len(exchange.shaped), min(most, self._shaped_max))
        return held + sum(map(len, exchange.telling)) + self._server.owed(exchange.stream)

    def _begin_sending(self, exchange: Exchange, most: int, now: float) -> None:
        """The body goes to a broker as it comes, on a connection of its own."""
        exchange.body_max = most
        if exchange.request.length is not None and exchange.request.length > most:
            self._too_large(exchange)
            return
        early, exchange.body = bytes(exchange.body), b""
        exchange.streams = True
        self._kept = False
        if not self._dispatch(exchange, None, Stage.SENDING, now):
            return
        self._moves = True
        self._server.welcome(exchange.stream)
        if early:
            self.more(exchange, early, now)

    def more(self, exchange: Exchange, octets: bytes, now: float) -> None:
        """More of a body that goes to a broker as it comes; not a single octet after its principal's rights ended."""
        assert exchange.call is not None
        assert self._account is not None
        exchange.sent += len(octets)
        self._server.taken(exchange.stream, len(octets))
        if exchange.sent > exchange.body_max:
            self._part()
            self._too_large(exchange)
        elif self._allowed_now(exchange, now):
            self._account.produce(len(octets), now)
            exchange.until = now + self._context.limits.frame_timeout
            self._effects.to_upstream += exchange.call.more(octets)
        else:
            self._part()

    def _sent(self, exchange: Exchange, now: float) -> None:
        """All of it has gone, and by its end becomes valid at the broker: so that needs the rights of now as well."""
        assert exchange.call is not None
        if not self._allowed_now(exchange, now):
            self._part()
            return
        self._effects.to_upstream += exchange.call.whole()
        exchange.stage = Stage.ASKED
        exchange.until = now + ANSWER_SECONDS_MAX

    def _whole(self, exchange: Exchange, now: float) -> None:
        assert self._account is not None
        exchange.body = bytes(exchange.body)
        if exchange.refusal is not None:
            self._reply(exchange, *exchange.refusal)
            return
        if exchange.body:
            self._account.produce(len(exchange.body), now)
        if exchange.needs:
            exchange.needs, exchange.by_body = False, True
            if self._proven(exchange, now) is not None:
                self._decide(exchange, now)
        else:
            self._send(exchange, now)

    def _proven(self, exchange: Exchange, now: float) -> Rights | None:
        """The rights of now, which the view has from here on. None: there are none any more, and that is answered."""
        rights = self._rights_now(now)
        if rights is None:
            self.reply(exchange, 401, Close(pulsar_reasons.SESSION_EXPIRED))
        return rights

    def _allowed_now(self, exchange: Exchange, now: float) -> bool:
        """Whether it may be sent by the rights of now; decided anew if they are others. If not, that is answered."""
        rights = self._proven(exchange, now)
        if rights is None or rights is exchange.rights:
            return rights is not None
        found = self._decision(exchange)
        if isinstance(found, Passed):
            exchange.passed = found
            return True
        # (no row of the table needs a body by one policy and none by another: that would be denied)
        status, body = (found.status, found.body) if isinstance(found, Refused) else (403, None)
        self.refuse(exchange, status, body)
        return False

    # ---- answers of the gateway's own ---------------------------------------------------------------------------

    def refuse(self, exchange: Exchange, status: int, body: bytes | None) -> None:
        """Not this request; the connection goes on, if what follows of the body is little."""
        body = body if body is not None else answers.own(status)[1]
        length = exchange.request.length
        little = length is not None and length <= DISCARDED_BYTES_MAX and not exchange.request.expects
        if self._server.multiplexed or exchange.complete or not little:
            self._reply(exchange, status, body)
            return
        exchange.refusal = (status, body)
        exchange.body_max = DISCARDED_BYTES_MAX
        exchange.stage = Stage.BODY
        self._moves = True

    def _too_large(self, exchange: Exchange) -> None:
        code = reasons.HTTP_BODY_TOO_LARGE.code
        self._context.meters.cell(meters.FAILURES, self._context.backend.name, code).value += 1
        self.refuse(exchange, 413, None)

    def _reply(self, exchange: Exchange, status: int, body: bytes, *, last: bool = False) -> None:
        response = answers.own(401)[0] if status == 401 else Response(status, (answers.JSON,))
        self._tell(exchange, response, body, last=last)

    def _tell(self, exchange: Exchange, response: Response, body: bytes, *, last: bool = False) -> None:
        """A whole answer."""
        exchange.status = response.status
        if not exchange.gone:
            self._server.answer(exchange.stream, response, len(body), last=last)
            if body and exchange.request.method != "HEAD":
                self._server.send(exchange.stream, body)
            self._server.end(exchange.stream)
        self._shown(exchange)

    def reply(self, exchange: Exchange, status: int, close: Close) -> None:
        """The last answer of this connection."""
        self._reply(exchange, status, answers.own(status)[1], last=True)
        self.close = close

    def _fail(self, exchange: Exchange, status: int, reason: Reason, detail: str = "") -> None:
        """The broker could not be asked, or its answer cannot be passed on."""
        if exchange.stage is Stage.ANSWERING:
            if not self._server.abandon(exchange.stream):
                self.close = Close(reason, detail)
            self._over(exchange)
            return
        self._context.meters.cell(meters.FAILURES, self._context.backend.name, reason.code).value += 1
        self._reply(exchange, status, answers.own(status)[1])

    def _shown(self, exchange: Exchange) -> None:
        exchange.stage = Stage.SHOWN
        if exchange.gone or not self._server.owed(exchange.stream):
            self._over(exchange)

    def _over(self, exchange: Exchange) -> None:
        if self.done:
            return
        self.done = True
        status = f"{exchange.status // 100}xx" if exchange.status else "none"
        route = exchange.route or "none"
        self._context.meters.cell(meters.REQUESTS, self._context.backend.name, route, status).value += 1

    # ---- to the broker ------------------------------------------------------------------------------------------

    def _send(self, exchange: Exchange, now: float) -> None:
        """To the broker it was sent on to, or the one that is connected, or any."""
        if not self._allowed_now(exchange, now):
            return
        assert exchange.passed is not None
        body = exchange.passed.body if exchange.passed.body is not None else bytes(exchange.body)
        self._dispatch(exchange, body, Stage.ASKED, now)

    def _dispatch(self, exchange: Exchange, body: bytes | None, stage: Stage, now: float) -> bool:
        """Begin a call. False: there is nothing to show the broker, which is answered."""
        assert exchange.passed is not None
        assert self.view is not None
        wanted = exchange.at or (self.at if self._open and self._kept else None) or self._web.any()
        try:
            exchange.call = calls.call(
                self._context, exchange.request, exchange.passed, body, wanted, exchange.target,
                self.view.identity.principal, self._token,
            )  # fmt: skip
        except calls.NoCredential as missing:
            self._fail(exchange, 503, pulsar_reasons.BACKEND_NOT_READY, str(missing))
            return False
        exchange.fresh = not (self._open and self._kept and self.at == wanted)
        if exchange.fresh:
            self._part()
            self.reached = False
        self.at, self._open, self._kept = wanted, True, False
        exchange.tries += 1
        exchange.stage = stage
        sending = stage is Stage.SENDING
        exchange.until = now + (self._context.limits.frame_timeout if sending else ANSWER_SECONDS_MAX)
        self.wanted = 1
        self._effects.to_upstream += exchange.call.parts
        exchange.call.parts = []
        return True

    def _part(self) -> None:
        """Let the broker's connection go."""
        if self._open:
            self._effects.part_upstream = True
            self._effects.to_upstream.clear()  # it was for that one
        self._open = self._kept = False

    def lost(self, exchange: Exchange | None, reason: Reason, detail: str, now: float) -> None:
        """The broker's connection has ended, or there was none to be had."""
        reached, self.reached = self.reached, False
        self._open = self._kept = False
        self.wanted = 1
        if exchange is None or exchange.call is None or exchange.stage not in _AT_BROKER:
            return
        unseen = not (reached or exchange.streams) and exchange.at is None and exchange.tries < len(self._web.addresses)
        again = reached and not exchange.fresh and not exchange.call.heard and exchange.request.method in _SAFE
        if exchange.stage is Stage.ASKED and not exchange.gone and (unseen or again):
            self._send(exchange, now)
        else:
            self._fail(exchange, 502, reason, detail)

    def answer(self, exchange: Exchange | None, data: memoryview, now: float) -> int:
        """Take the broker's octets. How many were taken."""
        position = 0
        self.wanted = 1
        while position < len(data) and not (self.done or self.close is not None or _shaping(exchange)):
            taken = self._take(exchange, data[position:], now)
            position += taken
            if not taken:
                break
        if self.done and position < len(data):
            self._part()  # more than was asked for: the next request's answer would begin with it
            return len(data)
        return position

    def _take(self, exchange: Exchange | None, data: memoryview, now: float) -> int:
        if exchange is None or exchange.call is None or exchange.stage not in _AT_BROKER:
            self._part()  # nothing was asked
            return len(data)
        call = exchange.call
        room = self._room(exchange)
        try:
            taken, came = call.receive(data, room)
            for each in came:
                if isinstance(each, Answered):
                    self._answered(exchange, each, now)
                elif isinstance(each, Body):
                    self._body(exchange, each.octets, now)
                else:
                    self._ended(exchange, each, now)
                if exchange.call is not call or self.done or self.close is not None:
                    break
        except BadAnswer as bad:
            self._part()
            self._fail(exchange, 502, pulsar_reasons.UPSTREAM_PROTOCOL, str(bad))
            return len(data)
        if not taken and exchange.stage in (Stage.SENDING, Stage.ASKED):
            self.wanted = len(data) + 1
        if exchange.call is not call or not self._open:
            return len(data)  # the rest is that broker's: nothing of it may stand before another's answer
        return taken

    def _room(self, exchange: Exchange) -> int:
        """How much of the answer's body is taken now."""
        if exchange.stage is not Stage.ANSWERING or exchange.shaped is not None or exchange.gone:
            return PLENTY
        room = min(PLENTY, self._server.room(exchange.stream))
        return room if room or self._server.owed(exchange.stream) else LAST_OCTETS

    def _answered(self, exchange: Exchange, answered: Answered, now: float) -> None:
        response, passed = answered.response, exchange.passed
        assert passed is not None
        denied = response.status == 401 and not self._context.tokens_passed
        if denied and exchange.request.method == "HEAD":  # nothing says whose credential it is about
            self._part()
            self._fail(exchange, 502, reasons.HTTP_GATEWAY_REFUSED)
        elif response.status == 307:
            self._part()
            self._send_on(exchange, response, now)
        elif 300 <= response.status < 400 and response.status != 304:
            self._part()
            self._fail(exchange, 502, reasons.HTTP_REDIRECT, f"status {response.status}")
        else:
            exchange.stage = Stage.ANSWERING
            exchange.until = now + self._context.limits.frame_timeout
            exchange.status = response.status
            told = answers.passed(response)
            exchange.content = told.headers
            exchange.shape = answers.denied if denied else passed.shape
            if exchange.shape is not None and exchange.request.method != "HEAD":
                exchange.shaped, exchange.expected = bytearray(), answered.length
            elif not exchange.gone:
                self._server.answer(exchange.stream, told, answered.length)

    def _send_on(self, exchange: Exchange, response: Response, now: float) -> None:
        found = calls.redirected(response, self._web.scheme, exchange.target)
        exchange.hops += 1
        if exchange.streams:  # what has gone is not there to be sent again
            self._fail(exchange, 503, reasons.HTTP_REDIRECT, "of a body that passes as it comes")
            return
        if found is None or exchange.hops > calls.REDIRECTS_MAX or not self._web.known(found[0]):
            self._fail(exchange, 502, reasons.HTTP_REDIRECT)
            return
        self._context.meters.cell(meters.REDIRECTS, self._context.backend.name).value += 1
        exchange.at, exchange.target = found
        self._send(exchange, now)

    def _body(self, exchange: Exchange, octets: bytes, now: float) -> None:
        assert self._account is not None
        self._account.consume(len(octets), now)
        exchange.until = now + self._context.limits.frame_timeout
        if exchange.shaped is None:
            if not exchange.gone:
                self._server.send(exchange.stream, octets)
            return
        exchange.shaped += octets
        if len(exchange.shaped) > self._shaped_max:
            self._part()
            exchange.stage = Stage.ASKED  # nothing of it was told yet
            self._fail(exchange, 502, pulsar_reasons.UPSTREAM_FRAME_TOO_LARGE)

    def _ended(self, exchange: Exchange, ended: Ended, now: float) -> None:
        if ended.reusable:
            self._kept = True
        else:
            self._part()
        if exchange.shaped is not None:
            exchange.shaping = True
            self.shape(exchange, now)
            return
        if not exchange.gone:
            self._server.end(exchange.stream)
        self._shown(exchange)

    # ---- rewriting a broker's answer ----------------------------------------------------------------------------

    def shape(self, exchange: Exchange, now: float) -> None:
        """One turn's work on an answer that has come whole: what the client may see of it, by the rights of now."""
        exchange.until = now + self._context.limits.frame_timeout
        if exchange.telling:
            self._tell_more(exchange)
            return
        try:
            told = self._rewritten(exchange, now)
        except Unreadable as error:
            self._walk = exchange.shaped = None
            exchange.shaping = False
            exchange.stage = Stage.ASKED
            own = exchange.shape is answers.denied
            self._fail(
                exchange, 502, reasons.HTTP_GATEWAY_REFUSED if own else pulsar_reasons.UPSTREAM_PROTOCOL, str(error)
            )
            return
        if told is None:
            return
        exchange.shaped = None
        response = answers.own(401)[0] if exchange.status == 401 else Response(exchange.status, exchange.content)
        length = sum(map(len, told))
        if exchange.gone or length <= PART_BYTES:
            exchange.shaping = False
            self._tell(exchange, response, b"".join(told))
            return
        self._server.answer(exchange.stream, response, length)
        exchange.telling = told[::-1]

    def _rewritten(self, exchange: Exchange, now: float) -> list[bytes] | None:
        """The parts; None: more turns are wanted, or it is not to be shown and that was answered. Raises Unreadable."""
        assert exchange.shape is not None
        assert exchange.shaped is not None
        walk, rights, walks = self._walk, exchange.rights, self._context.walks
        if walk is None:
            if not self._allowed_now(exchange, now):
                exchange.shaping = False
                return None
            work = partial(exchange.shape, exchange.status, exchange.shaped)
            if len(exchange.shaped) <= walks.octets:
                return work()
            assert self.view is not None
            walk = self._walk = walks.begin(self.view.identity.principal, self._context.clock, work)
            rights = exchange.rights
        if walk is None or not walk.go_on():
            return None
        self._walk = None
        assert self._account is not None
        self._account.decided(walk.spent, now)
        if not self._allowed_now(exchange, now):
            exchange.shaping = False
            return None
        return walk.outcome if exchange.rights is rights else None  # by others it is begun anew

    def _tell_more(self, exchange: Exchange) -> None:
        self._server.send(exchange.stream, exchange.telling.pop())
        if not exchange.telling:
            exchange.shaping = False
            self._server.end(exchange.stream)
            self._shown(exchange)

    def stop(self) -> None:
        """The connection has ended."""
        walk, self._walk = self._walk, None
        if walk is not None:
            walk.stop()


def _next_step(octets: int) -> int:
    return (octets // HELD_STEP + 1) * HELD_STEP


def _shaping(exchange: Exchange | None) -> bool:
    """Whether its answer is whole, and being worked on: nothing more of the broker's is looked at."""
    return exchange is not None and exchange.shaping

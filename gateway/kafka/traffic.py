"""Requests of an authenticated client, one frame at a time.

`request` decides one frame: it goes on as it is (AS_IT_IS), goes on changed (bytes), is answered or dropped by the
gateway (None), waits for a fact (Ask), or ends the connection. A long one is decided in slices (core.slices):
UNFINISHED until the last of them, and by one policy from first to last; if that changes in between, anew by the one
that holds now. The broker's answers are kafka.relay's, what is charged kafka.charging's. The session splits frames,
keeps their order, and calls.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from gateway.core.identity import Identity
from gateway.core.limits import Account
from gateway.core.meters import Cell
from gateway.core.rights import Policy, Rights
from gateway.core.session import Ask, Close, Effects, Peer
from gateway.core.slices import Copied, Walk, let_go, paced, together
from gateway.kafka import authorize, codec, reasons
from gateway.kafka.again import Again
from gateway.kafka.answers import AnswerQueue, Expected
from gateway.kafka.api_versions import API_VERSIONS, framed, respond
from gateway.kafka.charging import Charging
from gateway.kafka.context import ListenerContext
from gateway.kafka.hot import scan_produce
from gateway.kafka.meters import OWN_ANSWERS, REQUESTS, THROTTLE_SECONDS
from gateway.kafka.outcomes import AS_IT_IS, LATER, UNFINISHED, AsItIs, Outcome, Pieces
from gateway.kafka.plan import Answer, Body, Forward, Refuse, TopicId, TopicsToCreate, Wait
from gateway.kafka.produce_fetch import FastPath, Octets
from gateway.kafka.quirks import without_excess
from gateway.kafka.relay import Relay
from gateway.kafka.remembered import METADATA
from gateway.kafka.steps import FETCH, PRODUCE
from gateway.kafka.throttles import merge_throttle, milliseconds
from gateway.kafka.view import SessionView, Sums

WAITS_MAX = 4
"""Facts one request may wait for, one after another."""
TOPICS_ASKED_MAX = 1000
"""Topics that one request may have looked up, or created, at a time; it is answered as if the rest did not exist."""
FROM_ALL_TOPICS = frozenset({75})
"""DescribeTopicPartitions: without a name in it, it is decided about every topic that there is."""
KEPT_PAUSE = 0.2
"""Seconds until a request is looked at again that has to wait for earlier answers to its principal."""


Decided = Callable[[], Outcome]
"""What is to be done about a request; nothing of it has been done before this is called."""


class Traffic:
    """One identity's requests on one connection; re-authentication replaces the identity (`renew`)."""

    def __init__(
        self,
        context: ListenerContext,
        peer: Peer,
        identity: Identity,
        account: Account,
        rights: Rights,
        policy: Policy,
        queue: AnswerQueue,
        effects: Effects,
        decisions: Iterator[int],
    ) -> None:
        self._context = context
        self._account = account
        self.policy = policy
        self._queue = queue
        self._effects = effects
        self.identity = identity
        self.view = SessionView(context, peer, identity, rights, account, decisions)
        self.valid_until = min(identity.expires_at, rights.valid_until)
        """Wall time from which on the identity or its rights are to be looked at again."""
        self.fast = FastPath(self.view, context.backend.verdicts, context.tally)
        self.again = Again(context, self.view, self.fast)
        self.tally_generation = context.tally.generation
        self.cells: dict[int, Cell] = {}
        throttled = context.meters.cell(THROTTLE_SECONDS, context.backend.name)
        self.charging = Charging(account, context.limits, effects, context.clock, throttled)
        self.relay = Relay(
            context.backend, context.clock, context.walks, self.view, self.fast, self.again, self.charging
        )
        self._walk: Walk[Decided] | None = None
        self._own: Copied | None = None
        """The octets that it looks at."""
        self._begun_before = False
        """The request at hand was begun under another policy: what was denied then is not written a second time."""
        self._missing_ids: frozenset[TopicId] = frozenset()
        self._missing_names: frozenset[str] = frozenset()
        self._waits = 0

    def current(self, wall: float) -> None:
        """Once per chunk: take the newest rights, and begin a new generation of verdicts if anything changed."""
        policy = self._context.policies.current
        if policy is not self.policy or wall >= self.valid_until:
            self._use(policy, wall)
        if self.tally_generation != self._context.tally.generation:
            self.tally_generation = self._context.tally.generation
            self.fast.renew()

    def renew(self, identity: Identity, wall: float) -> None:
        """The same principal, proven again."""
        self.identity = identity
        self._use(self._context.policies.current, wall)

    def _use(self, policy: Policy, wall: float) -> None:
        """Decide by what this policy gives the identity; nothing remembered before counts any more."""
        self.policy = policy
        self._begun_before = self._begun_before or self._walk is not None
        self.stop()
        self.relay.begin_anew()
        rights = policy.rights(self.identity, self._context.backend.name, wall)
        self._account.quota = rights.quota
        self.view.use(self.identity, rights)
        self.valid_until = min(self.identity.expires_at, rights.valid_until)
        self.fast.rights_changed()

    def stop(self) -> None:
        """Give up what is being decided in slices."""
        walk, self._walk, self._own = self._walk, None, None
        if walk is not None:
            walk.stop()
            self.charging.spent(walk.spent)

    @property
    def settled(self) -> bool:
        """Nothing is left of an earlier request: the next may take the short way."""
        return not self._waits and self.charging.settled

    def told(self, missing_ids: frozenset[TopicId], missing_names: frozenset[str]) -> None:
        """What the waiting request asked for, as far as it does not exist or could not be found out."""
        self._missing_ids |= missing_ids
        self._missing_names |= missing_names

    def request(self, frame: memoryview, now: float) -> Outcome:
        """Decide one frame (without its length prefix). Raises codec.Malformed."""
        outcome = self._begin(frame, now) if self._walk is None else self._go_on(self._walk, frame)
        if not (outcome is LATER or outcome is UNFINISHED or isinstance(outcome, Ask | Close)):
            self._settle(struct.unpack_from(">h", frame)[0], now)
        return outcome

    def _begin(self, frame: memoryview, now: float) -> Outcome:
        """Decide it, or the first slice of it."""
        api_key, version = struct.unpack_from(">hh", frame)
        refused = self._offered(api_key, version)
        if refused is not None:
            return refused
        header = codec.parse_request_header(frame)
        held = self.charging.request(api_key, len(frame), now)
        throttle_ms = milliseconds(held)
        outcome: Outcome = self._fast_request(header, frame, throttle_ms)
        if api_key == METADATA and not header.tagged and not self._waits:
            outcome = self._remembered_request(header, bytes(frame[header.body_offset :]), throttle_ms)
        if outcome is None:
            kept = len(frame)
            if api_key == PRODUCE:  # its records are let go
                kept -= sum(scan_produce(frame, header.body_offset, version).topic_octets)
            if not self._account.may_keep(kept):
                self.charging.hold(KEPT_PAUSE, now)
                return LATER
            if kept > self._context.walks.octets or api_key in FROM_ALL_TOPICS:
                return self._walk_through(header, frame, kept, throttle_ms)
            began = self._context.clock.monotonic()
            outcome = self._decide(header, frame, kept, throttle_ms)()
            self.charging.spent(self._context.clock.monotonic() - began)
        return outcome

    def _walk_through(self, header: codec.RequestHeader, frame: memoryview, kept: int, throttle_ms: int) -> Outcome:
        """Begin to decide a request in slices, once there is a place for it."""
        own = Copied(len(frame))
        work = partial(self._decide, header, own.view, kept, throttle_ms)
        self._walk = self._context.walks.begin(self.identity.principal, self._context.clock, work)
        if self._walk is None:
            return UNFINISHED
        self._own = own
        return self._go_on(self._walk, frame)

    def _go_on(self, walk: Walk[Decided], frame: memoryview) -> Outcome:
        try:
            if (self._own is not None and not self._own.go_on(frame)) or not walk.go_on():
                return UNFINISHED
        except BaseException:
            self._walk = self._own = None
            raise
        self._walk = self._own = None
        self.charging.spent(walk.spent)
        return walk.outcome()

    def _decide(self, header: codec.RequestHeader, frame: memoryview, kept: int, throttle_ms: int) -> Decided:
        """Have the engine plan what is to be done, and prepare it. Nothing but denials has an effect before the end."""
        api_key, version = header.api_key, header.api_version
        given = frame[header.body_offset :]
        read = without_excess(api_key, version, given)
        body = codec.decode_request(api_key, version, read)
        changed = codec.drop_unknown(body) or header.tagged or read is not given
        name, again = codec.APIS[api_key].name, self._waits > 0 or self._begun_before
        changes = self._context.backend.topics.changes
        self.view.begin(name, self._missing_ids, self._missing_names, again=again)
        told = self.view.told
        plan = authorize.plan(api_key, version, body, self.view)
        if isinstance(plan, Wait):
            return partial(self._wait, plan)
        sums = self.view.sums()
        if isinstance(plan, Refuse):
            return partial(self._refuse, plan, sums)
        if isinstance(plan, Answer):
            if throttle_ms:
                merge_throttle(api_key, version, plan.body, throttle_ms)
            answer = framed(api_key, version, header.correlation_id, plan.body)
            let_go(plan.body)
            let_go(body)
            return partial(self._answer, api_key, answer, sums)
        asked = version if plan.version is None else plan.version
        sent = body if plan.body is None else plan.body
        made = None
        if plan.body is not None or asked != version or changed:
            made = _request(header, asked, codec.encode_request_parts(api_key, asked, sent))
        expected = None
        if not (api_key == PRODUCE and sent["acks"] == 0):
            expected = Expected(header.correlation_id, api_key, version, asked, plan.finish, throttle_ms)
            expected.kept = 0 if plan.finish is None else kept
        produced, produced_again = _nothing(), _nothing
        if api_key == PRODUCE:
            produced_again = partial(self.fast.produced, frame, header.body_offset, version)
            produced = produced_again()
            _let_go_of_records(body)
        if plan.finish is None:
            let_go(body)
        memorable = api_key == METADATA and not (again or header.tagged) and self.view.told == told
        memorable = memorable and self._context.backend.topics.changes == changes
        memory = None
        if memorable and not isinstance(made, tuple):
            memory = partial(self._remember_request, header, bytes(given), plan, made)
        return partial(self._forward, expected, made, sums, (produced, produced_again), memory)

    def _refuse(self, plan: Refuse, sums: Sums) -> Close:
        self.view.end(sums)
        return Close(plan.reason, plan.detail)

    def _answer(self, api_key: int, answer: bytes, sums: Sums) -> None:
        self.view.end(sums)
        self._own_answer(api_key, answer)

    def _forward(
        self,
        expected: Expected | None,
        made: bytes | Pieces | None,
        sums: Sums,
        produced: tuple[Octets, Callable[[], Octets]],
        memory: Callable[[Expected], None] | None,
    ) -> AsItIs | bytes | Pieces:
        """`expected`: None for a request without an answer. `made`: None for the client's own bytes."""
        counted, count_again = produced
        if sums[0] != self._context.tally.generation:  # the audit's sums were taken away since
            counted = count_again()
        self.view.end(sums)
        for pair, octets in counted:
            pair[1] += octets
        if expected is not None:
            self._account.keep(expected.kept)
            self._queue.expect(expected)
            if memory is not None:
                memory(expected)
        return AS_IT_IS if made is None else made

    def _remembered_request(
        self, header: codec.RequestHeader, body: bytes, throttle_ms: int
    ) -> AsItIs | bytes | Pieces | None:
        """Metadata that was asked for in the same words before; None leaves it to the engine."""
        version = header.api_version
        asked = self.again.find(version, body)
        if asked is None:
            return None
        self.again.count(asked)
        expected = Expected(header.correlation_id, METADATA, version, asked.asked, None, throttle_ms)
        expected.remembered = asked
        self._queue.expect(expected)
        return AS_IT_IS if asked.sent is None else _request(header, asked.asked, [asked.sent])

    def _remember_request(
        self, header: codec.RequestHeader, body: bytes, plan: Forward, made: bytes | None, expected: Expected
    ) -> None:
        """Keep how Metadata was decided."""
        view, version, backend = self.view, header.api_version, self._context.backend
        asked = version if plan.version is None else plan.version
        sent = None
        if made is not None:
            sent = made[4 + len(codec.encode_request_header(METADATA, asked, 0, header.client_id)) :]
        expected.remembered = backend.metadata.learn(
            view.rights, self._context.listener, version, body, backend.auto_create_topics,
            plan.finish, sent, asked, view.accesses,
        )  # fmt: skip

    def _wait(self, plan: Wait) -> Ask | Close:
        """What a request waits for, within bounds: what is beyond them it is told not to exist, and clients retry."""
        self.view.end()
        self._waits += 1
        if self._waits > WAITS_MAX:
            return Close(reasons.FACT_UNAVAILABLE)
        ask = plan.ask
        names = frozenset(sorted(ask.names)[:TOPICS_ASKED_MAX])
        self._missing_names |= ask.names - names
        if isinstance(ask, TopicsToCreate):
            return replace(ask, names=names)
        ids = frozenset(sorted(ask.ids)[:TOPICS_ASKED_MAX])
        self._missing_ids |= ask.ids - ids
        return replace(ask, names=names, ids=ids)

    def _settle(self, api_key: int, now: float) -> None:
        """The request was decided: hold the client back if it must be, and leave nothing for the next request."""
        self.charging.settle(now)
        self._begun_before = False
        cell = self.cells.get(api_key)
        if cell is None:
            name = codec.APIS[api_key].name
            cell = self.cells[api_key] = self._context.meters.cell(REQUESTS, self._context.backend.name, name)
        cell.value += 1
        if self._waits:
            self._waits = 0
            self._missing_ids = frozenset()
            self._missing_names = frozenset()

    def _offered(self, api_key: int, version: int) -> Close | None:
        offered = self._context.backend.offered.get(api_key)
        if offered is not None and offered[0] <= version <= offered[1]:
            return None
        api = codec.APIS.get(api_key)
        if api is None:
            return Close(reasons.API_UNKNOWN, f"API key {api_key}")
        if not self._context.backend.ready:
            return Close(reasons.BACKEND_NOT_READY)
        reason = reasons.API_NOT_OFFERED if offered is None else reasons.VERSION_NOT_OFFERED
        return Close(reason, f"{api.name} v{version}")

    def _fast_request(self, header: codec.RequestHeader, frame: memoryview, throttle_ms: int) -> AsItIs | None:
        """Produce and Fetch whose topics are all allowed; None leaves it to the engine."""
        api_key, version = header.api_key, header.api_version
        if header.tagged:
            return None
        if api_key == PRODUCE:
            scan = self.fast.produce(frame, header.body_offset, version)
            if scan is None:
                return None
            if scan.acks == 0:
                return AS_IT_IS
        elif api_key != FETCH or not self.fast.fetch(frame, header.body_offset, version):
            return None
        if throttle_ms:
            self._queue.expect(
                Expected(header.correlation_id, api_key, version, version, None, throttle_ms, walked=True)
            )
        else:
            self._queue.expect_walked(header.correlation_id, api_key, version)
        return AS_IT_IS

    def api_versions(self, frame: memoryview, now: float) -> Close | str:
        """ApiVersions after authentication; the gateway's own to answer. The client's software. Raises Malformed."""
        if not self._context.backend.ready:
            return Close(reasons.BACKEND_NOT_READY)
        reply = respond(frame, self._context.backend, self._context.node_id)
        self._own_answer(API_VERSIONS, reply.answer)
        self.charge(API_VERSIONS, len(frame), now)
        return reply.software

    def charge(self, api_key: int, octets: int, now: float) -> None:
        """A request that is answered without the engine."""
        self.charging.request(api_key, octets, now)
        self._settle(api_key, now)

    def _own_answer(self, api_key: int, answer: bytes) -> None:
        """Put an answer of the gateway's own in its place."""
        self._queue.own(answer, self._effects.to_client)
        name = codec.APIS[api_key].name
        self._context.meters.cell(OWN_ANSWERS, self._context.backend.name, name).value += 1


def _nothing() -> Octets:
    return []


def _request(header: codec.RequestHeader, version: int, body: Sequence[bytes]) -> bytes | Pieces:
    """A whole request of the client's with another body, or at another version. Not in a walk its large parts are views
    of the octets that were shown."""
    head = codec.encode_request_header(header.api_key, version, header.correlation_id, header.client_id)
    return together(struct.pack(">i", len(head) + sum(map(len, body))) + head, body)


def _let_go_of_records(body: Body) -> None:
    """What a plan keeps until the answer comes must not keep the request's whole buffer alive: it needs no records."""
    for topic in paced(body["topicData"]):
        for partition in paced(topic["partitionData"]):
            partition["records"] = None

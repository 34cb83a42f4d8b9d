"""The broker's answers on their way to an authenticated client, one frame at a time.

`answer` says whether a frame goes on as it is or gives its client's form: what the request's plan has to change in it
is changed, addresses never leave as the broker wrote them, and throttle times (KIP-219) are the larger of the
gateway's and the broker's. Answers to Produce and Fetch are walked, and decoded only where something is to change.
A long answer is taken in slices (core.slices): UNFINISHED until the last, and begun anew if the rights change.
The session knows which answer is due, and calls.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import partial

from gateway.core.clock import Clock
from gateway.core.slices import Copied, Walk, Walks, gathered, let_go, paced, together
from gateway.kafka import authorize, codec
from gateway.kafka.again import Again
from gateway.kafka.answers import Expected
from gateway.kafka.api_versions import framed_parts
from gateway.kafka.backend import BackendState
from gateway.kafka.charging import Charging
from gateway.kafka.errors import UNKNOWN_TOPIC_ID
from gateway.kafka.outcomes import AS_IT_IS, UNFINISHED, AsItIs, Pieces, Unfinished
from gateway.kafka.plan import Body, Finish, Forward
from gateway.kafka.produce_fetch import FastPath
from gateway.kafka.remembered import ANSWER_OCTETS_MAX, METADATA, Asked
from gateway.kafka.scan import walk_fetch_response, walk_produce_response
from gateway.kafka.steps import FETCH, PRODUCE
from gateway.kafka.throttles import merge_throttle, milliseconds, patch_throttle
from gateway.kafka.view import SessionView

_WITHOUT_TOPICS: Mapping[int, Body] = {
    PRODUCE: {"acks": 1, "timeoutMs": 0, "topicData": []},
    FETCH: {"maxWaitMs": 0, "minBytes": 0, "topics": []},
}

Answer = AsItIs | bytes | Pieces
"""An answer goes on as it is, or in the client's form."""


class Relay:
    """One connection's answers."""

    __slots__ = (
        "_again", "_backend", "_begun_before", "_charging", "_clock", "_fast", "_held", "_own", "_summed",
        "_under_way",
        "_view", "_walks",
    )  # fmt: skip

    def __init__(
        self,
        backend: BackendState,
        clock: Clock,
        walks: Walks,
        view: SessionView,
        fast: FastPath,
        again: Again,
        charging: Charging,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._walks = walks
        self._view = view
        self._fast = fast
        self._again = again
        self._charging = charging
        self._held: float | None = None
        """What the answer at hand was charged with, once it was."""
        self._summed = False
        """The octets of the Fetch answer at hand are in the audit's sums."""
        self._under_way: Walk[Answer] | None = None
        self._own: Copied | None = None
        """The octets that it looks at."""
        self._begun_before = False
        """The answer at hand was begun under other rights: what was denied then is not written a second time."""

    def stop(self) -> None:
        """Give up what is being taken in slices."""
        walk, self._under_way, self._own = self._under_way, None, None
        if walk is not None:
            walk.stop()
            self._charging.spent(walk.spent)

    def begin_anew(self) -> None:
        """The rights have changed."""
        self._begun_before = self._begun_before or self._under_way is not None
        self.stop()

    def answer(self, expected: Expected, frame: memoryview, now: float) -> Answer | Unfinished:
        """The client's form of one of the broker's answers (without its length prefix). Raises codec.Malformed."""
        if self._under_way is not None:
            return self._go_on(self._under_way, frame)
        if self._held is None:
            self._charging.account.let_go(expected.kept)
            expected.kept = 0  # so that a connection that ends over this answer does not give it back twice
            self._held = self._charging.answer(expected.api_key, len(frame), now)
        throttle_ms = max(expected.throttle_ms, milliseconds(self._held))
        made: Answer | None = None
        remembered = expected.remembered
        if remembered is not None and self._again.holds(remembered) and not throttle_ms:
            made = self._answered_before(expected, remembered, frame)
        if made is None and len(frame) > self._walks.octets:
            own = Copied(len(frame))
            work = partial(self._answer, expected, own.view, throttle_ms)
            self._under_way = self._walks.begin(self._view.principal, self._clock, work)
            if self._under_way is None:
                return UNFINISHED
            self._own = own
            return self._go_on(self._under_way, frame)
        self._held = None
        if made is None:
            began = self._clock.monotonic()
            made = self._answer(expected, frame, throttle_ms)
            self._charging.spent(self._clock.monotonic() - began)
            self._summed = False
        return made

    def _go_on(self, walk: Walk[Answer], frame: memoryview) -> Answer | Unfinished:
        if (self._own is not None and not self._own.go_on(frame)) or not walk.go_on():
            return UNFINISHED
        self._under_way = self._held = self._own = None
        self._begun_before = self._summed = False
        self._charging.spent(walk.spent)
        return walk.outcome

    def _answer(self, expected: Expected, frame: memoryview, throttle_ms: int) -> Answer:
        api_key, version, asked = expected.api_key, expected.version, expected.asked
        _, offset = codec.parse_response_header(api_key, asked, frame)
        finish = expected.finish
        if api_key in (PRODUCE, FETCH) and asked == version:
            throttle_offset, good = self._walk(expected, frame, offset)
            if good and expected.walked:
                return _throttled(frame, throttle_offset, throttle_ms) if throttle_ms else AS_IT_IS
            if expected.walked:
                finish = self._finish_of(api_key, version)
        remembered = expected.remembered
        if remembered is not None:
            if self._again.holds(remembered) and not throttle_ms:
                return self._remembered_answer(expected, remembered, frame, offset)
            finish = remembered.finish_for(self._view)
        if finish is None and not throttle_ms and asked == version:
            return AS_IT_IS
        return self._finished(expected, frame, offset, finish, throttle_ms)

    def _finished(
        self, expected: Expected, frame: memoryview, offset: int, finish: Finish | None, throttle_ms: int
    ) -> bytes | Pieces:
        """An answer decoded, changed and encoded again, with its length prefix."""
        api_key = expected.api_key
        body = codec.decode_response(api_key, expected.asked, frame[offset:])
        if finish is not None:
            self._view.begin(codec.APIS[api_key].name, answer=True, again=self._begun_before)
            body = finish(body)
            self._view.end()
        if throttle_ms:
            merge_throttle(api_key, expected.version, body, throttle_ms)
        head, *parts = framed_parts(api_key, expected.version, expected.correlation_id, body)
        let_go(body)
        return together(head, parts)

    def _answered_before(self, expected: Expected, remembered: Asked, frame: memoryview) -> bytes | None:
        """An answer to what was asked before in the same words: as then, if the broker says the same."""
        _, offset = codec.parse_response_header(METADATA, expected.asked, frame)
        if len(frame) > offset + ANSWER_OCTETS_MAX:
            return None
        made = remembered.answer(bytes(frame[offset:]))
        if made is None:
            return None
        header = codec.encode_response_header(METADATA, expected.version, expected.correlation_id)
        return b"".join((struct.pack(">i", len(header) + len(made)), header, made))

    def _remembered_answer(self, expected: Expected, remembered: Asked, frame: memoryview, offset: int) -> Answer:
        """The first of its words: finished, and remembered if it is not too large."""
        version = expected.version
        header = codec.encode_response_header(METADATA, version, expected.correlation_id)
        finish = remembered.finish_for(self._view)
        if finish is None and expected.asked == version:
            return AS_IT_IS
        told = self._view.told
        answer = self._finished(expected, frame, offset, finish, 0)
        if self._view.told == told and isinstance(answer, bytes) and len(frame) <= offset + ANSWER_OCTETS_MAX:
            self._backend.metadata.learn_answer(remembered, bytes(frame[offset:]), answer[4 + len(header) :])
        return answer

    def _walk(self, expected: Expected, frame: memoryview, offset: int) -> tuple[int, bool]:
        """Where the throttle time of a Produce or Fetch answer is, and whether the rest may go on as it is."""
        if expected.api_key == PRODUCE:
            produced = walk_produce_response(frame, offset, expected.version)
            codes, good = produced.error_codes, not produced.has_node_endpoints
            throttle_offset = produced.throttle_offset
        else:
            fetched = walk_fetch_response(frame, offset, expected.version)
            codes, good = fetched.error_codes, self._fast.fetched(fetched, expected.version, self._summed)
            self._summed = True
            throttle_offset = fetched.throttle_offset
        if UNKNOWN_TOPIC_ID in codes:
            self._forget(expected, frame, offset)
        return throttle_offset, good

    def _finish_of(self, api_key: int, version: int) -> Finish | None:
        """The engine's finish for an answer whose request went the fast way: that of a request without topics."""
        empty = codec.decode_request(api_key, version, codec.encode_request(api_key, version, _WITHOUT_TOPICS[api_key]))
        self._view.begin(codec.APIS[api_key].name, answer=True)
        plan = authorize.plan(api_key, version, empty, self._view)
        if not isinstance(plan, Forward) or plan.finish is None:
            raise AssertionError(f"no finish for an answer to API {api_key}")
        return plan.finish

    def _forget(self, expected: Expected, frame: memoryview, offset: int) -> None:
        """A broker does not know some topic ids any more: ask anew when they are met again."""
        body = codec.decode_response(expected.api_key, expected.version, frame[offset:])
        topics, partitions = ("responses", "partitionResponses" if expected.api_key == PRODUCE else "partitions")
        unknown = [
            bytes(topic["topicId"])
            for topic in paced(body[topics])
            if "topicId" in topic and any(each["errorCode"] == UNKNOWN_TOPIC_ID for each in topic[partitions])
        ]
        self.forget(unknown)

    def forget(self, unknown: Sequence[bytes]) -> None:
        """A broker does not know these topic ids any more."""
        self._backend.forget_topics(unknown)  # which asks for a refresh, too
        self._fast.forget(unknown)


def _throttled(frame: memoryview, offset: int, throttle_ms: int) -> bytes | Pieces:
    head, rest = patch_throttle(frame, offset, throttle_ms)
    return together(head, gathered(rest))

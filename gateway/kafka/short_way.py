"""The short way of what was decided before: Produce, Fetch and Metadata, and their answers.

Implements core.session.ShortWay for a Kafka session, without a message built or a plan made: a frame's end, its
header, its topics looked up in the connection's verdicts, or asked for once (Metadata whole, in what kafka.remembered
keeps), a place among the expected answers, and what is counted and charged. Whatever is unusual is left to the
session's general way, which decides the same about every frame: tests drive both with the same octets. Left to it,
among others: other APIs, tagged fields, transactions, a replica's fetch, a topic that is not allowed, Metadata that is
not forwarded as it came, whatever a quota has not enough left for, an answer behind which one of the gateway's own is
due, an error code that asks for more.

Requests are taken whole, some at a time, all or none of them charged. A large Fetch answer is taken as it comes
(kafka.fetch_answer): in the middle of one the session asks `failed`, and `end_of_answer` for what is not sent as it
came. An answer to Metadata is taken by itself, and the client's form of it left in `to_client`. What may change
meanwhile (policy, sums of the audit, the session's end, versions offered) is looked at in each call; the session says
what else holds by `follow` and `brief`.

This is the interpreted form, and the specification of the compiled one. kafka.hot says which of them is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Protocol

from gateway.core.clock import Clock
from gateway.core.meters import Cell
from gateway.core.rights import Policy
from gateway.core.session import Effects
from gateway.kafka.answers import FETCHES_MAX, AnswerQueue, Expected, walked_place
from gateway.kafka.charging import LARGE, Charging
from gateway.kafka.context import ListenerContext
from gateway.kafka.errors import UNKNOWN_TOPIC_ID
from gateway.kafka.fetch_answer import Declined, FetchAnswer, Withheld, blank
from gateway.kafka.primitives import Malformed
from gateway.kafka.quirks import METADATA_COMPACT_FROM
from gateway.kafka.remembered import METADATA, REQUEST_OCTETS_MAX, Asked
from gateway.kafka.scan import scan_fetch, scan_produce
from gateway.kafka.steps import (
    FETCH,
    FETCH_FLEXIBLE,
    FETCH_TOPIC_IDS,
    NO_REPLICA,
    PRODUCE,
    PRODUCE_FLEXIBLE,
    PRODUCE_TOPIC_IDS,
)
from gateway.kafka.verdicts import LOOKS_MAX
from gateway.kafka.walk import walk_produce_response

Verdicts = dict[bytes, list[int]]
Sums = list[tuple[list[int], int]]

FORM = 5
"""Counts the changes after which a compiled form that was built before may not be used any more."""
PREFIX = 4
HEADER_OCTETS_MIN = 10
"""API key, version, correlation id and the client id's length."""
FRAMES_MAX = 256
"""Requests that are taken at a time."""
STREAMED_FROM = 64 * 1024
"""Answers to Fetch of fewer octets are always waited for whole."""
STREAMED_FRONT = 1024
"""Octets of a streamed answer that must be there first: its first topic is decided before anything of it goes on."""

_HEADER = Struct(">hhih").unpack_from
_SIZE = Struct(">i").pack
_INT32 = Struct(">i").unpack_from


class Host(Protocol):
    """What of its session the short way sets, as the contract says."""

    effects: Effects
    client_wanted: int
    upstream_wanted: int
    parked: bool


class Remembered(Protocol):
    """What a connection remembers of its rights (kafka.produce_fetch.FastPath)."""

    write_names: Verdicts
    write_ids: Verdicts
    read_names: Verdicts
    read_ids: Verdicts
    generation: int
    collected: bool

    def reads(self, topic: bytes, by_id: bool) -> list[int] | int: ...
    def table(self, by_id: bool, writing: bool) -> Verdicts: ...
    def look(self, topic: bytes, by_id: bool, writing: bool) -> list[int] | None: ...


class Repeated(Protocol):
    """Metadata as it was decided before (kafka.again.Again)."""

    def find(self, version: int, body: bytes) -> Asked | None: ...
    def count(self, asked: Asked) -> None: ...
    def holds(self, asked: Asked) -> bool: ...


class Forgetting(Protocol):
    """Who is told of topic ids that a broker does not know any more (kafka.relay.Relay)."""

    def forget(self, unknown: Sequence[bytes]) -> None: ...


class Followed(Protocol):
    """Whose requests and answers they are (kafka.traffic.Traffic)."""

    valid_until: float
    tally_generation: int
    cells: dict[int, Cell]
    charging: Charging

    @property
    def policy(self) -> Policy: ...
    @property
    def fast(self) -> Remembered: ...
    @property
    def again(self) -> Repeated: ...
    @property
    def relay(self) -> Forgetting: ...


class ShortWay:
    """One connection's."""

    sent_left = told_left = 0
    """How much of a streamed answer is records that go on as they come is found piece by piece."""

    def __init__(
        self, host: Host, context: ListenerContext, queue: AnswerQueue, from_client: Cell, from_upstream: Cell
    ) -> None:
        self._host = host
        self._to_client = host.effects.to_client
        self._clock: Clock = context.clock
        self._policies = context.policies
        self._tally = context.tally
        self._backend = context.backend
        self._frame_bytes_max = context.limits.frame_bytes_max
        self._in_flight_max = context.limits.in_flight_max
        self._queue = queue
        self._places = queue.places
        self._from_client = from_client
        self._from_upstream = from_upstream
        self._traffic: Followed | None = None
        self._generation = -1
        self._ends_at = 0.0
        self._open = self._free = self._parked = False
        self._looks = 0
        self._fetched = FetchAnswer(lambda topic, by_id: UNKNOWN_TOPIC_ID)
        self.streaming = False
        """A part of an answer went on, and its end is still to come."""
        self.failed: Malformed | Withheld | None = None
        """Why the answer that is streamed cannot go on."""
        self.requests_taken = 0
        self.octets_in = 0
        self.octets_out = 0

    def follow(self, traffic: Followed | None, ends_at: float) -> None:
        """Whose traffic this is, and until when (monotonic); told whenever the session has looked at its rights."""
        if traffic is not self._traffic and traffic is not None:
            self._fetched = FetchAnswer(traffic.fast.reads)
        self._traffic = traffic
        self._ends_at = ends_at

    def brief(self, free: bool, open: bool, parked: bool) -> None:
        """free: answers may go on without the session. open: and requests may. parked: none may, whatever is due."""
        self._free = free
        self._open = open
        self._parked = parked

    def _current(self, traffic: Followed, now: float) -> bool:
        """Whether what the session saw last still holds."""
        return (
            now < self._ends_at
            and self._clock.wall() < traffic.valid_until
            and self._policies.current is traffic.policy
            and self._tally.generation == traffic.tally_generation
        )

    # From the client

    def requests(self, data: memoryview) -> int:
        """How many octets of `data` go on to the broker as they are."""
        traffic = self._traffic
        if traffic is None or not self._open:
            return 0
        now = self._clock.monotonic()
        if not self._current(traffic, now):
            return 0
        taken = 0
        while octets := self._some_requests(traffic, data[taken:], now) or self._metadata(traffic, data[taken:], now):
            taken += octets
        self.octets_in += taken
        self._from_client.value += taken
        return taken

    def _some_requests(self, traffic: Followed, data: memoryview, now: float) -> int:
        end = len(data)
        position = produced = 0
        wanted = PREFIX
        places: list[int] = []
        sums: Sums = []
        apis: list[int] = []
        room = min(self._in_flight_max - len(self._places), FRAMES_MAX)
        fetches = FETCHES_MAX - self._queue.fetches
        self._looks = LOOKS_MAX
        while end - position >= PREFIX and len(apis) < FRAMES_MAX and len(places) < room and fetches > 0:
            (size,) = _INT32(data, position)
            if not HEADER_OCTETS_MIN <= size <= self._frame_bytes_max:
                break
            stop = position + PREFIX + size
            if stop > end:
                wanted = PREFIX + size
                break
            frame = data[position + PREFIX : stop]
            summed = len(sums)
            place = self._request(traffic, frame, sums)
            if place is None:
                del sums[summed:]
                break
            api_key = _HEADER(frame)[0]
            apis.append(api_key)
            if place:
                places.append(place)
                fetches -= api_key == FETCH
            if api_key == PRODUCE or size > LARGE:
                produced += size
            position = stop
        if apis and not traffic.charging.account.spend(len(apis), produced, now):
            self._host.client_wanted = PREFIX
            return 0
        for pair, octets in sums:
            pair[0] += 1
            pair[1] += octets
        self._places.extend(places)
        self._queue.fetches = FETCHES_MAX - fetches
        for api_key in apis:
            traffic.cells[api_key].value += 1
        self.requests_taken += len(apis)
        self._host.client_wanted = wanted
        self._host.parked = self._queue.full
        return position

    def _request(self, traffic: Followed, frame: memoryview, sums: Sums) -> int | None:
        """The place of a request's answer, 0 if it has none; None if the request is not for the short way."""
        api_key, version, correlation_id, length = _HEADER(frame)
        offered = self._backend.offered.get(api_key)
        if api_key not in (PRODUCE, FETCH) or api_key not in traffic.cells:
            return None
        if offered is None or not offered[0] <= version <= offered[1] or length < -1:
            return None
        offset = HEADER_OCTETS_MIN + max(length, 0)
        if not bytes(frame[HEADER_OCTETS_MIN:offset]).isascii():
            return None
        if version >= (PRODUCE_FLEXIBLE if api_key == PRODUCE else FETCH_FLEXIBLE):
            if offset >= len(frame) or frame[offset]:
                return None
            offset += 1
        try:
            if api_key == PRODUCE:
                return self._produce(traffic, frame, offset, version, correlation_id, sums)
            return self._fetch(traffic, frame, offset, version, correlation_id, sums)
        except Malformed:
            return None  # the general way says so

    def _metadata(self, traffic: Followed, data: memoryview, now: float) -> int:
        """A request for Metadata, if it is the next one and was decided before: how many octets it takes."""
        if len(data) < PREFIX + HEADER_OCTETS_MIN or self._queue.full:
            return 0
        size, (api_key, version, correlation_id, length) = _INT32(data)[0], _HEADER(data, PREFIX)
        stop: int = PREFIX + size
        least = HEADER_OCTETS_MIN + max(length, 0)
        if api_key != METADATA or api_key not in traffic.cells or not least < size <= self._frame_bytes_max:
            return 0
        offered = self._backend.offered.get(api_key)
        if offered is None or not offered[0] <= version <= offered[1] or stop > len(data) or length < -1:
            return 0
        offset = PREFIX + least
        if not bytes(data[PREFIX + HEADER_OCTETS_MIN : offset]).isascii():
            return 0
        if version >= METADATA_COMPACT_FROM:
            if data[offset]:
                return 0
            offset += 1
        if stop - offset > REQUEST_OCTETS_MAX:
            return 0
        asked = traffic.again.find(version, bytes(data[offset:stop]))
        if asked is None or asked.sent is not None:
            return 0
        if not traffic.charging.account.spend(1, size if size > LARGE else 0, now):
            return 0
        traffic.again.count(asked)
        expected = Expected(correlation_id, METADATA, version, asked.asked)
        expected.remembered = asked
        self._places.append(expected)
        traffic.cells[METADATA].value += 1
        self.requests_taken += 1
        self._host.parked = self._queue.full
        return stop

    def _produce(
        self,
        traffic: Followed,
        frame: memoryview,
        offset: int,
        version: int,
        correlation_id: int,
        sums: Sums,
    ) -> int | None:
        scan = scan_produce(frame, offset, version)
        unusual = scan.has_transactional_batch or scan.transactional_id is not None or scan.tagged
        if unusual or not scan.topics:
            return None
        by_id = version >= PRODUCE_TOPIC_IDS
        if not self._all_found(traffic.fast, by_id, True, scan.topics, scan.topic_octets, sums):
            return None
        return walked_place(correlation_id, PRODUCE, version) if scan.acks else 0

    def _fetch(
        self,
        traffic: Followed,
        frame: memoryview,
        offset: int,
        version: int,
        correlation_id: int,
        sums: Sums,
    ) -> int | None:
        scan = scan_fetch(frame, offset, version)
        if scan.replica_id != NO_REPLICA or scan.tagged:
            return None
        by_id = version >= FETCH_TOPIC_IDS
        if not self._all_found(traffic.fast, by_id, False, scan.topics, (0,) * len(scan.topics), sums):
            return None
        return walked_place(correlation_id, FETCH, version)

    def _all_found(
        self,
        fast: Remembered,
        by_id: bool,
        writing: bool,
        topics: tuple[bytes, ...],
        octets: tuple[int, ...],
        sums: Sums,
    ) -> bool:
        """Whether all topics are allowed; what is to be added to their sums."""
        verdicts = fast.table(by_id, writing)
        for topic, each in zip(topics, octets, strict=True):
            pair = verdicts.get(topic)
            if pair is None and self._looks:
                self._looks -= 1
                pair = fast.look(topic, by_id, writing)
            if pair is None:
                return False
            sums.append((pair, each))
        return True

    # From the broker

    def answers(self, data: memoryview) -> int:
        """How many octets of `data` go on to the client as they are."""
        traffic = self._traffic
        if traffic is None or not (self._free or self.streaming):
            return 0
        now = self._clock.monotonic()
        if not self._current(traffic, now):
            return 0
        taken = self._go_on(traffic, data) if self.streaming else 0
        if self._free and not self.streaming:
            taken += self._some_answers(traffic, data[taken:], now)
        self.octets_out += taken
        if not taken and self._free and not self.streaming:
            taken = self._metadata_answer(traffic, data, now)
        self._from_upstream.value += taken
        return taken

    def _some_answers(self, traffic: Followed, data: memoryview, now: float) -> int:
        """Whole answers, and the front of one that is large."""
        end = len(data)
        position = 0
        wanted = PREFIX
        while end - position >= 2 * PREFIX and self._places and isinstance(place := self._places[0], int):
            size, correlation_id = _INT32(data, position)[0], _INT32(data, position + PREFIX)[0]
            api_key, version = place >> 16 & 0xFFFF, place & 0xFFFF
            if not PREFIX <= size <= self._frame_bytes_max or correlation_id & 0xFFFFFFFF != place >> 32:
                break
            stop = position + PREFIX + size
            if stop > end:
                if api_key == FETCH and size >= STREAMED_FROM and not traffic.fast.collected:
                    if end - position < STREAMED_FRONT:
                        wanted = STREAMED_FRONT
                        break
                    taken = self._begin(traffic, data[position:], size, version, now)
                    if taken:
                        return position + taken
                wanted = PREFIX + size
                break
            if self._session_is_next():
                break
            frame = data[position:stop]
            if api_key == PRODUCE:
                good = size <= LARGE and produced_may_go_on(frame, version)
            else:
                good = bool(self._begin(traffic, frame, size, version, now))
            if not good:
                break
            self._pass()
            position = stop
        self._host.upstream_wanted = wanted
        return position

    def _metadata_answer(self, traffic: Followed, data: memoryview, now: float) -> int:
        """An answer to Metadata, if it is the next one and came before: the client's form of it goes out instead."""
        place = self._places[0] if self._places else 0
        if not isinstance(place, Expected) or len(data) < 2 * PREFIX + 1:
            return 0
        asked = place.remembered
        size: int = _INT32(data)[0]
        if asked is None or not PREFIX < size <= self._frame_bytes_max:
            return 0
        if _INT32(data, PREFIX)[0] != place.correlation_id:
            return 0
        if PREFIX + size > len(data):
            self._host.upstream_wanted = PREFIX + size
            return 0
        if place.throttle_ms or place.kept or place.asked != place.version or not traffic.again.holds(asked):
            return 0
        offset = 2 * PREFIX
        if place.version >= METADATA_COMPACT_FROM:
            if data[offset]:
                return 0
            offset += 1
        if self._session_is_next():
            return 0
        made = asked.answer(bytes(data[offset : PREFIX + size]))
        if made is None or (size > LARGE and not traffic.charging.account.spend_consumed(size, now)):
            return 0
        whole = b"".join((_SIZE(offset - PREFIX + len(made)), data[PREFIX:offset], made))
        self._to_client.append(whole)
        self.octets_out += len(whole)
        self._pass()
        self._host.upstream_wanted = PREFIX
        return PREFIX + size

    def _begin(self, traffic: Followed, data: memoryview, size: int, version: int, now: float) -> int:
        """Walk what there is of an answer to Fetch. 0: it goes the general way."""
        fetched = self._fetched
        fetched.begin(PREFIX + size, version)
        verdicts = traffic.fast.read_ids if version >= FETCH_TOPIC_IDS else traffic.fast.read_names
        try:
            taken = fetched.feed(data, verdicts)
        except (Malformed, Declined):
            return 0
        if not traffic.charging.account.spend_consumed(size, now):
            return 0
        fetched.tally()
        self.streaming = fetched.left > 0
        self._generation = traffic.fast.generation
        self._host.upstream_wanted = fetched.wanted
        return taken

    def _go_on(self, traffic: Followed, data: memoryview) -> int:
        """The next part of the answer that is streamed."""
        fetched, fast = self._fetched, traffic.fast
        verdicts = fast.read_ids if fetched.by_id else fast.read_names
        failed: Malformed | Withheld
        try:
            if self._generation != fast.generation:
                self._generation = fast.generation
                fetched.look_again(verdicts)
            taken = fetched.feed(data, verdicts)
        except Malformed as error:
            failed = Malformed(str(error))  # kept, so without the frames and views of the one that was raised
        except Withheld as error:
            failed = Withheld(error.topic, error.by_id)
        else:
            return self._went_on(traffic, taken)
        failed.__context__ = None
        self.failed = failed
        self._host.upstream_wanted = 1
        return 0

    def _went_on(self, traffic: Followed, taken: int) -> int:
        fetched = self._fetched
        fetched.tally()
        if fetched.unknown:
            traffic.relay.forget(fetched.unknown)
            fetched.unknown.clear()
        if not fetched.left:
            if not self._free or self._session_is_next():
                fetched.left = fetched.wanted = 1  # the session sends the last octet, and what is due behind it
                taken -= 1
            else:
                self.streaming = False
                self._pass()
        self._host.upstream_wanted = fetched.wanted if self.streaming else PREFIX
        return taken

    def end_of_answer(self, data: memoryview) -> bytes | None:
        """The end of the answer that is streamed, if it is there and is the session's to send; None otherwise.

        It takes the place of as many octets of `data`. The answer is complete then.
        """
        fetched = self._fetched
        left = fetched.left
        if self.failed is not None or len(data) < left or not (fetched.ends_with_addresses or fetched.complete):
            return None
        self.streaming = False
        return blank(left) if fetched.ends_with_addresses else bytes(data[:left])

    def _session_is_next(self) -> bool:
        """Whether behind the answer that is due now stands one that is the session's to send, or to read."""
        if len(self._places) < 2:
            return False
        place = self._places[1]
        return isinstance(place, Expected) and (place.own is not None or place.gateways)

    def _pass(self) -> None:
        """The answer that was due went on."""
        self._queue.passed()
        self._host.parked = self._parked or self._queue.full


def produced_may_go_on(frame: memoryview, version: int) -> bool:
    """Whether a whole answer to Produce, its length prefix included, may go on as it is."""
    offset = PREFIX
    if version >= PRODUCE_FLEXIBLE:
        if len(frame) < 9 or frame[8]:
            return False
        offset += 1
    try:
        walk = walk_produce_response(frame[PREFIX:], offset, version)
    except Malformed:
        return False
    return not walk.has_node_endpoints and UNKNOWN_TOPIC_ID not in walk.error_codes

# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The compiled form of the hot path, chosen by kafka.hot. The interpreted forms are its specification and say what
everything means: kafka.scan (scan_produce, scan_fetch), kafka.fetch_answer (FetchAnswer), kafka.short_way (ShortWay).

Octets are read in kafka.octets and kafka.scans, within bounds. Here they meet what is Python's: verdicts, sums and
places. No octet of a message is kept behind a call.
"""

from cpython.array cimport array
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError
from cpython.list cimport PyList_GET_ITEM, PyList_SetItem
from cpython.long cimport PyLong_FromLongLong, PyLong_FromUnsignedLongLong
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from gateway.core.spending cimport (
    AT, BURST_SECONDS, CONSUMED, CONSUMED_AT_ONCE, LEVEL, PRODUCED, PRODUCED_AT_ONCE, RATE, REQUESTS, SETTLES_AT, of,
    spend_consumed_numbers, spend_numbers,
)
from gateway.core.ticking cimport meter, monotonic, wall
from gateway.kafka.octets cimport (
    FETCH_FLEXIBLE, FETCH_NODE_ENDPOINTS, FETCH_TOPIC_IDS, PRODUCE_FLEXIBLE, PRODUCE_TOPIC_IDS, SHORT,
    TEXT_MAX, UNKNOWN_TOPIC_ID,
    Cursor, Octets, fail, int16_at, int32_at, left, read_count, read_int16, read_int32, read_size, read_varint, span,
    start_at,
)
from gateway.kafka.scans cimport (
    Fetch, Produce, Topics, answer_tags, produced_plainly, scan_fetch_body, scan_produce_body,
)

import time

from gateway.core.limits import AT as _AT
from gateway.core.limits import BURST_SECONDS as _BURST_SECONDS
from gateway.core.limits import CONSUMED as _CONSUMED
from gateway.core.limits import CONSUMED_AT_ONCE as _CONSUMED_AT_ONCE
from gateway.core.limits import LEVEL as _LEVEL
from gateway.core.limits import PRODUCED as _PRODUCED
from gateway.core.limits import PRODUCED_AT_ONCE as _PRODUCED_AT_ONCE
from gateway.core.limits import RATE as _RATE
from gateway.core.limits import REQUESTS as _REQUESTS
from gateway.core.limits import SETTLES_AT as _SETTLES_AT
from gateway.kafka.answers import FETCHES_MAX as _FETCHES_MAX
from gateway.kafka.answers import Expected
from gateway.kafka.charging import LARGE as _LARGE
from gateway.kafka.fetch_answer import LOOKAHEAD as _LOOKAHEAD
from gateway.kafka.fetch_answer import TAIL_OCTETS_MAX as _TAIL_OCTETS_MAX
from gateway.kafka.fetch_answer import UNKNOWN_MAX as _UNKNOWN_MAX
from gateway.kafka.fetch_answer import Declined, Withheld, blank
from gateway.kafka.primitives import Malformed
from gateway.kafka.remembered import REQUEST_OCTETS_MAX as _REQUEST_OCTETS_MAX
from gateway.kafka.scan import FetchScan, ProduceScan
from gateway.kafka.short_way import FRAMES_MAX as _FRAMES_MAX
from gateway.kafka.short_way import LOOKS_MAX as _LOOKS_MAX
from gateway.kafka.short_way import STREAMED_FROM as _STREAMED_FROM
from gateway.kafka.short_way import STREAMED_FRONT as _STREAMED_FRONT

FORM = 5  # as short_way.FORM; changed by hand, so that what was built before is noticed

cdef enum:
    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    METADATA_FLEXIBLE = 9
    PREFIX = 4
    HEADER_OCTETS_MIN = 10
    FRAMES_ROOM = 256

cdef int64_t FETCHES_MAX = _FETCHES_MAX
cdef int64_t LARGE = _LARGE
cdef int64_t LOOKS_MAX = _LOOKS_MAX
cdef int64_t LOOKAHEAD = _LOOKAHEAD
cdef int64_t REQUEST_OCTETS_MAX = _REQUEST_OCTETS_MAX
cdef int64_t TAIL_OCTETS_MAX = _TAIL_OCTETS_MAX
cdef int64_t UNKNOWN_MAX = _UNKNOWN_MAX
cdef int64_t STREAMED_FROM = _STREAMED_FROM
cdef int64_t STREAMED_FRONT = _STREAMED_FRONT
cdef int64_t FRAMES_MAX = min(_FRAMES_MAX, FRAMES_ROOM)

cdef Topics topics  # the process's: filled by a scan, read before the next one
topics.of = NULL
topics.count = topics.room = 0


# ---- Scans of whole requests -------------------------------------------------------------------------------------


def scan_produce(frame, int64_t body_offset, int version):
    """As kafka.scan.scan_produce."""
    cdef Py_buffer view
    cdef Cursor c
    cdef Produce seen
    cdef int64_t at
    if not 3 <= version <= 13:
        raise Malformed(f"ProduceRequest has no version {version}")
    PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE)
    try:
        begin(&c, &view, body_offset)
        scan_produce_body(&c, version, &topics, &seen)
        if c.bad:
            raise Malformed(f"ProduceRequest v{version}: it ends too early, or holds what it may not")
        names, octets = [], []
        for at in range(topics.count):
            names.append(PyBytes_FromStringAndSize(<char*>topics.of[at].name, topics.of[at].size))
            octets.append(topics.of[at].octets)
        transactional_id = None
        if seen.transactional_id_size >= 0:
            transactional_id = PyBytes_FromStringAndSize(<char*>seen.transactional_id, seen.transactional_id_size)
        return ProduceScan(
            transactional_id, seen.acks, tuple(names), tuple(octets), bool(seen.transactional), bool(seen.idempotent),
            bool(seen.tagged),
        )
    finally:
        PyBuffer_Release(&view)


def scan_fetch(frame, int64_t body_offset, int version):
    """As kafka.scan.scan_fetch."""
    cdef Py_buffer view
    cdef Cursor c
    cdef Fetch seen
    cdef int64_t at
    if not 4 <= version <= 18:
        raise Malformed(f"FetchRequest has no version {version}")
    PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE)
    try:
        begin(&c, &view, body_offset)
        scan_fetch_body(&c, version, &topics, &seen)
        if c.bad:
            raise Malformed(f"FetchRequest v{version}: it ends too early, or holds what it may not")
        names = []
        for at in range(topics.count):
            names.append(PyBytes_FromStringAndSize(<char*>topics.of[at].name, topics.of[at].size))
        asked = topics.count - seen.forgotten
        return FetchScan(
            tuple(names[:asked]), seen.session_id, seen.session_epoch, seen.replica_id, tuple(names[asked:]),
            bool(seen.tagged),
        )
    finally:
        PyBuffer_Release(&view)


def produced_may_go_on(frame, int version):
    """As kafka.short_way.produced_may_go_on."""
    cdef Py_buffer view
    PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE)
    try:
        return bool(produced(<Octets>view.buf, view.len, version))
    finally:
        PyBuffer_Release(&view)


cdef void begin(Cursor* c, Py_buffer* view, int64_t offset) noexcept:
    start_at(c, <Octets>view.buf, view.len)
    span(c, offset)


cdef bint produced(Octets at, int64_t size, int version) noexcept nogil:
    """Whether a whole answer to Produce, its length prefix included, may go on as it is."""
    cdef Cursor c
    start_at(&c, at, size)
    span(&c, 2 * PREFIX)
    if version >= PRODUCE_FLEXIBLE and (c.at == c.end or span(&c, 1)[0] != 0):
        return False
    return produced_plainly(&c, version)


# ---- Fetch answers as they come ----------------------------------------------------------------------------------

cdef enum State:
    HEAD, TOPIC, PARTITION, ABORTED, RECORDS, TAGS, TAG, LAST, DONE

cdef enum Verdict:
    GOES_ON, MORE, MALFORMED, DECLINED, WITHHELD, FAILED


cdef inline Verdict missing(Cursor* c) noexcept nogil:
    """What a step says whose cursor is `bad`."""
    return MORE if c.bad == SHORT else MALFORMED


cdef class FetchAnswer:
    """As kafka.fetch_answer.FetchAnswer."""

    cdef object _read, _topic, _pair
    cdef list _pairs
    cdef readonly list unknown
    cdef State _state, _after
    cdef int _version
    cdef int64_t _skip, _topics, _partitions, _aborted, _tags, _last_tag
    cdef int _error
    cdef public int64_t left, wanted
    cdef readonly bint began, by_id, ends_with_addresses

    def __init__(self, read):
        self._read = read
        self._topic = b""
        self._pairs = []
        self.unknown = []
        self._state = DONE

    def begin(self, int64_t size, int version):
        self.start(size, version)

    cdef void start(self, int64_t size, int version):
        self.left = size
        self.wanted = min(size, LOOKAHEAD)
        self.began = self.ends_with_addresses = False
        self._version = version
        self.by_id = version >= FETCH_TOPIC_IDS
        self._state = self._after = HEAD
        self._skip = self._topics = self._partitions = self._aborted = self._tags = 0
        self._error = 0
        self._topic = b""
        if self._pairs:
            self._pairs.clear()
        if self.unknown:
            self.unknown.clear()

    def feed(self, data, dict verdicts):
        cdef Py_buffer view
        cdef int64_t taken = 0
        cdef Verdict verdict
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            verdict = self.walk(<Octets>view.buf, view.len, verdicts, &taken)
        finally:
            PyBuffer_Release(&view)
        if verdict == MALFORMED:
            raise self.malformed()
        if verdict == WITHHELD:
            raise self.withheld()
        if verdict == DECLINED:
            raise Declined
        return taken

    cdef object malformed(self):
        return Malformed(f"FetchResponse v{self._version}: it ends too early, or holds what it may not")

    cdef object withheld(self):
        return Withheld(self._topic, self.by_id)

    cdef Verdict walk(self, Octets data, int64_t size, dict verdicts, int64_t* taken) except FAILED:
        """Take what may go on: GOES_ON with how much that is, or why nothing may."""
        cdef bint whole = size >= self.left
        cdef int64_t there = min(size, self.left), step
        cdef Octets stop = data + there, before
        cdef Verdict verdict = GOES_ON
        cdef Cursor c
        start_at(&c, data, there)
        while self._state != DONE:
            if self._skip:
                step = min(self._skip, stop - c.at)
                c.at += step
                self._skip -= step
                if self._skip:
                    break
            before = c.at
            verdict = self.step(&c, self.left - (c.at - data), whole, verdicts)
            if verdict == MORE:
                c.at = before
                break
            if verdict != GOES_ON:
                return verdict
        if verdict == MORE and whole:
            return MALFORMED
        taken[0] = c.at - data
        self.left -= taken[0]
        self.began = True
        if self._skip:
            self.wanted = 1
        elif self._state >= LAST:
            self.wanted = self.left
        else:
            self.wanted = min(self.left, max(LOOKAHEAD, 2 * (stop - c.at)))
        return GOES_ON

    cdef Verdict step(self, Cursor* c, int64_t rest, bint whole, dict verdicts) except FAILED:
        """One step. MORE: nothing was changed, octets are missing. `rest`: of the answer, from the cursor on."""
        if self._state == HEAD:
            return self.step_head(c, rest)
        if self._state == TOPIC:
            return self.step_topic(c, rest, verdicts)
        if self._state == PARTITION:
            return self.step_partition(c, rest)
        if self._state == ABORTED:
            return self.step_aborted(c)
        if self._state == RECORDS:
            return self.step_records(c, rest)
        if self._state == TAGS:
            return self.step_tags(c)
        if self._state == TAG:
            return self.step_tag(c, rest)
        return self.step_last(c, rest, whole)

    cdef int64_t count(self, Cursor* c, int64_t rest, int least) noexcept:
        """As read_count, of the answer's whole rest; -1 where it is `bad`, -2 where there cannot be so many."""
        cdef Octets start = c.at
        cdef int64_t count = (read_varint(c) - 1) if self._version >= FETCH_FLEXIBLE else read_int32(c)
        if c.bad:
            return -1
        if count < 0 or count * least > rest - (c.at - start):
            return -2
        return count

    cdef Verdict step_head(self, Cursor* c, int64_t rest) except FAILED:
        cdef bint flexible = self._version >= FETCH_FLEXIBLE
        cdef Octets start = c.at, tags
        cdef int64_t count
        span(c, 2 * PREFIX)
        if flexible:
            tags = span(c, 1)
            if tags == NULL:
                return missing(c)
            if tags[0]:
                return DECLINED
        span(c, 4 if self._version < 7 else 10)
        count = self.count(c, rest - (c.at - start), (18 if self.by_id else 3) if flexible else 6)
        if count < 0:
            return missing(c) if count == -1 else MALFORMED
        self._topics = count
        self._state = TOPIC
        return GOES_ON

    cdef Verdict step_topic(self, Cursor* c, int64_t rest, dict verdicts) except FAILED:
        cdef bint flexible = self._version >= FETCH_FLEXIBLE
        cdef Octets start = c.at, name
        cdef int64_t size, partitions
        cdef PyObject* pair
        if not self._topics:
            self._state = LAST
            return GOES_ON
        if self.by_id:
            size = 16
        else:
            size = (read_varint(c) - 1) if flexible else read_int16(c)
            if c.bad:
                return missing(c)
        if not 0 <= size <= TEXT_MAX or size > rest - (c.at - start):
            return MALFORMED
        name = span(c, size)
        partitions = self.count(c, rest - (c.at - start), 30 if self._version >= 5 else 22)
        if partitions < 0:
            return missing(c) if partitions == -1 else MALFORMED
        topic = PyBytes_FromStringAndSize(<char*>name, size)
        pair = PyDict_GetItemWithError(verdicts, topic)
        verdict = <object>pair if pair != NULL else self._read(topic, bool(self.by_id))
        if isinstance(verdict, int):
            if not self.began:
                return DECLINED
            self._error = verdict
        else:
            self._error = 0
            self._pair = verdict
        self._topic = topic
        self._topics -= 1
        self._partitions = partitions
        self._state = PARTITION
        return GOES_ON

    cdef Verdict step_partition(self, Cursor* c, int64_t rest) except FAILED:
        cdef bint flexible = self._version >= FETCH_FLEXIBLE
        cdef Octets start = c.at, part
        cdef int64_t aborted
        cdef int code
        if not self._partitions:
            self._after = TOPIC
            self._state = TAGS if flexible else TOPIC
            return GOES_ON
        part = span(c, 30 if self._version >= 5 else 22)
        aborted = (read_varint(c) - 1) if flexible else read_int32(c)
        if c.bad:
            return missing(c)
        if aborted < -1 or aborted * (16 + flexible) > rest - (c.at - start):
            return MALFORMED
        code = int16_at(part + 4)
        if self._error and code != self._error:
            return WITHHELD
        if code == UNKNOWN_TOPIC_ID:
            if not self.began:
                return DECLINED
            if self.by_id and len(self.unknown) < UNKNOWN_MAX:
                self.unknown.append(self._topic)
        self._partitions -= 1
        self._aborted = max(aborted, 0)
        self._state = ABORTED
        return GOES_ON

    cdef Verdict step_aborted(self, Cursor* c) except FAILED:
        if not self._aborted:
            self._state = RECORDS
        elif self._version < FETCH_FLEXIBLE:
            self._skip = 16 * self._aborted
            self._aborted = 0
        else:
            if left(c) < 17:
                return MORE
            if c.at[16]:
                self._after = ABORTED
                self._state = TAGS
                self._skip = 16
            else:
                c.at += 17
            self._aborted -= 1
        return GOES_ON

    cdef Verdict step_records(self, Cursor* c, int64_t rest) except FAILED:
        cdef bint flexible = self._version >= FETCH_FLEXIBLE
        cdef Octets start = c.at
        cdef int64_t size
        if self._version >= 11:
            span(c, 4)  # the replica to read from
        size = (read_varint(c) - 1) if flexible else read_int32(c)
        if c.bad:
            return missing(c)
        if size < -1 or size > rest - (c.at - start):
            return MALFORMED
        if size > 0:
            if self._error:
                return WITHHELD
            self._pairs.append((self._pair, size))
            self._skip = size
        self._after = PARTITION
        self._state = TAGS if flexible else PARTITION
        return GOES_ON

    cdef Verdict step_tags(self, Cursor* c) except FAILED:
        cdef int64_t count = read_varint(c)
        if c.bad:
            return missing(c)
        self._tags = count
        self._last_tag = -1
        self._state = TAG if count else self._after
        return GOES_ON

    cdef Verdict step_tag(self, Cursor* c, int64_t rest) except FAILED:
        cdef Octets start = c.at
        cdef int64_t tag, size
        if not self._tags:
            self._state = self._after
            return GOES_ON
        tag = read_varint(c)
        size = read_varint(c)
        if c.bad:
            return missing(c)
        if tag <= self._last_tag or size > rest - (c.at - start):
            return MALFORMED
        self._last_tag = tag
        self._tags -= 1
        self._skip = size
        return GOES_ON

    cdef Verdict step_last(self, Cursor* c, int64_t rest, bint whole) except FAILED:
        cdef Octets start = c.at
        cdef bint addresses = False
        if self._version >= FETCH_FLEXIBLE:
            if rest > TAIL_OCTETS_MAX:
                return DECLINED if not self.began else MALFORMED
            if not whole:
                return MORE
            addresses = answer_tags(c, self._version >= FETCH_NODE_ENDPOINTS)
        if c.bad or c.at - start != rest:
            return MALFORMED
        self._state = DONE
        if addresses:
            if not self.began:
                return DECLINED
            self.ends_with_addresses = True
            c.at = start
        return GOES_ON

    @property
    def complete(self):
        return self._state == DONE

    def tally(self):
        for pair, octets in self._pairs:
            pair[1] += octets
        self._pairs.clear()

    def look_again(self, verdicts):
        if self._topic and not self._error and self._topic not in verdicts:
            verdict = self._read(self._topic, bool(self.by_id))
            if isinstance(verdict, int):
                raise Withheld(self._topic, bool(self.by_id))


# ---- The short way -----------------------------------------------------------------------------------------------


cdef struct Sum:
    PyObject* pair
    int64_t octets


cdef enum:
    SUMS_MAX = 4096
    NO_PLACE = 0

cdef Sum sums[SUMS_MAX]  # the process's, as `topics`; each pair is held from `hold` to `let_go`


cdef inline void hold(int64_t at, PyObject* pair, int64_t octets) noexcept:
    Py_INCREF(<object>pair)
    sums[at].pair = pair
    sums[at].octets = octets


cdef inline void let_go(int64_t first, int64_t behind) noexcept:
    while first < behind:
        Py_DECREF(<object>sums[first].pair)
        first += 1


if (
    (RATE, LEVEL, AT) != (_RATE, _LEVEL, _AT)
    or (SETTLES_AT, PRODUCED_AT_ONCE, CONSUMED_AT_ONCE) != (_SETTLES_AT, _PRODUCED_AT_ONCE, _CONSUMED_AT_ONCE)
    or (REQUESTS, PRODUCED, CONSUMED) != (_REQUESTS, _PRODUCED, _CONSUMED)
    or BURST_SECONDS != _BURST_SECONDS
):
    raise ImportError("an account's numbers have another order")


cdef class ShortWay:
    """As kafka.short_way.ShortWay."""

    cdef object _host, _monotonic, _wall, _policies, _tally, _backend, _queue, _places, _append, _popleft
    cdef array _from_client, _from_upstream
    cdef bint _systems
    cdef object _traffic, _account, _fast, _policy, _offered
    cdef object _produce_cell, _fetch_cell, _again
    cdef dict _cells
    cdef Py_ssize_t _cells_seen
    cdef list _to_client
    cdef array _requests, _produce, _consume, _pace, _used
    cdef dict _write_names, _write_ids, _read_names, _read_ids
    cdef FetchAnswer _fetched
    cdef int64_t _frame_bytes_max, _in_flight_max, _generation, _generation_seen, _looks
    cdef double _ends_at, _valid_until, _now
    cdef bint _open, _free, _parked
    cdef int _produce_first, _produce_last, _fetch_first, _fetch_last
    cdef readonly bint streaming
    cdef readonly object failed
    cdef readonly int64_t requests_taken, octets_in, octets_out, sent_left, told_left  # the last two stay 0

    def __init__(self, host, context, queue, from_client, from_upstream):
        self._host = host
        self._to_client = host.effects.to_client
        self._monotonic, self._wall = context.clock.monotonic, context.clock.wall
        self._systems = self._monotonic is time.monotonic and self._wall is time.time
        self._policies, self._tally, self._backend = context.policies, context.tally, context.backend
        self._frame_bytes_max = context.limits.frame_bytes_max
        self._in_flight_max = context.limits.in_flight_max
        self._queue = queue
        self._places = queue.places
        self._append, self._popleft = queue.places.append, queue.places.popleft
        self._from_client, self._from_upstream = from_client.number, from_upstream.number
        if not len(self._from_client) or not len(self._from_upstream):
            raise ValueError("a cell without its number")
        self._generation = -1
        self._fetched = FetchAnswer(None)  # nothing of the kind is None: its memory is read without a question

    def follow(self, traffic, double ends_at):
        if traffic is None:
            self._traffic = None
            return
        if traffic is not self._traffic:
            self._traffic = traffic
            self._account = account = traffic.charging.account
            self._requests, self._produce, self._consume = account.numbers()
            self._pace, self._used = account.pace, account.used
            if min(map(len, (self._requests, self._produce, self._consume, self._pace, self._used))) < 3:
                raise ValueError("an account without its numbers")
            self._fast = fast = traffic.fast
            self._cells = traffic.cells
            self._again = traffic.again
            self._produce_cell = self._fetch_cell = None
            self._cells_seen = 0
            self._fetched = FetchAnswer(fast.reads)
        self._ends_at = ends_at
        self.learn()

    def brief(self, bint free, bint open, bint parked):
        self._free, self._open, self._parked = free, open, parked

    cdef int learn(self) except -1:
        """What the session saw last."""
        traffic, fast = self._traffic, self._fast
        self._write_names, self._write_ids = fast.write_names, fast.write_ids
        self._read_names, self._read_ids = fast.read_names, fast.read_ids
        self._policy = traffic.policy
        self._generation_seen = traffic.tally_generation
        self._valid_until = traffic.valid_until
        return 0

    cdef bint current(self) except -1:
        """Whether what the session saw last still holds."""
        cdef double today
        self._now = monotonic() if self._systems else self._monotonic()
        if self._now >= self._ends_at:
            return False
        today = wall() if self._systems else self._wall()
        if self.other(today):
            self.learn()
            return not self.other(today)
        return True

    cdef bint other(self, double wall) except -1:
        """Whether there is another policy or audit period than was seen last, or the rights seen have ended."""
        return (
            self._policies.current is not self._policy
            or <int64_t>self._tally.generation != self._generation_seen
            or wall >= self._valid_until
        )

    cdef int look_at_versions(self) except -1:
        """Which versions are offered now, of the two APIs that may take this way; none if it was not used before."""
        offered = self._backend.offered
        if offered is not self._offered:
            self._offered = offered
            self._produce_first, self._produce_last = offered.get(PRODUCE, (0, -1))
            self._fetch_first, self._fetch_last = offered.get(FETCH, (0, -1))
        if self._cells_seen != len(self._cells):
            self._cells_seen = len(self._cells)
            self._produce_cell, self._fetch_cell = self._cells.get(PRODUCE), self._cells.get(FETCH)
        return 0

    cdef bint spend(self, int64_t requests, int64_t produced) except -1:
        return spend_numbers(
            self._account, self._requests, self._produce, self._pace, self._used, requests, produced, self._now
        )

    cdef bint spend_consumed(self, int64_t octets) except -1:
        return spend_consumed_numbers(self._account, self._consume, self._pace, self._used, octets, self._now)

    # From the client

    def requests(self, data):
        cdef Py_buffer view
        cdef int64_t taken = 0, octets
        if self._traffic is None or not self._open or not self.current():
            return 0
        self.look_at_versions()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while True:
                octets = self.some_requests(<Octets>view.buf + taken, view.len - taken)
                if octets == 0:
                    octets = self.metadata(<Octets>view.buf + taken, view.len - taken)
                if octets == 0:
                    break
                taken += octets
        finally:
            PyBuffer_Release(&view)
        if taken:
            self.octets_in += taken
            meter(self._from_client, taken)
        return taken

    cdef int64_t some_requests(self, Octets data, int64_t end) except -1:
        cdef int64_t summed = 0
        try:
            return self.take_requests(data, end, &summed)
        finally:
            let_go(0, summed)

    cdef int64_t take_requests(self, Octets data, int64_t end, int64_t* summed) except -1:
        """`summed`: how many of `sums` are held, at any time."""
        cdef int64_t position = 0, produced = 0, size, wanted = PREFIX, held = len(self._places), room, fetches
        cdef int64_t taken = 0, before, at, count = 0, fetched = 0
        cdef uint64_t places[FRAMES_ROOM]
        cdef uint64_t place = 0
        cdef int api_key
        cdef object pair
        room = min(self._in_flight_max - held, FRAMES_MAX)
        fetches = FETCHES_MAX - <int64_t>self._queue.fetches
        self._looks = LOOKS_MAX
        while end - position >= PREFIX and taken < FRAMES_MAX and count < room and fetched < fetches:
            size = int32_at(data + position)
            if not HEADER_OCTETS_MIN <= size <= self._frame_bytes_max:
                break
            if size > end - position - PREFIX:
                wanted = PREFIX + size
                break
            before = summed[0]
            api_key = self.request(data + position + PREFIX, size, summed, &place)
            if api_key < 0:
                let_go(before, summed[0])
                summed[0] = before
                break
            taken += 1
            if place != NO_PLACE:
                places[count] = place
                count += 1
            if api_key == FETCH:
                fetched += 1
            if api_key == PRODUCE or size > LARGE:
                produced += size
            position += PREFIX + size
        if taken and not self.spend(taken, produced):
            wanted = PREFIX
            taken = position = 0
        if taken:
            for at in range(summed[0]):
                pair = <object>sums[at].pair
                add(pair, 0, 1)
                if sums[at].octets:
                    add(pair, 1, sums[at].octets)
            for at in range(count):
                self._append(PyLong_FromUnsignedLongLong(places[at]))
            if fetched:
                self._queue.fetches = FETCHES_MAX - fetches + fetched
                meter(self._fetch_cell.number, fetched)
            if taken > fetched:
                meter(self._produce_cell.number, taken - fetched)
            self.requests_taken += taken
            if held + count >= self._in_flight_max or fetched >= fetches:
                self._host.parked = True
        self._host.client_wanted = wanted
        return position

    cdef int request(self, Octets frame, int64_t size, int64_t* summed, uint64_t* place) except -2:
        """One request's API key, its place and what it adds to the sums; -1 if it is not for the short way."""
        cdef int api_key = int16_at(frame), version = int16_at(frame + 2), length = int16_at(frame + 8)
        cdef int64_t at, looked
        cdef Cursor c
        cdef Produce produce
        cdef Fetch fetch
        cdef bint by_id
        cdef dict verdicts
        cdef bytes topic
        cdef object asked
        cdef PyObject* pair
        cdef Octets flag
        if api_key == PRODUCE:
            if self._produce_cell is None or not self._produce_first <= version <= self._produce_last:
                return -1
        elif api_key != FETCH or self._fetch_cell is None or not self._fetch_first <= version <= self._fetch_last:
            return -1
        start_at(&c, frame, size)
        span(&c, HEADER_OCTETS_MIN)
        if length < -1 or length > left(&c):
            return -1
        for at in range(length):
            if c.at[at] >= 0x80:
                return -1
        if length > 0:
            span(&c, length)
        if version >= (PRODUCE_FLEXIBLE if api_key == PRODUCE else FETCH_FLEXIBLE):
            flag = span(&c, 1)
            if flag == NULL or flag[0]:
                return -1
        if api_key == PRODUCE:
            scan_produce_body(&c, version, &topics, &produce)
            looked = topics.count
            if c.bad or not looked or produce.transactional or produce.transactional_id_size >= 0 or produce.tagged:
                return -1
            by_id = version >= PRODUCE_TOPIC_IDS
            verdicts = self._write_ids if by_id else self._write_names
        else:
            scan_fetch_body(&c, version, &topics, &fetch)
            looked = topics.count - fetch.forgotten
            if c.bad or fetch.replica_id != -1 or fetch.tagged:
                return -1
            by_id = version >= FETCH_TOPIC_IDS
            verdicts = self._read_ids if by_id else self._read_names
        if looked > SUMS_MAX - summed[0]:
            return -1
        for at in range(looked):
            topic = PyBytes_FromStringAndSize(<char*>topics.of[at].name, topics.of[at].size)
            pair = PyDict_GetItemWithError(verdicts, topic)
            if pair == NULL and self._looks:
                self._looks -= 1
                asked = self._fast.look(topic, by_id, api_key == PRODUCE)
                pair = <PyObject*>asked if isinstance(asked, list) else NULL
            if pair == NULL:
                return -1
            hold(summed[0], pair, topics.of[at].octets)
            summed[0] += 1
        place[0] = (
            NO_PLACE if api_key == PRODUCE and produce.acks == 0
            else <uint64_t><uint32_t>int32_at(frame + 4) << 32 | <uint64_t>api_key << 16 | <uint64_t>version
        )
        return api_key

    cdef int64_t metadata(self, Octets data, int64_t end) except -1:
        """A request for Metadata, if it is the next one and was decided before: how many octets it takes."""
        cdef int64_t size, at
        cdef int version, length
        cdef Octets frame = data + PREFIX, flag
        cdef Cursor c
        if end < PREFIX + HEADER_OCTETS_MIN or int16_at(frame) != METADATA or METADATA not in self._cells:
            return 0
        size, version, length = int32_at(data), int16_at(frame + 2), int16_at(frame + 8)
        if not HEADER_OCTETS_MIN <= size <= self._frame_bytes_max or size > end - PREFIX or length < -1:
            return 0
        offered = self._offered.get(METADATA)
        if offered is None or not offered[0] <= version <= offered[1] or self._queue.full:
            return 0
        start_at(&c, frame, size)
        span(&c, HEADER_OCTETS_MIN)
        if length >= left(&c):
            return 0
        for at in range(length):
            if c.at[at] >= 0x80:
                return 0
        if length > 0:
            span(&c, length)
        if version >= METADATA_FLEXIBLE:
            flag = span(&c, 1)
            if flag == NULL or flag[0]:
                return 0
        if left(&c) > REQUEST_OCTETS_MAX:
            return 0
        asked = self._again.find(version, PyBytes_FromStringAndSize(<char*>c.at, left(&c)))
        if asked is None or asked.sent is not None:
            return 0
        if not self.spend(1, size if size > LARGE else 0):
            return 0
        self._again.count(asked)
        expected = Expected(int32_at(frame + 4), METADATA, version, asked.asked)
        expected.remembered = asked
        self._append(expected)
        self._cells[METADATA].value += 1
        self.requests_taken += 1
        if self._queue.full:
            self._host.parked = True
        return PREFIX + size

    # From the broker

    def answers(self, data):
        cdef Py_buffer view
        cdef int64_t taken = 0
        if not (self._free or self.streaming) or self._traffic is None or not self.current():
            return 0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if self.streaming:
                taken = self.go_on(<Octets>view.buf, view.len)
            if self._free and not self.streaming:
                taken += self.some_answers(<Octets>view.buf + taken, view.len - taken)
            self.octets_out += taken
            if not taken and self._free and not self.streaming:
                taken = self.metadata_answer(<Octets>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        if taken:
            meter(self._from_upstream, taken)
        return taken

    cdef int64_t some_answers(self, Octets data, int64_t end) except -1:
        cdef int64_t position = 0, wanted = PREFIX, size, taken
        cdef uint64_t place
        cdef int api_key, version
        cdef bint good
        while end - position >= 2 * PREFIX and self._places:
            head = self._places[0]
            if type(head) is not int:
                break
            place = head
            api_key, version = place >> 16 & 0xFFFF, place & 0xFFFF
            size = int32_at(data + position)
            if not PREFIX <= size <= self._frame_bytes_max:
                break
            if <uint64_t><uint32_t>int32_at(data + position + PREFIX) != place >> 32:
                break
            if size > end - position - PREFIX:
                if api_key == FETCH and size >= STREAMED_FROM and not self._fast.collected:
                    if end - position < STREAMED_FRONT:
                        wanted = STREAMED_FRONT
                        break
                    taken = self.begin(data + position, end - position, size, version)
                    if taken:
                        return position + taken
                wanted = PREFIX + size
                break
            if self.session_is_next():
                break
            if api_key == PRODUCE:
                good = size <= LARGE and produced(data + position, PREFIX + size, version)
            else:
                good = self.begin(data + position, PREFIX + size, size, version) != 0
            if not good:
                break
            self.passed(api_key)
            position += PREFIX + size
        self._host.upstream_wanted = wanted
        return position

    cdef int64_t metadata_answer(self, Octets data, int64_t end) except -1:
        """An answer to Metadata, if it is the next one and came before: the client's form of it goes out instead."""
        cdef int64_t size, head = 2 * PREFIX, given, octets
        cdef int version
        cdef object place, asked, before
        if end < 2 * PREFIX + 1 or not self._places:
            return 0
        place = self._places[0]
        if type(place) is not Expected:
            return 0
        asked, size = place.remembered, int32_at(data)
        if asked is None or not PREFIX < size <= self._frame_bytes_max:
            return 0
        if int32_at(data + PREFIX) != <int32_t>place.correlation_id:
            return 0
        if size > end - PREFIX:
            self._host.upstream_wanted = PREFIX + size
            return 0
        version = place.version
        if place.throttle_ms or place.kept or <int>place.asked != version or not self._again.holds(asked):
            return 0
        if version >= METADATA_FLEXIBLE:
            if data[head]:
                return 0
            head += 1
        if self.session_is_next():
            return 0
        given = PREFIX + size - head
        for before in asked.answers:
            if as_before(before, data + head, given):
                if size > LARGE and not self.spend_consumed(size):
                    return 0
                octets = self.answer_by(data + PREFIX, head - PREFIX, before[1])
                self.octets_out += octets
                self.passed(METADATA)
                self._host.upstream_wanted = PREFIX
                return PREFIX + size
        return 0

    cdef int64_t answer_by(self, Octets header, int64_t octets, bytes body) except -1:
        """Leave an answer for the client: a length, a header as it came, a body. How many octets it has."""
        cdef int64_t size = PyBytes_GET_SIZE(body)
        cdef bytes whole = PyBytes_FromStringAndSize(NULL, PREFIX + octets + size)
        cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(whole)
        cdef uint32_t length = <uint32_t>(octets + size)
        to[0], to[1], to[2], to[3] = length >> 24, length >> 16 & 0xFF, length >> 8 & 0xFF, length & 0xFF
        memcpy(to + PREFIX, header, <size_t>octets)
        memcpy(to + PREFIX + octets, PyBytes_AS_STRING(body), <size_t>size)
        self._to_client.append(whole)
        return PREFIX + octets + size

    cdef int64_t begin(self, Octets data, int64_t there, int64_t size, int version) except -1:
        """Walk what there is of an answer to Fetch. 0: it goes the general way."""
        cdef FetchAnswer fetched = self._fetched
        cdef int64_t taken = 0
        fetched.start(PREFIX + size, version)
        if fetched.walk(data, there, self._read_ids if fetched.by_id else self._read_names, &taken) != GOES_ON:
            return 0
        if not self.spend_consumed(size):
            return 0
        fetched.tally()
        self.streaming = fetched.left > 0
        self._generation = self._fast.generation
        self._host.upstream_wanted = fetched.wanted
        return taken

    cdef int64_t go_on(self, Octets data, int64_t there) except -1:
        """The next part of the answer that is streamed."""
        cdef FetchAnswer fetched = self._fetched
        cdef dict verdicts = self._read_ids if fetched.by_id else self._read_names
        cdef int64_t taken = 0
        cdef Verdict verdict
        if self._generation != <int64_t>self._fast.generation:
            self._generation = self._fast.generation
            try:
                fetched.look_again(verdicts)
            except Withheld as withheld:
                return self.fails(withheld)
        verdict = fetched.walk(data, there, verdicts, &taken)
        if verdict != GOES_ON:
            return self.fails(fetched.withheld() if verdict == WITHHELD else fetched.malformed())
        fetched.tally()
        if fetched.unknown:
            self._traffic.relay.forget(fetched.unknown)
            fetched.unknown.clear()
        if not fetched.left:
            if not self._free or self.session_is_next():
                fetched.left = fetched.wanted = 1  # the session sends the last octet, and what is due behind it
                taken -= 1
            else:
                self.streaming = False
                self.passed(FETCH)
        self._host.upstream_wanted = fetched.wanted if self.streaming else PREFIX
        return taken

    cdef int64_t fails(self, error) except -1:
        self.failed = error
        self._host.upstream_wanted = 1
        return 0

    def end_of_answer(self, data):
        cdef FetchAnswer fetched = self._fetched
        left = fetched.left
        if self.failed is not None or len(data) < left or not (fetched.ends_with_addresses or fetched.complete):
            return None
        self.streaming = False
        return blank(left) if fetched.ends_with_addresses else bytes(data[:left])

    cdef bint session_is_next(self) except -1:
        if len(self._places) < 2:
            return False
        place = self._places[1]
        return type(place) is not int and (place.own is not None or place.gateways)

    cdef int passed(self, int api_key) except -1:
        """The answer that was due went on."""
        self._popleft()
        if api_key == FETCH:
            self._queue.fetches -= 1
        if self._host.parked and not self._parked and not self._queue.full:
            self._host.parked = False
        return 0


cdef inline bint as_before(tuple before, Octets data, int64_t size) except -1:
    """Whether these are the octets that an answer had."""
    cdef bytes given = before[0]
    return PyBytes_GET_SIZE(given) == size and memcmp(PyBytes_AS_STRING(given), data, <size_t>size) == 0


cdef inline int add(object pair, Py_ssize_t index, int64_t amount) except -1:
    """Add to a list's number in place."""
    cdef object changed = PyLong_FromLongLong(<int64_t><object>PyList_GET_ITEM(pair, index) + amount)
    Py_INCREF(changed)
    PyList_SetItem(pair, index, changed)
    return 0

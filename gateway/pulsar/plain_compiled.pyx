# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The compiled forms of gateway.pulsar.plain and short_way, which are their specification and say what everything means.

Octets are read in C between a pointer and an end, which is compared before each. Here they meet what is Python's: the
producers and consumers that are open, their sums and their principal's account. No octet of a frame is kept behind a
call.
"""

from cpython.array cimport array
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from gateway.core.spending cimport (
    AT, BURST_SECONDS, CONSUMED, CONSUMED_AT_ONCE, LEVEL, PRODUCED, PRODUCED_AT_ONCE, RATE, REQUESTS, SETTLES_AT, of,
    spend_consumed_numbers, spend_numbers,
)
from gateway.core.ticking cimport meter, monotonic, wall

import time

from gateway.core import limits
from gateway.pulsar import keepalive, plain, short_way
from gateway.pulsar.meters import COMMANDS

ctypedef const uint8_t* Octets

REVISION = 2  # as short_way.REVISION; changed by hand, so that what was built before is noticed

cdef enum:
    HEADER = 8
    SIZE = 4
    SEND = 6
    SEND_RECEIPT = 7
    MESSAGE = 9
    ACK = 10
    FLOW = 11
    CHUNK = 7
    VARINT_OCTETS_MAX = 10
    NUMBERS_OF_SEND = 0x7E      # fields 1 to 6
    NUMBERS_OF_RECEIPT = 0x16   # 1, 2, 4
    NUMBERS_OF_MESSAGE = 0x2A   # 1, 3, 5
    NUMBERS_OF_ACK = 0x106      # 1, 2, 8
    NUMBERS_OF_FLOW = 0x06      # 1, 2
    NUMBERS_OF_IDS = 0x5E       # 1 to 4, 6
    COMMAND_MAX = 4096
    FRAMES_MAX = 256
    SEEN = 0
    ASKED = 1

if (
    (RATE, LEVEL, AT) != (limits.RATE, limits.LEVEL, limits.AT)
    or (SETTLES_AT, PRODUCED_AT_ONCE, CONSUMED_AT_ONCE)
    != (limits.SETTLES_AT, limits.PRODUCED_AT_ONCE, limits.CONSUMED_AT_ONCE)
    or (REQUESTS, PRODUCED, CONSUMED) != (limits.REQUESTS, limits.PRODUCED, limits.CONSUMED)
    or BURST_SECONDS != limits.BURST_SECONDS
    or (SEEN, ASKED) != (keepalive.SEEN, keepalive.ASKED)
    or (COMMAND_MAX, FRAMES_MAX) != (plain.COMMAND_MAX, short_way.FRAMES_MAX)
):
    raise ImportError("the numbers that are shared have another order")


cdef inline uint32_t big_endian(Octets p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline Octets varint(Octets at, Octets end, uint64_t* value) noexcept nogil:
    """Reads a number in its shortest form: where it ends, NULL if it is none."""
    cdef int index = 0
    cdef uint8_t octet
    value[0] = 0
    while index < VARINT_OCTETS_MAX:
        if at >= end:
            return NULL
        octet = at[0]
        at += 1
        if index == 9 and octet > 1:  # past 64 bits
            return NULL
        value[0] |= <uint64_t>(octet & 0x7F) << (7 * index)
        if octet < 0x80:
            return at if octet or not index else NULL
        index += 1
    return NULL


cdef bint plain_id(Octets at, Octets end) noexcept nogil:
    cdef int field, last = 0
    cdef uint64_t value
    while at < end:
        field = at[0] >> 3
        if at[0] > 0x7F or at[0] & 7 or field <= last or not (NUMBERS_OF_IDS >> field) & 1:
            return False
        last = field
        at = varint(at + 1, end, &value)
        if at == NULL:
            return False
    return True


cdef int plain_command(Octets at, Octets end, uint64_t* handle_id) noexcept nogil:
    """As plain.read: the command, 0 for one that is not plain."""
    cdef int command, field, wire, numbers, message_id, last = 0
    cdef uint64_t value
    cdef bint identified = False
    if end - at < 6 or end - at > COMMAND_MAX or at[0] != 0x08:
        return 0
    command = at[1]
    if command == SEND:
        numbers, message_id = NUMBERS_OF_SEND, 0
    elif command == SEND_RECEIPT:
        numbers, message_id = NUMBERS_OF_RECEIPT, 3
    elif command == MESSAGE:
        numbers, message_id = NUMBERS_OF_MESSAGE, 2
    elif command == ACK:
        numbers, message_id = NUMBERS_OF_ACK, 3
    elif command == FLOW:
        numbers, message_id = NUMBERS_OF_FLOW, 0
    else:
        return 0
    if at[2] != (command << 3 | 2):
        return 0
    at = varint(at + 3, end, &value)
    if at == NULL or value != <uint64_t>(end - at):
        return 0
    while at < end:
        field, wire = at[0] >> 3, at[0] & 7
        if at[0] > 0x7F or (field <= last and not (command == ACK and field == message_id and field == last)):
            return 0
        last = field
        at = varint(at + 1, end, &value)
        if at == NULL:
            return 0
        if wire == 2:
            if field != message_id or value > <uint64_t>(end - at) or not plain_id(at, at + value):
                return 0
            at += value
        elif wire != 0 or not ((numbers >> field) & 1 or (command == SEND and field == CHUNK and value < 2)):
            return 0
        if field == 1:
            handle_id[0] = value
            identified = True
    return command if identified else 0


def read(octets):
    """As plain.read."""
    cdef Py_buffer view
    cdef uint64_t handle_id = 0
    cdef int command
    PyObject_GetBuffer(octets, &view, PyBUF_SIMPLE)
    try:
        command = plain_command(<Octets>view.buf, <Octets>view.buf + view.len, &handle_id)
    finally:
        PyBuffer_Release(&view)
    if command == 0:
        return 0, 0
    return command, handle_id


cdef struct Run:
    PyObject* handle  # held until the run is done
    int64_t frames
    int64_t octets

cdef Run runs[FRAMES_MAX]
"""Of frames that follow each other, of one producer or consumer. Of one call at a time: none is called within another."""


cdef inline void let_go(int64_t count) noexcept:
    cdef int64_t at
    for at in range(count):
        Py_DECREF(<object>runs[at].handle)


cdef class ShortWay:
    """As short_way.ShortWay. A handle is looked up where the command or the id is another than in the frame before."""

    cdef object _host, _monotonic, _wall, _policies, _context, _traffic, _policy, _account, _view, _tally
    cdef array _from_client, _from_upstream, _acks, _flows
    """The numbers of the meters' cells."""
    cdef bint _systems
    """Both clocks are the system's."""
    cdef array _requests, _produce, _consume, _pace, _used, _client_alive, _broker_alive
    cdef dict _producers, _consumers
    cdef double _valid_until, _ends_at, _now
    cdef int64_t _sent_max, _told_max
    cdef bint _sends, _tells
    cdef readonly object sending, telling
    cdef readonly int64_t sent_left, told_left, frames, octets_in, octets_out

    def __init__(self, host, context, from_client, from_upstream, client_alive, broker_alive):
        self._host = host
        self._context = context
        self._monotonic, self._wall = context.clock.monotonic, context.clock.wall
        self._policies, self._tally = context.policies, context.tally
        self._systems = self._monotonic is time.monotonic and self._wall is time.time
        self._from_client, self._from_upstream = from_client.number, from_upstream.number
        self._client_alive, self._broker_alive = client_alive.numbers, broker_alive.numbers
        if len(self._client_alive) != 2 or len(self._broker_alive) != 2:
            raise ValueError("a side without its numbers")
        if not len(self._from_client) or not len(self._from_upstream):
            raise ValueError("a cell without its number")

    def follow(self, traffic, policy, double valid_until, double ends_at, int64_t sent_max, int64_t told_max):
        if traffic is not self._traffic:
            account = traffic.account
            self._requests, self._produce, self._consume = account.numbers()
            self._pace, self._used = account.pace, account.used
            if min(map(len, (self._requests, self._produce, self._consume, self._pace, self._used))) < 3:
                raise ValueError("an account without its numbers")
            self._producers, self._consumers = traffic.producers.by_id, traffic.consumers.by_id
            self._account, self._view, self._traffic = account, traffic.view, traffic
        self._policy = policy
        self._valid_until, self._ends_at = valid_until, ends_at
        self._sent_max, self._told_max = sent_max, told_max

    def brief(self, bint sends, bint tells):
        self._sends, self._tells = sends, tells

    cdef bint current(self) except -1:
        """Whether what the session saw last still holds."""
        cdef double today
        self._now = monotonic() if self._systems else self._monotonic()
        today = wall() if self._systems else self._wall()
        return (
            self._now < self._ends_at
            and today < self._valid_until
            and self._policies.current is self._policy
        )

    cdef array _counted(self, str command):
        """The number of the meter's cell of a command."""
        cdef array number = self._context.meters.cell(COMMANDS, self._context.backend.name, command).number
        if not len(number):
            raise ValueError("a cell without its number")
        return number

    cdef bint spend(self, int64_t requests, int64_t produced) except -1:
        return spend_numbers(
            self._account, self._requests, self._produce, self._pace, self._used, requests, produced, self._now
        )

    cdef bint spend_consumed(self, int64_t octets) except -1:
        return spend_consumed_numbers(self._account, self._consume, self._pace, self._used, octets, self._now)

    cdef int passed(self, int64_t count) except -1:
        """As view.View.passed, for each of the runs."""
        cdef int64_t at
        cdef list counts
        generation = self._tally.generation
        for at in range(count):
            handle = <object>runs[at].handle
            if handle.generation != generation:
                self._view.passed(handle, runs[at].octets, runs[at].frames)
                continue
            counts = handle.sums
            counts[0] += runs[at].frames
            counts[1] += runs[at].octets
        return 0

    def sent_on(self, int64_t octets):
        cdef int64_t taken = min(octets, self.sent_left)
        self.sent_left -= taken
        if not self.sent_left:
            self.sending = None
        return taken

    def told_on(self, int64_t octets):
        cdef int64_t taken = min(octets, self.told_left)
        self.told_left -= taken
        if not self.told_left:
            self.telling = None
        return taken

    # From the client

    def requests(self, data):
        cdef Py_buffer view
        cdef int64_t taken, octets, wanted = HEADER
        if not self._sends or not self.current():
            return 0
        of(self._client_alive)[SEEN], of(self._client_alive)[ASKED] = self._now, 0.0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            taken = self.sent_on(view.len) if self.sent_left else 0
            if self.sent_left:
                wanted = 1
            while not self.sent_left:
                octets = self.some_sent(<Octets>view.buf + taken, view.len - taken, &wanted)
                if octets == 0:
                    break
                taken += octets
        finally:
            PyBuffer_Release(&view)
        self._host.client_wanted = wanted
        if taken:
            self.octets_in += taken
            meter(self._from_client, taken)
        return taken

    cdef int64_t some_sent(self, Octets data, int64_t end, int64_t* wanted) except -1:
        cdef int64_t count = 0
        try:
            return self.take_sent(data, end, wanted, &count)
        finally:
            let_go(count)

    cdef int64_t take_sent(self, Octets data, int64_t end, int64_t* wanted, int64_t* count) except -1:
        """`count`: how many of the runs are held, at any time."""
        cdef int64_t position = 0, frames = 0, produced = 0, left = 0, acks = 0, flows = 0, total, size, there
        cdef int command, before = 0
        cdef uint64_t handle_id = 0, last_id = 0
        wanted[0] = HEADER
        while end - position >= HEADER and frames < FRAMES_MAX and not left:
            total, size = big_endian(data + position), big_endian(data + position + SIZE)
            if total <= SIZE or total > self._sent_max or size <= 0 or size > total - SIZE or size > COMMAND_MAX:
                break
            there = end - position
            if there < HEADER + size:
                wanted[0] = HEADER + size
                break
            command = plain_command(data + position + HEADER, data + position + HEADER + size, &handle_id)
            if command != SEND and ((command != ACK and command != FLOW) or total > SIZE + size):
                break
            if command != before or handle_id != last_id:
                handle = (self._producers if command == SEND else self._consumers).get(handle_id)
                if handle is None or handle.closing:
                    break
                before, last_id = command, handle_id
                if command == SEND:
                    Py_INCREF(handle)
                    runs[count[0]] = Run(<PyObject*>handle, 0, 0)
                    count[0] += 1
            if command == SEND:
                runs[count[0] - 1].frames += 1
                runs[count[0] - 1].octets += SIZE + total
                produced += SIZE + total
                left = max(SIZE + total - there, 0)
            elif command == ACK:
                acks += 1
            else:
                flows += 1
            frames += 1
            position += SIZE + total - left
        if not frames:
            return 0
        if not self.spend(frames, produced):
            wanted[0] = HEADER
            return 0
        self.passed(count[0])
        if acks:
            if self._acks is None:
                self._acks = self._counted("ack")
            meter(self._acks, acks)
        if flows:
            if self._flows is None:
                self._flows = self._counted("flow")
            meter(self._flows, flows)
        if left:
            self.sending, self.sent_left = <object>runs[count[0] - 1].handle, left
            wanted[0] = 1
        self.frames += frames
        return position

    # From the broker

    def answers(self, data):
        cdef Py_buffer view
        cdef int64_t taken, octets, wanted = HEADER
        if not self._tells or not self.current():
            return 0
        of(self._broker_alive)[SEEN], of(self._broker_alive)[ASKED] = self._now, 0.0
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            taken = self.told_on(view.len) if self.told_left else 0
            if self.told_left:
                wanted = 1
            while not self.told_left:
                octets = self.some_told(<Octets>view.buf + taken, view.len - taken, &wanted)
                if octets == 0:
                    break
                taken += octets
        finally:
            PyBuffer_Release(&view)
        self._host.upstream_wanted = wanted
        if taken:
            self.octets_out += taken
            meter(self._from_upstream, taken)
        return taken

    cdef int64_t some_told(self, Octets data, int64_t end, int64_t* wanted) except -1:
        cdef int64_t count = 0
        try:
            return self.take_told(data, end, wanted, &count)
        finally:
            let_go(count)

    cdef int64_t take_told(self, Octets data, int64_t end, int64_t* wanted, int64_t* count) except -1:
        cdef int64_t position = 0, frames = 0, consumed = 0, left = 0, total, size, there
        cdef int command, before = 0
        cdef uint64_t handle_id = 0, last_id = 0
        wanted[0] = HEADER
        while end - position >= HEADER and frames < FRAMES_MAX and not left:
            total, size = big_endian(data + position), big_endian(data + position + SIZE)
            if total <= SIZE or total > self._told_max or size <= 0 or size > total - SIZE or size > COMMAND_MAX:
                break
            there = end - position
            if there < HEADER + size:
                wanted[0] = HEADER + size
                break
            command = plain_command(data + position + HEADER, data + position + HEADER + size, &handle_id)
            if command != MESSAGE and command != SEND_RECEIPT:
                break
            if command != before or handle_id != last_id:
                handle = (self._consumers if command == MESSAGE else self._producers).get(handle_id)
                if handle is None or (command == MESSAGE and handle.closing):
                    break
                before, last_id = command, handle_id
                if command == MESSAGE:
                    Py_INCREF(handle)
                    runs[count[0]] = Run(<PyObject*>handle, 0, 0)
                    count[0] += 1
            if command == MESSAGE:
                runs[count[0] - 1].frames += 1
                runs[count[0] - 1].octets += SIZE + total
                consumed += SIZE + total
                left = max(SIZE + total - there, 0)
            elif there < SIZE + total:
                wanted[0] = SIZE + total
                break
            frames += 1
            position += SIZE + total - left
        if not frames:
            return 0
        if consumed and not self.spend_consumed(consumed):
            wanted[0] = HEADER
            return 0
        self.passed(count[0])
        if left:
            self.telling, self.told_left = <object>runs[count[0] - 1].handle, left
            wanted[0] = 1
        return position

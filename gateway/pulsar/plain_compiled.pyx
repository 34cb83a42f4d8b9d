# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The compiled form of gateway.pulsar.plain, which is its specification and says what everything means.

Octets are read in C between a pointer and an end, which is compared before each. Here they meet what is Python's: the
producers and consumers that are open. No octet of a frame is kept behind a call.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

ctypedef const uint8_t* Octets

REVISION = 1  # as plain.REVISION; changed by hand, so that what was built before is noticed

cdef enum:
    HEADER = 8
    SIZE = 4
    SEND = 6
    SEND_RECEIPT = 7
    MESSAGE = 9
    CHUNK = 7
    VARINT_OCTETS_MAX = 10
    NUMBERS_OF_SEND = 0x7E      # fields 1 to 6
    NUMBERS_OF_RECEIPT = 0x16   # 1, 2, 4
    NUMBERS_OF_MESSAGE = 0x0A   # 1, 3
    NUMBERS_OF_IDS = 0x5E       # 1 to 4, 6


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


cdef int plain(Octets at, Octets end, uint64_t* handle_id) noexcept nogil:
    """The command, and the id in it; 0 for one that is not plain."""
    cdef int command, field, wire, numbers, message_id, last = 0
    cdef uint64_t value
    cdef bint identified = False
    if end - at < 6 or at[0] != 0x08:
        return 0
    command = at[1]
    if command == SEND:
        numbers, message_id = NUMBERS_OF_SEND, 0
    elif command == SEND_RECEIPT:
        numbers, message_id = NUMBERS_OF_RECEIPT, 3
    elif command == MESSAGE:
        numbers, message_id = NUMBERS_OF_MESSAGE, 2
    else:
        return 0
    if at[2] != (command << 3 | 2):
        return 0
    at = varint(at + 3, end, &value)
    if at == NULL or value != <uint64_t>(end - at):
        return 0
    while at < end:
        field, wire = at[0] >> 3, at[0] & 7
        if at[0] > 0x7F or field <= last:
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


def run(data, int64_t position, int64_t frame_max, dict sent, dict received, bint from_client):
    """As plain.run. A handle is looked up where the command or the id is another than in the frame before."""
    cdef Py_buffer view
    cdef list found = []
    cdef int command = 0, before = 0
    cdef uint64_t handle_id = 0, last_id = 0
    cdef int64_t end, total, size, frames = 0, octets = 0
    cdef Octets base
    handle = None
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        base, end = <Octets>view.buf, view.len
        while end - position >= HEADER:
            total, size = big_endian(base + position), big_endian(base + position + SIZE)
            if total <= SIZE or total > frame_max or size <= 0 or size > total - SIZE:
                break
            if end - position - SIZE < total:
                break
            command = plain(base + position + HEADER, base + position + HEADER + size, &handle_id)
            if command == 0 or (command == SEND) != from_client:
                break
            if command != before or handle_id != last_id:
                other = (received if command == MESSAGE else sent).get(handle_id)
                if other is None or (other.closing and command != SEND_RECEIPT):
                    break
                if frames:
                    found.append((before, handle, frames, octets))
                handle, before, last_id, frames, octets = other, command, handle_id, 0, 0
            frames += 1
            octets += SIZE + total
            position += SIZE + total
        if frames:
            found.append((before, handle, frames, octets))
    finally:
        PyBuffer_Release(&view)
    return position, found

"""Reading octets in C within bounds: the compiled twin of kafka.steps and kafka.primitives.

A Cursor is where to read and where that ends. What would go past the end (SHORT), or cannot be what it claims (WRONG),
makes it `bad` and moves it to its end: nothing behind is read, and what is read afterwards is 0. So a scan looks at
`bad` at its end, and in its loops. Sizes and counts are int64 throughout and come from 32 bits, so that nothing wraps.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef const uint8_t* Octets

cdef enum:
    TEXT_MAX = 0x7FFF
    ELEMENTS_MAX = 50000
    PRODUCE_FLEXIBLE = 9
    PRODUCE_TOPIC_IDS = 13
    PRODUCE_NODE_ENDPOINTS = 10
    FETCH_FLEXIBLE = 12
    FETCH_TOPIC_IDS = 13
    FETCH_REPLICA_STATE = 15
    FETCH_NODE_ENDPOINTS = 16
    FETCH_DIRECTORY_ID = 17
    FETCH_HIGH_WATERMARK = 18
    UNKNOWN_TOPIC_ID = 100
    SHORT = 1
    WRONG = 2


cdef struct Cursor:
    Octets at
    Octets end
    int bad


cdef inline void start_at(Cursor* c, Octets at, int64_t octets) noexcept nogil:
    c.at, c.end, c.bad = at, at + octets, 0


cdef inline void fail(Cursor* c, int how = WRONG) noexcept nogil:
    if not c.bad:
        c.bad = how
    c.at = c.end


cdef inline int64_t left(Cursor* c) noexcept nogil:
    return c.end - c.at


cdef inline Octets span(Cursor* c, int64_t octets) noexcept nogil:
    """Step over so many octets: where they begin, NULL if they are not there."""
    cdef Octets start = c.at
    if octets < 0 or octets > c.end - c.at:
        fail(c, SHORT)
        return NULL
    c.at += octets
    return start


cdef inline uint32_t big_endian(Octets p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline int32_t int32_at(Octets p) noexcept nogil:
    return <int32_t>big_endian(p)


cdef inline int16_t int16_at(Octets p) noexcept nogil:
    return <int16_t>((<uint16_t>p[0] << 8) | p[1])


cdef inline int32_t read_int32(Cursor* c) noexcept nogil:
    cdef Octets p = span(c, 4)
    return int32_at(p) if p != NULL else 0


cdef inline int16_t read_int16(Cursor* c) noexcept nogil:
    cdef Octets p = span(c, 2)
    return int16_at(p) if p != NULL else 0


cdef inline int64_t read_varint(Cursor* c) noexcept nogil:
    """An unsigned varint of at most five octets and 32 bits."""
    cdef int64_t value = 0
    cdef int shift
    cdef uint8_t octet
    for shift in range(0, 35, 7):
        if c.at == c.end:
            fail(c, SHORT)
            return 0
        octet = c.at[0]
        c.at += 1
        if shift == 28 and octet > 0x0F:
            break
        value |= <int64_t>(octet & 0x7F) << shift
        if octet < 0x80:
            return value
    fail(c)
    return 0


cdef inline int64_t read_count(Cursor* c, bint flexible, int least) noexcept nogil:
    """The count of an array whose elements take at least `least` octets each; null is refused."""
    cdef int64_t count = read_varint(c) - 1 if flexible else read_int32(c)
    if c.bad or count < 0 or count * least > left(c):
        fail(c)
        return 0
    return count


cdef inline int64_t read_size(Cursor* c, bint flexible) noexcept nogil:
    """How many octets follow, -1 for null."""
    cdef int64_t size = read_varint(c) - 1 if flexible else read_int32(c)
    if c.bad or size < -1 or size > left(c):
        fail(c)
        return -1
    return size


cdef inline int64_t read_text(Cursor* c, bint flexible, Octets* start) noexcept nogil:
    """A nullable string: its size, -1 for null."""
    cdef int64_t size = read_varint(c) - 1 if flexible else read_int16(c)
    start[0] = NULL
    if c.bad or size < -1 or size > TEXT_MAX:
        fail(c)
        return -1
    if size >= 0:
        start[0] = span(c, size)
    return size


cdef inline int64_t read_topic(Cursor* c, bint flexible, bint ids, Octets* start) noexcept nogil:
    """A topic's id or name: its size."""
    cdef int64_t size
    if ids:
        start[0] = span(c, 16)
        return 16
    size = read_text(c, flexible, start)
    if size < 0:
        fail(c)
        return 0
    return size


cdef inline bint skip_tags(Cursor* c) noexcept nogil:
    """Behind tagged fields, stepped over by their sizes; whether there are any."""
    cdef int64_t count, tag, last = -1
    if c.at < c.end and c.at[0] == 0:
        c.at += 1
        return False
    count = read_varint(c)
    while count > 0 and not c.bad:
        tag = read_varint(c)
        if tag <= last:
            fail(c)
        last = tag
        span(c, read_varint(c))
        count -= 1
    return True


cdef inline int64_t fewer(Cursor* c, int64_t room, int64_t count) noexcept nogil:
    """What is left of the elements a message may have."""
    if count > room:
        fail(c)
        return 0
    return room - count

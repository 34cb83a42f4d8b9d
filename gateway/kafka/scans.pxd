"""Produce and Fetch requests and Produce answers scanned in C: the compiled twin of kafka.scan and kafka.walk.

Each function takes a cursor at the beginning of the message's body and leaves it at its end, or `bad`. The topics that
a request names are put into `Topics`, which grows with the requests it has met and belongs to the process.
"""

from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdlib cimport realloc

from gateway.kafka.octets cimport (
    ELEMENTS_MAX, FETCH_DIRECTORY_ID, FETCH_FLEXIBLE, FETCH_HIGH_WATERMARK, FETCH_REPLICA_STATE, FETCH_TOPIC_IDS,
    PRODUCE_FLEXIBLE, PRODUCE_NODE_ENDPOINTS, PRODUCE_TOPIC_IDS, UNKNOWN_TOPIC_ID,
    Cursor, Octets, fail, fewer, int16_at, int32_at, left, read_count, read_int16, read_int32, read_size, read_text,
    read_topic, read_varint, skip_tags, span, start_at,
)

cdef enum:
    BATCH_HEADER = 61
    BATCH_OVERHEAD = 12
    TRANSACTIONAL = 0x10


cdef struct Topic:
    Octets name
    int64_t size
    int64_t octets


cdef struct Topics:
    Topic* of
    int64_t count
    int64_t room


cdef struct Produce:
    Octets transactional_id
    int64_t transactional_id_size
    int16_t acks
    bint transactional
    bint idempotent
    bint tagged


cdef struct Fetch:
    int32_t session_id
    int32_t session_epoch
    int32_t replica_id
    bint tagged
    int64_t forgotten


cdef inline Topic* next_topic(Cursor* c, Topics* topics) noexcept nogil:
    """Room for one more topic, NULL without memory for it."""
    cdef Topic* grown
    cdef int64_t room
    if topics.count == topics.room:
        room = 64 if topics.room == 0 else 2 * topics.room
        grown = <Topic*>realloc(topics.of, <size_t>room * sizeof(Topic))
        if grown == NULL:
            fail(c)
            return NULL
        topics.of = grown
        topics.room = room
    topics.count += 1
    return &topics.of[topics.count - 1]


cdef inline void look_at_batches(Octets at, int64_t octets, Produce* seen) noexcept nogil:
    """Whether a batch of magic 2 is transactional or carries a producer id; what is no batch is left to the broker."""
    cdef int64_t length
    while octets >= BATCH_HEADER:
        length = int32_at(at + 8)
        if at[16] == 2:
            if at[22] & TRANSACTIONAL:
                seen.transactional = True
            if not at[43] & 0x80:
                seen.idempotent = True
        if length < BATCH_HEADER - BATCH_OVERHEAD or length > octets - BATCH_OVERHEAD:
            return
        at += BATCH_OVERHEAD + length
        octets -= BATCH_OVERHEAD + length


cdef inline void scan_produce_body(Cursor* c, int version, Topics* topics, Produce* seen) noexcept nogil:
    cdef bint flexible = version >= PRODUCE_FLEXIBLE, ids = version >= PRODUCE_TOPIC_IDS
    cdef int64_t count, partitions, size, room = ELEMENTS_MAX
    cdef Topic* topic
    cdef Octets name, records
    seen.transactional = seen.idempotent = seen.tagged = False
    topics.count = 0
    seen.transactional_id_size = read_text(c, flexible, &seen.transactional_id)
    seen.acks = read_int16(c)
    read_int32(c)
    count = read_count(c, flexible, (18 if ids else 3) if flexible else 6)
    room = fewer(c, room, count)
    while count > 0 and not c.bad:
        count -= 1
        size = read_topic(c, flexible, ids, &name)
        topic = next_topic(c, topics)
        if topic == NULL:
            return
        topic.name, topic.size, topic.octets = name, size, 0
        partitions = read_count(c, flexible, 6 if flexible else 8)
        room = fewer(c, room, partitions)
        while partitions > 0 and not c.bad:
            partitions -= 1
            read_int32(c)
            size = read_size(c, flexible)
            if size > 0:
                records = span(c, size)
                topic.octets += size
                if not (seen.transactional and seen.idempotent):
                    look_at_batches(records, size, seen)
            if flexible and skip_tags(c):
                seen.tagged = True
        if flexible and skip_tags(c):
            seen.tagged = True
    if flexible and skip_tags(c):
        seen.tagged = True
    if c.at != c.end:
        fail(c)


cdef inline bint skip_partition_tags(Cursor* c, int version) noexcept nogil:
    """A fetched partition's: the directory id (KIP-853) and the high watermark (KIP-1166) have their sizes."""
    cdef int64_t count, tag, size, last = -1
    if c.at < c.end and c.at[0] == 0:
        c.at += 1
        return False
    count = read_varint(c)
    while count > 0 and not c.bad:
        count -= 1
        tag, size = read_varint(c), read_varint(c)
        if (
            tag <= last
            or (tag == 0 and version >= FETCH_DIRECTORY_ID and size != 16)
            or (tag == 1 and version >= FETCH_HIGH_WATERMARK and size != 8)
        ):
            fail(c)
        last = tag
        span(c, size)
    return True


cdef inline void read_fetch_tags(Cursor* c, int version, Fetch* seen) noexcept nogil:
    """A Fetch request's own: the cluster id, and ReplicaState (KIP-903) with the replica id."""
    cdef int64_t count = read_varint(c), tag, size, last = -1
    cdef Octets text
    cdef Cursor field
    while count > 0 and not c.bad:
        count -= 1
        tag, size = read_varint(c), read_varint(c)
        if tag <= last or size > left(c):
            fail(c)
            return
        last = tag
        start_at(&field, c.at, size)
        c.at += size
        if tag == 0:
            read_text(&field, True, &text)
        elif tag == 1 and version >= FETCH_REPLICA_STATE:
            seen.replica_id = read_int32(&field)
            span(&field, 8)
            skip_tags(&field)
        else:
            field.at = field.end
        if field.bad or field.at != field.end:
            fail(c)


cdef inline void scan_fetch_body(Cursor* c, int version, Topics* topics, Fetch* seen) noexcept nogil:
    """`topics` holds those asked for, and behind them those that the fetch session is to forget (`seen.forgotten`)."""
    cdef bint flexible = version >= FETCH_FLEXIBLE, ids = version >= FETCH_TOPIC_IDS
    cdef int64_t count, partitions, room = ELEMENTS_MAX
    cdef int size = 16 + (8 if version >= 5 else 0) + (4 if version >= 9 else 0) + (4 if flexible else 0)
    cdef int least = (18 if ids else 3) if flexible else 6
    cdef Octets text
    cdef bint known
    seen.tagged = False
    seen.session_id, seen.session_epoch, seen.replica_id, seen.forgotten = 0, -1, -1, 0
    topics.count = 0
    if version < FETCH_REPLICA_STATE:
        seen.replica_id = read_int32(c)
    span(c, 13)  # maximum wait, least and most bytes, isolation level
    if version >= 7:
        seen.session_id = read_int32(c)
        seen.session_epoch = read_int32(c)
    count = read_count(c, flexible, least)
    room = fewer(c, room, count)
    while count > 0 and not c.bad:
        count -= 1
        put_topic(c, topics, flexible, ids)
        partitions = read_count(c, flexible, size + flexible)
        room = fewer(c, room, partitions)
        if not flexible:
            span(c, partitions * size)
            continue
        while partitions > 0 and not c.bad:
            partitions -= 1
            span(c, size)
            if skip_partition_tags(c, version):
                seen.tagged = True
        if skip_tags(c):
            seen.tagged = True
    if version >= 7:
        count = read_count(c, flexible, least)
        room = fewer(c, room, count)
        seen.forgotten = count
        while count > 0 and not c.bad:
            count -= 1
            put_topic(c, topics, flexible, ids)
            partitions = read_count(c, flexible, 4)
            room = fewer(c, room, partitions)
            span(c, 4 * partitions)
            if flexible and skip_tags(c):
                seen.tagged = True
    if version >= 11 and read_text(c, flexible, &text) < 0:
        fail(c)
    if flexible:
        if c.at < c.end and c.at[0] != 0:
            seen.tagged = True
        read_fetch_tags(c, version, seen)
    if c.at != c.end:
        fail(c)


cdef inline void put_topic(Cursor* c, Topics* topics, bint flexible, bint ids) noexcept nogil:
    cdef Octets name
    cdef int64_t size = read_topic(c, flexible, ids, &name)
    cdef Topic* topic = next_topic(c, topics)
    if topic != NULL:
        topic.name, topic.size, topic.octets = name, size, 0


cdef inline bint answer_tags(Cursor* c, bint known) noexcept nogil:
    """Behind an answer's own tagged fields; whether node endpoints (KIP-951) are among them."""
    cdef int64_t count = read_varint(c), tag, last = -1
    cdef bint found = False
    while count > 0 and not c.bad:
        count -= 1
        tag = read_varint(c)
        if tag <= last:
            fail(c)
        last = tag
        if known and tag == 0:
            found = True
        span(c, read_varint(c))
    return found


cdef inline bint produced_plainly(Cursor* c, int version) noexcept nogil:
    """Whether a whole answer to Produce may go on as it is."""
    cdef bint flexible = version >= PRODUCE_FLEXIBLE, ids = version >= PRODUCE_TOPIC_IDS
    cdef int size = 30 if version >= 5 else 22
    cdef int64_t count, partitions, errors
    cdef Octets part
    count = read_count(c, flexible, (18 if ids else 3) if flexible else 6)
    while count > 0 and not c.bad:
        count -= 1
        read_topic(c, flexible, ids, &part)
        partitions = read_count(c, flexible, size)
        while partitions > 0 and not c.bad:
            partitions -= 1
            part = span(c, size)
            if part == NULL or int16_at(part + 4) == UNKNOWN_TOPIC_ID:
                return False
            if version >= 8:
                errors = read_count(c, flexible, 6)
                while errors > 0 and not c.bad:
                    errors -= 1
                    read_int32(c)
                    read_text(c, flexible, &part)
                    if flexible:
                        skip_tags(c)
                read_text(c, flexible, &part)
            if flexible:
                skip_tags(c)
        if flexible:
            skip_tags(c)
    read_int32(c)  # throttle time
    if flexible and answer_tags(c, version >= PRODUCE_NODE_ENDPOINTS):
        return False
    return not c.bad and c.at == c.end

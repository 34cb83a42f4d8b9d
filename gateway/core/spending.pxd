"""What compiled pieces need of an account's numbers (core.limits, which says what they mean): `Account.spend` and
`spend_consumed` in the usual case. Nothing but inline functions, so there is no module of this name when it runs."""

from cpython.array cimport array

cdef enum:
    RATE, LEVEL, AT
cdef enum:
    SETTLES_AT, PRODUCED_AT_ONCE, CONSUMED_AT_ONCE
cdef enum:
    REQUESTS, PRODUCED, CONSUMED
cdef enum:
    BURST_SECONDS = 1


cdef inline double* of(array numbers) noexcept:
    return numbers.data.as_doubles


cdef inline bint afford(double* bucket, double amount, double now) noexcept nogil:
    """As core.limits.Bucket.afford."""
    cdef double level = bucket[LEVEL]
    cdef bint affordable
    if now > bucket[AT]:
        level = min(bucket[RATE] * BURST_SECONDS, level + (now - bucket[AT]) * bucket[RATE])
        bucket[AT] = now
    affordable = level >= amount
    bucket[LEVEL] = level - amount if affordable else level
    return affordable

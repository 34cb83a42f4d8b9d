"""What compiled pieces need of an account's numbers (core.limits, which says what they mean): `Account.spend` and
`spend_consumed` in the usual case. Nothing but inline functions, so there is no module of this name when it runs."""

from cpython.array cimport array
from libc.stdint cimport int64_t

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


cdef inline bint spend_numbers(
    account, array requests, array produce, array pace, array used, int64_t count, int64_t produced, double now
) except -1:
    """As core.limits.Account.spend, which is asked where something is to be settled with other workers."""
    if now >= of(pace)[SETTLES_AT] or produced > of(pace)[PRODUCED_AT_ONCE]:
        return account.spend(count, produced, now)
    if account.owing or not afford(of(requests), count, now):
        return False
    if produced and not afford(of(produce), produced, now):
        of(requests)[LEVEL] += count
        return False
    of(used)[REQUESTS] += count
    of(used)[PRODUCED] += produced
    return True


cdef inline bint spend_consumed_numbers(
    account, array consume, array pace, array used, int64_t octets, double now
) except -1:
    """As core.limits.Account.spend_consumed, likewise."""
    if now >= of(pace)[SETTLES_AT] or octets > of(pace)[CONSUMED_AT_ONCE]:
        return account.spend_consumed(octets, now)
    if not afford(of(consume), octets, now):
        return False
    of(used)[CONSUMED] += octets
    return True

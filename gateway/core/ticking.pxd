"""The system's clocks and the meters' cells without Python in between, for compiled pieces that were handed them.

A piece asks its own clock whether it is the system's (`is time.monotonic`); any other is called, as tests have it.
"""

from cpython.array cimport array
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec


cdef inline double monotonic() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef inline double wall() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef inline void meter(array number, double amount) noexcept:
    """Add to a core.meters.Cell, of which this is the `number`."""
    number.data.as_doubles[0] += amount

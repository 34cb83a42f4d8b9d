"""What other compiled pieces may call without Python in between."""

cdef class Channel:
    cdef readonly Py_ssize_t unsent
    cdef int fd
    cdef Py_ssize_t take(self, char *room, Py_ssize_t size) except -1
    cdef Py_ssize_t put(self, const char *data, Py_ssize_t size) except -1
    cdef bint held(self)

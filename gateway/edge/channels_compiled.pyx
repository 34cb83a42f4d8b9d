"""The compiled form of edge.channels, which is its specification: the same classes, the same behaviour, the same tests.

It drives the `SSL*` and the memory BIOs that pyOpenSSL made, by the addresses of the functions that pyOpenSSL's binding
has (`channels.FUNCTIONS`), so that it works on whatever OpenSSL the `cryptography` wheel brought, without headers. Every
piece of memory is a pointer and a length, and nothing is written behind either. Contexts, the callbacks that run Python
within `SSL_do_handshake`, and what failures mean stay with pyOpenSSL. What is sealed or opened in one call is bounded,
so the interpreter's lock is kept.

Where a listener's handshakes ask nobody (`tickets.ServerContext.quiet`) the `SSL*` is made here (`server_channel`), and
pyOpenSSL's Connection around it only for whoever asks for it.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython cimport no_gc_clear
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint64_t, uintptr_t

import os

from OpenSSL import SSL

from gateway.edge import channels
from gateway.edge.streams import RECORD as _RECORD
from gateway.edge.streams import StreamBarren, StreamCut, StreamEnded, StreamLost

FORM = 13

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void *data, size_t size, int flags)
    ssize_t send(int fd, const void *data, size_t size, int flags)
    int MSG_NOSIGNAL

cdef enum:
    CIPHERTEXT_MAX = 128 * 1024
    SENT_MAX = 80 * 1024
    WANT_READ = 2
    WANT_WRITE = 3
    ZERO_RETURN = 6
    DONE = 0
    TO_READ = 1
    TO_WRITE = 2
    AUTO_RETRY = 4
    TLS_1_2 = 0x0303
    NO_TICKET = 0x4000
    HOST_NAME = 0

cdef Py_ssize_t RECORD = _RECORD
cdef Py_ssize_t CIPHERTEXT = min(channels.CIPHERTEXT, CIPHERTEXT_MAX)
cdef Py_ssize_t SEAL = channels.SEAL
cdef Py_ssize_t WRITE_MAX = channels.WRITE_MAX
cdef Py_ssize_t UNSENT_MAX = channels.UNSENT_MAX
cdef Py_ssize_t SMALL = channels.SMALL
cdef Py_ssize_t SHORT = channels.SHORT
cdef Py_ssize_t SHORT_FIRST = channels.SHORT_FIRST
cdef double PAUSE_SECONDS = channels.PAUSE_SECONDS
cdef Py_ssize_t ASIDES_MAX = channels.ASIDES_MAX
cdef Py_ssize_t ASIDES_PER = channels.ASIDES_PER
cdef Py_ssize_t FRUITLESS_MAX = channels.FRUITLESS_MAX

cdef char cipher[CIPHERTEXT_MAX]
cdef char sent[SENT_MAX]
"""As in the interpreted form: what is received lies in the one, what is sent is read out into the other."""

ctypedef void *Bio
ctypedef void *Ssl

cdef int (*BIO_free)(Bio)
cdef long (*BIO_get_mem_data)(Bio, char **)
cdef Bio (*BIO_new)(void *)
cdef Bio (*BIO_new_mem_buf)(void *, int)
cdef int (*BIO_read)(Bio, void *, int)
cdef void *(*BIO_s_mem)()
cdef long (*BIO_set_mem_eof_return)(Bio, int)
cdef int (*BIO_write)(Bio, void *, int)
cdef void (*ERR_clear_error)()
cdef unsigned long (*ERR_peek_error)()
cdef long (*SSL_clear_mode)(Ssl, long)
cdef void (*SSL_CTX_set_tlsext_servername_callback)(void *, int (*)(void *, int *, void *) noexcept)
cdef int (*SSL_do_handshake)(Ssl)
cdef void (*SSL_free)(Ssl)
cdef const char *(*SSL_get0_group_name)(Ssl)
cdef int (*SSL_get_error)(Ssl, int)
cdef const char *(*SSL_get_servername)(Ssl, int)
cdef void *(*SSL_get_session)(Ssl)
cdef Ssl (*SSL_new)(void *)
cdef int (*SSL_pending)(Ssl)
cdef int (*SSL_read)(Ssl, void *, int)
cdef void (*SSL_set_accept_state)(Ssl)
cdef void (*SSL_set_bio)(Ssl, Bio, Bio)
cdef void *(*SSL_set_SSL_CTX)(Ssl, void *)
cdef uint64_t (*SSL_set_options)(Ssl, uint64_t) noexcept nogil
cdef void (*SSL_set_info_callback)(Ssl, void (*)(const void *, int, int) noexcept)
cdef int (*SSL_shutdown)(Ssl)
cdef int (*SSL_version)(Ssl) noexcept nogil
cdef int (*SSL_write)(Ssl, void *, int)


cdef uintptr_t _address(str name) except 0:
    ffi, lib = channels._ffi, channels._lib
    return int(ffi.cast("uintptr_t", ffi.addressof(lib, name)))


BIO_free = <int (*)(Bio)> _address("BIO_free")
BIO_get_mem_data = <long (*)(Bio, char **)> _address("BIO_get_mem_data")
BIO_new = <Bio (*)(void *)> _address("BIO_new")
BIO_new_mem_buf = <Bio (*)(void *, int)> _address("BIO_new_mem_buf")
BIO_read = <int (*)(Bio, void *, int)> _address("BIO_read")
BIO_s_mem = <void *(*)()> _address("BIO_s_mem")
BIO_set_mem_eof_return = <long (*)(Bio, int)> _address("BIO_set_mem_eof_return")
BIO_write = <int (*)(Bio, void *, int)> _address("BIO_write")
ERR_clear_error = <void (*)()> _address("ERR_clear_error")
ERR_peek_error = <unsigned long (*)()> _address("ERR_peek_error")
SSL_clear_mode = <long (*)(Ssl, long)> _address("SSL_clear_mode")
SSL_CTX_set_tlsext_servername_callback = <void (*)(void *, int (*)(void *, int *, void *) noexcept)> _address(
    "SSL_CTX_set_tlsext_servername_callback"
)
SSL_do_handshake = <int (*)(Ssl)> _address("SSL_do_handshake")
SSL_free = <void (*)(Ssl)> _address("SSL_free")
SSL_get0_group_name = <const char *(*)(Ssl)> _address("SSL_get0_group_name")
SSL_get_error = <int (*)(Ssl, int)> _address("SSL_get_error")
SSL_get_servername = <const char *(*)(Ssl, int)> _address("SSL_get_servername")
SSL_get_session = <void *(*)(Ssl)> _address("SSL_get_session")
SSL_new = <Ssl (*)(void *)> _address("SSL_new")
SSL_pending = <int (*)(Ssl)> _address("SSL_pending")
SSL_read = <int (*)(Ssl, void *, int)> _address("SSL_read")
SSL_set_accept_state = <void (*)(Ssl)> _address("SSL_set_accept_state")
SSL_set_bio = <void (*)(Ssl, Bio, Bio)> _address("SSL_set_bio")
SSL_set_SSL_CTX = <void *(*)(Ssl, void *)> _address("SSL_set_SSL_CTX")
SSL_set_options = <uint64_t (*)(Ssl, uint64_t) noexcept nogil> _address("SSL_set_options")
SSL_set_info_callback = <void (*)(Ssl, void (*)(const void *, int, int) noexcept)> _address("SSL_set_info_callback")
SSL_shutdown = <int (*)(Ssl)> _address("SSL_shutdown")
SSL_version = <int (*)(Ssl) noexcept nogil> _address("SSL_version")
SSL_write = <int (*)(Ssl, void *, int)> _address("SSL_write")


cdef enum:
    ALERT_READ = 0x4004
    ALERT_WRITTEN = 0x4008

cdef int alert_sent = -1
cdef int alert_received = -1


cdef void _note(const void *ssl, int where, int value) noexcept nogil:
    global alert_sent, alert_received
    if where == ALERT_WRITTEN:
        alert_sent = value & 0xFF
    elif where == ALERT_READ:
        alert_received = value & 0xFF


class Alerts:
    """edge.alerts: its three functions."""

    @staticmethod
    def watch(tls) -> None:
        SSL_set_info_callback(<Ssl> <uintptr_t> int(channels._ffi.cast("uintptr_t", tls._ssl)), _note)

    @staticmethod
    def forget() -> None:
        global alert_sent, alert_received
        alert_sent = alert_received = -1

    @staticmethod
    def noted() -> tuple:
        return alert_sent, alert_received


cdef inline void _clear_errors() noexcept:
    """Clearing goes over all places of the queue, also those that are empty: half as costly as a small SSL_read."""
    if ERR_peek_error():
        ERR_clear_error()


cdef inline bint _later(int number):
    """The socket has nothing, or takes nothing, now."""
    return number == EAGAIN or number == EINTR


cdef class Channel:
    """What is called from Python with memory of Python's."""

    cdef Py_ssize_t take(self, char *room, Py_ssize_t size) except -1:
        raise NotImplementedError

    cdef Py_ssize_t put(self, const char *data, Py_ssize_t size) except -1:
        raise NotImplementedError

    cdef bint held(self):
        return False

    def read_into(self, room) -> int:
        cdef Py_buffer buffer
        PyObject_GetBuffer(room, &buffer, PyBUF_WRITABLE)
        try:
            return self.take(<char *> buffer.buf, buffer.len)
        finally:
            PyBuffer_Release(&buffer)

    def write(self, data) -> int:
        cdef Py_buffer buffer
        PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
        try:
            return self.put(<const char *> buffer.buf, buffer.len)
        finally:
            PyBuffer_Release(&buffer)

    def buffered(self) -> bool:
        return self.held()

    def close(self) -> None:
        self.fd = -1


cdef class PlainChannel(Channel):
    """Bare TCP."""

    def __init__(self, sock) -> None:
        self.fd = sock.fileno()

    cdef Py_ssize_t take(self, char *room, Py_ssize_t size) except -1:
        if self.fd < 0:
            raise StreamLost("closed")
        cdef ssize_t octets = recv(self.fd, room, size, 0)
        if octets > 0:
            return octets
        if octets == 0:
            raise StreamEnded
        if _later(errno):
            return 0
        raise StreamLost(os.strerror(errno))

    cdef Py_ssize_t put(self, const char *data, Py_ssize_t size) except -1:
        if self.fd < 0:
            raise StreamLost("closed")
        cdef ssize_t octets = send(self.fd, data, size, MSG_NOSIGNAL)
        if octets >= 0:
            return octets
        if _later(errno):
            return 0
        raise StreamLost(os.strerror(errno))


@no_gc_clear
cdef class TlsChannel(Channel):
    """TLS over OpenSSL's memory."""

    cdef object connection
    """pyOpenSSL's Connection; None where nobody has asked for it yet."""
    cdef object owner
    """What frees `ssl` and both BIOs when it goes: held itself, and (no_gc_clear) until this goes. None: this does."""
    cdef object context
    """Of the listener, whose callbacks it keeps; None where pyOpenSSL's Connection does."""
    cdef Ssl ssl
    cdef Bio into
    cdef Bio out
    cdef bint inside
    """`_held` of the interpreted form."""
    cdef Py_ssize_t asides
    cdef Py_ssize_t opened
    cdef Py_ssize_t fruitless
    cdef object end
    cdef object broken
    cdef bint grown
    cdef bint greeted
    cdef readonly bint speaks_first
    cdef public bint adapted
    cdef double large_at
    cdef Py_ssize_t brief

    def __cinit__(self) -> None:
        self.large_at = -PAUSE_SECONDS

    def __init__(self, tls, sock) -> None:
        ffi = channels._ffi
        self.connection = tls
        self.owner = tls._ssl
        self.ssl = <Ssl> <uintptr_t> int(ffi.cast("uintptr_t", self.owner))
        self.into = <Bio> <uintptr_t> int(ffi.cast("uintptr_t", tls._into_ssl))
        self.out = <Bio> <uintptr_t> int(ffi.cast("uintptr_t", tls._from_ssl))
        tls._into_ssl = tls._from_ssl = None
        self.fd = sock.fileno()
        channels.one_by_one(self.owner)

    def __dealloc__(self) -> None:
        if self.owner is None and self.ssl != NULL:
            SSL_free(self.ssl)

    @property
    def tls(self):
        if self.connection is None:
            self.owner = channels.owned(<uintptr_t> self.ssl)
            self.connection = channels.connection(self.context, self.owner)
        return self.connection

    def version(self) -> int:
        return SSL_version(self.ssl)

    def server_name(self) -> bytes:
        cdef const char *name = SSL_get_servername(self.ssl, HOST_NAME)
        return b"" if name == NULL else <bytes> name

    def group(self) -> str:
        cdef const char *name
        if SSL_get_session(self.ssl) == NULL:  # without one OpenSSL looks for the name where nothing is
            return ""
        name = SSL_get0_group_name(self.ssl)
        return "" if name == NULL else (<bytes> name).decode("ascii", "replace")

    # ---- the handshake ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        self.speaks_first = True
        self._go_on()

    def shake(self) -> int:
        cdef Py_ssize_t octets = CIPHERTEXT
        while self._flush():
            if self.greeted:
                return DONE
            if octets < CIPHERTEXT:
                return TO_READ
            octets = self._receive(CIPHERTEXT)
            if octets < 0:
                raise SSL.SysCallError(-1, "Unexpected EOF")
            if octets:
                self._go_on()
        return TO_WRITE

    cdef int _go_on(self) except -1:
        ERR_clear_error()
        cdef int got = SSL_do_handshake(self.ssl)
        if got == 1:
            self.greeted = True
        elif SSL_get_error(self.ssl, got) != WANT_READ:
            self._fail(got)
        self._settle()
        return 0

    cdef int _fail(self, int got) except -1:
        tls = self.tls
        tls._raise_ssl_error(self.owner, got)
        return 0

    # ---- reading ----------------------------------------------------------------------------------------------

    cdef Py_ssize_t _receive(self, Py_ssize_t most) except -2:
        if self.end is not None or self.fd < 0:
            return -1
        cdef ssize_t octets = recv(self.fd, cipher, min(most, CIPHERTEXT), 0)
        if octets > 0:
            self._show(BIO_new_mem_buf(cipher, <int> octets))
            return octets
        if octets < 0 and _later(errno):
            return 0
        self.end = StreamLost(os.strerror(errno)) if octets < 0 else StreamCut("without close_notify")
        return -1

    cdef int _show(self, Bio bio) except -1:
        if bio == NULL:
            raise MemoryError
        BIO_set_mem_eof_return(bio, -1)
        SSL_set_bio(self.ssl, bio, self.out)
        self.into = bio
        return 0

    cdef int _settle(self) except -1:
        cdef char *where = NULL
        cdef long left = BIO_get_mem_data(self.into, &where)
        cdef Bio own
        if left > 0:
            own = BIO_new(BIO_s_mem())
            if own == NULL or BIO_write(own, where, <int> left) != left:
                raise MemoryError
            self._show(own)
        self.inside = left > 0 or SSL_pending(self.ssl) > 0
        return 0

    cdef Py_ssize_t take(self, char *room, Py_ssize_t size) except -1:
        cdef Py_ssize_t filled = 0, octets, asked
        cdef bint last = False
        cdef int got, code
        cdef char *where = NULL
        while filled < size and self.end is None:
            if not self.inside:
                asked = min(size - filled + RECORD, CIPHERTEXT)
                octets = 0 if last else self._receive(asked)
                if octets <= 0:
                    break
                last = octets < asked
                self.fruitless += octets
            _clear_errors()
            got = SSL_read(self.ssl, room + filled, <int> min(size - filled, 1 << 30))
            if got > 0:
                filled += got
                self.fruitless = 0
                self.inside = filled == size or BIO_get_mem_data(self.into, &where) > 0
            else:
                self.inside = False
                code = SSL_get_error(self.ssl, got)
                if code == ZERO_RETURN:
                    self.end = StreamEnded()
                elif code != WANT_READ:
                    self.end = channels.end_of(self.tls, got)
                else:
                    self._without_content()
        if filled and not self.opened and not self.grown:
            self.shrink()
        self.opened += filled
        if self.inside or self.end is not None:
            self._settle()
        if BIO_get_mem_data(self.out, &where) > 0:
            self._answer()
        if not filled and self.end is not None:
            raise channels.again(self.end)
        return filled

    cdef int _without_content(self) except -1:
        cdef char *where = NULL
        if BIO_get_mem_data(self.into, &where) > 0:
            self.inside = True
            if self.opened >= ASIDES_PER:
                self.asides = self.opened = 0
            self.asides += 1
        elif self.fruitless > FRUITLESS_MAX:
            self.asides = ASIDES_MAX + 1
        if self.asides > ASIDES_MAX:
            self.end = StreamBarren("records without content")
        return 0

    cdef int _answer(self) except -1:
        if not self._flush() and self.unsent > UNSENT_MAX and self.end is None:
            self.end = StreamLost("it asks and does not read the answers")
        return 0

    cdef bint held(self):
        return self.inside or self.end is not None

    # ---- writing ----------------------------------------------------------------------------------------------

    cdef Py_ssize_t put(self, const char *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t taken = 0
        cdef int got, code
        if self.broken is not None or self.fd < 0:
            raise StreamLost(self.broken or "closed")
        size = min(size, WRITE_MAX)
        if self.adapted and size > SHORT:
            self._look_for_pause()
        if not self.unsent or self._flush():
            while taken < size:
                _clear_errors()
                got = SSL_write(
                    self.ssl, <void *> (data + taken), <int> min(size - taken, SHORT if self.brief > 0 else SEAL)
                )
                if got <= 0:
                    code = SSL_get_error(self.ssl, got)
                    if code == WANT_READ or code == WANT_WRITE:
                        break
                    raise channels.lost(channels.end_of(self.tls, got))
                taken += got
                if taken > SMALL and not self.grown:
                    channels.keep_memory_of(self)
                if self.brief > 0:
                    self.brief -= got
                    if self.brief > 0 and taken < size:
                        continue
                if not self._flush():
                    break
        if self.broken is not None:
            raise StreamLost(self.broken)
        return taken

    cdef int _look_for_pause(self) except -1:
        cdef double now = channels.monotonic()
        if now - self.large_at >= PAUSE_SECONDS:
            self.brief = SHORT_FIRST
        self.large_at = now
        return 0

    def flush(self) -> bool:
        return self._flush()

    cdef bint _flush(self) except -1:
        cdef char *where = NULL
        cdef long left
        cdef ssize_t octets
        while True:
            left = min(BIO_get_mem_data(self.out, &where), SENT_MAX)
            if left <= 0 or self.broken is not None or self.fd < 0:
                self.unsent = 0
                return True
            octets = send(self.fd, where, left, MSG_NOSIGNAL)
            if octets < 0:
                if not _later(errno):
                    self.broken = os.strerror(errno)
                    continue
                octets = 0
            if octets:
                BIO_read(self.out, sent, <int> octets)
            if octets < left:
                self.unsent = BIO_get_mem_data(self.out, &where)
                return False

    def goodbye(self) -> bool:
        ERR_clear_error()
        SSL_shutdown(self.ssl)
        return self._flush()

    def shrink(self) -> bool:
        cdef char *where = NULL
        cdef Bio fresh
        if BIO_get_mem_data(self.out, &where) > 0:
            return False
        self.grown = False
        if self.fd >= 0:
            fresh = BIO_new(BIO_s_mem())
            if fresh == NULL:
                raise MemoryError
            SSL_set_bio(self.ssl, self.into, fresh)
            self.out = fresh
        return True

    def grow(self) -> None:
        self.grown = True

    def close(self) -> None:
        self.fd = -1
        self.unsent = 0
        self.inside = False
        if self.grown:
            channels.forget_memory_of(self)
            self.grown = False


cdef int _keep_ticket_back(void *ssl, int *alert, void *argument) noexcept nogil:
    """names.none_of_old."""
    if SSL_version(ssl) == TLS_1_2:
        SSL_set_options(ssl, NO_TICKET)
    return 0


cdef void *_context(context) except NULL:
    """Its address, once found; from then on tickets of TLS 1.2 are kept back without Python."""
    if not context.at:
        context.at = int(channels._ffi.cast("uintptr_t", context._context))
        if context.versions:
            SSL_CTX_set_tlsext_servername_callback(<void *> <uintptr_t> context.at, _keep_ticket_back)
    return <void *> <uintptr_t> context.at


def server_channel(context, sock) -> TlsChannel:
    cdef TlsChannel made = TlsChannel.__new__(TlsChannel)
    cdef void *own = _context(context)
    cdef void *first = _context(context.first())
    cdef Ssl ssl = SSL_new(first)
    if ssl == NULL:
        raise MemoryError
    made.ssl = ssl
    made.context = context
    made.into = BIO_new(BIO_s_mem())
    made.out = BIO_new(BIO_s_mem())
    if made.into == NULL or made.out == NULL:
        BIO_free(made.into)
        BIO_free(made.out)
        raise MemoryError
    SSL_set_bio(ssl, made.into, made.out)
    if first != own and SSL_set_SSL_CTX(ssl, own) == NULL:
        raise MemoryError
    SSL_clear_mode(ssl, AUTO_RETRY)
    SSL_set_accept_state(ssl)
    SSL_set_info_callback(ssl, _note)
    made.fd = sock.fileno()
    made.adapted = context.adapted
    return made

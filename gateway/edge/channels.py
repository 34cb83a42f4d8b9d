"""Octets between one socket and one connection's memory: the interpreted form, and what the compiled one must do.

A `TlsChannel` drives the `SSL*` that pyOpenSSL made, over memory: ciphertext is received into memory of the process, as
much as there is, and given to OpenSSL where it lies; what OpenSSL has sealed is sent from the memory it lies in. So a
record costs no system call of its own, and an event costs one for reading and one for writing. A `PlainChannel` is the
same over bare TCP.

pyOpenSSL has no public name for these calls; they are taken from the binding that it uses itself (`FUNCTIONS`). OpenSSL
keeps one error queue per thread, and what one connection leaves in it can end another: it is cleared before every call.

`channels_compiled.pyx` is the same in C; `edge.compiled` chooses. Both are tested by the same tests. Used by the
streams of edge.engine and edge.plain, which add readiness.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

from gateway.core.session import Part
from gateway.edge import alerts
from gateway.edge.streams import RECORD, StreamBarren, StreamCut, StreamEnded, StreamLost
from gateway.edge.tickets import ServerContext, begin
from gateway.edge.tls import error_words

FORM = 13
"""Counts the changes after which a compiled form that was built before may not be used any more (edge.shortcut's as
well)."""
CIPHERTEXT = 128 * 1024
"""Octets of ciphertext that are received at once."""
SEAL = 64 * 1024
"""Octets sealed before they are sent: four full records for one system call."""
WRITE_MAX = 256 * 1024
"""Octets taken in one call, so that one large answer does not hold up the loop."""
UNSENT_MAX = 256 * 1024
"""Sealed octets that nobody takes while only reading goes on (answers to key updates): beyond it the stream is lost."""
ASIDES_MAX = 32
"""Records without content (key updates; one that asks for an answer counts twice) that are taken of one client
until it has sent `ASIDES_PER` octets of content: then as many again. Each costs some 25 µs, and no limit above sees it.
"""
ASIDES_PER = 1024 * 1024
FRUITLESS_MAX = 3 * RECORD
"""Octets of ciphertext received in a row of which no content came. A record of the largest size needs a third."""
SMALL = 4096
"""Connections that have sealed more than this at once hold memory for it."""
GROWN_MAX = 64
"""So many of them, of clients and of brokers each, may keep it, those that grew last; the memory of any other is given
back when it is empty."""
SHORT = 1369
"""Octets of a short record: sealed, it fits one segment of any usual path (1,500 octets less IPv6, TCP's options, and
some for a tunnel)."""
SHORT_FIRST = 40 * SHORT
"""After a pause so much of large writings goes in short records: as a rule what the first round trips carry."""
PAUSE_SECONDS = 1.0
monotonic: Callable[[], float] = time.monotonic

FUNCTIONS = (
    "BIO_free", "BIO_get_mem_data", "BIO_new", "BIO_new_mem_buf", "BIO_read", "BIO_s_mem", "BIO_set_mem_eof_return",
    "BIO_write", "ERR_clear_error", "ERR_peek_error", "SSL_CTX_set_tlsext_servername_callback", "SSL_clear_mode",
    "SSL_do_handshake", "SSL_free", "SSL_get0_group_name", "SSL_get_error", "SSL_get_servername", "SSL_get_session",
    "SSL_new", "SSL_pending", "SSL_read", "SSL_set_SSL_CTX", "SSL_set_accept_state", "SSL_set_bio",
    "SSL_set_info_callback", "SSL_set_options", "SSL_shutdown", "SSL_version", "SSL_write",
)  # fmt: skip
"""What is called of OpenSSL, by its own names. A binding without one of them stops the gateway at import, not later."""
_lib: Any = _openssl.lib
_ffi: Any = _openssl.ffi
for _name in FUNCTIONS:
    getattr(_lib, _name)

clear_errors: Callable[[], None] = _lib.ERR_clear_error
DONE, TO_READ, TO_WRITE = range(3)
"""What `shake` gives."""
_WANT_READ, _ZERO_RETURN = 2, 6
_WANTS = frozenset({2, 3})
_RETRY = -1
_AUTO_RETRY = 4
"""SSL_MODE_AUTO_RETRY: SSL_read goes on behind a record without content, as long as there are any."""

_cipher = bytearray(CIPHERTEXT)
_cipher_view = memoryview(_cipher)
_cipher_at = _ffi.from_buffer("char[]", _cipher)
_sent = _ffi.new("char[]", SEAL + RECORD)
"""Where sealed octets go that were sent: OpenSSL's memory is emptied by reading it."""
_where = _ffi.new("char **")


class Channel(Protocol):
    """One open connection's octets. After `close` it reads and writes nothing any more."""

    @property
    def unsent(self) -> int:
        """Octets that were taken, and sealed, and that the socket did not take."""
        ...

    def read_into(self, room: memoryview) -> int:
        """As `streams.Stream.read_into`."""
        ...

    def buffered(self) -> bool:
        """As `streams.Stream.buffered`."""
        ...

    def write(self, data: Part) -> int:
        """As `streams.Stream.write`."""
        ...

    def close(self) -> None: ...


class HandshakeChannel(Channel, Protocol):
    """What TLS's handshake and its goodbye need besides."""

    def begin(self) -> None:
        """Speak first, as clients do: have OpenSSL make its hello. Raises SSL.Error."""
        ...

    def shake(self) -> int:
        """Take the handshake as far as it goes with what has come, and send what that makes. DONE, or what to wait for:
        TO_READ, TO_WRITE. Raises SSL.Error; an alert about it is then still to be sent by `flush`."""
        ...

    def flush(self) -> bool:
        """Send what is sealed. False: some of it is left. Never raises; a broken stream has nothing left to send."""
        ...

    def goodbye(self) -> bool:
        """Say close_notify, once, and flush."""
        ...

    adapted: bool
    """After a pause the first records are short (`SHORT_FIRST`), so that what stands in front can be read while the
    rest is on its way."""

    @property
    def tls(self) -> SSL.Connection:
        """What pyOpenSSL knows of it."""
        ...

    def version(self) -> int:
        """TLS's own number, once it is agreed upon."""
        ...

    def server_name(self) -> bytes:
        """What the client asked for (SNI), b"" for nothing."""
        ...

    def group(self) -> str:
        """The key exchange group, "" before it is agreed upon."""
        ...


class PlainChannel:
    """Bare TCP."""

    unsent = 0

    def __init__(self, sock: socket.socket) -> None:
        self._sock: socket.socket | None = sock

    def read_into(self, room: memoryview) -> int:
        if self._sock is None:
            raise StreamLost("closed")
        try:
            octets = self._sock.recv_into(room)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise StreamLost(_words(error.errno)) from None
        if not octets:
            raise StreamEnded
        return octets

    def buffered(self) -> bool:
        return False

    def write(self, data: Part) -> int:
        if self._sock is None:
            raise StreamLost("closed")
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise StreamLost(_words(error.errno)) from None

    def close(self) -> None:
        self._sock = None


class TlsChannel:
    """TLS over OpenSSL's memory. `tls` was made without a socket, and is spoken to by nobody else in between."""

    def __init__(self, tls: SSL.Connection, sock: socket.socket) -> None:
        self.tls = tls
        self._ssl, self._into, self._out = tls._ssl, tls._into_ssl, tls._from_ssl
        tls._into_ssl = tls._from_ssl = None  # they are replaced below; pyOpenSSL must not use them again
        self._sock: socket.socket | None = sock
        one_by_one(self._ssl)
        self.unsent = 0
        self._asides = self._opened = self._fruitless = 0
        """Records without content, octets of content meanwhile, octets of ciphertext since the last content."""
        self._held = False
        """OpenSSL may hold octets that no event announces."""
        self._end: StreamEnded | StreamLost | None = None
        """How reading ended, to be said again and again."""
        self._broken = ""
        """Why nothing can be sent any more."""
        self._grown = False
        self._greeted = False
        self.speaks_first = False
        self.adapted = False
        self._large_at = -PAUSE_SECONDS
        self._short = 0
        """When a large piece was written last; how much is still to go in short records."""

    def version(self) -> int:
        return self.tls.get_protocol_version()

    def server_name(self) -> bytes:
        return self.tls.get_servername() or b""

    def group(self) -> str:
        return self.tls.get_group_name() or ""

    # ---- the handshake ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        self.speaks_first = True
        self._go_on()

    def shake(self) -> int:
        octets = CIPHERTEXT
        while self.flush():
            if self._greeted:
                return DONE
            if octets < CIPHERTEXT:
                return TO_READ
            octets = self._receive(CIPHERTEXT)
            if octets < 0:
                raise SSL.SysCallError(-1, "Unexpected EOF")
            if octets:
                self._go_on()
        return TO_WRITE

    def _go_on(self) -> None:
        """Have OpenSSL look at what has come. What its failure means pyOpenSSL says."""
        clear_errors()
        got = _lib.SSL_do_handshake(self._ssl)
        if got == 1:
            self._greeted = True
        elif _lib.SSL_get_error(self._ssl, got) != _WANT_READ:
            self.tls._raise_ssl_error(self._ssl, got)
        self._settle()

    # ---- reading ----------------------------------------------------------------------------------------------

    def _receive(self, most: int) -> int:
        """OpenSSL has taken all that came before: show it the next octets where they lie."""
        if self._end is not None or self._sock is None:
            return -1
        try:
            octets = self._sock.recv_into(_cipher_view, min(most, CIPHERTEXT))
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._end = StreamLost(_words(error.errno))
            return -1
        if not octets:
            self._end = StreamCut("without close_notify")
            return -1
        self._show(_lib.BIO_new_mem_buf(_cipher_at, octets))
        return octets

    def _show(self, bio: object) -> None:
        """Have OpenSSL read from this memory from now on; what it had before is freed."""
        if bio == _ffi.NULL:
            raise MemoryError
        _lib.BIO_set_mem_eof_return(bio, _RETRY)
        _lib.SSL_set_bio(self._ssl, bio, self._out)
        self._into = bio

    def _settle(self) -> None:
        """After each call into OpenSSL that may have left received octets untaken: keep them for later."""
        left = _lib.BIO_get_mem_data(self._into, _where)
        if left > 0:
            own = _lib.BIO_new(_lib.BIO_s_mem())
            if own == _ffi.NULL or _lib.BIO_write(own, _where[0], left) != left:
                raise MemoryError
            self._show(own)
        self._held = left > 0 or _lib.SSL_pending(self._ssl) > 0

    def read_into(self, room: memoryview) -> int:
        # Let go of at once, whatever is raised: CPython before 3.12.7 crashes when its collector comes to a memoryview
        # that is in use (gh-77894), and an exception's frames keep what they hold.
        with _ffi.from_buffer("char[]", room) as at:
            filled = self._read(at, len(room))
        if not filled and self._end is not None:
            raise again(self._end)
        return filled

    def _read(self, at: Any, size: int) -> int:
        filled = 0
        last = False
        while filled < size and self._end is None:
            if not self._held:
                asked = min(size - filled + RECORD, CIPHERTEXT)
                octets = 0 if last else self._receive(asked)
                if octets <= 0:
                    break
                last = octets < asked  # the socket has no more: to ask it again would be for nothing
                self._fruitless += octets
            clear_errors()
            got = _lib.SSL_read(self._ssl, at + filled, size - filled)
            if got > 0:
                filled += got
                self._fruitless = 0
                self._held = filled == size or _lib.BIO_get_mem_data(self._into, _where) > 0
            else:
                self._held = False
                code = _lib.SSL_get_error(self._ssl, got)
                if code == _ZERO_RETURN:
                    self._end = StreamEnded()
                elif code != _WANT_READ:
                    self._end = end_of(self.tls, got)
                else:
                    self._without_content()
        if filled and not self._opened and not self._grown:
            self.shrink()  # of what the handshake has sent
        self._opened += filled
        if self._held or self._end is not None:
            self._settle()
        if _lib.BIO_get_mem_data(self._out, _where) > 0:
            self._answer()
        return filled

    def _without_content(self) -> None:
        """SSL_read gave nothing: of what was received something is left only behind a whole record without content
        (`one_by_one`); of a record that is not complete nothing is."""
        if _lib.BIO_get_mem_data(self._into, _where) > 0:
            self._held = True
            if self._opened >= ASIDES_PER:
                self._asides = self._opened = 0
            self._asides += 1
        elif self._fruitless > FRUITLESS_MAX:  # all of it was looked at
            self._asides = ASIDES_MAX + 1
        if self._asides > ASIDES_MAX:
            self._end = StreamBarren("records without content")

    def _answer(self) -> None:
        """OpenSSL itself has something to say, to a key update or a forbidden renegotiation."""
        if not self.flush() and self.unsent > UNSENT_MAX and self._end is None:
            self._end = StreamLost("it asks and does not read the answers")

    def buffered(self) -> bool:
        return self._held or self._end is not None

    # ---- writing ----------------------------------------------------------------------------------------------

    def write(self, data: Part) -> int:
        if self._broken or self._sock is None:
            raise StreamLost(self._broken or "closed")
        size = min(len(data), WRITE_MAX)
        if self.adapted and size > SHORT:
            self._look_for_pause()
        taken = 0
        if not self.unsent or self.flush():
            with _ffi.from_buffer("char[]", data) as at:
                taken = self._seal(at, size)
        if self._broken:
            raise StreamLost(self._broken)
        return taken

    def _look_for_pause(self) -> None:
        """What is small goes in one record anyway, and makes no path wider: it ends no pause."""
        now = monotonic()
        if now - self._large_at >= PAUSE_SECONDS:
            self._short = SHORT_FIRST
        self._large_at = now

    def _seal(self, at: Any, size: int) -> int:
        taken = 0
        while taken < size:
            piece = min(size - taken, SHORT if self._short > 0 else SEAL)
            clear_errors()
            got = _lib.SSL_write(self._ssl, at + taken, piece)
            if got <= 0:
                if _lib.SSL_get_error(self._ssl, got) in _WANTS:
                    break
                raise lost(end_of(self.tls, got))
            taken += got
            if taken > SMALL and not self._grown:
                keep_memory_of(self)
            if self._short > 0:
                self._short -= got
                if self._short > 0 and taken < size:
                    continue
            if not self.flush():
                break
        return taken

    def flush(self) -> bool:
        while True:
            left = min(_lib.BIO_get_mem_data(self._out, _where), len(_sent))
            if left <= 0 or self._broken or self._sock is None:
                self.unsent = 0
                return True
            try:
                octets = self._sock.send(_ffi.buffer(_where[0], left))
            except (BlockingIOError, InterruptedError):
                octets = 0
            except OSError as error:
                self._broken = _words(error.errno)
                continue
            if octets:
                _lib.BIO_read(self._out, _sent, octets)
            if octets < left:
                self.unsent = _lib.BIO_get_mem_data(self._out, _where)
                return False

    def goodbye(self) -> bool:
        clear_errors()
        _lib.SSL_shutdown(self._ssl)  # what it says of the other side's goodbye no longer matters
        return self.flush()

    def shrink(self) -> bool:
        """Give back the memory that large writings have left. False: it is in use."""
        if _lib.BIO_get_mem_data(self._out, _where) > 0:
            return False
        self._grown = False
        if self._sock is not None:
            fresh = _lib.BIO_new(_lib.BIO_s_mem())
            if fresh == _ffi.NULL:
                raise MemoryError
            _lib.SSL_set_bio(self._ssl, self._into, fresh)
            self._out = fresh
        return True

    def grow(self) -> None:
        self._grown = True

    def close(self) -> None:
        self._sock = None
        self.unsent = 0
        self._held = False
        if self._grown:
            forget_memory_of(self)
            self._grown = False


def server_channel(context: ServerContext, sock: socket.socket) -> TlsChannel:
    """A client's TLS at a `quiet` listener, its alerts watched."""
    tls = begin(context)
    tls.set_accept_state()
    alerts.watch(tls)
    channel = TlsChannel(tls, sock)
    channel.adapted = context.adapted
    return channel


def owned(at: int) -> object:
    """The `SSL*` that is there, as pyOpenSSL holds one: freed when this goes."""
    return _ffi.gc(_ffi.cast("SSL *", at), _lib.SSL_free)


def connection(context: SSL.Context, ssl: object) -> SSL.Connection:
    """pyOpenSSL's Connection around an `SSL*` that it did not make. None of its callbacks finds it: contexts that have
    some begin with a Connection of its own making."""
    made = SSL.Connection.__new__(SSL.Connection)
    made._ssl, made._context = ssl, context
    made._app_data = made._socket = made._into_ssl = made._from_ssl = None
    return made


class _Grown(Protocol):
    """Either form's TlsChannel."""

    @property
    def speaks_first(self) -> bool:
        """It leads to a broker."""
        ...

    def grow(self) -> None: ...
    def shrink(self) -> bool: ...


_grown: dict[bool, deque[_Grown]] = {False: deque(), True: deque()}
"""By whether they lead to brokers: both sides of a busy connection grow, and neither is to cost others theirs."""


def keep_memory_of(channel: _Grown) -> None:
    """It has memory for large writings from now on; of too many the oldest gives its own back."""
    channel.grow()
    kept = _grown[channel.speaks_first]
    kept.append(channel)
    if len(kept) > GROWN_MAX:
        oldest = kept.popleft()
        if not oldest.shrink():
            kept.append(oldest)


def forget_memory_of(channel: _Grown) -> None:
    """It is closed."""
    _grown[channel.speaks_first].remove(channel)


def one_by_one(ssl: object) -> None:
    """Have SSL_read stop behind each record without content, so that they can be counted."""
    _lib.SSL_clear_mode(ssl, _AUTO_RETRY)


def end_of(tls: SSL.Connection, result: int) -> StreamEnded | StreamLost:
    """What a call's failure means, which pyOpenSSL says."""
    try:
        tls._raise_ssl_error(tls._ssl, result)
    except SSL.ZeroReturnError:
        return StreamEnded()
    except SSL.SysCallError as error:
        number, words = error.args
        return StreamCut("without close_notify") if number == -1 else StreamLost(str(words))
    except SSL.Error as error:
        return StreamLost(error_words(error))
    return StreamLost("the TLS library failed without a reason")


def again(end: StreamEnded | StreamLost) -> StreamEnded | StreamLost:
    """The same once more, without the traceback of the last time: its frames would hold the connection in a circle."""
    return type(end)(*end.args)


def lost(end: StreamEnded | StreamLost) -> StreamLost:
    return end if isinstance(end, StreamLost) else StreamLost("the other side has ended")


def _words(number: int | None) -> str:
    return os.strerror(number) if number else "the connection broke"

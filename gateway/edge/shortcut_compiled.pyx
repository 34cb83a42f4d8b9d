"""The compiled form of edge.shortcut, which is its specification: the same class, the same behaviour, the same tests."""

from cpython.array cimport array
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

from gateway.core.ticking cimport meter, monotonic
from gateway.edge.channels_compiled cimport Channel

import time

from gateway.edge.shortcut import LARGE as _LARGE
from gateway.edge.streams import AT_ONCE_FROM as _AT_ONCE_FROM
from gateway.edge.streams import StreamEnded, StreamLost

FORM = 13

cdef Py_ssize_t AT_ONCE_FROM = _AT_ONCE_FROM
cdef Py_ssize_t LARGE = _LARGE


cdef enum:
    VIEWS = 64

cdef list views = [None] * VIEWS
cdef object viewed = None
"""The front of a process's scratch memory, in the sizes that small readings had last: they are few, and to make a view
costs as much as the rest of a step."""


cdef object front(object scratch, Py_ssize_t octets):
    global viewed
    cdef object found
    if octets >= LARGE:
        return scratch[:octets]
    if scratch is not viewed:
        viewed = scratch
        views[:] = [None] * VIEWS
    found = views[octets % VIEWS]
    if found is None or len(found) != octets:
        found = views[octets % VIEWS] = scratch[:octets]
    return found


cdef class Shortcut:
    cdef object session, effects, show, clock, times, budget, scratch
    cdef array received, amount_sent
    cdef bint systems
    """The clock is the system's."""
    cdef object general, went, ended, failed, again, reader, writer
    cdef object inbox, gathered, way
    cdef str left
    cdef list instead
    cdef Channel source
    cdef Channel target
    """The streams' channels where they are compiled ones."""
    cdef char *room
    cdef Py_ssize_t size
    """The scratch memory, which `scratch` keeps alive and in its place."""
    cdef public bint calm
    cdef public Py_ssize_t gathering
    cdef public bint expecting
    cdef public object parked
    cdef public bint waiting

    def __init__(
        self, session, way, bint upwards, list instead not None, inbox, clock, times, budget, scratch, received, sent, general, went, gathered, ended, failed, again
    ) -> None:
        self.session = session
        self.effects = session.effects
        self.way = way
        self.show = way.requests if upwards else way.answers
        self.left = "sent_left" if upwards else "told_left"
        self.instead = instead
        self.inbox = inbox
        self.clock = clock.monotonic
        self.systems = self.clock is time.monotonic
        self.times = times
        self.budget = budget
        self.scratch = scratch
        self.received = received.number
        self.amount_sent = sent.number
        if not len(self.received) or not len(self.amount_sent):
            raise ValueError("a cell without its number")
        self.general = general
        self.went = went
        self.gathered = gathered
        self.ended = ended
        self.failed = failed
        self.again = again
        self.parked = False
        cdef Py_buffer buffer
        PyObject_GetBuffer(scratch, &buffer, PyBUF_WRITABLE)
        self.room, self.size = <char *> buffer.buf, buffer.len
        PyBuffer_Release(&buffer)

    def join(self, reader, writer) -> None:
        self.reader, self.writer = reader, writer
        self.source = _channel(reader)
        self.target = _channel(writer)

    def part(self) -> None:
        self.reader = self.writer = self.source = self.target = None
        self.calm = False
        self.gathering = 0

    def __call__(self) -> None:
        cdef Py_ssize_t octets, taken = 0, sent = 0, left
        cdef Channel source = self.source, target = self.target  # held until the end, whatever is called meanwhile
        reader, writer = self.reader, self.writer
        if self.gathering and reader is not None and self.budget.at_ease:
            self.gather(reader, source)
            return
        if not self.calm or reader is None or writer is None or not self.budget.at_ease:
            self.general()
            return
        try:
            if source is not None:
                octets = source.take(self.room, self.size)
            else:
                octets = reader.read_into(self.scratch)
            if not 0 <= octets <= self.size:
                raise RuntimeError("a stream read more than its room")
        except (StreamEnded, StreamLost) as end:
            self.ended(end)
            return
        except Exception as error:
            self.failed(error)
            return
        if not octets:
            return
        self.times.active = monotonic() if self.systems else self.clock()
        meter(self.received, octets)
        data = front(self.scratch, octets)
        try:
            taken = self.show(data)
            if not 0 <= taken <= octets:
                raise RuntimeError("a session let more through than it was shown")
            if taken and self.instead:
                sent = taken
                meter(self.amount_sent, self.write_instead(writer))
            elif taken:
                if target is not None:
                    sent = target.put(self.room, taken)
                else:
                    sent = writer.write(data[:taken])
                meter(self.amount_sent, sent)
        except StreamLost:
            pass
        except Exception as error:
            self.failed(error)
            return
        if octets >= LARGE or self.expecting:
            left = getattr(self.way, self.left)
            if left >= AT_ONCE_FROM or self.expecting:
                self.expecting = left >= AT_ONCE_FROM
                reader.expect(left)
        if (
            sent != octets
            or self.waiting
            or self.instead
            or self.session.parked is not self.parked
            or self.effects.mute_until
            or self.session.deadline < self.times.armed_for
            or (target.unsent if target is not None else writer.unsent)
        ):
            self.went(data, taken, sent)
        elif source.held() if source is not None else reader.buffered():
            self.again()

    cdef int gather(self, reader, Channel source) except -1:
        cdef Py_buffer buffer
        cdef Py_ssize_t octets = 0, size = 0
        cdef object inbox = self.inbox
        cdef object room = inbox.room()
        PyObject_GetBuffer(room, &buffer, PyBUF_WRITABLE)
        try:
            size = min(buffer.len, self.size)
            if source is not None:
                octets = source.take(<char *> buffer.buf, size)
            else:
                octets = reader.read_into(room[:size])
            if not 0 <= octets <= size:
                raise RuntimeError("a stream read more than its room")
        except (StreamEnded, StreamLost) as end:
            self.ended(end)
            return 0
        except Exception as error:
            self.failed(error)
            return 0
        finally:
            PyBuffer_Release(&buffer)
        if octets:
            self.times.active = monotonic() if self.systems else self.clock()
            meter(self.received, octets)
            inbox.filled += octets
        if (
            inbox.filled >= self.gathering
            or octets == size
            or (source.held() if source is not None else reader.buffered())
        ):
            self.gathering = 0
            self.gathered()
        return 0

    cdef Py_ssize_t write_instead(self, writer) except -1:
        part = self.instead[0]
        cdef Py_ssize_t size = len(part)
        cdef Py_ssize_t written = writer.write(part)
        if written == size:
            del self.instead[0]
        else:
            self.instead[0] = memoryview(part)[written:]
        return written


cdef Channel _channel(stream):
    """A stream's channel where both are of the form that can be called directly."""
    found = getattr(stream, "channel", None)
    return found if isinstance(found, Channel) else None

"""The short way of messages: plain frames of open producers and consumers go on as they come.

Implements core.session.ShortWay for a Pulsar session: SEND, ACK and FLOW from the client, MESSAGE and SEND_RECEIPT from
the broker (pulsar.plain), decided by the producer or consumer that each names. What is unusual is left to the session's
general way, which decides the same about every frame; tests drive both with the same octets. Left to it, among others:
what is for a producer or consumer that is not open, or is being closed; whatever a quota has not enough left for.

Frames are taken whole, some at a time, all or none of them charged. Of a SEND or MESSAGE that is not whole yet, what is
there goes on once its command is: the command is all that is decided about, and the whole frame, whose length it says,
is charged and summed at that moment. Its other octets follow as they come (`sending`, `telling`). Meanwhile nothing of
the gateway's own may go in that direction: the session keeps it back, has the short way closed there (`brief`), and
passes the frame's end on itself (`sent_on`, `told_on`). What may change meanwhile (policy, end of the rights and of the
session) is looked at in each call.

This is the interpreted form, and the specification of the compiled one (plain_compiled). pulsar.hot says which is used.
"""

from __future__ import annotations

from typing import Protocol

from gateway.core.clock import Clock
from gateway.core.limits import Account
from gateway.core.meters import Cell
from gateway.core.rights import Policy
from gateway.pulsar import plain
from gateway.pulsar.commands import HEADER, SIZE, sizes
from gateway.pulsar.context import ListenerContext
from gateway.pulsar.handles import Handle, Handles
from gateway.pulsar.keepalive import KeepAlive
from gateway.pulsar.meters import COMMANDS
from gateway.pulsar.plain import ACK, COMMAND_MAX, FLOW, MESSAGE, SEND, SEND_RECEIPT
from gateway.pulsar.view import View

REVISION = 2
"""Counts the changes after which a compiled form that was built before may not be used any more."""
FRAMES_MAX = 256
"""Frames that are taken at a time."""
NAMES = {ACK: "ack", FLOW: "flow"}
"""What is counted by name, as each command is but SEND."""


class Host(Protocol):
    """What of its session the short way sets, as the contract says."""

    client_wanted: int
    upstream_wanted: int


class Followed(Protocol):
    """Whose frames they are (pulsar.traffic.Traffic)."""

    account: Account
    producers: Handles
    consumers: Handles
    view: View


class ShortWay:
    """One connection's."""

    def __init__(
        self,
        host: Host,
        context: ListenerContext,
        from_client: Cell,
        from_upstream: Cell,
        client_alive: KeepAlive,
        broker_alive: KeepAlive,
    ) -> None:
        self._host = host
        self._clock: Clock = context.clock
        self._policies = context.policies
        self._context = context
        self._from_client = from_client
        self._from_upstream = from_upstream
        self._client_alive = client_alive
        self._broker_alive = broker_alive
        self._traffic: Followed | None = None
        self._policy: Policy | None = None
        self._valid_until = self._ends_at = 0.0
        self._sent_max = self._told_max = 0
        self._sends = self._tells = False
        self.sending: Handle | None = None
        """Whose SEND went on in part: `sent_left` of its octets are still to come."""
        self.telling: Handle | None = None
        """Likewise a MESSAGE, and `told_left`."""
        self.sent_left = self.told_left = 0
        self.frames = self.octets_in = self.octets_out = 0

    def follow(
        self,
        traffic: Followed,
        policy: Policy,
        valid_until: float,
        ends_at: float,
        sent_max: int,
        told_max: int,
    ) -> None:
        """Whose traffic this is, by which policy, until when its rights (wall) and its session (monotonic) last, and
        how large frames are; told whenever the session has looked at its rights."""
        self._traffic = traffic
        self._policy = policy
        self._valid_until = valid_until
        self._ends_at = ends_at
        self._sent_max = sent_max
        self._told_max = told_max

    def brief(self, sends: bool, tells: bool) -> None:
        """Whether frames may go on without the session, from the client and from the broker."""
        self._sends = sends
        self._tells = tells

    def _current(self, now: float) -> bool:
        """Whether what the session saw last still holds."""
        return now < self._ends_at and self._clock.wall() < self._valid_until and self._policies.current is self._policy

    def sent_on(self, octets: int) -> int:
        """How many of the client's next `octets` are of the frame whose front went on; they are to go on, too."""
        taken = min(octets, self.sent_left)
        self.sent_left -= taken
        if not self.sent_left:
            self.sending = None
        return taken

    def told_on(self, octets: int) -> int:
        """Likewise the broker's."""
        taken = min(octets, self.told_left)
        self.told_left -= taken
        if not self.told_left:
            self.telling = None
        return taken

    # From the client

    def requests(self, data: memoryview) -> int:
        """How many octets of `data` go on to the broker as they are."""
        traffic = self._traffic
        if traffic is None or not self._sends:
            return 0
        now = self._clock.monotonic()
        if not self._current(now):
            return 0
        self._client_alive.seen(now)
        taken = self.sent_on(len(data))
        self._host.client_wanted = 1 if self.sent_left else HEADER
        while not self.sent_left and (octets := self._some_sent(traffic, data[taken:], now)):
            taken += octets
        self.octets_in += taken
        self._from_client.value += taken
        return taken

    def _some_sent(self, traffic: Followed, data: memoryview, now: float) -> int:
        end = len(data)
        position = frames = produced = left = 0
        wanted = HEADER
        taken: list[tuple[int, Handle, int]] = []
        while end - position >= HEADER and frames < FRAMES_MAX and not left:
            total, size = sizes(data, position)
            if not SIZE < total <= self._sent_max or not 0 < size <= min(total - SIZE, COMMAND_MAX):
                break
            there, whole = end - position, SIZE + total
            if there < HEADER + size:
                wanted = HEADER + size
                break
            command, handle_id = plain.read(data[position + HEADER : position + HEADER + size])
            if command != SEND and (command not in NAMES or whole > HEADER + size):
                break
            handle = (traffic.producers if command == SEND else traffic.consumers).get(handle_id)
            if handle is None:
                break
            taken.append((command, handle, whole))
            if command == SEND:
                produced += whole
                left = max(whole - there, 0)
            frames += 1
            position += whole - left
        if frames and not traffic.account.spend(frames, produced, now):
            self._host.client_wanted = HEADER
            return 0
        for command, handle, octets in taken:
            if command == SEND:
                traffic.view.passed(handle, octets)
            else:
                self._context.meters.cell(COMMANDS, self._context.backend.name, NAMES[command]).value += 1
        if left:
            self.sending, self.sent_left = taken[-1][1], left
            wanted = 1
        self.frames += frames
        self._host.client_wanted = wanted
        return position

    # From the broker

    def answers(self, data: memoryview) -> int:
        """How many octets of `data` go on to the client as they are."""
        traffic = self._traffic
        if traffic is None or not self._tells:
            return 0
        now = self._clock.monotonic()
        if not self._current(now):
            return 0
        self._broker_alive.seen(now)
        taken = self.told_on(len(data))
        self._host.upstream_wanted = 1 if self.told_left else HEADER
        while not self.told_left and (octets := self._some_told(traffic, data[taken:], now)):
            taken += octets
        self.octets_out += taken
        self._from_upstream.value += taken
        return taken

    def _some_told(self, traffic: Followed, data: memoryview, now: float) -> int:
        end = len(data)
        position = frames = consumed = left = 0
        wanted = HEADER
        taken: list[tuple[Handle, int]] = []
        while end - position >= HEADER and frames < FRAMES_MAX and not left:
            total, size = sizes(data, position)
            if not SIZE < total <= self._told_max or not 0 < size <= min(total - SIZE, COMMAND_MAX):
                break
            there, whole = end - position, SIZE + total
            if there < HEADER + size:
                wanted = HEADER + size
                break
            command, handle_id = plain.read(data[position + HEADER : position + HEADER + size])
            if command == MESSAGE:
                handle = traffic.consumers.get(handle_id)
                if handle is None:
                    break
                taken.append((handle, whole))
                consumed += whole
                left = max(whole - there, 0)
            elif command != SEND_RECEIPT or traffic.producers.held(handle_id) is None:
                break
            elif there < whole:
                wanted = whole
                break
            frames += 1
            position += whole - left
        if consumed and not traffic.account.spend_consumed(consumed, now):
            self._host.upstream_wanted = HEADER
            return 0
        for handle, octets in taken:
            traffic.view.passed(handle, octets)
        if left:
            self.telling, self.told_left = taken[-1][0], left
            wanted = 1
        self._host.upstream_wanted = wanted
        return position

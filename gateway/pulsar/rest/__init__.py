"""Pulsar's REST interface: every route in a table with what it needs, closed to everything else.

`decide` takes a method and a target as they came, and gives what goes to the broker instead, written anew from what was
understood of them, or the refusal. It refuses what two readers could read differently, and every route, parameter and
name that the table does not have. I/O-free: the HTTP session calls it and does as it says.
"""

from gateway.pulsar.rest.decide import decide
from gateway.pulsar.rest.door import Door, door
from gateway.pulsar.rest.results import Decision, Needs, Passed, Refused, Unreadable

__all__ = ["Decision", "Door", "Needs", "Passed", "Refused", "Unreadable", "decide", "door"]

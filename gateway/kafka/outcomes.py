"""What one frame came to, between the session, which splits and orders frames, and those who decide them."""

from __future__ import annotations

from enum import Enum
from typing import Final

from gateway.core.session import Ask, Close, Part


class AsItIs(Enum):
    """The frame goes on as the bytes that came."""

    AS_IT_IS = 0


class Later(Enum):
    """The frame cannot be taken now; the client is held back, and it is shown again afterwards."""

    LATER = 0


class Unfinished(Enum):
    """It is being decided in slices, and this one is over; the same octets are shown again when its turn comes."""

    UNFINISHED = 0


AS_IT_IS: Final = AsItIs.AS_IT_IS
LATER: Final = Later.LATER
UNFINISHED: Final = Unfinished.UNFINISHED

Pieces = tuple[Part, ...]
"""A large message, in the pieces that go on one after another."""
Outcome = AsItIs | Later | Unfinished | bytes | Pieces | Ask | Close | None
"""bytes, Pieces: it goes on changed. None: the gateway answers or drops it by itself. Ask: it waits for this."""

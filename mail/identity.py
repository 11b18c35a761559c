"""Identities of messages and deliveries: 63-bit integers that a node gives without asking anyone.

An identity is milliseconds since 2024 (41 bits), node number (8 bits) and a sequence within the millisecond (14 bits). It grows with
time, so it appends to the right edge of every index, and two nodes never give the same one. Outside the spool it is written as 13
lower-case base32 characters (RFC 4648 alphabet), which survive the case folding that local parts suffer on their way.

This module reads no clock: `now` is passed in. It does not promise that identities are secret or without gaps.
"""

EPOCH = 1_704_067_200.0
"""2024-01-01T00:00:00Z in Unix seconds: the zero of the time part."""

NODE_BITS = 8
SEQUENCE_BITS = 14
TEXT_LENGTH = 13

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Two letters for ten bits: writing an identity happens several times a message."""
_VALUE = {letter: value for value, letter in enumerate(_ALPHABET)}


class IdentitySource:
    """Gives identities in ascending order. `last` is the largest identity already given (a spool remembers it across a restart)."""

    def __init__(self, node: int, last: int = 0) -> None:
        if not 0 <= node < 1 << NODE_BITS:
            raise ValueError(f"node must be 0 to {(1 << NODE_BITS) - 1}, not {node}")
        self._node = node
        self._milliseconds = last >> (NODE_BITS + SEQUENCE_BITS)
        self._sequence = last & ((1 << SEQUENCE_BITS) - 1)

    def next(self, now: float) -> int:
        """The next identity at Unix time `now`. A clock that steps back does not make identities repeat: the last time is kept."""
        milliseconds = int((now - EPOCH) * 1000)
        if milliseconds > self._milliseconds:
            self._milliseconds, self._sequence = milliseconds, 0
        else:
            self._sequence += 1
            if self._sequence >> SEQUENCE_BITS:
                self._milliseconds, self._sequence = self._milliseconds + 1, 0
        return self._milliseconds << (NODE_BITS + SEQUENCE_BITS) | self._node << SEQUENCE_BITS | self._sequence


def given_at(identity: int) -> float:
    """Unix time (to the millisecond) at which `identity` was given."""
    return EPOCH + (identity >> (NODE_BITS + SEQUENCE_BITS)) / 1000


def to_text(identity: int) -> str:
    """`identity` as 13 lower-case base32 characters."""
    pairs = _PAIRS
    return (
        f"{_ALPHABET[identity >> 60]}{pairs[identity >> 50 & 1023]}{pairs[identity >> 40 & 1023]}{pairs[identity >> 30 & 1023]}"
        f"{pairs[identity >> 20 & 1023]}{pairs[identity >> 10 & 1023]}{pairs[identity & 1023]}"
    )


def from_text(text: str) -> int | None:
    """The identity written as `text` (any case), or None when it is not one."""
    if len(text) != TEXT_LENGTH:
        return None
    identity = 0
    for letter in text.lower():
        value = _VALUE.get(letter)
        if value is None:
            return None
        identity = identity << 5 | value
    return identity if identity < 1 << 63 else None

"""Units a person writes in a configuration file: durations (`5m`, `2d`), sizes (`50MB`), rates (`100/min`).

Each is a type that pydantic validates from text or number and that the rest of the house uses as a plain number: seconds, bytes, messages
per second. Nothing else parses units.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_PER = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}

_DURATION_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]{1,3})\s*")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([a-z]{0,3})")
_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*/\s*([a-z]{1,6})")


def parse_duration(value: object) -> float:
    """Seconds in `value`: a number of seconds, or text such as `90s`, `1h 30m`, `5d`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < 1e12:
            raise ValueError("a duration must be 0 or more seconds")
        return float(value)
    text = value.strip().lower() if isinstance(value, str) else ""
    total, position = 0.0, 0
    while position < len(text):
        match = _DURATION_PART.match(text, position)
        if match is None or match.group(2) not in _SECONDS:
            break
        total += float(match.group(1)) * _SECONDS[match.group(2)]
        position = match.end()
    if not text or position < len(text):
        raise ValueError('a duration is a number of seconds or text such as "90s", "1h 30m" or "5d"')
    return total


def parse_size(value: object) -> int:
    """Octets in `value`: a number, or text such as `50MB` (1000-based) or `64KiB` (1024-based)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is None or match.group(2) not in _BYTES:
        raise ValueError('a size is a number of bytes or text such as "50MB" or "64KiB"')
    return int(float(match.group(1)) * _BYTES[match.group(2)])


def parse_rate(value: object) -> float:
    """Events per second in `value`: a number per second, or text such as `100/min` or `3600/h`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 < value < 1e9:
            raise ValueError("a rate must be more than 0")
        return float(value)
    match = _RATE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is None or match.group(2) not in _PER or float(match.group(1)) <= 0:
        raise ValueError('a rate is a number per second or text such as "100/min" or "3600/h"')
    return float(match.group(1)) / _PER[match.group(2)]


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds."""
Size = Annotated[int, BeforeValidator(parse_size)]
"""Octets."""
Rate = Annotated[float, BeforeValidator(parse_rate)]
"""Per second."""

"""Units and names a person writes in a configuration file, and the one place that parses them.

Durations (`5m`, `2d`), sizes (`50MB`), rates (`100/min`), addresses with ports, networks, domain names and file names are types that
pydantic validates and that the rest of the house uses as plain numbers and text: seconds, octets, messages per second. A file name is
relative to the folder of the configuration file, which the loader gives as validation context; without one it stays as it is.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from mail.address import normalise_domain

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_BYTES = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_PER_UNIT = {1.0: ("s", "sec", "second"), 60.0: ("m", "min", "minute"), 3600.0: ("h", "hour"), 86_400.0: ("d", "day")}
_PER = {name: seconds for seconds, names in _PER_UNIT.items() for name in names}

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


def format_duration(seconds: float) -> str:
    """`seconds` as `parse_duration` reads it, in the largest unit that divides it."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _SECONDS[unit]
        if count >= 1 and count.is_integer():
            return f"{int(count)}{unit}"
    return f"{seconds:g}s"


def parse_size(value: object) -> int:
    """Octets in `value`: a number, or text such as `50MB` (1000-based) or `64KiB` (1024-based)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is None or match.group(2) not in _BYTES:
        raise ValueError('a size is a number of bytes or text such as "50MB" or "64KiB"')
    return int(float(match.group(1)) * _BYTES[match.group(2)])


def format_size(octets: int) -> str:
    """`octets` as `parse_size` reads it."""
    for unit in ("GB", "MB", "kB"):
        if octets and octets % _BYTES[unit.lower()] == 0:
            return f"{octets // _BYTES[unit.lower()]}{unit}"
    return str(octets)


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


def format_rate(per_second: float) -> str:
    """`per_second` as `parse_rate` reads it."""
    for unit in ("s", "min", "h", "d"):
        count = per_second * _PER[unit]
        if count >= 1 and round(count, 6).is_integer():
            return f"{round(count)}/{unit}"
    return f"{per_second:g}/s"


def split_host_port(text: str, default_port: int | None = None) -> tuple[str, int]:
    """IP address and port of `192.0.2.1:25` or `[2001:db8::1]:25`. Raises ValueError."""
    wanted = 'an IP address and port such as "127.0.0.1:2525" or "[::1]:2525"'
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not bracket or colon not in ("", ":"):
            raise ValueError(f"must be {wanted}")
    elif text.count(":") > 1:
        host, colon, port = text, "", ""
    else:
        host, colon, port = text.partition(":")
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        raise ValueError(f"must be {wanted}") from None
    if not colon and default_port is not None:
        return address, default_port
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise ValueError(f"must be {wanted}")
    return address, int(port)


def _host_port(text: str) -> str:
    split_host_port(text)
    return text


def _name_server(text: str) -> str:
    split_host_port(text, 53)
    return text


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ValueError(f'must be a network such as "192.0.2.0/24" or "2001:db8::/32": {error}') from None
    return str(network)


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError('must be an IP address such as "192.0.2.1"') from None


def check_domain(text: str) -> str:
    """`text` as a domain in normal form. Raises ValueError."""
    normal = normalise_domain(text)
    if normal is None or normal.startswith("["):
        raise ValueError('must be a domain name such as "example.com"')
    return normal


def check_domain_pattern(text: str) -> str:
    """`text` as a domain, or as `*.domain` (a leading dot means the same) for its subdomains too. Raises ValueError."""
    if text.startswith(("*.", ".")):
        return "*." + check_domain(text.partition(".")[2])
    return check_domain(text)


def _word(text: str) -> str:
    if not 1 <= len(text) <= 100 or not text.isprintable() or any(letter in ' \t"/\\,' for letter in text):
        raise ValueError("must be a name of 1 to 100 printable characters without spaces, commas, quotes and slashes")
    return text


def _none_word(value: object) -> object:
    return None if value == "none" else value


def _relative_to_file(path: Path, info: ValidationInfo) -> Path:
    if "\0" in str(path):
        raise ValueError("no file has a NUL character in its name")
    folder = info.context.get("folder") if info.context else None
    return folder / expanded(path) if folder is not None else path


def expanded(path: Path) -> Path:
    """`path` with the home folder in the place of its `~`. Raises ValueError."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from None


def _existing_file(path: Path, info: ValidationInfo) -> Path:
    path = _relative_to_file(path, info)
    if info.context and not is_file(path):
        raise ValueError(f"no such file: {path}")
    return path


def is_file(path: Path) -> bool:
    """Whether it is one that can be read to its end: no folder, pipe or device. A name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:
        return False


Duration = Annotated[float, BeforeValidator(parse_duration)]
"""Seconds."""
Size = Annotated[int, BeforeValidator(parse_size)]
"""Octets."""
Rate = Annotated[float, BeforeValidator(parse_rate)]
"""Per second."""
HostPort = Annotated[str, AfterValidator(_host_port)]
"""IP address and port; port 0 takes a free one."""
NameServer = Annotated[str, AfterValidator(_name_server)]
"""IP address with or without a port."""
Network = Annotated[str, AfterValidator(_network)]
"""A network in CIDR notation, normalised."""
Ip = Annotated[str, AfterValidator(_ip)]
"""An IP address, normalised."""
DomainName = Annotated[str, AfterValidator(check_domain)]
"""A domain in normal form."""
DomainPattern = Annotated[str, AfterValidator(check_domain_pattern)]
"""A domain, or `*.domain`."""
Word = Annotated[str, AfterValidator(_word)]
"""A name that labels, logs and commands can carry."""
LocalPath = Annotated[Path, AfterValidator(_relative_to_file)]
"""A path relative to the configuration file."""
ExistingFile = Annotated[Path, AfterValidator(_existing_file)]
"""A path relative to the configuration file, of a file that exists when the configuration is loaded."""
NoneWord = BeforeValidator(_none_word)
"""The word "none" for an absent value: TOML has no null."""

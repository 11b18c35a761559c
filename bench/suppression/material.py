"""A list as a real one looks: mostly large providers, three reasons, replies and campaigns. The same seed gives the same list."""

import random
from collections.abc import Iterator
from pathlib import Path

LARGE = ("gmail.com", "orange.fr", "yahoo.com", "outlook.com", "free.fr")
HEADER = "email,reason,scope,source,created_at,expires_at,smtp_code,enhanced_code,diagnostic,campaign_id,message_id\n"


def address(number: int) -> str:
    """The address of entry `number`; others are made with other numbers."""
    spread = number * 2_654_435_761 % (1 << 32)
    domain = LARGE[spread % 5] if spread % 10 < 7 else f"d{spread % 20_011}.example"
    return f"person.{spread:x}.{number}@{domain}"


def lines(entries: int, seed: int = 1) -> Iterator[str]:
    """Lines of our CSV."""
    chance = random.Random(seed)
    yield HEADER
    for number in range(entries):
        when = (
            f"2025-{1 + number % 12:02d}-{1 + number % 28:02d}T{number % 24:02d}:{number % 60:02d}:{number % 59:02d}.{number % 1000:03d}Z"
        )
        kind = chance.random()
        if kind < 0.6:
            rest = f"hard_bounce,global,smtp,{when},,550,5.1.1,user unknown,spring-{number % 50},<{number:x}@shop.example>"
        elif kind < 0.9:
            rest = f"unsubscribe,account:shop,one-click,{when},,,,,spring-{number % 50},"
        else:
            rest = f"complaint,global,feedback,{when},,,,,,"
        yield f"{address(number)},{rest}\n"


def write(path: Path, entries: int) -> None:
    """The list as a file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines(entries))

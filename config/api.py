"""Settings of the HTTP API: where it listens, how much a request may hold, and the keys that open it."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from config.model import Model
from config.units import Duration, HostPort, NoneWord, Size, Word

_HASH = re.compile(r"sha256\$[0-9a-f]{64}")


class Api(Model):
    """HTTP API for applications and tools. It has no TLS of its own: keep it on loopback, or put a proxy with TLS before it."""

    address: Annotated[HostPort | None, NoneWord] = Field(
        None, description="IP address and port, such as `127.0.0.1:2581`; `none`: no API. Restart to change."
    )
    connections: int = Field(64, ge=1, le=10_000, description="Open connections; one more is answered 503.")
    request_size: Size = Field(1_000_000, ge=1024, description="Largest request body, imports apart; a larger one is answered 413.")
    import_size: Size = Field(4_000_000_000, ge=1024, description="Largest file of an import.")
    patience: Duration = Field(30.0, ge=1, description="Time for a request's header, and for each next piece of its body.")


class ApiKey(Model):
    """A key of the HTTP API. `mailwright apikey add` makes one and prints these lines."""

    name: Word = Field(description="Who has it, for the log.")
    hash: str = Field(repr=False, description="Hash of the key, as `mailwright apikey add` prints it.")
    role: Literal["read", "write", "admin"] = Field(
        "read", description="`read` looks; `write` also changes the list; `admin` also imports, exports everything and erases people."
    )

    @field_validator("hash")
    @classmethod
    def _is_a_hash(cls, text: str) -> str:
        if not _HASH.fullmatch(text.strip()):
            raise ValueError("must be a hash as `mailwright apikey add` prints it, not the key itself")
        return text.strip()

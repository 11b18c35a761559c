"""Settings of labels: which header fields feed which label, and how their values are read.

A row names a header field, the label it feeds and the form of its value. The shipped rows (`labels.toml`) know what other services taught
applications to send; rows of an operator stand before them, and a header that an operator gives a row loses its shipped ones. The order is
the precedence: where several fields of a message feed a label that has one value, the first row counts.

Every field with a row is removed before a message leaves, so fields that a message needs are refused here.
"""

import enum
import functools
import re
import tomllib
from importlib import resources
from typing import Self

from pydantic import Field, field_validator, model_validator

from config.model import Model
from config.units import Duration

_HEADER = re.compile(r"[!-)+-9;-~]{1,76}|[!-)+-9;-~]{3,75}\*")  # RFC 5322 section 3.6.8: printable without colon; a star ends a beginning
_OF_THE_MESSAGE = ("from", "sender", "reply-to", "to", "cc", "message-id", "date", "in-reply-to", "references", "subject", "mime-version")
_OF_ITS_WAY = ("received", "dkim-signature", "feedback-id")
_NEEDED = (*_OF_THE_MESSAGE, *_OF_ITS_WAY)
_NEEDED_FAMILIES = ("resent-", "content-", "list-")


class Feeds(enum.StrEnum):
    """The labels."""

    STREAM = "stream"
    CAMPAIGN = "campaign"
    CONTACT = "contact"
    ENGAGEMENT = "engagement"
    SEND_AT = "send_at"
    DEADLINE = "deadline"
    TAGS = "tags"
    METADATA = "metadata"
    IDEMPOTENCY_KEY = "idempotency_key"
    NOTHING = "nothing"


class Reads(enum.StrEnum):
    """How a value is written."""

    TEXT = "text"
    LIST = "list"
    PAIRS = "pairs"
    JSON = "json"
    NAME = "name"


class LabelField(Model):
    """A header field that feeds a label. It is asked before the shipped rows (docs/labels.md), and replaces those of its header."""

    header: str = Field(
        description="Name of the header field; with a star at its end, every field that begins so, except those that have a row."
    )
    feeds: Feeds = Field(description="The label. `nothing`: the field is only removed.")
    reads: Reads = Field(
        Reads.TEXT,
        description="How the value is written: as it stands, a list with commas, `name=value` pairs, JSON; `name`: what follows the"
        " beginning in the field's own name is the name of a metadata entry.",
    )
    path: str = Field(
        "", max_length=200, description="With `json`: names with dots between them that lead to the value; with `pairs`: the name of one."
    )

    @field_validator("header")
    @classmethod
    def _field_name(cls, header: str) -> str:
        if not _HEADER.fullmatch(header):
            raise ValueError('must be the name of a header field such as "X-Campaign", or the beginning of one such as "X-Meta-*"')
        if _is_needed(header.lower()):
            raise ValueError("labels are removed before sending, and a message needs this field")
        return header

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.header.endswith("*") != (self.reads is Reads.NAME) and not (self.header.endswith("*") and self.feeds is Feeds.NOTHING):
            raise ValueError('a header with a star needs reads = "name" or feeds = "nothing", and reads = "name" needs a star')
        if self.reads is Reads.NAME and self.feeds is not Feeds.METADATA:
            raise ValueError('reads = "name" feeds metadata')
        if self.path and self.reads not in (Reads.JSON, Reads.PAIRS):
            raise ValueError("a path leads into JSON or pairs")
        return self


def _is_needed(header: str) -> bool:
    """Whether a message needs a field of this name, or any field that begins so."""
    beginning = header.removesuffix("*")
    if beginning.startswith(_NEEDED_FAMILIES) or beginning in _NEEDED:
        return True
    return beginning != header and any(name.startswith(beginning) for name in (*_NEEDED, *_NEEDED_FAMILIES))


class Labels(Model):
    """Header fields by which an application labels its mail. All are removed before sending; docs/labels.md has the shipped ones."""

    shipped: bool = Field(True, description="Whether the shipped rows hold, besides those of `[[labels.field]]`.")
    longest_wait: Duration = Field(
        2_592_000.0, ge=0, le=31_536_000, description="How far ahead a send-at may lie; one that lies further is taken as this far."
    )
    field: list[LabelField] = Field(default=[], description="More header fields that label mail.")

    @property
    def rows(self) -> tuple[LabelField, ...]:
        """Every row in force, in the order of precedence."""
        if not self.shipped:
            return tuple(self.field)
        own = {row.header.lower() for row in self.field}
        return (*self.field, *(row for row in shipped_rows() if row.header.lower() not in own))


@functools.lru_cache(maxsize=1)
def shipped_rows() -> tuple[LabelField, ...]:
    """The rows of labels.toml."""
    found = tomllib.loads(resources.files("config").joinpath("labels.toml").read_text(encoding="utf-8"))["field"]
    return tuple(LabelField.model_validate(row) for row in found)

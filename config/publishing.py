"""Settings of the road back: contact database in PostgreSQL or embedded event log, the customer's own statements, webhook endpoints.

What is wrong with a statement (a kind or field that no event has) or a secret (not `whsec_` and base64) is found when the file is read.
Secrets are in no message and no repr. Nothing is reached here: `mailwright check` asks whether the database answers.
"""

import base64
import binascii
import re
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from config.model import Model
from config.statements import statement
from config.units import Duration, ExistingFile, Word
from mail.event import EventKind

_DATABASE = re.compile(r"postgres(?:ql)?://\S{1,2000}")
_PLACE = re.compile(r"(?:\[[0-9A-Fa-f:.%a-z]+\]|[^][:]*)(?::[0-9]{1,5})?")
MOST_STATEMENTS = 50
"""Statements of one kind of event."""


class Contacts(Model):
    """The contact database. Its contract for your own programs is docs/contacts.md."""

    database: str | None = Field(
        None,
        repr=False,
        description='PostgreSQL, such as `postgresql://mailwright@db.example/crm`; with a password in it, `"${NAME}"` or `database_file`.',
    )
    database_file: ExistingFile | None = Field(None, description="File that holds the same.")
    embedded: bool = Field(
        False,
        description="Without PostgreSQL: keep events in `events.db` in the data folder, for those who pull (`GET /v1/events`).",
    )
    batch: int = Field(200, ge=1, le=5000, description="Events in one transaction of the database.")
    statements: dict[str, list[str]] = Field(
        default={},
        description="Your own SQL by kind of event, in the transaction of the event: "
        "`bounced = [\"UPDATE contact SET status = 'bounced' WHERE email = :recipient\"]`.",
    )

    @field_validator("database")
    @classmethod
    def _is_postgresql(cls, database: str | None) -> str | None:
        if database is not None and not _DATABASE.fullmatch(database):
            raise ValueError("must be the address of a PostgreSQL database such as postgresql://mailwright@db.example/crm")
        if database is not None and not _has_places(database):
            raise ValueError("has no readable host and port; in a password, / ? # @ and : are written as %2F %3F %23 %40 and %3A")
        return database

    @field_validator("statements")
    @classmethod
    def _statements(cls, statements: dict[str, list[str]]) -> dict[str, list[str]]:
        for kind, texts in statements.items():
            if len(texts) > MOST_STATEMENTS:
                raise ValueError(f"{kind} has more than {MOST_STATEMENTS} statements")
            for number, text in enumerate(texts, 1):
                try:
                    statement(kind, text)
                except ValueError as error:
                    raise ValueError(f"{kind}, statement {number}: {error}") from None
        return statements

    @model_validator(mode="after")
    def _statements_have_a_database(self) -> Self:
        if self.statements and self.database is None:
            raise ValueError("statements need a database")
        return self

    @model_validator(mode="after")
    def _one_event_log(self) -> Self:
        if self.embedded and self.database is not None:
            raise ValueError("embedded is the event log of a gateway without a database: set one of the two")
        return self


class Webhook(Model):
    """An endpoint that gets events by HTTP POST, signed as Standard Webhooks has it."""

    name: Word = Field(description="Name in commands, logs and metrics. Another name is another endpoint, which begins anew.")
    url: str = Field(description="Where to, such as `https://crm.example/mailwright`.")
    secret: str | None = Field(
        None, repr=False, description="Secret of the signatures: `whsec_` and base64 of 24 to 64 octets; several sign side by side."
    )
    secret_file: ExistingFile | None = Field(None, description="File that holds it; one more on each line while one is replaced.")
    events: list[EventKind] = Field(default=[], description="Kinds of events it gets; none given: all.")
    accounts: list[str] = Field(default=[], description="Accounts whose events it gets; none given: all.")
    streams: list[str] = Field(default=[], description="Streams whose events it gets; none given: all.")
    batch: int = Field(100, ge=1, le=1000, description="Events in one request, at most.")
    timeout: Duration = Field(15.0, ge=1, le=120, description="Time for a request with its answer.")
    give_up: Duration = Field(345_600.0, ge=60, le=2_592_000, description="Age of an event at which it becomes a dead letter.")
    allow_private: bool = Field(False, description="Whether the URL may lead to a private or loopback address, and be http.")
    ca: ExistingFile | None = Field(
        None, description="PEM file with the authorities its certificate is checked against; none: the system's."
    )

    @field_validator("secret")
    @classmethod
    def _are_secrets(cls, secret: str | None) -> str | None:
        for one in secret.split() if secret is not None else []:
            _check_secret(one)
        return secret

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.secret:
            raise ValueError("needs a secret or a secret_file")
        scheme = _checked_url(self.url)
        if scheme == "http" and not self.allow_private:
            raise ValueError("url must be https; http only with allow_private, inside your own network")
        return self


def _has_places(database: str) -> bool:
    """Whether its hosts and ports can be told from its password. Else a part of the password would be taken for one of them, and told."""
    try:
        parts = urlsplit(database)
    except ValueError:
        return False
    login, at, places = parts.netloc.rpartition("@")
    astray = parts.path + parts.fragment + ("" if at else parts.query)
    return "@" not in login + astray and all(_PLACE.fullmatch(place) for place in places.split(","))


def _checked_url(url: str) -> str:
    """Its scheme. Raises ValueError."""
    wanted = "url must be one such as https://crm.example/mailwright, without name and password"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(wanted) from None
    plain = len(url) <= 2000 and url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc or parts.fragment or port == 0 or not plain:
        raise ValueError(wanted)
    return parts.scheme


def _check_secret(text: str) -> None:
    """Raises ValueError, without the secret."""
    try:
        octets = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if not 24 <= len(octets) <= 64:
        raise ValueError("a webhook secret is whsec_ and base64 of 24 to 64 octets; `mailwright webhook secret` makes one")

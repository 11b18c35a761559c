"""The whole configuration: the root model. Checks between its parts (names that must exist) are in `config.names`, made at load."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from config.api import Api, ApiKey
from config.labels import Labels
from config.model import Model
from config.notices import Notices
from config.publishing import Contacts, Webhook
from config.retention import Retention
from config.sending import DkimKey, Dns, Domain, Pool, Provider, Sending, Source, StaticRoute, Stream
from config.submission import Account, Listener, Logins
from config.suppression import Suppression
from config.units import DomainName, Duration, HostPort, LocalPath, NoneWord, Size


class Gateway(Model):
    """The node itself."""

    node: str = Field("mailwright", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Name of this node in events.")
    number: int = Field(0, ge=0, le=255, description="Number of this node in identities; different on each node.")
    hostname: DomainName | None = Field(None, description="Host name in greetings, EHLO and Received; none: the system's.")
    domain: DomainName | None = Field(
        None, description="The gateway's own domain: second signature, fallback return paths; none: the hostname."
    )
    data: LocalPath = Field(Path("var"), description="Folder of the spool, relative to the configuration file.")
    dkim: list[DkimKey] = Field(default=[], description="Keys of the gateway's own domain.")
    reception_memory: Size = Field(
        256_000_000, ge=1_000_000, description="Octets of messages being received or waiting for their commit, in all; beyond it 452 4.3.1."
    )
    return_window: Duration = Field(
        2_592_000.0, ge=86_400, le=31_536_000, description="How long a return-path token is valid and the sent ledger kept."
    )


class Spool(Model):
    """The queue on disk."""

    wal_limit: Size = Field(256_000_000, ge=1_000_000, description="WAL size at which the writer pauses for a checkpoint.")
    cache: Size = Field(64_000_000, ge=1_000_000, description="Page cache of the writer.")
    batch: int = Field(512, ge=1, le=10_000, description="Messages and outcomes in one commit, at most.")
    waiting: int = Field(5000, ge=1, description="Messages waiting for a commit; one more is answered 451 4.3.1.")
    minimum_free: Size = Field(500_000_000, description="Free space below which new mail is answered 452 4.3.1.")


class Events(Model):
    """Where events go."""

    file: Annotated[Path | None, NoneWord] = Field(
        Path("events.ndjson"), description="NDJSON file, relative to the data folder; `none`: no file."
    )
    rotate_size: Size = Field(100_000_000, ge=1000, description="Size at which the file is rotated.")
    rotate_keep: int = Field(30, ge=1, description="Rotated files kept.")
    waiting: int = Field(
        20_000_000,
        ge=10_000,
        description="Events kept on disk for the contact database and webhooks, about 500 octets each. At this bound new mail is "
        "answered 452 4.3.1 while the contact database is behind, and a webhook endpoint that is behind loses its oldest.",
    )


class Http(Model):
    """Metrics and health over HTTP."""

    address: Annotated[HostPort | None, NoneWord] = Field(
        "127.0.0.1:2580", description="IP address and port of /metrics, /healthz and /readyz; `none`: off."
    )


class Log(Model):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")
    format: Literal["json", "text"] = Field("json", description="JSON lines, or text for people.")


class Settings(Model):
    """Everything. With no file at all: listens on 127.0.0.1:2525, data in ./var, one account that owns every configured domain."""

    gateway: Gateway = Field(default_factory=Gateway, description="The node itself.")
    listener: list[Listener] = Field(default=[Listener()], description="Listening sockets for applications.")
    account: list[Account] = Field(default=[Account(name="default")], description="Applications that may send.")
    logins: Logins = Field(default_factory=Logins, description="Failed logins.")
    labels: Labels = Field(default_factory=Labels, description="Header fields that label mail.")
    domain: list[Domain] = Field(default=[], description="Sending domains.")
    stream: list[Stream] = Field(default=[Stream(name="default")], description="Kinds of mail.")
    source: list[Source] = Field(default=[Source(name="default")], description="Egress IPs.")
    pool: list[Pool] = Field(default=[Pool(name="default", members={"default": 1})], description="Groups of sources.")
    route: list[StaticRoute] = Field(default=[], description="Next hops that replace MX.")
    provider: list[Provider] = Field(
        default=[],
        description="Mailbox providers, asked before the shipped ones. One with a shipped name changes the keys it gives.",
    )
    default_provider: Provider = Field(
        default=Provider(name="default"), description="Limits of everybody else, each by its set of MX hosts."
    )
    dns: Dns = Field(default_factory=Dns, description="Name resolution.")
    sending: Sending = Field(default_factory=Sending, description="What holds for every message that leaves.")
    spool: Spool = Field(default_factory=Spool, description="The queue on disk.")
    notices: Notices = Field(default_factory=Notices, description="Reports to senders.")
    events: Events = Field(default_factory=Events, description="Where events go.")
    suppression: Suppression = Field(default_factory=Suppression, description="Who is not written to.")
    contacts: Contacts = Field(default_factory=Contacts, description="The contact database.")
    webhook: list[Webhook] = Field(default=[], description="Endpoints that get events by HTTP POST.")
    retention: Retention = Field(default_factory=Retention, description="How long data is kept.")
    http: Http = Field(default_factory=Http, description="Metrics and health.")
    api: Api = Field(default_factory=Api, description="The HTTP API.")
    api_key: list[ApiKey] = Field(default=[], description="Keys of the HTTP API.")
    log: Log = Field(default_factory=Log, description="The log.")

"""The composition root: the only file that picks concrete classes, and the life of one gateway process.

Start: lock and recover the spool, then committer, feeder and engine, then status page and control socket, and the doors last. Stop: doors
first, then messages on the wire within the grace, then everything to disk and a clean mark. Reload: a bad new configuration is told and
changes nothing. A broken spool ends the gateway at once without settling anything: recovery decides from what is on disk. Signals and
exit codes are `gateway.process`.
"""

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from config.load import Configuration
from config.sending import Source
from config.settings import Settings
from contacts.store import SuppressionStore
from gateway.admin.console import Console
from gateway.admin.http.start import ApiDoor
from gateway.admin.server import ControlServer
from gateway.admin.upkeep import Upkeep
from gateway.calls import Message, Permit
from gateway.compose.composer import REMEMBERED, Composer
from gateway.compose.domains import Domains
from gateway.compose.keyring import TOKEN_FILE, Keyring, KeyringError, load_token_keys
from gateway.compose.return_path import return_path
from gateway.core.clock import SteadyClock
from gateway.core.core import Core, Ports
from gateway.core.engine import Engine, Session
from gateway.core.loading import load_keys
from gateway.core.permitted import route_of
from gateway.core.reporting import Reporting
from gateway.core.snapshot import Snapshot
from gateway.core.space import Space
from gateway.core.suppressions import Suppressions, rules_of
from gateway.core.trusted_tls import TrustedTls
from gateway.delivery.hand import IN_HAND
from gateway.delivery.network import Network
from gateway.delivery.resolver import Resolver
from gateway.delivery.route import Router
from gateway.delivery.session import run_session
from gateway.delivery.watcher import SessionWatcher
from gateway.doors.observer import Watcher
from gateway.doors.submission import SubmissionDoor
from gateway.observe import lines, log
from gateway.observe.health import Health
from gateway.observe.http import StatusServer
from gateway.observe.metrics import Metrics
from gateway.observe.view import Bound
from gateway.publishing.publishing import Publishing
from gateway.spool.port import Note, SpoolError
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.writer import Writer
from gateway.traffic.controller import Controller
from mail.identity import to_text
from mail.token import TokenKeys

GRACE = 30.0
"""Seconds that messages under way get at a stop."""

LEDGER = "traffic.ledger"
HORIZON = 30.0
"""Seconds for which the limits on disk are valid ahead; they are written at least this often."""


def gateway_version() -> str:
    """The installed version, or "unknown" when run from a tree."""
    try:
        return version("mailwright")
    except PackageNotFoundError:
        return "unknown"


class Gateway:
    """One gateway: everything it is made of, and its start, reload and stop."""

    def __init__(self, configuration: Configuration, clock: Callable[[], float] | None = None) -> None:
        self.configuration = configuration
        self._clock = clock or SteadyClock(time.time, time.monotonic, log.clock_stepped)
        self._wall = clock or time.time
        self._random = random.Random()
        settings = self.settings = configuration.settings
        self.hostname = settings.gateway.hostname or socket.getfqdn()
        self.domain = settings.gateway.domain or self.hostname
        self.data = settings.gateway.data
        self.stopping = asyncio.Event()
        self.broken: SpoolError | None = None
        self.metrics = Metrics(gateway_version(), [provider.name for provider in settings.provider])
        self.health = Health(time.monotonic)
        lines.on_dropped(self.metrics.log_lines_dropped)
        keyring = load_keys(settings, self.hostname)
        self._tell_keys(keyring)
        self.spool = SqliteSpool(self.data, settings.spool, settings.gateway.return_window)
        try:
            self._build(settings, keyring)
        except BaseException:
            self.spool.close(clean=False)
            raise

    def _build(self, settings: Settings, keyring: Keyring) -> None:
        new_tokens = not (self.data / TOKEN_FILE).exists()
        self.token_keys: TokenKeys = load_token_keys(self.data)
        self.writer = Writer(self.spool)
        self.composer = Composer(settings, keyring, self.hostname, self._wall, self.metrics.signed, log.signing_died)
        self.resolver = Resolver(settings.dns, self._clock, self.metrics.asked_dns)
        self.network = Network(self.hostname, self._clock, self._random)
        self.tls = TrustedTls(
            settings, self.resolver, self.network, self.metrics, self._clock, self.spool.note, self._keep_note, self.domain
        )
        self.router = Router(settings, self.resolver, self.hostname, self._clock, self.tls.policies)
        self.tls.route = self.router.by_key
        self.watcher = SessionWatcher(self.metrics)
        self.controller = Controller(settings, self._random)
        self._sources = {source.name: source for source in settings.source}
        self._domains = Domains(settings.domain)
        ledger = self.spool.note(LEDGER)
        if ledger is not None and new_tokens:
            log.key_warning("", "", f"{TOKEN_FILE} was missing and was made anew: no bounce of mail sent before finds its message")
        if ledger is not None:
            self.controller.restore(ledger, self._clock())
        begun = time.monotonic()
        self.contacts = SuppressionStore(self.data, rules_of(settings), self._clock)
        self.suppressions = Suppressions(self.contacts, settings, self._clock, lambda why: self._condition("contacts", why))
        self.space = Space(self.data, lambda: self.settings.spool.minimum_free, self._condition, time.monotonic)
        self.core = Core(settings, self._ports(), self.data, self.domain)
        found = self.core.recovered
        self.recovery_seconds = time.monotonic() - begun
        self.contacts.reconcile(found.position)
        self.publishing = Publishing(settings, self.core.outbox, self.contacts, self.metrics, self._condition, self._clock, self._random)
        self.core.outbox.on_close, self.space.also = self.publishing.close, self.publishing.room
        log.recovered(found.epoch, found.clean, found.returned, len(found.flows), self.recovery_seconds)
        self.door = SubmissionDoor(
            settings,
            self.core.accept,
            Watcher(self.metrics, self._condition),
            self.hostname,
            self._clock,
            prefetch=self.router.prefetch,
            unsignable=self.composer.unsignable,
            suppressed=self.suppressions.reason_everywhere,
            shortage=self.core.quotas.shortage,
        )
        self.console = Console(self.core, self.contacts, self.publishing, self.status)
        self.control = ControlServer(self.console, self.data, log.commanded, log.command_failed, log.bug)
        self.upkeep = Upkeep(settings, self.core.outbox, self.contacts, self.suppressions.soft, self._clock, log.command_failed)
        self.api = ApiDoor(settings, self.console, log.commanded, log.command_failed, log.bug)
        self.snapshot = Snapshot(
            self.core,
            self.metrics,
            self.health.conditions,
            lambda: self.space.octets(self.writer.wal_bytes),
            self._extra_bounds,
            self.publishing.gauges,
            self._beat,
        )
        self._status: StatusServer | None = None
        self._keeper: asyncio.Task[None] | None = None

    def _ports(self) -> Ports:
        return Ports(
            spool=self.spool,
            writer=self.writer,
            controller=self.controller,
            router=self.router,
            observer=Reporting(self.metrics, self.tls.attempted),
            suppression=self.suppressions,
            soft_bounce=self.suppressions.soft.addition_of,
            return_path=self._return_path,
            session=self._session,
            open_reader=self.spool.reader,
            space_left=self.space.left,
            clock=self._clock,
            monotonic=time.monotonic,
            random=self._random,
            on_broken=self._on_broken,
            on_full=self._on_full,
            on_damaged=self._on_damaged,
            on_outbox=self._on_outbox,
            on_bug=lambda error: log.bug("core", error),
            hostname=self.hostname,
        )

    def _keep_note(self, note: Note) -> None:
        self.core.committer.note(note)

    def _tell_keys(self, keyring: Keyring) -> None:
        for warning in keyring.warnings:
            log.key_warning("", "", warning)

    # What the core asks of us.

    def _return_path(self, delivery: int, message: Message, now: float) -> str:
        domain = self._domains.find(message.sender.domain) if message.sender.text else None
        return return_path(self.token_keys, delivery, message.sender, domain, self.domain, now)

    def _session(self, engine: Engine) -> Session:
        async def session(permit: Permit) -> None:
            route = await route_of(permit, engine, self.router)
            if route is None:
                return
            await run_session(
                permit,
                route,
                self._sources.get(permit.opening.lane.source, Source(name=permit.opening.lane.source)),
                engine,
                self.composer,
                self.spool.content,
                self.settings,
                self._clock,
                self.watcher,
                network=self.network,
            )

        return session

    def _on_broken(self, error: SpoolError) -> None:
        log.commit_failed("broken", str(error))
        self.metrics.commit_failed("broken")
        self._condition("spool", str(error))
        self.broken = error
        self.stopping.set()

    def _on_full(self, full: bool) -> None:
        if full:
            log.commit_failed("full", "no space for new messages")
            self.metrics.commit_failed("full")
        self._condition("spool-full", "no space for new messages" if full else None)

    def _on_damaged(self, deliveries: list[int]) -> None:
        """Rows that cannot be read stay where they are; somebody must look at them."""
        some = ", ".join(map(to_text, deliveries[:5]))
        self._condition("spool-damaged", f"{len(deliveries)} deliveries cannot be read and are not sent, for instance {some}")

    def _on_outbox(self, trouble: str | None) -> None:
        if trouble is not None and self.health.broken("events-file", trouble):
            log.publishing_failed("ndjson", trouble, self.core.outbox.backlog)
        elif trouble is None:
            self._condition("events-file", None)

    def _condition(self, name: str, why: str | None) -> None:
        if why is None:
            if self.health.well(name):
                log.condition_well(name)
        elif self.health.broken(name, why):
            log.condition_broken(name, why)

    def _beat(self) -> None:
        """The loop turns; and whether the process that writes does too. It may only be slow, so nothing is ended."""
        self.health.beat()
        self._condition("spool-silent", self.writer.silence())

    def _extra_bounds(self) -> list[Bound]:
        return [
            Bound("routes", *self.router.fullness),
            Bound("dns", *self.resolver.fullness),
            Bound("prepared", self.composer.remembered[0], REMEMBERED),
            Bound("signing", self.composer.waiting, IN_HAND * self.settings.sending.connections),
            Bound("failed-logins", len(self.door.failed_logins), self.settings.logins.addresses),
            Bound("clients", self.door.open_connections, sum(listener.limits.connections for listener in self.settings.listener)),
            Bound("reception-memory", self.door.budget.used, self.door.budget.limit),
            *self.tls.bounds(),
            Bound("wal", self.writer.wal_bytes, self.settings.spool.wal_limit),
            *self.publishing.bounds(),
        ]

    def status(self) -> dict[str, Any]:
        """What `mailwright status` prints."""
        return {
            "version": gateway_version(),
            "node": self.settings.gateway.node,
            "hostname": self.hostname,
            "data": str(self.data),
            "ready": self.health.ready,
            "broken": self.health.reasons(),
            "listeners": {name: f"{host}:{port}" for name, (host, port) in self.door.addresses.items()},
            "clients": self.door.open_connections,
            "connections": self.core.engine.connections,
            "held": len(self.core.held),
            "events_waiting": self.core.outbox.backlog,
            **self.publishing.status(),
        }

    # Life.

    async def start(self) -> None:
        """Begin; doors last. Raises OSError when an address is taken."""
        settings = self.settings
        log.started(gateway_version(), settings.gateway.node, self.hostname, str(self.data), str(self.configuration.path or "defaults"))
        self.core.start()
        await self.core.outbox.caught_up()
        await self.console.call("suppression.announce", {})
        self.publishing.start()
        if settings.http.address is not None:
            host, _, port = settings.http.address.rpartition(":")
            try:
                self._status = StatusServer((host.strip("[]"), int(port)), self.metrics.registry, self.health)
            except OSError as error:
                raise OSError(f"http.address {settings.http.address}: {error.strerror or error}") from error
            log.listening("http", f"{host}:{self._status.port}", "")
        await self.control.start()
        self.api.start()
        if self.api.address is not None:
            log.listening("api", self.api.address, "")
        self.upkeep.start()
        self.snapshot.start()
        self.tls.start(lambda: self.core.committer.broken is not None, self.core.accept, self._random)
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="keeper")
        self.composer.begin()
        await self.door.start()

    async def _keep(self) -> None:
        """Small duties: limits to disk, a look at the disk, housekeeping of the spool while it is idle."""
        while True:
            await asyncio.sleep(HORIZON / 3)
            self.core.committer.note(Note(LEDGER, self.controller.export(self._clock(), HORIZON)))
            if self.space.look() and not self.core.committer.stuck:
                self.core.committer.set_full(False)
            with contextlib.suppress(SpoolError):
                while await self.writer.tidy(self._clock()):
                    await asyncio.sleep(0.05)

    def reload(self) -> None:
        """Read the configuration again. A bad one is told and changes nothing."""
        outcome = self.configuration.reload()
        if outcome.problems:
            self._reload_refused([str(problem) for problem in outcome.problems])
            return
        settings = outcome.settings
        try:
            keyring = load_keys(settings, self.hostname)
        except KeyringError as error:
            self.configuration.settings = self.settings
            self._reload_refused(error.problems)
            return
        self.settings = settings
        self._sources = {source.name: source for source in settings.source}
        self._domains = Domains(settings.domain)
        self.composer.reconfigure(settings, keyring, self.hostname)
        self.resolver.reconfigure(settings.dns)
        self.tls.reconfigure(settings)
        self.router.reconfigure(settings)
        self.watcher.reconfigured()
        self.metrics.name_providers(provider.name for provider in settings.provider)
        self.suppressions.reconfigure(settings)
        self.upkeep.settings = settings
        self.core.reconfigure(settings)
        self.publishing.reconfigure(settings)
        self.door.reconfigure(settings)
        self.api.reconfigure(settings)
        self._tell_keys(keyring)
        lines.configure(settings.log.level, settings.log.format)
        self.metrics.reloaded("ok")
        log.reloaded(str(self.configuration.path or "defaults"), outcome.restart_needed)

    def _reload_refused(self, problems: list[str]) -> None:
        self.metrics.reloaded("refused")
        log.reload_refused(str(self.configuration.path or "defaults"), problems)

    async def stop(self, grace: float = GRACE) -> bool:
        """End in order; True when everything is on disk and the spool was closed clean."""
        begun = time.monotonic()
        self.door.stop_accepting()
        await self.door.close(grace if self.broken is None else 0.0)
        await self.control.close()
        await self.api.close()
        await self.upkeep.close()
        if self._keeper is not None:
            self._keeper.cancel()
        await self.snapshot.close()
        await self.tls.close()
        if self.broken is None:
            self.core.committer.note(Note(LEDGER, self.controller.export(self._clock(), 0.0)))
            self.tls.write()
        clean = await self.core.close(grace if self.broken is None else 0.0)
        await self.publishing.close()
        await self.router.close()
        await self.resolver.close()
        self.composer.close()
        await self.writer.close()
        self.spool.close(clean)
        self.contacts.close()
        if self._status is not None:
            self._status.close()
        log.stopped(clean, time.monotonic() - begun)
        return clean


@contextlib.asynccontextmanager
async def running(configuration: Configuration) -> AsyncIterator[Gateway]:
    """A gateway that runs inside this loop: for tests and the demo's in-process mode."""
    gateway = Gateway(configuration)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop(grace=5.0)

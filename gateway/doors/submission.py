"""The submission door: SMTP in from applications (RFC 6409), until the core has taken responsibility or said no.

Promises: 250 to a message only after `accept` returned Committed; never an open relay (no account, no MAIL); the envelope sender and every
From domain belong to the account, whatever network it came from; nothing of a refused message reaches `accept`. An `accept` that raises is
answered 451 4.3.0 and the message counts as not taken.

It gathers listeners, accounts and labels. One client is `gateway.doors.session`, what is admitted stands in `gateway.doors.admission`,
what SMTP is in `gateway.smtp`.
On bad days: a listener that cannot be opened at start raises OSError there; after a reload it is reported, the others go on, and it is
tried again every few seconds.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine

from config.settings import Settings
from config.submission import Listener as ListenerSettings
from gateway.calls import Committed, Refused, Submission
from gateway.doors.accounts import Accounts, Authenticator, IpNetwork, address_from, is_inside, networks_of
from gateway.doors.labels import Labeller
from gateway.doors.listener import Listener
from gateway.doors.logins import Delays, FailedLogins
from gateway.doors.observer import DoorObserver
from gateway.doors.session import SubmissionSession
from gateway.doors.visitor import Budget, Visitor
from gateway.smtp import replies
from gateway.traffic.quota import Shortage
from mail.address import Address
from mail.reply import Reply

RETRY_SECONDS = 5.0
"""Until a listener that could not be opened is tried again."""

Accept = Callable[[Submission], Awaitable[Committed | Refused]]


class SubmissionDoor:
    """All listeners for applications. `clock` gives Unix seconds; `prefetch` is told each accepted recipient's domain; `pause` waits;
    `unsignable` says whether mail From a domain is refused because it has no key; `suppressed` why no mail of an account may go to a
    recipient (asked for accounts that refuse at RCPT only; raises SpoolError when nobody can say); `shortage`, asked for accounts with a
    quota only, whether it has no room for a message to so many recipients."""

    def __init__(
        self,
        settings: Settings,
        accept: Accept,
        observe: DoorObserver,
        hostname: str,
        clock: Callable[[], float] = time.time,
        prefetch: Callable[[str], None] = lambda domain: None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        unsignable: Callable[[str], bool] = lambda domain: False,
        suppressed: Callable[[str, Address], str | None] = lambda account, recipient: None,
        shortage: Callable[[str, int], Shortage | None] = lambda account, recipients: None,
    ) -> None:
        self.accept = accept
        self.observe = observe
        self.hostname = hostname
        self.clock = clock
        self.prefetch = prefetch
        self.unsignable = unsignable
        self.suppressed = suppressed
        self.shortage = shortage
        self.authenticator = Authenticator()
        self.failed_logins = FailedLogins(settings.logins)
        self.delays = Delays(pause)
        self.budget = Budget(settings.gateway.reception_memory)
        self.connections: Counter[str] = Counter()
        """Open connections by account."""
        self._listeners: dict[str, Listener] = {}
        self._unopened: dict[str, ListenerSettings] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._closing = False
        self._take(settings)

    def _take(self, settings: Settings) -> None:
        self.settings = settings
        self.failed_logins.settings = settings.logins
        self.accounts = Accounts(settings)
        self.labeller = Labeller(settings)
        self.budget.limit = settings.gateway.reception_memory
        for problem in self.accounts.problems:
            self.observe.trouble("accounts", ValueError(problem))

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        """Listener's name to its IP address and port."""
        return {name: listener.address for name, listener in self._listeners.items()}

    @property
    def open_connections(self) -> int:
        """Clients of all listeners."""
        return sum(listener.open_connections for listener in self._listeners.values())

    async def start(self) -> None:
        """Open every listener, or none: all addresses are taken before the first one answers. Raises OSError."""
        listeners = [self._listener(settings) for settings in self.settings.listener]
        bound: list[Listener] = []
        try:
            for listener in listeners:
                listener.bind()
                bound.append(listener)
        except OSError:
            for listener in bound:
                listener.stop_accepting()
            raise
        for listener in listeners:
            await listener.start()
            self._listeners[listener.name] = listener

    def _listener(self, settings: ListenerSettings) -> Listener:
        trusted, proxies = networks_of(settings.trusted_networks), networks_of(settings.proxy_networks)
        return Listener(settings, lambda client: self._welcome(client, settings, trusted, proxies), self.observe, self.budget)

    def _welcome(self, client: str, settings: ListenerSettings, trusted: list[IpNetwork], proxies: list[IpNetwork]) -> Visitor | Reply:
        """A visitor for a client at `client`; 421 when the account its network gives it has too many connections. The address of a proxy
        is that of everybody behind it: no network makes it anybody."""
        try:
            address = address_from(client)
        except ValueError:
            return replies.TROUBLE
        stranger = bool(proxies) and is_inside(address, proxies)
        account = None if stranger else self.accounts.at(address, settings, trusted)
        session = SubmissionSession(self, settings, client, not stranger and is_inside(address, trusted), account)
        return session if account is None or session.enter(account) else replies.TOO_MANY_CONNECTIONS

    def reconfigure(self, settings: Settings) -> None:
        """New settings: accounts, labels and limits hold from each connection's next message on; a listener whose settings changed
        is closed as at a shutdown (idle clients hear 421, messages under way finish) and opened anew."""
        self._take(settings)
        for listener_name in self._unopened:
            self.observe.unopened(listener_name, "")
        self._unopened.clear()
        wanted = {listener.name: listener for listener in settings.listener}
        for name in [name for name, listener in self._listeners.items() if wanted.get(name) != listener.settings]:
            self._retire(self._listeners.pop(name))
        for name, wish in wanted.items():
            if name not in self._listeners:
                task = self._spawn(self._open(wish))
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)

    async def opened(self) -> None:
        """Wait until every listener that `reconfigure` wants is open, or reported."""
        while self._opening:
            await asyncio.wait(self._opening)

    def _retire(self, listener: Listener) -> None:
        listener.stop_accepting()
        self._spawn(listener.close(listener.limits.session_timeout))

    async def _open(self, settings: ListenerSettings) -> None:
        listener = self._listener(settings)
        try:
            await listener.start()
        except OSError as error:
            self.observe.unopened(settings.name, str(error))
            self._unopened[settings.name] = settings
            self._spawn(self._open_later(settings))
            return
        self._listeners[settings.name] = listener
        if self._closing:
            listener.stop_accepting()

    async def _open_later(self, settings: ListenerSettings) -> None:
        await asyncio.sleep(RETRY_SECONDS)
        if self._unopened.get(settings.name) is settings and not self._closing:  # a later reload has its own wishes
            del self._unopened[settings.name]
            await self._open(settings)

    def _spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stop_accepting(self) -> None:
        """Close the sockets; connections stay."""
        self._closing = True
        for listener in self._listeners.values():
            listener.stop_accepting()

    async def close(self, grace: float) -> None:
        """End everything: idle clients now, messages under way within `grace` seconds."""
        self.stop_accepting()
        await asyncio.gather(*(listener.close(grace) for listener in self._listeners.values()))
        for task in list(self._tasks):
            task.cancel()
        self.authenticator.close()

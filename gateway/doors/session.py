"""One client of the submission door: who it is, the envelope so far, and the answers it gets.

The visitor of one connection (`gateway.doors.visitor`). Everything but the commit and the password is decided at once, by the policies of
`gateway.doors.admission`. Promises: a message goes to the core once, after every policy passed; the account is looked up anew for each
message, so a reload holds at once; a failed login waits, each time longer, and after a few the connection ends. It holds no password.
"""

from typing import TYPE_CHECKING, assert_never

from config.submission import Listener as ListenerSettings
from config.submission import ListenerTls
from gateway.calls import Committed, Message, Refused, Submission, Wish
from gateway.doors.accounts import KnownAccount
from gateway.doors.admission import Addressing, Handing, Refusal, Sending, announced_limits, judge_message, judge_recipient, judge_sender
from gateway.doors.idempotency import identified
from gateway.doors.labels import Labelled
from gateway.doors.logins import blocked_reply
from gateway.doors.visitor import command_of
from gateway.smtp import replies
from gateway.smtp.events import Auth, Content, Event, Hello, Mail, Question, Recipient, Reset, ServerOptions
from gateway.smtp.grammar import MailCommand
from gateway.smtp.sasl import Credentials
from gateway.spool.port import SpoolError
from mail.address import Address
from mail.identity import to_text
from mail.message import Facts, Header, facts
from mail.reply import Reply

if TYPE_CHECKING:
    from gateway.doors.submission import SubmissionDoor

FAILED_LOGINS = 5
"""Failed logins in one connection, then 421."""

WRONG_PASSWORD = Reply(535, "wrong name or password", "5.7.8")  # RFC 4954 section 6
NO_IMPERSONATION = Reply(535, "acting as another account is not possible", "5.7.8")
LOGIN_BUSY = Reply(454, "too many logins at once; try again", "4.7.0")
TOO_MANY_LOGINS = Reply(421, "too many failed logins", "4.7.0")


class SubmissionSession:
    """The visitor of one connection: who the client is, the envelope so far, and the decisions."""

    def __init__(
        self, door: "SubmissionDoor", listener: ListenerSettings, client: str, trusted: bool, by_network: KnownAccount | None
    ) -> None:
        self._door = door
        self._listener = listener
        self._client = client
        self._trusted = trusted
        self._by_network = by_network
        self._account: KnownAccount | None = None
        self._logged_in = False
        self._failures = 0
        self._tls = False
        self._hello = ""
        self._esmtp = False
        self._command: MailCommand | None = None
        self._recipients: dict[tuple[str, str], Address] = {}
        """By local part and domain: who is named twice gets one message."""
        self._wishes: dict[tuple[str, str], Wish] = {}
        """Of those recipients for whom NOTIFY or ORCPT was said."""
        self._submission: Submission | None = None
        self._reasons_told: set[str] = set()

    @property
    def account_name(self) -> str:
        """The account it acts as, or ""."""
        return self._account.name if self._account is not None else ""

    def enter(self, account: KnownAccount) -> bool:
        """Act as `account`, if it has room for one more connection."""
        connections = self._door.connections
        if connections[account.name] >= account.connections:
            return False
        self.gone()
        connections[account.name] += 1
        self._account = account
        return True

    def gone(self) -> None:
        """The connection no longer counts for its account."""
        if self._account is not None:
            connections = self._door.connections
            connections[self._account.name] -= 1
            if connections[self._account.name] <= 0:
                del connections[self._account.name]
            self._account = None

    def options(self, tls_active: bool) -> ServerOptions:
        """What this connection offers now. TLS forgets who logged in before it (RFC 3207 section 4.2)."""
        if tls_active and not self._tls and self._logged_in:
            self._logged_in = False
            self.gone()
            if self._by_network is not None:
                self.enter(self._by_network)
        self._tls = tls_active
        limits, account = self._listener.limits, self._current_account()
        return ServerOptions(
            hostname=self._door.hostname,
            message_size=limits.message_size,
            recipients=limits.recipients,
            messages=limits.messages_per_connection,
            errors=limits.errors,
            idle_commands=limits.idle_commands,
            limits=announced_limits(limits, account),
            tls_available=self._listener.tls is not ListenerTls.NONE,
            tls_active=tls_active,
            auth_allowed=tls_active or self._trusted,
            auth_offered=self._door.accounts.anybody_can_log_in,
            bare_newline=self._listener.bare_newline,
        )

    def tell(self, event: Event) -> None:
        """Hello and Reset end a transaction."""
        if isinstance(event, Hello):
            self._hello, self._esmtp = event.name, event.esmtp
            self._forget()
        elif isinstance(event, Reset):
            self._forget()

    def _forget(self) -> None:
        self._command = None
        self._recipients = {}
        if self._wishes:
            self._wishes = {}
        self._submission = None
        if self._reasons_told:
            self._reasons_told = set()

    # Answers at once ------------------------------------------------------------------------------------------------------------

    def answer(self, event: Question) -> Reply | None:
        """Everything but the commit and the password is decided at once."""
        match event:
            case Mail(command):
                return self._mail(event, command)
            case Recipient(address, notify, orcpt):
                reply = self._recipient(event, address)
                if (notify or orcpt) and reply.positive:
                    self._wishes.setdefault((address.local, address.domain), Wish(notify, orcpt))
                return reply
            case Content(data):
                return self._content(event, data)
            case Auth():
                return None
        assert_never(event)

    def _refused(self, event: Question, refusal: Refusal) -> Reply:
        if not self._told_already(refusal):
            self._observe_refusal(event, refusal.reply, refusal.reason)
        return refusal.reply

    def _told_already(self, refusal: Refusal) -> bool:
        """One line a message for each reason is enough: a list of ten thousand recipients over a limit is one fact."""
        if refusal.reason in self._reasons_told:
            return True
        self._reasons_told.add(refusal.reason)
        return False

    def _observe_refusal(self, event: Question, reply: Reply, reason: str) -> None:
        self._door.observe.refused(self._listener.name, self._client, self.account_name, command_of(event), reason, reply)

    def _mail(self, event: Question, command: MailCommand) -> Reply:
        self._forget()
        account = self._current_account()
        short = self._door.shortage(account.name, 1) if account is not None and account.limited else None
        refusal = judge_sender(Sending(account, command, short))
        if refusal is not None:
            return self._refused(event, refusal)
        self._command = command
        return replies.SENDER_OK

    def _current_account(self) -> KnownAccount | None:
        """The account as the configuration has it now: a reload may have changed it, or taken it away."""
        return None if self._account is None else self._door.accounts.named(self._account.name)

    def _recipient(self, event: Question, address: Address) -> Reply:
        account = self._current_account()
        if account is None:
            return replies.TROUBLE
        suppressed = self._suppressed(account, address) if account.refuse_suppressed else None
        if isinstance(suppressed, Reply):
            return suppressed
        accepted = len(self._recipients)
        short = self._door.shortage(account.name, accepted + 1) if account.limited else None
        refusal = judge_recipient(Addressing(account, address, accepted, suppressed or "", short))
        if refusal is not None:
            return self._refused(event, refusal)
        self._recipients.setdefault((address.local, address.domain), address)
        self._door.prefetch(address.domain)
        return replies.RECIPIENT_OK

    def _suppressed(self, account: KnownAccount, address: Address) -> str | Reply | None:
        """Why the recipient is suppressed in every stream, None when he is not, or 451: nobody can say."""
        try:
            return self._door.suppressed(account.name, address)
        except SpoolError:
            return replies.TROUBLE

    def _content(self, event: Question, content: bytes) -> Reply | None:
        """Refused now, or None: the core is asked by `decide`."""
        account, command = self._current_account(), self._command
        if account is None or command is None:
            self._forget()
            return replies.TROUBLE
        found = facts(content)
        authors = found.from_domains
        unsignable = bool(authors and self._door.unsignable(authors[0]))
        refusal = judge_message(Handing(account, found, len(content), self._listener.long_lines == "refuse", unsignable))
        if refusal is not None:
            self._forget()
            return self._refused(event, refusal)
        wishes = [self._wishes.get(key, Wish()) for key in self._recipients] if self._wishes else []
        now = self._door.clock()
        labelled = self._labels(account, found, now)
        message = self._message(account, command, found, len(content), labelled, now)
        key, body = identified(account.name, labelled.key, content, found.header.body_at) if labelled.key else (b"", 0)
        self._submission = Submission(message, list(self._recipients.values()), content, wishes, labelled.deadline, key, body)
        return None

    def _labels(self, account: KnownAccount, found: Facts, now: float) -> Labelled:
        labelled = self._door.labeller.read(found.header, account.stream, now)
        if labelled.unknown:
            self._door.observe.unknown_stream(account.name, labelled.unknown, labelled.stream)
        for ignored in labelled.ignored:
            self._door.observe.label_ignored(account.name, ignored.header, ignored.label, ignored.why)
        return labelled

    def _message(self, account: KnownAccount, command: MailCommand, found: Facts, size: int, labelled: Labelled, now: float) -> Message:
        return Message(
            account=account.name,
            stream=labelled.stream,
            sender=command.sender,
            from_domain=found.from_domains[0] if found.from_domains else "",
            received_at=now,
            size=size,
            campaign=labelled.campaign,
            message_id=found.message_id,
            added_date=not found.has_date,
            client=self._client,
            helo=self._hello,
            protocol=_protocol(self._esmtp, command.smtputf8, self._tls, self._logged_in),
            listener=self._listener.name,
            eight_bit=found.eight_bit,
            smtputf8=command.smtputf8 and self._needs_utf8(command, found),
            long_lines=found.long_lines,
            ret="HDRS" if command.requiretls else command.ret,  # RFC 8689 section 5: a report must not carry the content elsewhere
            envid=command.envid,
            labels=labelled.labels,
            requiretls=command.requiretls,
            tls_relaxed=b"tls-required" in found.header.first and _relaxed(found.header),
        )

    def _needs_utf8(self, command: MailCommand, found: Facts) -> bool:
        """RFC 6531 section 1: an address or a header field that is not ASCII. Asked only of clients that said SMTPUTF8."""
        return found.eight_bit_header or not all(address.text.isascii() for address in (command.sender, *self._recipients.values()))

    # Answers that take time -----------------------------------------------------------------------------------------------------

    async def decide(self, event: Question) -> Reply:
        """The commit, or the password."""
        if isinstance(event, Auth):
            return await self._login(event.credentials)
        submission = self._submission
        self._forget()
        if submission is None:
            return replies.TROUBLE
        result = await self._door.accept(submission)
        match result:
            case Committed(message) if not result.repeated:
                return Reply(250, f"queued as {to_text(message)}", "2.0.0")
            case Committed():
                return Reply(250, _repeat_told(result), "2.0.0")
            case Refused(reply):
                self._observe_refusal(event, reply, "core")
                return reply
        assert_never(result)

    async def _login(self, credentials: Credentials) -> Reply:
        """RFC 4954. A failure waits, longer each time; after a few the connection ends, and after some more nobody there is heard."""
        door = self._door
        account = door.accounts.named(credentials.name)
        tried = account.name if account is not None else ""  # never a name that may be a password in the wrong field
        if (blocked := door.failed_logins.blocked(self._client, door.clock())) > 0:
            return self._login_refused(tried, blocked_reply(blocked), "login-blocked")
        verdict = await door.authenticator.check(account, credentials.password)
        if verdict == "busy":
            return self._login_refused(tried, LOGIN_BUSY, "login-busy")
        if verdict == "yes" and account is not None and credentials.authorization in ("", credentials.name):
            if self.account_name != account.name and not self.enter(account):
                return self._login_refused(tried, replies.TOO_MANY_CONNECTIONS, "connections")
            self._logged_in = True
            return replies.AUTHENTICATED
        self._failures += 1
        failure = door.failed_logins.failed(self._client, door.clock())
        if failure.last:
            door.observe.logins_blocked(self._listener.name, self._client, failure.count, failure.seconds)
        ended = self._failures >= FAILED_LOGINS
        reply = TOO_MANY_LOGINS if ended else NO_IMPERSONATION if verdict == "yes" else WRONG_PASSWORD
        self._login_refused(tried, reply, "login")
        return await door.delays.wait(failure.delay, reply)

    def _login_refused(self, tried: str, reply: Reply, reason: str) -> Reply:
        self._door.observe.refused(self._listener.name, self._client, tried, "AUTH", reason, reply)
        return reply


def _relaxed(header: Header) -> bool:
    """Whether `TLS-Required: No` is said (RFC 8689 section 3); anything else in the field means nothing."""
    return (header.value(b"tls-required") or b"").lower() == b"no"


def _protocol(esmtp: bool, smtputf8: bool, tls: bool, logged_in: bool) -> str:
    """The keyword for Received (RFC 3848, RFC 6531 section 3.7.3)."""
    name = "UTF8SMTP" if smtputf8 else "ESMTP" if esmtp else "SMTP"
    return name if name == "SMTP" else f"{name}{'S' if tls else ''}{'A' if logged_in else ''}"


def _repeat_told(committed: Committed) -> str:
    """What became of recipients who were accepted before under the same idempotency key."""
    first = to_text(committed.first)
    if not committed.deliveries:
        return f"queued as {first} before, not sent again"
    known = "1 recipient was" if committed.repeated == 1 else f"{committed.repeated} recipients were"
    return f"queued as {to_text(committed.message)}; {known} queued as {first} before"

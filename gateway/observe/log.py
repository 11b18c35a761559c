"""Every line that an operator reads: one function a line, and nowhere else. How lines are written is `gateway.observe.lines`.

Nothing here holds secrets: callers pass names, addresses and replies, never passwords, keys or message content. Text from the network is
escaped where it is written and cut to `lines.LONGEST_TEXT`. A function here never raises and never blocks. docs/operations/log.md explains
the lines to people.
"""

from collections.abc import Iterable
from typing import Any

from gateway.calls import AttemptFacts
from gateway.observe import lines
from gateway.observe.lines import cut
from mail.address import Address
from mail.identity import to_text
from mail.outcome import Delivered, Outcome
from mail.reply import Reply

# Life of the process.


def started(version: str, node: str, hostname: str, data: str, config: str) -> None:
    """The gateway starts; everything one wants to know first."""
    lines.info("started", version=version, node=node, hostname=hostname, data=data, config=config)


def listening(listener: str, address: str, tls: str) -> None:
    """A door or the status page is open."""
    lines.info("listening", listener=listener, address=address, tls=tls)


def recovered(epoch: int, clean: bool, returned: int, flows: int, seconds: float) -> None:
    """The spool is open. `returned` deliveries were under way when we stopped; each may have arrived already, and is tried again."""
    (lines.info if clean else lines.warning)(
        "spool recovered", epoch=epoch, clean=clean, returned=returned, flows=flows, seconds=round(seconds, 3)
    )


def stopping(why: str) -> None:
    """No new work is taken; what is under way ends."""
    lines.info("stopping", why=why)


def stopped(clean: bool, seconds: float) -> None:
    """The last line."""
    lines.info("stopped", clean=clean, seconds=round(seconds, 3))


def reloaded(config: str, restart_needed: Iterable[str] = ()) -> None:
    """The configuration was read again. Keys in `restart_needed` changed, and wait for a restart."""
    lines.info("configuration reloaded", config=config, restart_needed=list(restart_needed))


def reload_refused(config: str, problems: Iterable[str]) -> None:
    """The new configuration is bad; the old one stays in force."""
    lines.error("configuration refused, the old one stays", config=config, problems=list(problems))


def condition_broken(condition: str, why: str) -> None:
    """/readyz turns to 503, or stays there."""
    lines.error("not ready", condition=condition, why=cut(why))


def condition_well(condition: str) -> None:
    """A condition that was broken is well."""
    lines.info("ready again", condition=condition)


def clock_stepped(seconds: float) -> None:
    """The system's clock went back by so many seconds."""
    lines.warning("clock went back", seconds=round(seconds, 1))


def bug(where: str, error: BaseException) -> None:
    """Something happened that our code says cannot happen. Please report it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else ""
    lines.error("bug", where=where, error=cut(f"{type(error).__name__}: {error}"), place=place)


# The doors.


def accepted(
    *,
    message: int,
    recipients: int,
    account: str,
    stream: str,
    campaign: str,
    sender: str,
    message_id: str,
    size: int,
    client: str,
    helo: str,
    listener: str,
) -> None:
    """A message is on disk and was answered 250."""
    if not lines.informs():
        return
    fields = {
        "event": "accepted",
        "message": to_text(message),
        "recipients": recipients,
        "account": account,
        "stream": stream,
        "campaign": campaign,
        "sender": sender,
        "message_id": message_id,
        "size": size,
        "client": client,
        "helo": helo,
        "listener": listener,
    }
    lines.quick(fields)


def repeated(*, message: int, first: int, recipients: int, account: str, another_body: bool) -> None:
    """So many recipients were accepted before under the same idempotency key, first with message `first`: they are not sent to again.
    With another body, somebody uses one key for two messages, and the second is not sent to them."""
    (lines.warning if another_body else lines.info)(
        "repeated", message=to_text(message), first=to_text(first), recipients=recipients, account=account, another_body=another_body
    )


def refused(*, listener: str, client: str, account: str, command: str, reason: str, reply: Reply, detail: str = "") -> None:
    """A command or message was refused at a door; `reason` is the word the metric counts by."""
    lines.info(
        "refused",
        listener=listener,
        client=client,
        account=account,
        command=command,
        reason=reason,
        reply=cut(str(reply)),
        detail=cut(detail),
    )


def client_cut(*, listener: str, client: str, account: str, reason: str) -> None:
    """We ended a client's connection: too slow, too many errors, a limit, a broken TLS handshake."""
    lines.info("client cut", listener=listener, client=client, account=account, reason=cut(reason))


def logins_blocked(*, listener: str, client: str, failures: int, seconds: float) -> None:
    """Too many logins from an address failed: AUTH from there is answered 421 for so long. An IPv6 address stands for its /64."""
    lines.warning("logins blocked", listener=listener, client=client, failures=failures, seconds=round(seconds, 1))


def unknown_stream(account: str, stream: str, used: str) -> None:
    """An application names a stream that no configuration knows; its mail goes to `used`. Said once for each account and stream."""
    lines.warning("unknown stream", account=account, stream=cut(stream), used=used)


def label_ignored(account: str, header: str, label: str, why: str) -> None:
    """A label could not be read, or not all of it: malformed, long, many, or far in the future. Said once for each account and header."""
    lines.warning("label ignored", account=account, header=header, label=label, why=why)


def certificate_loaded(listener: str, file: str, expires: str) -> None:
    """A certificate was read, at start or because its file changed."""
    lines.info("certificate loaded", listener=listener, file=file, expires=expires)


def certificate_refused(listener: str, file: str, error: str) -> None:
    """A changed certificate cannot be used; the old one stays."""
    lines.error("certificate refused, the old one stays", listener=listener, file=file, error=cut(error))


def key_warning(domain: str, selector: str, warning: str) -> None:
    """A DKIM key is weak, unreadable or unused."""
    lines.warning("dkim key", domain=domain, selector=selector, warning=cut(warning))


# The way out.


def attempt(
    *,
    delivery: int,
    message: int,
    recipient: Address | str,
    return_path: str,
    account: str,
    stream: str,
    campaign: str,
    number: int,
    outcome: Outcome,
    facts: AttemptFacts,
    queued_at: float,
    next_attempt_at: float = 0.0,
    consequence: str = "",
) -> None:
    """One attempt ended: everything needed to answer a customer. `consequence` is what the refusal table made of it."""
    if not lines.informs():
        return
    reply = outcome.reply if isinstance(outcome, Delivered) else outcome.verdict.reply
    fields: dict[str, Any] = {
        "event": "attempt",
        "outcome": type(outcome).__name__.lower(),
        "delivery": to_text(delivery),
        "message": to_text(message),
        "recipient": str(recipient),
        "return_path": return_path,
        "account": account,
        "stream": stream,
        "campaign": campaign,
        "attempt": number,
        "reply": cut(str(reply)),
        "source": facts.lane.source,
        "provider": facts.lane.provider,
        "host": facts.host,
        "address": facts.address,
        "tls": facts.tls,
        "signed_by": facts.signed_by,
        "seconds": round(facts.ended - facts.started, 3),
        "age": round(facts.ended - queued_at, 3),
    }
    if facts.security is not None:
        fields |= {"tls_policy": facts.security.policy, "tls_result": facts.security.result}
        if facts.security.failures:
            fields["tls_failures"] = [f"{one.host} {one.result}: {cut(one.why)}" for one in facts.security.failures]
    if not isinstance(outcome, Delivered):
        verdict = outcome.verdict
        fields |= {"category": verdict.category, "fault": verdict.fault, "rule": verdict.rule, "phase": verdict.phase}
        fields |= {"consequence": consequence, "next_attempt_in": round(next_attempt_at - facts.ended, 1) if next_attempt_at else 0}
    lines.quick(fields)


def ended(*, delivery: int, recipient: str, account: str, campaign: str, state: str, reason: str) -> None:
    """A delivery ended without an attempt: expired, cancelled, or failed before a connection."""
    lines.info(
        "ended", delivery=to_text(delivery), recipient=recipient, account=account, campaign=campaign, state=state, reason=cut(reason)
    )


def duplicate_possible(*, delivery: int, recipient: str, why: str) -> None:
    """The receiver may get this message twice."""
    lines.warning("duplicate possible", delivery=to_text(delivery), recipient=recipient, why=cut(why))


def connection_failed(*, source: str, provider: str, host: str, address: str, phase: str, reply: Reply, category: str) -> None:
    """No usable connection to a host; no delivery was tried by it."""
    lines.info(
        "connection failed",
        source=source,
        provider=provider,
        host=host,
        address=address,
        phase=phase,
        category=category,
        reply=cut(str(reply)),
    )


def lane_suspended(*, source: str, provider: str, seconds: float, why: str) -> None:
    """A lane sends nothing for a while."""
    lines.warning("lane suspended", source=source, provider=provider, seconds=round(seconds, 1), why=cut(why))


def lane_resumed(*, source: str, provider: str, why: str) -> None:
    """A lane sends again."""
    lines.info("lane resumed", source=source, provider=provider, why=cut(why))


def campaign_held(*, account: str, campaign: str, provider: str, seconds: float, why: str) -> None:
    """Too much of a campaign is refused for what we are or send: it is held at that provider for a while, or until released."""
    lines.warning("campaign held", account=account, campaign=campaign, provider=provider, seconds=round(seconds, 1), why=cut(why))


def source_missing(source: str, error: str) -> None:
    """This machine does not have the address of a source; its lanes are suspended."""
    lines.error("source address missing", source=source, error=cut(error))


def sts_fetch_failed(domain: str, result: str, why: str) -> None:
    """The MTA-STS policy of a recipient domain could not be had; an older one stays in force, else its mail goes on as without one."""
    lines.warning("MTA-STS policy not fetched", domain=domain, result=result, why=cut(why))


def tls_note_damaged(why: str) -> None:
    """What the spool keeps of MTA-STS policies or TLS figures could not be read: it begins anew."""
    lines.error("notes about TLS are damaged and begin anew", why=cut(why))


def tls_reported(domain: str, result: str, why: str) -> None:
    """A TLS report to a domain was handed to ourselves (sent), posted, or met trouble."""
    (lines.warning if why else lines.info)("TLS report", domain=domain, result=result, why=cut(why))


def no_overlap(host: str, why: str) -> None:
    """A host answers pipelined transactions badly; for a day each of its replies is waited for."""
    lines.warning("no overlap for a day", host=host, why=cut(why))


def no_pipelining(host: str, why: str) -> None:
    """A host offers PIPELINING and answers a group with too many or too few replies; for a day it gets one command at a time."""
    lines.warning("no pipelining for a day", host=host, why=cut(why))


# The core and the operator.


def signing_died(words: str) -> None:
    """A signing process ended by itself; another one was started, and what it owed is signed again."""
    lines.error("signing process died", why=cut(words))


def commit_failed(result: str, error: str) -> None:
    """`full`: clients get 452 until there is space. `broken`: the process ends and recovers at its start."""
    lines.error("commit failed", result=result, error=cut(error))


def told(*, message: int, account: str, sender: str, action: str, recipients: int, result: str) -> None:
    """A report about recipients of a message goes to its sender (`sent`), or never will: `result` says why."""
    lines.info(
        "sender told" if result == "sent" else "sender not told",
        message=to_text(message),
        account=account,
        sender=sender,
        action=action,
        recipients=recipients,
        result=result,
    )


def changes_stale(deliveries: list[int]) -> None:
    """The spool left these deliveries as they were: somebody else had ended or taken them. Their events were not written."""
    lines.error("changes stale", count=len(deliveries), deliveries=[to_text(delivery) for delivery in deliveries[:20]])


def commit_slow(seconds: float, size: int) -> None:
    """A commit took so long that clients and connections waited for it."""
    lines.warning("commit slow", seconds=round(seconds, 3), size=size)


def publishing_failed(sink: str, error: str, waiting: int) -> None:
    """Events wait on disk and are tried again."""
    lines.warning("publishing failed", sink=sink, error=cut(error), waiting=waiting)


def publishing_well(sink: str, seconds: float, waiting: int) -> None:
    """A sink that failed takes events again; `waiting` of them are on disk."""
    lines.info("publishing again", sink=sink, failed_for=round(seconds, 1), waiting=waiting)


def events_passed_over(sink: str, events: int) -> None:
    """A sink is so far behind that the bound of the outbox was reached: it does not get its oldest events."""
    lines.error("events passed over", sink=sink, events=events)


def dead_letter(sink: str, letter: str, events: int, why: str) -> None:
    """A request to a webhook was given up; `mailwright webhook dead` lists it, `replay` sends it again."""
    lines.error("dead letter", sink=sink, letter=letter, events=events, why=cut(why))


def statements_refused(count: int) -> None:
    """Your own statements that the contact database refused; `mailwright.refused_statement` there says for which events and why."""
    lines.warning("statements refused", count=count)


def commanded(name: str, arguments: dict[str, Any], result: str) -> None:
    """An operator's command changed something. `result` is how many deliveries it touched, or "done"."""
    given = {key: value for key, value in arguments.items() if value}
    bounded = given if len(str(given)) <= lines.LONGEST_TEXT else cut(str(given))
    lines.info("command", name=name, arguments=bounded, result=cut(result))


def command_failed(name: str, error: str) -> None:
    """An operator's command could not be carried out."""
    lines.warning("command failed", name=cut(name), error=cut(error))

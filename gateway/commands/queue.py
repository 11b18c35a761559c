"""`mailwright queue …` and `mailwright lanes …`: look at what waits, and change it, in a running gateway.

Every command that changes deliveries first counts what it would touch and says so; it acts after a yes at the terminal, or with `--yes`.
Holding and releasing touch flows, not deliveries, and take effect at once.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from config.units import parse_duration
from gateway.commands.console import USAGE, ask, fail, print_facts, print_json, print_rows, read_settings
from mail.event import timestamp

queue = typer.Typer(no_args_is_help=True, help="Look at the queue and change it.")
lanes = typer.Typer(invoke_without_command=True, help="Lanes: one source to one provider.")

Ids = Annotated[list[str] | None, typer.Argument(help="Identities of deliveries (13 characters).", show_default=False)]
Id = Annotated[str, typer.Argument(help="Identity of a delivery.")]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="Configuration file.", show_default=False)]
Domain = Annotated[str, typer.Option(help="Recipient domain.", show_default=False)]
Provider = Annotated[str, typer.Option(help="Mailbox provider.", show_default=False)]
Account = Annotated[str, typer.Option(help="Account.", show_default=False)]
Stream = Annotated[str, typer.Option(help="Stream.", show_default=False)]
Campaign = Annotated[str, typer.Option(help="Campaign.", show_default=False)]
Source = Annotated[str, typer.Option(help="Source (egress IP) by its name.", show_default=False)]
Age = Annotated[str, typer.Option("--older-than", help="Accepted longer ago than this, such as 2h or 3d.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why; kept in the log and in events.", show_default=False)]
Everything = Annotated[bool, typer.Option("--all", help="Every delivery of the queue.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Dry = Annotated[bool, typer.Option("--dry-run", "-n", help="Only count.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]

_LIST = ("delivery", "recipient", "campaign", "state", "due", "attempts", "reason", "waits")
_HOLDS = ("id", "provider", "account", "stream", "campaign", "domain", "source", "until", "reason")
_LANES = ("lane", "connections", "allowed", "in_line", "rate", "handed", "delivered", "refused", "held", "suspended_until", "why", "cause")
_DONE = {"retry": "made due now", "reroute": "routed anew", "cancel": "cancelled", "expire": "expired"}


@dataclass
class Choice:
    """Which deliveries, as the options say it."""

    ids: list[str] | None
    domain: str
    provider: str
    account: str
    stream: str
    campaign: str
    older_than: str

    def arguments(self) -> dict[str, Any]:
        """As the calls take it."""
        try:
            age = parse_duration(self.older_than) if self.older_than else 0.0
        except ValueError as error:
            fail(f"--older-than: {error}", 64)
        return {
            "ids": self.ids or [],
            "domain": self.domain,
            "provider": self.provider,
            "account": self.account,
            "stream": self.stream,
            "campaign": self.campaign,
            "older_than": age,
        }


@queue.command("list")
def list_queue(
    ids: Ids = None,
    domain: Domain = "",
    provider: Provider = "",
    account: Account = "",
    stream: Stream = "",
    campaign: Campaign = "",
    older_than: Age = "",
    after: Annotated[str, typer.Option(help="Go on after this delivery.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows.")] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List deliveries that wait or are under way."""
    settings, _ = read_settings(config)
    choice = Choice(ids, domain, provider, account, stream, campaign, older_than)
    answer = ask(settings, "queue.list", {**choice.arguments(), "after": after, "limit": limit})
    if json:
        print_json(answer)
        return
    rows = answer["deliveries"]
    print_rows(rows, _LIST, "nothing in the queue matches")
    if answer.get("more"):
        typer.echo(f"{len(rows)} of {answer['total']}; go on with --after {rows[-1]['delivery']}", err=True)


@queue.command("show")
def show_delivery(delivery: Id, json: Json = False, config: Config = None) -> None:
    """Show all that is known of one delivery, in the queue or ended."""
    settings, _ = read_settings(config)
    answer = ask(settings, "queue.show", {"id": delivery})
    print_json(answer) if json else print_facts(answer)


def _change(action: str, choice: Choice, everything: bool, reason: str, yes: bool, dry_run: bool, json: bool, config: Path | None) -> None:
    """Count, ask, act."""
    settings, _ = read_settings(config)
    arguments = {**choice.arguments(), "everything": everything, "reason": reason}
    counted = ask(settings, f"queue.{action}", {**arguments, "dry_run": True})
    if not dry_run and not yes:
        dry_run = not _agreed(action, counted["matched"])
    answer = counted if dry_run else ask(settings, f"queue.{action}", {**arguments, "dry_run": False})
    if json:
        print_json(answer)
    elif dry_run:
        typer.echo(f"{_counted(answer['matched'])} match{'es' if answer['matched'] == 1 else ''}; nothing was changed")
    else:
        typer.echo(f"{_counted(answer['touched'])} {_DONE[action]}")


def _agreed(action: str, matched: int) -> bool:
    if not matched:
        return False
    if not sys.stdin.isatty():
        fail(f"{_counted(matched)} would be touched and nothing was changed: not at a terminal, say --yes to go on", USAGE)
    return typer.confirm(f"{action} {_counted(matched)}?", default=False, err=True)


def _counted(deliveries: int) -> str:
    return "1 delivery" if deliveries == 1 else f"{deliveries} deliveries"


def _changing(action: str, text: str) -> None:
    """Add the command `action`; the four of them differ in nothing else."""

    def command(
        ids: Ids = None,
        domain: Domain = "",
        provider: Provider = "",
        account: Account = "",
        stream: Stream = "",
        campaign: Campaign = "",
        older_than: Age = "",
        everything: Everything = False,
        reason: Reason = "",
        yes: Yes = False,
        dry_run: Dry = False,
        json: Json = False,
        config: Config = None,
    ) -> None:
        choice = Choice(ids, domain, provider, account, stream, campaign, older_than)
        _change(action, choice, everything, reason, yes, dry_run, json, config)

    queue.command(action, help=text)(command)


_changing("retry", "Try now what waits for later.")
_changing("reroute", "Ask DNS and routes again, and try now.")
_changing("cancel", "End deliveries without sending them. There is no way back.")
_changing("expire", "End deliveries as if their lifetime were over. There is no way back.")


def _flow(provider: str, account: str, stream: str, campaign: str, domain: str, source: str) -> dict[str, str]:
    return {"provider": provider, "account": account, "stream": stream, "campaign": campaign, "domain": domain, "source": source}


@queue.command("hold")
def hold(
    provider: Provider = "",
    account: Account = "",
    stream: Stream = "",
    campaign: Campaign = "",
    domain: Domain = "",
    source: Source = "",
    duration: Annotated[str, typer.Option("--for", help="How long; without it, until released.", show_default=False)] = "",
    reason: Reason = "",
    dry_run: Dry = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Send nothing of what matches until it is released. Nothing is lost; lifetimes go on."""
    settings, _ = read_settings(config)
    try:
        seconds = parse_duration(duration) if duration else 0.0
    except ValueError as error:
        fail(f"--for: {error}", 64)
    flow = _flow(provider, account, stream, campaign, domain, source)
    answer = ask(settings, "queue.hold", {**flow, "seconds": seconds, "reason": reason, "dry_run": dry_run})
    print_json(answer) if json else typer.echo(f"held: {answer['hold']}{' (dry run)' if dry_run else ''}")


@queue.command("release")
def release(
    hold_id: Annotated[
        str, typer.Argument(metavar="[HOLD]", help="Identity of a hold; `queue holds` lists them.", show_default=False)
    ] = "",
    provider: Provider = "",
    account: Account = "",
    stream: Stream = "",
    campaign: Campaign = "",
    domain: Domain = "",
    source: Source = "",
    dry_run: Dry = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """End a hold: the one with this identity, or those made with exactly these options."""
    settings, _ = read_settings(config)
    flow = _flow(provider, account, stream, campaign, domain, source)
    answer = ask(settings, "queue.release", {"hold": hold_id, **flow, "dry_run": dry_run})
    print_json(answer) if json else typer.echo(f"released: {' '.join(answer['released'])}{' (dry run)' if dry_run else ''}")


@queue.command("holds")
def holds(json: Json = False, config: Config = None) -> None:
    """List what is held."""
    settings, _ = read_settings(config)
    answer = ask(settings, "queue.holds", {})
    print_json(answer) if json else print_rows(answer["holds"], _HOLDS, "nothing is held")


@lanes.callback()
def list_lanes(context: typer.Context, json: Json = False, config: Config = None) -> None:
    """List the lanes: what is open, what waits, what rests and why."""
    if context.invoked_subcommand is not None:
        return
    settings, _ = read_settings(config)
    answer = ask(settings, "lanes.list", {})
    rows = [_flat(row) for row in answer["lanes"]]
    print_json(answer) if json else print_rows(rows, _LANES, "no lane is open or has work")


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A lane's row for a table: its name in one column, the cause of its last change as a sentence."""
    flat = dict(row)
    lane, cause = row.get("lane"), row.get("cause")
    if isinstance(lane, dict):
        flat["lane"] = f"{lane.get('source')}/{lane.get('provider')}"
    if isinstance(cause, dict):
        flat["cause"] = f"{timestamp(cause['at'])} {cause['change']}: {cause['text']}"
    return flat


@lanes.command("suspend")
def suspend(
    source: Annotated[str, typer.Argument(help="Source.")],
    provider: Annotated[str, typer.Argument(help="Provider.")],
    duration: Annotated[str, typer.Option("--for", help="How long.")] = "1h",
    reason: Reason = "suspended by an operator",
    config: Config = None,
) -> None:
    """Send nothing by a lane for a while."""
    settings, _ = read_settings(config)
    try:
        seconds = parse_duration(duration)
    except ValueError as error:
        fail(f"--for: {error}", 64)
    print_facts(ask(settings, "lanes.suspend", {"source": source, "provider": provider, "seconds": seconds, "reason": reason}))


@lanes.command("resume")
def resume(
    source: Annotated[str, typer.Argument(help="Source.")],
    provider: Annotated[str, typer.Argument(help="Provider.")],
    config: Config = None,
) -> None:
    """Let a suspended lane send again."""
    settings, _ = read_settings(config)
    print_facts(ask(settings, "lanes.resume", {"source": source, "provider": provider}))

"""`mailwright send`: hand in one message by SMTP as an application would, to try a gateway by hand."""

import asyncio
import email.utils
import os
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Annotated

import typer

from config.units import split_host_port
from gateway.commands.console import DATA_ERROR, UNAVAILABLE, USAGE, fail


def send(
    recipients: Annotated[list[str], typer.Argument(help="Addresses.")],
    sender: Annotated[str, typer.Option("--from", help="Sender: From and envelope.")],
    subject: Annotated[str, typer.Option(help="Subject.")] = "A message from mailwright send",
    body: Annotated[str, typer.Option(help="Text.")] = "This message was sent with mailwright send.\n",
    file: Annotated[Path | None, typer.Option(help="Send this whole message instead (RFC 5322).", show_default=False)] = None,
    campaign: Annotated[str, typer.Option(help="Campaign.", show_default=False)] = "",
    stream: Annotated[str, typer.Option(help="Stream.", show_default=False)] = "",
    server: Annotated[str, typer.Option(help="The gateway's listener.")] = "127.0.0.1:2525",
    user: Annotated[str, typer.Option(help="Account; its password is taken from $MAILWRIGHT_PASSWORD.", show_default=False)] = "",
) -> None:
    """Hand one message to a gateway and print its answer."""
    try:
        host, port = split_host_port(server, 2525)
    except ValueError as error:
        fail(f"--server: {error}", USAGE)
    if file is not None:
        try:
            content = file.read_bytes()
        except OSError as error:
            fail(f"{file}: {error.strerror or error}", DATA_ERROR)
    else:
        try:
            content = _message(sender, recipients, subject, body, campaign, stream)
        except ValueError as error:
            fail(str(error), USAGE)
    typer.echo(asyncio.run(_hand_in(host, port, user, sender, recipients, content)))


def _message(sender: str, recipients: list[str], subject: str, body: str, campaign: str, stream: str) -> bytes:
    needs_utf8 = not "".join((sender, *recipients)).isascii()
    message = EmailMessage(policy=SMTP.clone(utf8=needs_utf8))
    message["From"], message["To"], message["Subject"] = sender, ", ".join(recipients), subject
    message["Date"] = email.utils.formatdate(localtime=True)
    if campaign:
        message["X-Campaign"] = campaign
    if stream:
        message["X-Stream"] = stream
    message.set_content(body)
    return message.as_bytes()


async def _hand_in(host: str, port: int, user: str, sender: str, recipients: list[str], content: bytes) -> str:
    import aiosmtplib

    _, envelope = email.utils.parseaddr(sender)
    try:
        async with aiosmtplib.SMTP(hostname=host, port=port, timeout=60) as client:
            if user:
                await client.login(user, os.environ.get("MAILWRIGHT_PASSWORD", ""))
            options = [] if "".join((envelope, *recipients)).isascii() else ["SMTPUTF8", "BODY=8BITMIME"]
            refused, answer = await client.sendmail(envelope, recipients, content, mail_options=options)
    except aiosmtplib.SMTPConnectError as error:
        fail(f"{host}:{port}: {error}", UNAVAILABLE)
    except aiosmtplib.SMTPRecipientsRefused as error:
        fail("\n".join(f"{one.recipient}: {one.code} {one.message}" for one in error.recipients), DATA_ERROR)
    except aiosmtplib.SMTPResponseException as error:
        fail(f"{error.code} {error.message}", DATA_ERROR)
    except (aiosmtplib.SMTPException, UnicodeError) as error:
        fail(str(error), DATA_ERROR)
    for address, reply in refused.items():
        typer.echo(f"{address}: {reply.code} {reply.message}", err=True)
    return answer

"""`mailwright send`: hand in one message by SMTP as an application would, to try a gateway by hand."""

import asyncio
import email.utils
import os
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Annotated

import typer

from config.units import split_host_port
from gateway.commands.console import DATA_ERROR, UNAVAILABLE, USAGE, fail
from mail.address import normalise_domain

PASSWORD = "MAILWRIGHT_PASSWORD"
IMPLICIT_TLS = 465
"""The port on which TLS comes first (RFC 8314 section 3.3)."""


def send(
    recipients: Annotated[list[str], typer.Argument(help="Addresses.")],
    sender: Annotated[str, typer.Option("--from", help="Sender: From and envelope.")],
    subject: Annotated[str, typer.Option(help="Subject.")] = "A message from mailwright send",
    body: Annotated[str, typer.Option(help="Text.")] = "This message was sent with mailwright send.",
    file: Annotated[Path | None, typer.Option(help="Send this whole message instead (RFC 5322).", show_default=False)] = None,
    campaign: Annotated[str, typer.Option(help="Campaign.", show_default=False)] = "",
    stream: Annotated[str, typer.Option(help="Stream.", show_default=False)] = "",
    server: Annotated[str, typer.Option(help="The gateway's listener, HOST:PORT. STARTTLS is used where offered.")] = "127.0.0.1:2525",
    implicit_tls: Annotated[bool, typer.Option("--implicit-tls", help="TLS from the first octet, as on port 465.")] = False,
    user: Annotated[str, typer.Option(help="Account; its password is taken from $MAILWRIGHT_PASSWORD.", show_default=False)] = "",
) -> None:
    """Hand one message to a gateway and print its answer."""
    host, port = _server(server)
    if "@" not in email.utils.parseaddr(sender)[1]:
        fail(f"--from: {sender!r} is not an address", USAGE)
    if user and not os.environ.get(PASSWORD):
        fail(f"--user: put the password of {user} into the environment variable {PASSWORD}", USAGE)
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
    typer.echo(asyncio.run(_hand_in(host, port, implicit_tls or port == IMPLICIT_TLS, user, sender, recipients, content)))


def _server(text: str) -> tuple[str, int]:
    """Host and port; a name will do as well as an address."""
    host, colon, port = text.rpartition(":")
    try:
        if colon and host and ":" not in host and port.isdigit() and normalise_domain(host) is not None:
            return host, int(port)
        return split_host_port(text, 2525)
    except ValueError:
        fail(f'--server: must be a host and a port such as "127.0.0.1:2525" or "mail.shop.example:587" (it is {text!r})', USAGE)


def _message(sender: str, recipients: list[str], subject: str, body: str, campaign: str, stream: str) -> bytes:
    needs_utf8 = not "".join((email.utils.parseaddr(sender)[1], *recipients)).isascii()
    message = EmailMessage(policy=SMTP.clone(utf8=needs_utf8))
    message["From"], message["To"], message["Subject"] = sender, ", ".join(recipients), subject
    message["Date"] = email.utils.formatdate(localtime=True)
    if campaign:
        message["X-Campaign"] = campaign
    if stream:
        message["X-Stream"] = stream
    message.set_content(body if body.endswith("\n") else f"{body}\n")
    return message.as_bytes()


def _why(error: Exception) -> str:
    """What stopped a connection, in the system's words, without the ones around them."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, ConnectionRefusedError):
        return "nobody listens there; is the gateway running?"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message} (SSL_CERT_FILE names another authority)"
    return str(getattr(cause, "strerror", None) or cause)


async def _hand_in(host: str, port: int, implicit_tls: bool, user: str, sender: str, recipients: list[str], content: bytes) -> str:
    import aiosmtplib

    _, envelope = email.utils.parseaddr(sender)
    try:
        async with aiosmtplib.SMTP(hostname=host, port=port, timeout=60, use_tls=implicit_tls) as client:
            if user:
                await client.login(user, os.environ[PASSWORD])
            options = [] if "".join((envelope, *recipients)).isascii() else ["SMTPUTF8", "BODY=8BITMIME"]
            refused, answer = await client.sendmail(envelope, recipients, content, mail_options=options)
    except (aiosmtplib.SMTPConnectError, OSError) as error:
        fail(f"{host}:{port}: {_why(error)}", UNAVAILABLE)
    except aiosmtplib.SMTPRecipientsRefused as error:
        fail("\n".join(f"{one.recipient}: {one.code} {one.message}" for one in error.recipients), DATA_ERROR)
    except aiosmtplib.SMTPResponseException as error:
        fail(f"{error.code} {error.message}", DATA_ERROR)
    except (aiosmtplib.SMTPException, UnicodeError) as error:
        fail(str(error), DATA_ERROR)
    for address, reply in refused.items():
        typer.echo(f"{address}: {reply.code} {reply.message}", err=True)
    return answer

"""Clients of the command line: swaks, msmtp, Postfix's smtp-source."""

import email
import email.policy
import os
import subprocess
import sys
from pathlib import Path

from mail.event import EventKind
from tests.peers.letters import SENDER, SUBJECT, TEXT, assert_whole, letter
from tests.peers.programs import installed, swaks
from tests.peers.stage import Door, Stage


def _run(command: list[str], content: bytes = b"", **environment: str) -> None:
    done = subprocess.run(command, input=content, env={**os.environ, **environment}, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-3000:]


def _recipients(client: str, door: Door) -> list[str]:
    return [f"{name}-{client}-{door.name}@far.test" for name in ("zoe", "rene")]


def test_swaks(stage: Stage, door: Door, tmp_path: Path) -> None:
    program = swaks(tls=door.tls != "none")
    to = _recipients("swaks", door)
    sent = letter(to, campaign="swaks")
    (tmp_path / "letter").write_bytes(sent.removesuffix(b"\r\n"))  # swaks ends the last line itself
    options = ["--server", "localhost", "--port", str(door.port), "--from", SENDER, "--to", ",".join(to), "--data", f"@{tmp_path}/letter"]
    if door.user:
        options += ["--auth", "PLAIN" if door.tls == "implicit" else "LOGIN", "--auth-user", door.user, "--auth-password", door.password]
    if door.tls != "none":
        options += ["--tls" if door.tls == "starttls" else "--tls-on-connect", "--tls-verify", "--tls-ca-path", str(door.authority)]
    _run([program, *options])
    for recipient in to:
        assert_whole(stage.delivered(recipient), sent, campaign="swaks")
        assert stage.last(recipient).campaign == "swaks"
        assert stage.last(recipient).account == (door.user or "default")


MSMTP = """\
account default
host localhost
port {port}
from {sender}
tls {tls}
tls_starttls {starttls}
tls_trust_file {authority}
auth {auth}
user {user}
password {password}
"""


def test_msmtp(stage: Stage, door: Door, tmp_path: Path) -> None:
    msmtp = installed("msmtp", "msmtp")
    to = _recipients("msmtp", door)
    sent = letter(to)
    settings = tmp_path / "msmtprc"
    settings.touch(mode=0o600)
    settings.write_text(
        MSMTP.format(
            port=door.port,
            sender=SENDER,
            tls="off" if door.tls == "none" else "on",
            starttls="on" if door.tls == "starttls" else "off",
            authority=door.authority,
            auth=("plain" if door.tls == "none" else "on") if door.user else "off",
            user=door.user or "nobody",
            password=door.password or "none",
        )
    )
    _run([msmtp, "--file", str(settings), "--", *to], sent.replace(b"\r\n", b"\n"))
    for recipient in to:
        assert_whole(stage.delivered(recipient), sent)
        assert stage.last(recipient).account == (door.user or "default")


def test_smtp_source(stage: Stage) -> None:
    """It knows neither TLS nor AUTH; it sends many messages to many recipients over many connections."""
    smtp_source = installed("smtp-source", "postfix")
    messages, recipients = 40, 5
    options = ["-s", "4", "-m", str(messages), "-r", str(recipients), "-l", "3000", "-f", SENDER, "-t", "source@far.test", "-S", "source"]
    _run([smtp_source, *options, f"127.0.0.1:{stage.doors['plain'].port}"])
    for recipient in ("source@far.test", *(f"{number}source@far.test" for number in range(2, recipients + 1))):
        stage.house.seen(recipient, lambda events: [event.kind for event in events].count(EventKind.DELIVERED) == messages)
        assert sum(recipient in told for _, told, _ in stage.mailbox.messages) == messages


def test_mailwright_send(stage: Stage, door: Door) -> None:
    """Our own command, which looks at certificates like the others."""
    to = _recipients("send", door)
    options = ["--from", SENDER, "--server", f"localhost:{door.port}", "--subject", SUBJECT, "--body", TEXT, "--campaign", "send"]
    options += ["--user", door.user] if door.user else []
    options += ["--implicit-tls"] if door.tls == "implicit" else []
    _run([sys.executable, "-m", "gateway.cli", "send", *options, *to], SSL_CERT_FILE=str(door.authority), MAILWRIGHT_PASSWORD=door.password)
    for recipient in to:
        message = email.message_from_bytes(stage.delivered(recipient), policy=email.policy.default)
        assert message["Subject"].strip() == SUBJECT
        assert message.get_content().splitlines() == TEXT.splitlines()
        assert stage.last(recipient).account == (door.user or "default")

"""docs/clients.md tells the truth: what it says for each client, taken from the page, sends through a running gateway.

Changed are only names that mean something elsewhere: the gateway's host and port, the password in a file, the recipient, and for the test's
own certificate the authority, by each program's own way to name one.
"""

import email
import email.policy
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.load import load
from gateway.doors.passwords import NOBODY
from tests.peers.letters import SENDER, assert_whole, letter
from tests.peers.postfix import Postfix
from tests.peers.programs import ROOT, installed, needs_sasl_plain, swaks, unpacked
from tests.peers.stage import PASSWORD, Door, Stage, write_certificate

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


def _block(section: str, language: str) -> str:
    """The one block of this language under this heading, as printed."""
    (text,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = re.findall(rf"^```{re.escape(language)}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(block)


def _here(text: str, door: Door, recipient: str) -> str:
    """The same for this machine."""
    changes = {
        "mail.shop.example": "localhost",
        "587": str(door.port),
        "ada@customer.example": recipient,
        "PASSWORD\n": f"{PASSWORD}\n",
        "/etc/ssl/certs/ca-certificates.crt": str(door.authority),
    }
    for before, after in changes.items():
        text = text.replace(before, after)
    return text


@pytest.fixture
def submission(stage: Stage) -> Door:
    """The listener the page describes."""
    return stage.doors["starttls"]


def _run(command: list[str], door: Door, content: bytes = b"", **environment: str) -> None:
    surroundings = {"PATH": os.environ["PATH"], "HOME": str(door.authority.parent), "CRM_PASSWORD": PASSWORD, **environment}
    surroundings |= {"SSL_CERT_FILE": str(door.authority), "NODE_EXTRA_CA_CERTS": str(door.authority)}
    done = subprocess.run(command, input=content, env=surroundings, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")[-3000:]


def _assert_arrived(stage: Stage, recipient: str, campaign: str = "") -> None:
    message = email.message_from_bytes(stage.delivered(recipient), policy=email.policy.default)
    assert message["X-Campaign"] is None
    event = stage.last(recipient)
    assert event.account == "crm"
    assert event.campaign == campaign or not campaign


@pytest.mark.parametrize(("section", "campaign"), [("Python: smtplib", "spring-sale"), ("Python: aiosmtplib", "")])
def test_python_programs_send(stage: Stage, submission: Door, section: str, campaign: str) -> None:
    recipient = f"{section.rpartition(' ')[2]}-page@far.test"
    _run([sys.executable, "-c", _here(_block(section, "python"), submission, recipient)], submission)
    _assert_arrived(stage, recipient, campaign)


def test_the_settings_of_django_send(stage: Stage, submission: Door, tmp_path: Path) -> None:
    pytest.importorskip("django", reason="Django is not installed (make setup)")
    (tmp_path / "settings.py").write_text(_here(_block("Django", "python"), submission, ""))
    command = [sys.executable, "-m", "django", "sendtestemail", "django-page@far.test"]
    _run(command, submission, PYTHONPATH=str(tmp_path), DJANGO_SETTINGS_MODULE="settings")
    _assert_arrived(stage, "django-page@far.test")


def test_the_php_sends(stage: Stage, submission: Door) -> None:
    php = installed("php", "php-cli")
    library = unpacked("libphp-phpmailer", "usr/share/php/libphp-phpmailer/src")
    parts = "".join(f"require '{library}/{part}.php';" for part in ("Exception", "PHPMailer", "SMTP"))
    program = _here(_block("PHP: PHPMailer", "php"), submission, "phpmailer-page@far.test")
    _run([php, "-d", f"openssl.cafile={submission.authority}", "-r", parts + program], submission)
    _assert_arrived(stage, "phpmailer-page@far.test", "spring-sale")


def test_the_javascript_sends(stage: Stage, submission: Door) -> None:
    node = installed("node", "nodejs")
    library = unpacked("node-nodemailer", "usr/share/nodejs/nodemailer")
    program = _here(_block("Node.js: Nodemailer", "js"), submission, "nodemailer-page@far.test")
    _run([node, "-e", program], submission, NODE_PATH=str(library.parent))
    _assert_arrived(stage, "nodemailer-page@far.test", "spring-sale")


def test_the_settings_of_postfix_relay(stage: Stage, submission: Door, postfix: Postfix) -> None:
    needs_sasl_plain()
    section = "Postfix as a relaying client"
    chain = postfix.folder / "chain.pem"
    chain.write_bytes(submission.authority.read_bytes())
    password_file = postfix.folder / "conf" / "sasl_password"
    password_file.write_text(_here(_block(section, "sasl_password"), submission, ""))
    settings = _here(_block(section, "main.cf"), submission, "")
    settings = settings.replace(str(submission.authority), str(chain)).replace("/etc/postfix/sasl_password", str(password_file))
    postfix.reload(settings)
    sent = letter(["postfix-page@far.test"], campaign="postfix")
    postfix.take(SENDER, ["postfix-page@far.test"], sent)
    assert_whole(stage.delivered("postfix-page@far.test"), sent, campaign="postfix")
    _assert_arrived(stage, "postfix-page@far.test", "postfix")


def test_the_settings_of_msmtp_send(stage: Stage, submission: Door, tmp_path: Path) -> None:
    msmtp = installed("msmtp", "msmtp")
    settings = tmp_path / "msmtprc"
    settings.touch(mode=0o600)
    settings.write_text(_here(_block("msmtp", "msmtprc"), submission, ""))
    message = letter(["msmtp-page@far.test"]).replace(b"lettre@librairie.test", b"news@shop.example")
    _run([msmtp, "--file", str(settings), "msmtp-page@far.test"], submission, message)
    _assert_arrived(stage, "msmtp-page@far.test")


def test_the_command_of_swaks_sends(stage: Stage, submission: Door) -> None:
    swaks(tls=True)
    command = _here(_block("swaks", "sh"), submission, "swaks-page@far.test")
    _run(["sh", "-c", command.replace("--tls-verify", f"--tls-verify --tls-ca-path {submission.authority}")], submission)
    _assert_arrived(stage, "swaks-page@far.test", "spring-sale")


def test_the_command_of_smtp_source_sends(stage: Stage) -> None:
    program = installed("smtp-source", "postfix")
    door = stage.doors["plain"]
    command = (
        _block("smtp-source", "sh").replace("127.0.0.1:2525", f"127.0.0.1:{door.port}").replace("ada@customer.example", "page@far.test")
    )
    _run(["sh", "-c", command.replace("smtp-source", program, 1)], door)
    stage.house.seen("page@far.test", lambda events: len(events) == 200)


def test_the_gateways_side_loads(tmp_path: Path) -> None:
    (tmp_path / "mailwright.toml").write_text(_block("The gateway's side", "toml") + '[[domain]]\nname = "shop.example"\n')
    for name in ("tls", "keys"):
        (tmp_path / name).mkdir()
    write_certificate(tmp_path / "tls")
    (tmp_path / "keys" / "crm.hash").write_text(NOBODY)
    assert [listener.tls for listener in load(tmp_path / "mailwright.toml", {}).listener] == ["starttls", "implicit"]

"""Mail libraries of web applications: Django's backend, PHPMailer, Nodemailer. Each is a program of its own with a task on its input."""

import base64
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.letters import ATTACHMENT, FILE_NAME, SENDER, SUBJECT, TEXT, assert_reads
from tests.peers.programs import ROOT, installed, unpacked
from tests.peers.stage import Door, Stage

CLIENTS = Path(__file__).parent / "clients"


def _sends(stage: Stage, door: Door, client: str, command: list[str]) -> None:
    """`command` sends the letter through `door` to two recipients, and it arrives."""
    to = [f"{name}-{client}-{door.name}@far.test" for name in ("zoe", "rene")]
    task = {"port": door.port, "tls": door.tls, "user": door.user, "password": door.password, "authority": str(door.authority)}
    task |= {"sender": SENDER, "to": to, "subject": SUBJECT, "text": TEXT, "file_name": FILE_NAME}
    task |= {"attachment": base64.b64encode(ATTACHMENT).decode()}
    # Django takes the authorities of the system, which this variable names; nothing else of the environment is for them.
    environment = {"SSL_CERT_FILE": str(door.authority), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=json.dumps(task), env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for recipient in to:
        assert_reads(stage.delivered(recipient))
        assert stage.last(recipient).campaign == client
        assert stage.last(recipient).account == (door.user or "default")


@pytest.mark.skipif(importlib.util.find_spec("django") is None, reason="Django is not installed (make setup)")
def test_django(stage: Stage, door: Door) -> None:
    _sends(stage, door, "django", [sys.executable, str(CLIENTS / "send_django.py")])


def test_phpmailer(stage: Stage, door: Door) -> None:
    php = installed("php", "php-cli")
    library = unpacked("libphp-phpmailer", "usr/share/php/libphp-phpmailer/src")
    _sends(stage, door, "phpmailer", [php, str(CLIENTS / "send.php"), str(library)])


def test_nodemailer(stage: Stage, door: Door) -> None:
    node = installed("node", "nodejs")
    library = unpacked("node-nodemailer", "usr/share/nodejs/nodemailer")
    _sends(stage, door, "nodemailer", [node, str(CLIENTS / "send.js"), str(library)])

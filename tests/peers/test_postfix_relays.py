"""Postfix relays what it takes through the gateway (`relayhost`), with and without login and TLS."""

import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.letters import SENDER, assert_whole, letter
from tests.peers.postfix import Postfix
from tests.peers.programs import public_folder
from tests.peers.stage import Door, Stage

LOGIN = """\
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{folder}/conf/sasl_password
smtp_sasl_security_options = noanonymous
"""

CHECKED = """\
smtp_tls_security_level = verify
smtp_tls_CAfile = {authority}
"""

TLS = {"none": "smtp_tls_security_level = none\n", "starttls": CHECKED, "implicit": CHECKED + "smtp_tls_wrappermode = yes\n"}


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with public_folder() as folder:
        postfix = Postfix(folder, "")
        postfix.start()
        try:
            yield postfix
        finally:
            postfix.stop()


def _settings(door: Door, folder: Path) -> str:
    (folder / "chain.pem").write_bytes(door.authority.read_bytes())
    lines = f"relayhost = [localhost]:{door.port}\n" + TLS[door.tls].format(authority=folder / "chain.pem")
    if door.user:
        (folder / "conf" / "sasl_password").write_text(f"[localhost]:{door.port} {door.user}:{door.password}\n")
        lines += LOGIN.format(folder=folder)
    return lines


def test_postfix_relays(stage: Stage, door: Door, postfix: Postfix) -> None:
    to = [f"{name}-postfix-{door.name}@far.test" for name in ("zoe", "rene")]
    sent = letter(to, campaign="postfix")
    postfix.reload(_settings(door, postfix.folder))
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=30) as client:
        client.sendmail(SENDER, to, sent, ["BODY=8BITMIME"])
    try:
        for recipient in to:
            assert_whole(stage.delivered(recipient), sent, campaign="postfix")
            assert stage.last(recipient).account == (door.user or "default")
    except AssertionError as error:
        error.add_note(postfix.log()[-3000:])
        raise

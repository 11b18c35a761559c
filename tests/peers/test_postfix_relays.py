"""Postfix relays what it takes through the gateway (`relayhost`): as a program of this machine, and with TLS and a login. With STARTTLS it
does so as docs/clients.md says: test_clients_page.py."""

from pathlib import Path

import pytest

from tests.peers.letters import SENDER, assert_whole, letter
from tests.peers.postfix import Postfix
from tests.peers.programs import needs_sasl_plain
from tests.peers.stage import Door, Stage

PLAIN = "smtp_tls_security_level = none\n"

IMPLICIT = """\
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{folder}/conf/sasl_password
smtp_sasl_security_options = noanonymous
smtp_tls_security_level = verify
smtp_tls_CAfile = {folder}/chain.pem
smtp_tls_wrappermode = yes
"""


def _settings(door: Door, folder: Path) -> str:
    (folder / "chain.pem").write_bytes(door.authority.read_bytes())
    (folder / "conf" / "sasl_password").write_text(f"[localhost]:{door.port} {door.user}:{door.password}\n")
    return f"relayhost = [localhost]:{door.port}\n" + (PLAIN if door.tls == "none" else IMPLICIT.format(folder=folder))


@pytest.mark.parametrize("name", ["plain", "implicit"])
def test_postfix_relays(stage: Stage, name: str, postfix: Postfix) -> None:
    door = stage.doors[name]
    if door.user:
        needs_sasl_plain()
    to = [f"{name}-postfix-{door.name}@far.test" for name in ("zoe", "rene")]
    sent = letter(to, campaign="postfix")
    postfix.reload(_settings(door, postfix.folder))
    postfix.take(SENDER, to, sent)
    try:
        for recipient in to:
            assert_whole(stage.delivered(recipient), sent, campaign="postfix")
            assert stage.last(recipient).account == (door.user or "default")
    except AssertionError as error:
        error.add_note(postfix.log()[-3000:])
        raise

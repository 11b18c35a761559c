"""A private Postfix in a folder of its own, on a loopback port: to relay through the gateway, or to receive from it.

It has Postfix's defaults except for where things are and what the test adds. It needs root, because its master does; the machine's own
Postfix is not touched.
"""

import shutil
import smtplib
import subprocess
from pathlib import Path

from tests.durability.rig import free_port
from tests.peers.programs import greets, installed, needs_root, until

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {daemons}
command_directory = {commands}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.postfix.test
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtp_dns_support_level = disabled
maillog_file_prefixes = {folder}
maillog_file = {folder}/mail.log
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix n - n 60 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
error     unix - - n - - error
retry     unix - - n - - error
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One instance. `folder` must be reachable by the user postfix; `settings` are lines of main.cf."""

    def __init__(self, folder: Path, settings: str) -> None:
        needs_root("Postfix's master runs as root")
        self._postfix, self.folder, self.port = installed("postfix", "postfix"), folder, free_port()
        for name in ("queue", "data", "conf"):
            (folder / name).mkdir(mode=0o755)
        shutil.chown(folder / "data", "postfix")
        self._main = _MAIN.format(folder=folder, daemons=_default("daemon_directory"), commands=_default("command_directory"))
        self._configure(settings)
        (folder / "conf" / "master.cf").write_text(_MASTER.format(port=self.port))

    def _configure(self, settings: str) -> None:
        (self.folder / "conf" / "main.cf").write_text(self._main + settings)

    def start(self) -> None:
        """Start it, and wait until it greets."""
        self._control("start")
        until(lambda: greets(self.port), "Postfix", self.log)

    def reload(self, settings: str) -> None:
        """Go on with other settings. Takes two seconds."""
        self._configure(settings)
        self._control("reload")

    def take(self, sender: str, recipients: list[str], content: bytes) -> None:
        """Give it a message to relay."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.sendmail(sender, recipients, content, ["BODY=8BITMIME"])

    def stop(self) -> None:
        """Stop it in its own way."""
        self._control("stop")

    def log(self) -> str:
        """What it said."""
        file = self.folder / "mail.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _control(self, verb: str) -> None:
        # Not captured: what Postfix starts keeps these open.
        with (self.folder / "control.log").open("ab") as log:
            subprocess.run([self._postfix, "-c", f"{self.folder}/conf", verb], stdout=log, stderr=log, check=False, timeout=60)


def _default(name: str) -> str:
    postconf = installed("postconf", "postfix")
    return subprocess.run([postconf, "-d", "-h", name], capture_output=True, text=True, check=True).stdout.strip()

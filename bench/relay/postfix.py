"""The other side: a private Postfix with OpenDKIM on a Unix socket, in a temporary folder, on loopback ports.

Postfix keeps its defaults except where mail goes (one next hop, the sink: measured faster for it than twenty), where the log goes, and that
smtpd hands every message to OpenDKIM. It needs root, because Postfix's master does. The machine's own Postfix instance is not touched.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.relay.accounting import Group

PROGRAMS = {"postfix": "postfix", "smtp-source": "postfix", "smtp-sink": "postfix", "opendkim": "opendkim", "strace": "strace"}
"""Program to the Debian package that has it."""

STRACE = ["strace", "-f", "-qq", "-ttt", "-e", "signal=none", "-e", "trace=fsync,fdatasync,sync_file_range,sync,syncfs,msync"]
"""Every system call that makes data durable."""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {commands}
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.example.test
mydomain = example.test
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtp_tls_security_level = none
relayhost = [127.0.0.1]:{sink_port}
smtpd_milters = unix:{folder}/opendkim.sock
milter_default_action = tempfail
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
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
local     unix - n n - - local
virtual   unix - n n - - virtual
lmtp      unix - - n - - lmtp
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
"""

_OPENDKIM = """\
Mode s
Domain example.test
Selector bench
KeyFile {folder}/bench.private
Socket local:{folder}/opendkim.sock
Canonicalization relaxed/relaxed
SignatureAlgorithm rsa-sha256
OversignHeaders From
InternalHosts {folder}/internal
UMask 000
RequireSafeKeys no
Syslog no
Background no
"""


def missing() -> list[str]:
    """What this machine lacks, as sentences; empty when this side can run."""
    lacks = [f"{program} (apt-get install {package})" for program, package in PROGRAMS.items() if _program(program) is None]
    if os.geteuid() != 0:
        lacks.append("root (Postfix's master needs it)")
    return lacks


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Postfix:
    """One private instance. `folder` must be reachable by the users postfix and opendkim run as; `key` is the PEM text of the RSA key."""

    name = "postfix_opendkim"
    title = "Postfix + OpenDKIM"

    def __init__(self, folder: Path, port: int, sink_port: int, key: bytes) -> None:
        self._folder = folder
        self.port = port
        folder.mkdir(mode=0o755)
        for name in ("queue", "data", "conf"):
            (folder / name).mkdir(mode=0o755)
        shutil.chown(folder / "data", "postfix")
        smtpd = _ask(["postconf", "-d", "-h", "daemon_directory"])
        commands = _ask(["postconf", "-d", "-h", "command_directory"])
        main = _MAIN.format(folder=folder, daemons=smtpd, commands=commands, sink_port=sink_port)
        (folder / "conf" / "main.cf").write_text(main)
        (folder / "conf" / "master.cf").write_text(_MASTER.format(port=port))
        (folder / "internal").write_text("127.0.0.0/8\n")
        (folder / "bench.private").write_bytes(key)
        (folder / "bench.private").chmod(0o600)
        (folder / "opendkim.conf").write_text(_OPENDKIM.format(folder=folder))

    def start(self, group: Group, trace: Path | None = None) -> None:
        """Start both, wait until both answer. With `trace`, under strace that counts syncs into that file."""
        tracing = [*STRACE, "-o", str(trace)] if trace else []
        signer = ["opendkim", "-f", "-x", f"{self._folder}/opendkim.conf"]
        log = (self._folder / "start.log").open("ab")
        with log:
            group.start(signer, stdout=log, stderr=log)
            until(lambda: (self._folder / "opendkim.sock").exists(), "OpenDKIM", self._folder)
            group.start([*tracing, "postfix", "-c", f"{self._folder}/conf", "start"], stdout=log, stderr=log)
        until(lambda: greets(self.port), "Postfix", self._folder)
        group.adopt(int((self._folder / "queue" / "pid" / "master.pid").read_text()))

    def stop(self) -> None:
        """Stop Postfix in its own way; the group's end kills OpenDKIM."""
        subprocess.run(["postfix", "-c", f"{self._folder}/conf", "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _ask(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def greets(port: int) -> bool:
    """Whether 127.0.0.1:`port` greets with 220."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


def until(condition: Callable[[], bool], what: str, folder: Path) -> None:
    """Wait at most 30 s. Raises RuntimeError with the end of the logs in `folder` where `what` did not start."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            words = [file.read_text(errors="replace")[-2000:] for file in (folder / "start.log", folder / "mail.log") if file.exists()]
            raise RuntimeError(f"{what} did not start:\n" + "\n".join(words))
        time.sleep(0.05)

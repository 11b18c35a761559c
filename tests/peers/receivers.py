"""Servers of others that take mail from the gateway: each starts on a loopback port, knows `zoe` and `rene` in three domains, and shows
what it kept, lines ended with CRLF again.

The gateway sends to `clear.test` without TLS, to `tls.test` with TLS required, to `usual.test` with TLS where it works; the server is the
same.
"""

import os
import shutil
import smtplib
import ssl
import subprocess
from pathlib import Path
from typing import Protocol

from tests.durability.rig import free_port
from tests.peers.jail import Jail
from tests.peers.postfix import Postfix
from tests.peers.programs import greets, installed, until
from tests.peers.stage import Mailbox, write_certificate

DOMAINS = ["clear.test", "tls.test", "usual.test"]
KNOWN = [f"{name}@{domain}" for domain in DOMAINS for name in ("zoe", "rene")]


class Receiver(Protocol):
    """One server. `tls` is whether it offers STARTTLS, `unknown` the category of its words for a recipient it does not know; "": it takes
    any."""

    port: int
    tls: bool
    unknown: str

    def start(self) -> None:
        """Start, and wait until it greets."""

    def stop(self) -> None:
        """End it."""

    def messages(self) -> list[bytes]:
        """What it kept, each message as its store has it."""

    def told(self) -> str:
        """What it said, for a test that fails."""


def _crlf(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _starttls_works(port: int) -> bool:
    """Whether a client that is not ours gets through STARTTLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
            return client.starttls(context=context)[0] == 220
    except OSError:
        return False


def _maildir(folder: Path) -> list[bytes]:
    return [_crlf(file.read_bytes()) for file in sorted(folder.glob("new/*"))]


class Aiosmtpd:
    """aiosmtpd, which keeps what came over the wire."""

    tls, unknown = True, ""

    def __init__(self, folder: Path) -> None:
        write_certificate(folder)
        self._mailbox = Mailbox(folder)
        self.port = self._mailbox.port

    def start(self) -> None:
        self._mailbox.start()

    def stop(self) -> None:
        self._mailbox.stop()

    def messages(self) -> list[bytes]:
        return [content for _, _, content in self._mailbox.messages]

    def told(self) -> str:
        return ""


class SmtpSink:
    """Postfix's smtp-sink: no TLS, any recipient; writes each message into a file behind lines of its own."""

    tls, unknown = False, ""

    def __init__(self, folder: Path) -> None:
        self._program, self._folder, self.port = installed("smtp-sink", "postfix"), folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        user = ["-u", "root"] if os.geteuid() == 0 else []
        self._process = subprocess.Popen(
            [self._program, *user, "-d", "sink.", f"127.0.0.1:{self.port}", "20"], cwd=self._folder, stderr=subprocess.DEVNULL
        )
        until(lambda: greets(self.port), "smtp-sink")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def messages(self) -> list[bytes]:
        kept = [_crlf(file.read_bytes()) for file in sorted(self._folder.glob("sink.*"))]
        # Before the message X-Client-Addr to X-Rcpt-Args, after it an empty line.
        whole = [content for content in kept if b"\r\nReceived: " in content and content.endswith(b"\r\n\r\n")]
        return [content[content.index(b"\r\nReceived: ") + 2 : -2] for content in whole]

    def told(self) -> str:
        return ""


class PostfixReceives:
    """Postfix with virtual mailboxes."""

    tls, unknown = True, "bad-mailbox"

    def __init__(self, folder: Path) -> None:
        write_certificate(folder)
        boxes = folder / "boxes"
        boxes.mkdir()
        shutil.chown(boxes, "nobody")
        (folder / "known").write_text("".join(f"{address} all/\n" for address in KNOWN))
        uid = boxes.stat().st_uid
        self._boxes = boxes / "all"
        self._postfix = Postfix(
            folder,
            f"virtual_mailbox_domains = {' '.join(DOMAINS)}\n"
            f"virtual_mailbox_base = {boxes}\n"
            f"virtual_mailbox_maps = texthash:{folder}/known\n"
            f"virtual_uid_maps = static:{uid}\nvirtual_gid_maps = static:{uid}\n"
            f"smtpd_relay_restrictions = reject_unauth_destination\n"
            f"smtpd_tls_security_level = may\n"
            f"smtpd_tls_cert_file = {folder}/chain.pem\nsmtpd_tls_key_file = {folder}/key.pem\n",
        )
        self.port = self._postfix.port

    def start(self) -> None:
        self._postfix.start()

    def stop(self) -> None:
        self._postfix.stop()

    def messages(self) -> list[bytes]:
        return _maildir(self._boxes)

    def told(self) -> str:
        return self._postfix.log()


_OPENSMTPD = """\
pki "mx.opensmtpd.test" cert "/etc/chain.pem"
pki "mx.opensmtpd.test" key "/etc/key.pem"
table known {{ {known} }}
listen on 127.0.0.1 port {port} tls pki mx.opensmtpd.test hostname mx.opensmtpd.test
action "keep" maildir "/boxes/all" virtual <known>
match from any for domain {{ {domains} }} action "keep"
"""


class OpenSmtpd:
    """OpenSMTPD with virtual users of one mailbox. Version 6.8 with OpenSSL 3 (Debian 12) loses its private key: no client's TLS works."""

    tls, unknown = True, "policy"  # 524 5.2.4 "Mailing list expansion problem", whatever is wrong with a virtual user

    def __init__(self, folder: Path) -> None:
        write_certificate(folder)
        programs = ["/usr/sbin/smtpd", "/usr/sbin/smtpctl", "/usr/libexec/opensmtpd/mail.maildir"]
        self._jail = Jail(folder / "jail", "opensmtpd", programs, {"server": "opensmtpd", "queue": "opensmtpq"})
        self.port = free_port()
        known = ", ".join(f'"{address}" = "reader"' for address in KNOWN)
        domains = ", ".join(f'"{domain}"' for domain in DOMAINS)
        self._jail.write("/etc/smtpd.conf", _OPENSMTPD.format(known=known, domains=domains, port=self.port))
        self._jail.write("/etc/chain.pem", (folder / "chain.pem").read_bytes())
        self._jail.write("/etc/key.pem", (folder / "key.pem").read_bytes(), mode=0o600)
        self._jail.folder("/var/lib/opensmtpd/empty", "root", 0o755)
        self._jail.folder("/var/spool/smtpd", "root", 0o711)
        self._jail.folder("/var/run", "root", 0o755)
        self._jail.folder("/tmp", "root", 0o1777)
        self._jail.folder("/boxes", "reader", 0o755)

    def start(self) -> None:
        self._jail.start(["/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"])
        until(lambda: greets(self.port), "OpenSMTPD", self._jail.told)
        self.tls = _starttls_works(self.port)

    def stop(self) -> None:
        self._jail.stop()

    def messages(self) -> list[bytes]:
        return _maildir(self._jail.path("/boxes/all"))

    def told(self) -> str:
        return self._jail.told()


_EXIM = """\
primary_hostname = mx.exim.test
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim4/%slog
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
host_lookup =
rfc1413_query_timeout = 0s
never_users =
smtp_accept_queue_per_connection = 0
tls_advertise_hosts = *
tls_certificate = /etc/chain.pem
tls_privatekey = /etc/key.pem
acl_smtp_rcpt = known
begin acl
known:
  require verify = recipient
  accept
begin routers
mailbox:
  driver = accept
  domains = {domains}
  local_parts = zoe : rene
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = /boxes/all
  maildir_format
  create_directory
  user = Debian-exim
"""


class Exim:
    """Exim with one mailbox."""

    tls, unknown = True, "bad-domain"  # "Unrouteable address", for both

    def __init__(self, folder: Path) -> None:
        write_certificate(folder)
        self._jail = Jail(folder / "jail", "exim4-daemon-light", ["/usr/sbin/exim4"], {"server": "Debian-exim"})
        self.port = free_port()
        self._jail.write("/etc/exim.conf", _EXIM.format(port=self.port, domains=" : ".join(DOMAINS)))
        self._jail.write("/etc/chain.pem", (folder / "chain.pem").read_bytes())
        self._jail.write("/etc/key.pem", (folder / "key.pem").read_bytes(), mode=0o640)
        shutil.chown(self._jail.path("/etc/key.pem"), 64801)
        for name in ("/var/spool/exim4", "/var/log/exim4", "/boxes"):
            self._jail.folder(name, "server", 0o750)

    def start(self) -> None:
        self._jail.start(["/usr/sbin/exim4", "-bdf", "-C", "/etc/exim.conf"])
        until(lambda: greets(self.port), "Exim", self.told)

    def stop(self) -> None:
        self._jail.stop()

    def messages(self) -> list[bytes]:
        return _maildir(self._jail.path("/boxes/all"))

    def told(self) -> str:
        logs = [file.read_text(errors="replace") for file in sorted(self._jail.path("/var/log/exim4").glob("*"))]
        return self._jail.told() + "".join(logs)

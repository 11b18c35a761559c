"""A TLS report: where a domain wants it, what it says, and the message that carries it (RFC 8460 sections 3 to 5; pure).

Anything that is not clearly a record, or an address in it that is neither `mailto:` nor `https:`, is passed over. What a report says is
ours: host names, addresses and errors, no recipient and no content.
"""

import base64
import datetime
import gzip
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from gateway.delivery.security.results import Figures
from mail.address import Address, address_of

MOST_PLACES: Final = 5
"""Places of one domain that get a report."""
_DAY: Final = datetime.timedelta(days=1)


class Sender(msgspec.Struct, frozen=True):
    """Who reports: the organisation's domain, the address it writes from, and whom to ask."""

    domain: str
    address: str
    contact: str


class Report(msgspec.Struct, frozen=True):
    """One day of one domain, in gzipped JSON."""

    domain: str
    id: str
    filename: str
    content: bytes


def places(texts: Iterable[str]) -> list[str]:
    """The URIs in the TXT records of `_smtp._tls.DOMAIN`; RFC 8460 section 3 wants exactly one record that begins with v=TLSRPTv1."""
    records = [text for text in texts if text.partition(";")[0].strip() == "v=TLSRPTv1"]
    if len(records) != 1:
        return []
    for field in records[0].split(";")[1:]:
        name, _, value = field.partition("=")
        if name.strip() == "rua":
            return [uri for part in value.split(",") if (uri := part.strip()).lower().startswith(("mailto:", "https://"))][:MOST_PLACES]
    return []


def mail_address(uri: str) -> Address | None:
    """The address of a mailto URI (RFC 6068), or None."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "mailto":
        return None
    return address_of(urllib.parse.unquote(rest.partition("?")[0]))


def web_place(uri: str) -> tuple[str, int, str] | None:
    """Host, port and path of an https URI, or None."""
    try:
        parts = urllib.parse.urlsplit(uri)
        port = parts.port or 443
    except ValueError:
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme != "https" or not parts.hostname or not path.isascii() or not path.isprintable() or " " in path:
        return None
    return (parts.hostname, port, path) if parts.hostname.isascii() else None


def report(sender: Sender, domain: str, day: str, figures: Sequence[Figures]) -> Report:
    """The report of `day` (2026-11-28, UTC) about `domain`."""
    begin = datetime.datetime.fromisoformat(day).replace(tzinfo=datetime.UTC)
    end = begin + _DAY - datetime.timedelta(seconds=1)
    name = f"{day}.{domain}@{sender.domain}"
    said = {
        "organization-name": sender.domain,
        "date-range": {"start-datetime": _time(begin), "end-datetime": _time(end)},
        "contact-info": sender.contact,
        "report-id": name,
        "policies": [_policy(one) for one in figures],
    }
    content = gzip.compress(msgspec.json.encode(said), mtime=int(end.timestamp()))
    # RFC 8460 section 5.1: submitter, domain, begin, end
    filename = f"{sender.domain}!{domain}!{int(begin.timestamp())}!{int(end.timestamp())}.json.gz"
    return Report(domain, name, filename, content)


def _time(at: datetime.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _policy(figures: Figures) -> dict[str, Any]:
    policy: dict[str, Any] = {"policy-type": figures.kind, "policy-string": list(figures.lines), "policy-domain": figures.domain}
    if figures.mx:
        policy["mx-host"] = list(figures.mx)
    said: dict[str, Any] = {
        "policy": policy,
        "summary": {"total-successful-session-count": figures.successes, "total-failure-session-count": figures.failed},
    }
    if figures.failures:
        said["failure-details"] = [
            {
                "result-type": one.result,
                **({"sending-mta-ip": one.source} if one.source else {}),
                **({"receiving-mx-hostname": one.host} if one.host else {}),
                **({"receiving-ip": one.address} if one.address else {}),
                "failed-session-count": one.count,
                "failure-reason-code": one.why,
            }
            for one in figures.failures
        ]
    return said


def message(sender: Sender, report: Report, recipient: Address) -> bytes:
    """The message that carries a report (RFC 8460 section 5.3). It asks that trouble with the very policies it tells of be passed over."""
    boundary = f"=_tls_{base64.b16encode(report.id.encode())[:32].decode().lower()}"
    encoded = base64.encodebytes(report.content).replace(b"\n", b"\r\n")
    head = (
        f"From: <{sender.address}>\r\n"
        f"To: <{recipient.local}@{recipient.domain}>\r\n"
        f"Subject: Report Domain: {report.domain} Submitter: {sender.domain}\r\n Report-ID: <{report.id}>\r\n"
        f"TLS-Report-Domain: {report.domain}\r\n"
        f"TLS-Report-Submitter: {sender.domain}\r\n"
        "TLS-Required: No\r\n"
        "Auto-Submitted: auto-generated\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type="tlsrpt";\r\n boundary="{boundary}"\r\n'
        "\r\n"
        f"--{boundary}\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "\r\n"
        f"This is a report about TLS connections of {sender.domain} to mail servers of {report.domain},\r\n"
        "which asks for it in the DNS (RFC 8460). The figures are in the attachment.\r\n"
        "\r\n"
        f"--{boundary}\r\n"
        "Content-Type: application/tlsrpt+gzip\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        f'Content-Disposition: attachment;\r\n filename="{report.filename}"\r\n'
        "\r\n"
    )
    return head.encode("ascii", "replace") + encoded + f"\r\n--{boundary}--\r\n".encode("ascii")

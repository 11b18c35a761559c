"""Replies, reports and malice per second of processor time: `python -m bench.judgement [--messages FOLDER] [--corpora FOLDER]`.

With `--corpora` (the folder of labelled messages beside the project) also what share of the labels is read right, and how fast those
messages are read; `--misses` prints what was read otherwise.

Replies are all different (addresses, hosts, queue ids), so that no cache answers. Reports are typical ones made here (5 KB, with a returned
message) or the files of a folder. Malice is 10 MB made to be slow. Figures are of processor time, best of three, because the machine is
shared.
"""

import argparse
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

from bench.judgement.labels import Score, complaints, reports
from bench.judgement.labels import replies as labelled_replies
from bounce.classify import classify
from bounce.parse import parse
from fbl.parse import parse as parse_complaint
from mail.reply import Reply

_SAID = (
    (550, "5.1.1", "<{0}@firm{1}.example>: Recipient address rejected: User unknown in virtual mailbox table"),
    (
        550,
        "5.1.1",
        "The email account that you tried to reach does not exist. Please try double-checking the address. {0}si{1}pfc.{0} - gsmtp",
    ),
    (
        421,
        "4.7.0",
        "[TSS04] Messages from 192.0.2.{1} temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see {0}",
    ),
    (554, "5.7.1", "Service unavailable; Client host [192.0.2.{1}] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/{0}"),
    (452, "4.2.2", "<{0}@firm{1}.example> Quota exceeded (mailbox for user is full)"),
    (451, "4.7.1", "Greylisting in action, please come back in 00:0{1}:00 ({0})"),
    (550, "", "No such user {0} here {1}"),
    (550, "5.7.26", "Unauthenticated email from firm{1}.example is not accepted due to domain's DMARC policy. {0} - gsmtp"),
    (421, "", "mx{1}.firm.example Service not available, closing transmission channel {0}"),
    (550, "5.4.1", "[{0}@firm.example]: Recipient address rejected: Access denied. AS(201806281) [AM{1}EUR02.prod.protection.outlook.com]"),
)


def replies(number: int) -> list[Reply]:
    """So many different refusals."""
    source = random.Random(1)
    return [
        Reply(code, text.format(f"u{source.randrange(10**9)}", source.randrange(9)), status)
        for code, status, text in _SAID * (number // len(_SAID))
    ]


def report(number: int) -> bytes:
    """A typical delivery report of about 5 KB."""
    address = f"user{number}@firm{number % 50}.example"
    received = "".join(f"Received: from a{hop}.example ([192.0.2.{hop}]) by b{hop}.example with ESMTPS id {number:x}\n" for hop in range(4))
    returned = (
        f"Return-Path: <news@sender.example>\n{received}DKIM-Signature: v=1; a=rsa-sha256; b={'a' * 340}\nFrom: news@sender.example\n"
    )
    returned += (
        f"To: {address}\nSubject: Offer {number}\nMessage-ID: <{number}@sender.example>\nContent-Type: text/html\n\n"
        + "<p>text</p>\n" * 150
    )
    words = f"<{address}>: host mx.firm.example[192.0.2.9] said: 550 5.1.1\n    <{address}>: User unknown (in reply to RCPT TO command)\n"
    status = f"Reporting-MTA: dns; out.sender.example\n\nFinal-Recipient: rfc822; {address}\nAction: failed\nStatus: 5.1.1\n"
    status += f"Remote-MTA: dns; mx.firm.example\nDiagnostic-Code: smtp; 550 5.1.1 <{address}>: User unknown\n"
    head = f"Return-Path: <>\n{received}From: MAILER-DAEMON@out.sender.example (Mail Delivery System)\n"
    head += "Subject: Undelivered Mail Returned to Sender\n"
    head += 'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n--b\nContent-Type: text/plain\n\n'
    text = (
        f"This is the mail system at host out.sender.example.\n\nI'm sorry to have to inform you that your message could not\n\n{words}\n"
    )
    parts = f"--b\nContent-Type: message/delivery-status\n\n{status}\n--b\nContent-Type: message/rfc822\n\n{returned}\n--b--\n"
    return (head + text + parts).replace("\n", "\r\n").encode()


MALICE: dict[str, Callable[[], bytes]] = {
    "50,000 levels": lambda: (
        b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(50_000)) + b"x" * 7_000_000
    ),
    "1,400,000 parts": lambda: b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 1_400_000,
    "2,000,000 fields": lambda: b"A: b\n" * 2_000_000,
    "5,000,000 at signs": lambda: b"Subject: failure notice\nFrom: mailer-daemon@x.example\n\nuser unknown\n" + b"a@" * 5_000_000,
    "10,000,000 tags": lambda: b"Content-Type: text/html\n\n" + b"<" * 10_000_000,
}


def rate(work: Callable[[], int]) -> float:
    """Things per second of processor time, best of three."""
    best = 0.0
    for _ in range(3):
        before = time.process_time()
        done = work()
        best = max(best, done / (time.process_time() - before))
    return best


def measured(corpora: Path, misses: bool) -> None:
    """Prints what share of the labels is read right, and the speed."""
    asked: tuple[tuple[str, Score], ...] = (
        ("labelled replies in the right category", labelled_replies(corpora)),
        ("labelled fields of complaints", complaints(corpora)),
    )
    for name, score in asked:
        print(f"{name}: {score.right} of {score.asked}, {score.share:.1%}")
        if misses:
            print("\n".join(f"  {miss}" for miss in score.misses))
    for name, raws in zip(("with a status part", "without one"), reports(corpora), strict=True):
        size = sum(map(len, raws)) // max(1, len(raws))
        speed = rate(lambda raws=raws: len([parse(raw) for raw in raws * 5]))  # type: ignore[misc]
        print(f"bounces {name} ({len(raws)}, {size:,} octets each): {speed:,.0f}/s of processor time")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--messages", type=Path, help="folder of messages to read instead of made ones")
    parser.add_argument("--corpora", type=Path, help="folder of labelled messages and replies to measure against")
    parser.add_argument("--misses", action="store_true", help="with --corpora: print what is read otherwise than its label")
    arguments = parser.parse_args()
    if arguments.corpora:
        measured(arguments.corpora, arguments.misses)
        return
    folder = arguments.messages
    said = [replies(30_000) for _ in range(3)]
    print(f"replies classified: {rate(lambda: len([classify(reply) for reply in said.pop()])):,.0f}/s of processor time")
    raws = (
        [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
        if folder
        else [report(number) for number in range(2_000)]
    )
    size = sum(map(len, raws)) // len(raws)
    print(f"reports parsed ({len(raws)}, {size:,} octets each): {rate(lambda: len([parse(raw) for raw in raws])):,.0f}/s of processor time")
    for name, make in MALICE.items():
        raw = make()
        memory, before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        parse(raw)
        parse_complaint(raw)
        used, grown = time.process_time() - before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        print(f"10 MB of {name}: {used:.3f} s for both parsers, {grown / 1024:.0f} MB more memory")


if __name__ == "__main__":
    main()

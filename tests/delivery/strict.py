"""A receiver that forgives nothing: it reads every octet a client writes and notes what no RFC allows.

It was written from RFC 5321, 1870, 2920, 3461, 6152 and 6531 alone and shares no code with the gateway. `Strict` has no I/O: `receive`
takes octets and returns what to write. What a client does wrong stands in `faults`; messages it took, undone of their dots, in `taken`.
Which replies it gives is the test's choice, so that a client is seen after refusals too.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

COMMAND_LINE = 512  # RFC 5321 section 4.5.3.1.4, with CRLF
TEXT_LINE = 998  # RFC 5321 section 4.5.3.1.6, without CRLF
LONGER = {
    "MAIL": {"SIZE": 26, "8BITMIME": 17, "SMTPUTF8": 10, "DSN": 500},
    "RCPT": {"DSN": 500},
}
"""Octets that extensions allow beyond that: RFC 1870 section 3, RFC 6152 section 2, RFC 6531 section 3.1, RFC 3461 section 4."""
GROUP_ENDS = {"EHLO", "HELO", "DATA", "QUIT", "STARTTLS", "VRFY", "EXPN", "TURN", "NOOP"}  # RFC 2920 section 3.1

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+"
_LOCAL = rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*")'
_LABEL = r"[A-Za-z0-9\x80-\U0010ffff](?:[A-Za-z0-9\x80-\U0010ffff-]*[A-Za-z0-9\x80-\U0010ffff])?"
_PATH = rf"{_LOCAL}@(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])"
_MAIL = re.compile(rf"MAIL FROM:<((?:{_PATH})?)>((?: [A-Z0-9][A-Z0-9-]*(?:=[!-<>-~\x80-\U0010ffff]+)?)*)")
_RCPT = re.compile(rf"RCPT TO:<({_PATH})>((?: [A-Z0-9][A-Z0-9-]*(?:=[!-<>-~\x80-\U0010ffff]+)?)*)")
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+"  # RFC 3461 section 4
_VALUES = {
    "SIZE": r"[0-9]{1,20}",
    "BODY": "7BIT|8BITMIME",
    "SMTPUTF8": "",
    "RET": "FULL|HDRS",
    "ENVID": _XTEXT,
    "NOTIFY": "NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY))*",
    "ORCPT": rf"[A-Za-z0-9-]+;{_XTEXT}",
}
_NEEDS = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN", "NOTIFY": "DSN", "ORCPT": "DSN"}
_EHLO = re.compile(rf"EHLO (?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])")

Chooser = Callable[[str, int], str | None]
"""Verb and how often it came, to the reply, or None for yes."""


@dataclass
class Taken:
    """A message as it came: its envelope and its octets without the dots of transparency."""

    sender: str
    recipient: str
    parameters: dict[str, str]
    content: bytes


class Strict:
    """One connection. `offers` are the keywords of its EHLO reply, such as `PIPELINING`, `SIZE 100000`."""

    def __init__(self, offers: list[str], choose: Chooser = lambda verb, count: None) -> None:
        self._offers = offers
        self._keywords = {offer.split()[0] for offer in offers}
        self._choose = choose
        self._counts: dict[str, int] = {}
        self._buffer = b""
        self._greeted = False
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._refused_in_group = False
        self._parameters: dict[str, str] = {}
        self._in_content = False
        self.ended = False
        self.faults: list[str] = []
        self.taken: list[Taken] = []

    def greeting(self) -> bytes:
        return b"220 strict.example ESMTP\r\n"

    def receive(self, octets: bytes) -> bytes:
        """What is answered to `octets`."""
        self._buffer += octets
        out: list[str] = []
        while self._buffer and not self.ended:
            answer = self._content() if self._in_content else self._command()
            if answer is None:
                break
            out.append(answer)
        return "".join(f"{line}\r\n" for answer in out for line in answer.split("\n")).encode()

    def _fault(self, what: str) -> None:
        self.faults.append(what)

    def _reply(self, verb: str, yes: str) -> str:
        self._counts[verb] = self._counts.get(verb, 0) + 1
        return self._choose(verb, self._counts[verb]) or yes

    # Commands

    def _command(self) -> str | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self._fault(f"a line end that is not CRLF: {line[:80]!r}")
        try:
            text = line.removesuffix(b"\r\n").decode()
        except UnicodeDecodeError:
            self._fault(f"a command that is not UTF-8: {line[:80]!r}")
            return "500 no"
        verb = text.partition(" ")[0]
        if not text.isprintable():
            self._fault(f"a command with a control character: {text!r}")
        longest = COMMAND_LINE + sum(LONGER.get(verb, {}).get(keyword, 0) for keyword in self._keywords)
        if len(line) > longest:
            self._fault(f"a command of {len(line)} octets: {text[:80]}")
        if self._buffer and (verb in GROUP_ENDS or "PIPELINING" not in self._keywords or not self._greeted):
            self._fault(f"{verb} was not waited for")
        handler = {"EHLO": self._ehlo, "MAIL": self._mail, "RCPT": self._rcpt, "DATA": self._data, "RSET": self._rset, "QUIT": self._quit}
        if verb not in handler:
            self._fault(f"an unknown command: {text[:80]}")
            return "500 no"
        return handler[verb](text)

    def _ehlo(self, text: str) -> str:
        if not _EHLO.fullmatch(text) or not text.isascii():
            self._fault(f"EHLO without a name: {text}")
        self._greeted = True
        self._forget()
        lines = ["strict.example", *self._offers]
        return "\n".join(f"250{' ' if number == len(lines) else '-'}{line}" for number, line in enumerate(lines, 1))

    def _mail(self, text: str) -> str:
        match = _MAIL.fullmatch(text)
        if match is None:
            self._fault(f"MAIL that is none: {text}")
            return "501 no"
        if not self._greeted:
            self._fault("MAIL before EHLO")
        if self._sender is not None:
            self._fault("MAIL in a transaction")  # RFC 5321 section 4.1.4
        self._parameters = self._read_parameters(text, match[2])
        if not text.isascii() and "SMTPUTF8" not in self._parameters:
            self._fault(f"a path that is not ASCII without SMTPUTF8: {match[1]}")
        self._recipients = []
        reply = self._reply("MAIL", "250 ok")
        self._refused_in_group = not reply.startswith("2")
        self._sender = None if self._refused_in_group else match[1]
        return reply

    def _read_parameters(self, text: str, tail: str) -> dict[str, str]:
        """Only what was offered, once, and with a value that can be."""
        words = [word.partition("=") for word in tail.split()]
        found = {keyword: value for keyword, _, value in words}
        if len(found) != len(words):
            self._fault(f"a parameter twice: {text}")
        for keyword, value in found.items():
            if _NEEDS.get(keyword) not in self._keywords:
                self._fault(f"{keyword} was not offered: {text}")
            if not re.fullmatch(_VALUES.get(keyword, ""), value):
                self._fault(f"a bad value of {keyword}: {text}")
        return found

    def _rcpt(self, text: str) -> str:
        match = _RCPT.fullmatch(text)
        if match is None:
            self._fault(f"RCPT that is none: {text}")
            return "501 no"
        if self._sender is None:
            return self._out_of_order("RCPT")
        if not match[1].isascii() and "SMTPUTF8" not in self._parameters:
            self._fault(f"a path that is not ASCII without SMTPUTF8: {match[1]}")
        if {"NOTIFY", "ORCPT"} & self._parameters.keys() or {"SIZE", "BODY", "RET", "ENVID"} & self._read_parameters(text, match[2]).keys():
            self._fault(f"a parameter of the other command: {text}")
        reply = self._reply("RCPT", "250 ok")
        if reply.startswith("2"):
            self._recipients.append(match[1])
        else:
            self._refused_in_group = True
        return reply

    def _data(self, text: str) -> str:
        if text != "DATA":
            self._fault(f"DATA with an argument: {text}")
        if self._sender is None:
            return self._out_of_order("DATA")
        if not self._recipients and (not self._refused_in_group or "PIPELINING" not in self._keywords):
            self._fault("DATA without RCPT")
        reply = self._reply("DATA", "354 go" if self._recipients else "554 no valid recipients")
        self._in_content = reply.startswith("354")
        return reply

    def _out_of_order(self, verb: str) -> str:
        """Allowed only behind a refusal in the same group (RFC 2920 section 3.1)."""
        if not (self._refused_in_group and "PIPELINING" in self._keywords):
            self._fault(f"{verb} without MAIL")
        return "503 MAIL first"

    def _rset(self, text: str) -> str:
        if text != "RSET":
            self._fault(f"RSET with an argument: {text}")
        self._forget()
        return "250 ok"

    def _quit(self, text: str) -> str:
        if text != "QUIT":
            self._fault(f"QUIT with an argument: {text}")
        self.ended = True
        return "221 bye"

    def _forget(self) -> None:
        self._sender, self._recipients, self._parameters, self._refused_in_group = None, [], {}, False

    # The message

    def _content(self) -> str | None:
        """Everything up to CRLF.CRLF; the CRLF of the DATA line counts (RFC 5321 section 4.1.1.4)."""
        at = -2 if self._buffer.startswith(b".\r\n") else self._buffer.find(b"\r\n.\r\n")
        if at == -1:
            return None
        content, self._buffer = self._buffer[: at + 2], self._buffer[at + 5 :]
        self._in_content = False
        plain = self._check_content(content)
        if not self._recipients:
            if content:
                self._fault("a message for nobody")
            self._forget()
            return "554 no valid recipients"
        reply = self._reply("DOT", "250 taken")
        if reply.startswith("2"):
            self.taken.append(Taken(self._sender or "", self._recipients[0], self._parameters, plain))
        self._forget()
        return reply

    def _check_content(self, content: bytes) -> bytes:
        """The message without its stuffed dots."""
        if content.count(b"\r") != content.count(b"\r\n") or content.count(b"\n") != content.count(b"\r\n"):
            self._fault("a bare CR or LF in a message")
        lines = content.split(b"\r\n")
        plain = []
        for line in lines:
            if line.startswith(b".") and not line.startswith(b".."):
                self._fault(f"a dot that was not doubled: {line[:80]!r}")
            plain.append(line[1:] if line.startswith(b".") else line)
            if len(plain[-1]) > TEXT_LINE:
                self._fault(f"a line of {len(plain[-1])} octets")
        found = b"\r\n".join(plain)
        if "SIZE" in self._parameters and self._recipients and int(self._parameters["SIZE"]) != len(found):
            self._fault(f"SIZE={self._parameters['SIZE']} of a message of {len(found)} octets")
        header, _, body = found.partition(b"\r\n\r\n")
        if not body.isascii() and self._parameters.get("BODY") != "8BITMIME":
            self._fault("octets over 127 without BODY=8BITMIME")
        if not header.isascii() and "SMTPUTF8" not in self._parameters:
            self._fault("a header that is not ASCII without SMTPUTF8")  # which suffices for a header: RFC 6531 section 3.6
        return found

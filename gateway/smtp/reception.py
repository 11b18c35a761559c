"""A message while it arrives: pieces by DATA or BDAT in, the whole content or the reply that refuses it out.

Promises: only CRLF.CRLF ends DATA (RFC 5321 section 4.1.1.4), and it is looked for in new octets only (and the four before them); over the
size limit nothing is kept any more, while counting goes on to the end; the pieces are joined once; there is no loop over lines.

It does not know the dialogue around it: the server says when a message begins, how large a chunk is, and what is answered.
"""

from typing import Literal

from gateway.smtp import replies
from mail.reply import Reply

SMALL_PIECE = 16_384
"""Pieces shorter than this are joined as they come: a peer that sends single octets must not cost a list entry for each."""
_ENDING = 5
"""Octets of CRLF.CRLF."""


_ALL_BUT_NEWLINES = bytes(octet for octet in range(256) if octet not in b"\r\n")


class Reception:
    """One message. `size` counts octets as they came (stuffed dots included), `held` those that are kept."""

    __slots__ = ("_begun", "_limit", "_pieces", "_stuffed", "complete", "held", "refusal", "size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._begun = False
        self._stuffed = False
        self.complete = False
        self.size = 0
        self.held = 0
        self.refusal: Reply | None = None

    def scan(self, buffer: bytes, start: int) -> int:
        """Take DATA from `buffer[start:]`; returns where what is left begins. At first, `start` is at the CRLF of the DATA line,
        which may be the first half of the end (RFC 5321 section 4.1.1.4). One search finds the end and, before it, a stuffed dot."""
        dot = end = buffer.find(b"\r\n.", start)
        if dot >= 0 and buffer[dot + 3 : dot + _ENDING] != b"\r\n":
            self._stuffed = True
            end = buffer.find(b"\r\n.\r\n", dot)
        first = start if self._begun else start + 2
        if end >= 0:
            self.complete = True
            self.take(buffer[first : end + 2])
            return end + _ENDING
        cut = len(buffer) - (_ENDING - 1)  # the longest part of CRLF.CRLF that can stand at the end without being it
        if cut <= first:
            return start
        self._begun = True
        self.take(buffer[first:cut])
        return cut

    def take(self, piece: bytes) -> None:
        """One more piece."""
        self.size += len(piece)
        if self.refusal is not None:
            return
        if self.size > self._limit:
            self.refuse(replies.TOO_LARGE)
            return
        self.held += len(piece)
        if self._pieces and len(self._pieces[-1]) < SMALL_PIECE:
            self._pieces[-1] += piece
        else:
            self._pieces.append(piece)

    def fits(self, octets: int) -> bool:
        """Whether so many more are within the limit."""
        return self.size + octets <= self._limit

    def refuse(self, reply: Reply) -> None:
        """Keep nothing, now and from here on; `reply` is for the end."""
        self.refusal = reply
        self._pieces = []
        self.held = 0

    def finish(self, bare_newline: Literal["refuse", "normalise"]) -> bytes | Reply:
        """The whole content, unstuffed and with no bare CR or LF, or the refusal."""
        if self.refusal is not None:
            return self.refusal
        content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        if self._stuffed:  # RFC 5321 section 4.5.2
            content = content[1 if content.startswith(b".") else 0 :].replace(b"\r\n.", b"\r\n")
        # As many CRs and LFs as pairs of them, or some stand alone. Dropping all else is the quickest count of single octets.
        if len(content.translate(None, _ALL_BUT_NEWLINES)) != 2 * content.count(b"\r\n"):
            if bare_newline == "refuse":
                return replies.BARE_NEWLINE
            content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        self.held = len(content)
        return content

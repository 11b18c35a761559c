"""The envelope of one transaction as the client writes it: the lines of MAIL and RCPT with their parameters.

Which parameters a peer may be sent is the client's matter; here they are only written. Pure.
"""

Dsn = tuple[str, str]
"""Parameters of DSN (RFC 3461) for MAIL and for RCPT, each with a space before it."""
NO_DSN: Dsn = ("", "")

EnvelopeLines = tuple[bytes, bytes]
"""MAIL and RCPT."""


def envelope(
    sender: str,
    recipient: str,
    size: int = 0,
    eight_bit: bool = False,
    utf8: bool = False,
    dsn: Dsn = NO_DSN,
    requiretls: bool = False,
) -> EnvelopeLines:
    """MAIL and RCPT as lines. Raises ValueError for a path that would end its line; such a thing must not get here."""
    if "\r" in sender or "\n" in sender or "\r" in recipient or "\n" in recipient:
        raise ValueError("a line break in a path")
    size_parameter = f" SIZE={size}" if size else ""
    parameters = f"{size_parameter}{' BODY=8BITMIME' if eight_bit else ''}{' SMTPUTF8' if utf8 else ''}"
    if requiretls:
        parameters += " REQUIRETLS"
    return f"MAIL FROM:<{sender}>{parameters}{dsn[0]}\r\n".encode(), f"RCPT TO:<{recipient}>{dsn[1]}\r\n".encode()

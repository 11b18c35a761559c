"""What a report says to people: who, what the other side said, and what happens next. English, and French above it for French mail.

Pure. Every text names the recipient and the reply, and says whether the sender must do anything.
"""

from bounce.report import Action
from gateway.spool.notice import Notice

MOST_NAMED = 50
"""Recipients named for people; programs find all of them in the next part."""

SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.RELAYED: "Your message was passed on",
}

_ENGLISH = {
    Action.FAILED: (
        "Your message could not be delivered to:",
        "It will not be tried again. If the address is right, the answer above tells\nwhat to change; send the message again after that.",
    ),
    Action.DELAYED: (
        "Your message has not been delivered yet to:",
        "You need not do anything: it is tried again until {until}.",
    ),
    Action.RELAYED: (
        "Your message was passed on, as you asked to be told, to the server of:",
        "That server sends no confirmations: this is the last that is heard of it,\nunless it comes back.",
    ),
}
_FRENCH = {
    Action.FAILED: (
        "Votre message n'a pas pu être remis à :",
        "Aucun nouvel essai ne sera fait. Si l'adresse est juste, la réponse\nci-dessus dit ce qu'il faut changer ; "
        "renvoyez ensuite le message.",
    ),
    Action.DELAYED: (
        "Votre message n'a pas encore été remis à :",
        "Vous n'avez rien à faire : de nouveaux essais ont lieu jusqu'au {until}.",
    ),
    Action.RELAYED: (
        "Votre message a été transmis, comme vous avez demandé à le savoir, au serveur de :",
        "Ce serveur n'envoie pas de confirmation : vous n'en saurez pas plus,\nsauf s'il revient.",
    ),
}
_SAID = {"en": "{host} said:", "fr": "{host} a répondu :"}
_UNTRIED = {"en": "It could not be tried in the time it had.", "fr": "Aucun essai n'a été possible dans le délai."}
_MORE = {"en": "and {count} more", "fr": "et {count} autres"}
_SYSTEM = {"en": "This is the mail system of {hostname}.", "fr": "Ceci est un message automatique du serveur {hostname}."}


def printable(line: str) -> str:
    """`line` on one line: whatever is not printable becomes a space."""
    return line if line.isprintable() else "".join(letter if letter.isprintable() else " " for letter in line)


def text(action: Action, notices: list[Notice], hostname: str, until: str, french: bool) -> str:
    """The text for people, lines with CRLF. `until`: when a delayed delivery is given up, written out."""
    english = _in_one_language("en", _ENGLISH[action], notices, hostname, until)
    if not french:
        return english
    return _in_one_language("fr", _FRENCH[action], notices, hostname, until) + "\r\n-----\r\n\r\n" + english


def _in_one_language(language: str, words: tuple[str, str], notices: list[Notice], hostname: str, until: str) -> str:
    beginning, end = words
    lines = [_SYSTEM[language].format(hostname=hostname), "", beginning, ""]
    for notice in notices[:MOST_NAMED]:
        lines += [printable(line) for line in (f"  <{notice.recipient}>", *_what_was_said(notice, language), "")]
    if len(notices) > MOST_NAMED:
        lines += [f"  {_MORE[language].format(count=len(notices) - MOST_NAMED)}", ""]
    lines += end.format(until=until).split("\n")
    return "\r\n".join(lines) + "\r\n"


def _what_was_said(notice: Notice, language: str) -> list[str]:
    if not notice.reply.code:
        return [f"    {_UNTRIED[language]}"]
    if notice.reply.synthetic or not notice.host:
        return [f"    {notice.reply}"]
    return [f"    {_SAID[language].format(host=notice.host)}", f"    {notice.reply}"]

"""The campaign of the demo: who gets it, what it says, and a client that hands it to a gateway over several connections.

The newsletter is French for some recipients and English for others, 5 to 10 KB, text and HTML, with the header fields a newsletter tool
writes. Names and domains are made up; the same count always gives the same campaign. The client is aiosmtplib: one we did not write.
"""

import asyncio
import email.utils
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from string import Template

import aiosmtplib
import msgspec

from sandbox.scenario import Scenario
from sandbox.temper import lot

SENDER_DOMAIN = "atelier.test"
SENDER = f"lettre@{SENDER_DOMAIN}"
CAMPAIGN = "automne-2026"

_FIRST = ("camille", "louise", "emma", "jade", "chloe", "lina", "hugo", "jules", "adam", "nathan", "tom", "oliver", "amelia", "george")
_LAST = ("martin", "bernard", "petit", "robert", "richard", "durand", "dubois", "moreau", "laurent", "simon", "smith", "jones", "taylor")

_TEMPLATE = Template((Path(__file__).parent / "scenarios" / "newsletter.html").read_text("utf-8"))


class Words(msgspec.Struct, frozen=True):
    """One language's newsletter."""

    language: str
    subject: str
    preheader: str
    greeting: str
    offers: tuple[tuple[str, str], ...]
    button: str
    footer: str
    unsubscribe: str
    online: str


FRENCH = Words(
    language="fr",
    subject="L'automne à l'atelier : douze pièces, une seule série",
    preheader="Réservées à nos abonnés jusqu'à dimanche, avant l'ouverture à tous.",
    greeting="Bonjour $name, voici ce que nous avons tissé, tourné et cousu pour la saison.",
    offers=(
        ("L'écharpe en laine mérinos", "Tissée à façon dans les Vosges, teinte à la garance ; elle s'assouplit avec les années."),
        ("Le bol à thé d'octobre", "Grès chamotté, émail de cendre. Chaque pièce garde la trace du feu, aucune n'est pareille."),
        ("La lampe de chevet en frêne", "Un pied tourné d'un seul morceau, un abat-jour en papier plissé, une lumière qui ne fatigue pas."),
        ("Le carnet du jardinier", "Cent soixante pages de papier recyclé, une reliure qui reste ouverte, et la lune de chaque mois."),
        ("La nappe à carreaux", "Lin lavé, ourlet à jours. Elle sort de la machine comme elle y est entrée : prête à servir."),
        ("L'atelier du samedi", "Deux heures pour apprendre à rempailler une chaise, avec un café, huit places et beaucoup de patience."),
    ),
    button="Découvrir",
    footer="Vous recevez cette lettre parce que vous l'avez demandée sur notre site. Atelier des Saisons, 12 rue du Four, Épinal.",
    unsubscribe="Se désinscrire",
    online="Lire en ligne",
)
ENGLISH = Words(
    language="en",
    subject="Autumn at the workshop: twelve pieces, one run only",
    preheader="Kept for our subscribers until Sunday, before the shop opens to everyone.",
    greeting="Hello $name, this is what we wove, turned and sewed for the season.",
    offers=(
        ("The merino scarf", "Woven to order in the Vosges, dyed with madder; it grows softer with the years."),
        ("The October tea bowl", "Stoneware under an ash glaze. Every piece keeps the mark of its fire – no two are alike."),
        ("The ash bedside lamp", "A foot turned from a single block, a shade of pleated paper, a light that does not tire the eye."),
        ("The gardener's notebook", "A hundred and sixty pages of recycled paper, a binding that stays open, and the moon of every month."),
        ("The chequered tablecloth", "Washed linen with a drawn-thread hem. It leaves the machine as it went in: ready for the table."),
        ("Saturday at the bench", "Two hours to learn how a chair is rushed, with coffee, eight places and a good deal of patience."),
    ),
    button="Have a look",
    footer="You get this letter because you asked for it at the till or on our site. Atelier des Saisons, 12 rue du Four, Épinal, France.",
    unsubscribe="Unsubscribe",
    online="Read online",
)


def recipients(scenario: Scenario, count: int) -> list[str]:
    """`count` different addresses over the scenario's domains by their weights, mixed; always the same for the same arguments."""
    weighted = [(mailboxes.weight, mailboxes.domains) for mailboxes in scenario.provider]
    weighted += [(weight, [domain]) for domain, weight in scenario.elsewhere.items()]
    ends = accumulate(weight for weight, _ in weighted)
    places = [(end, domains) for end, (_, domains) in zip(ends, weighted, strict=True)]
    total = places[-1][0]
    found = []
    for number in range(count):
        ticket = lot("domain", str(number)) * total
        domains = next(domains for end, domains in places if ticket < end)
        domain = domains[int(lot("which", str(number)) * len(domains))].replace("*", "mail")
        first, last = _FIRST[int(lot("first", str(number)) * len(_FIRST))], _LAST[int(lot("last", str(number)) * len(_LAST))]
        found.append(f"{first}.{last}.{number}@{domain}")
    return found


def newsletter(number: int, recipient: str) -> bytes:
    """The campaign's message to one recipient, with CRLF line ends and 8-bit text."""
    words = FRENCH if number % 3 else ENGLISH
    name = recipient.partition(".")[0].capitalize()
    greeting = words.greeting.replace("$name", name)
    count = 4 + number % 3
    offers = "\n".join(_offer(words, title, text, each) for each, (title, text) in enumerate(words.offers[:count], 1))
    fields = msgspec.structs.asdict(words) | {"number": str(number), "greeting": greeting, "offers": offers}
    html = _TEMPLATE.substitute(fields)
    plain = "\n\n".join([greeting, *(f"{title}\n{text}" for title, text in words.offers[:count]), words.footer])
    return "\r\n".join(_lines(number, recipient, name, words, plain, html)).encode("utf-8")


def _offer(words: Words, title: str, text: str, number: int) -> str:
    """One offer as HTML, long enough to be like a real one."""
    place = f"https://news.atelier.test/c/{CAMPAIGN}/{number}?utm_source=newsletter&amp;utm_medium=email&amp;utm_campaign={CAMPAIGN}"
    return "\n".join(
        (
            f'<div class="offer"><a href="{place}">',
            f'<img src="https://cdn.atelier.test/2026/{CAMPAIGN}/{number}@2x.jpg" alt="{title}" width="552" height="310"',
            'style="display:block;width:100%;height:auto;border:0;outline:none;text-decoration:none"></a>',
            f'<h2 style="margin:16px 0 8px;font-size:19px;line-height:26px">{title}</h2>',
            f'<p style="margin:0 0 12px;font-size:15px;line-height:23px">{text}</p>',
            '<table role="presentation" cellpadding="0" cellspacing="0" border="0"><tr><td bgcolor="#7a3b2e" style="border-radius:3px">',
            f'<a class="button" href="{place}" target="_blank" rel="noopener">{words.button}</a></td></tr></table></div>',
        )
    )


def _lines(number: int, recipient: str, name: str, words: Words, plain: str, html: str) -> Iterator[str]:
    """The lines of the message. Subject as RFC 2047 encoded words, bodies as 8-bit UTF-8."""
    boundary = f"=_atelier_{number}"
    yield f'From: "Atelier des Saisons" <{SENDER}>'
    yield f"To: {name} <{recipient}>"
    yield f"Subject: {_encoded(words.subject)}"
    yield f"Date: {email.utils.formatdate()}"
    yield f"Message-ID: <{CAMPAIGN}.{number}@{SENDER_DOMAIN}>"
    yield f"X-Campaign: {CAMPAIGN}"
    yield f"List-Id: La lettre de l'atelier <lettre.{SENDER_DOMAIN}>"
    yield f"List-Unsubscribe: <https://news.atelier.test/u/{number}>, <mailto:desinscription@{SENDER_DOMAIN}?subject={number}>"
    yield "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
    yield "MIME-Version: 1.0"
    yield f'Content-Type: multipart/alternative; boundary="{boundary}"'
    for kind, text in (("plain", plain), ("html", html)):
        yield ""
        yield f"--{boundary}"
        yield f"Content-Type: text/{kind}; charset=utf-8"
        yield "Content-Transfer-Encoding: 8bit"
        yield ""
        yield from text.split("\n")
    yield f"--{boundary}--"
    yield ""


def _encoded(text: str) -> str:
    """`text` as encoded words of RFC 2047 where it is not ASCII, folded."""
    if text.isascii():
        return text
    from email.header import Header

    return Header(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")


class Sent(msgspec.Struct):
    """What the gateway answered: recipients whose message it took, and the refusals of the others."""

    accepted: list[str] = []
    refused: list[tuple[str, str]] = []


async def send(
    host: str, port: int, to: list[str], connections: int = 8, progress: Callable[[], None] = lambda: None, patience: float = 60.0
) -> Sent:
    """Hand the campaign to the gateway, one message a recipient, over `connections`; `progress` is called after each. Raises OSError or
    aiosmtplib.SMTPException when the gateway cannot be spoken to."""
    sent = Sent()
    waiting = iter(enumerate(to))

    async def one_connection() -> None:
        client = aiosmtplib.SMTP(hostname=host, port=port, start_tls=False, timeout=patience)
        await client.connect()
        try:
            for number, recipient in waiting:
                content = newsletter(number, recipient)
                try:
                    await client.sendmail(SENDER, recipient, content, mail_options=["BODY=8BITMIME"])
                    sent.accepted.append(recipient)
                except aiosmtplib.SMTPResponseException as error:
                    sent.refused.append((recipient, f"{error.code} {error.message}"))
                except aiosmtplib.SMTPRecipientsRefused as error:
                    sent.refused.append((recipient, f"{error.recipients[0].code} {error.recipients[0].message}"))
                progress()
            await client.quit()
        finally:
            client.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(connections, len(to)) or 1):
            group.create_task(one_connection())
    return sent

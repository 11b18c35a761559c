"""The envelope sender of a delivery: a short token in the sending domain's own return domain, else in the gateway's (DESIGN section 3).

Where the sending domain has a return domain of its own, SPF is checked against a name of that domain and so aligns with From. Mail with the
null sender keeps it: no token, for there is never a bounce of a bounce (RFC 5321 section 4.5.5). Fixed at acceptance, the same in every
attempt. Pure.
"""

from config.sending import Domain
from mail.address import Address
from mail.token import TokenKeys, day_of, short


def return_path(keys: TokenKeys, delivery: int, sender: Address, domain: Domain | None, gateway_domain: str, now: float) -> str:
    """The return path of `delivery`, accepted at `now`, from `sender`; `domain` is the configured sending domain, if there is one."""
    if not sender.text:
        return ""
    own = domain.return_domain if domain is not None else None
    return f"{short(keys, delivery, day_of(now))}@{own or gateway_domain}"

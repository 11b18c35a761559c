"""`mailwright check`: what the configuration means, in a few lines, and what looks unwise in it.

Errors are the loader's matter; here everything is allowed, and some of it deserves a word. Reads the modes of TLS key files and nothing
else: no DNS, no sockets. DKIM keys are read, and judged, by `gateway.compose.keyring`.
"""

import ipaddress
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from config.settings import Settings
from config.submission import ListenerTls
from config.units import format_duration, format_rate, format_size, split_host_port

_TOLD_BY = {"events": "events", "dsn": "reports", "both": "events and reports"}
_WIDE = {4: 8, 6: 32}
"""Prefix lengths below which a trusted network is more than one organisation's."""


def summary(settings: Settings, path: Path | None) -> list[str]:
    """The effective configuration in lines for people."""
    gateway = settings.gateway
    lines = [
        f"configuration  {path if path is not None else 'none: the defaults'}",
        f"node           {gateway.node} (number {gateway.number}), host name {gateway.hostname or 'of the system'}, data in {gateway.data}",
    ]
    for listener in settings.listener:
        who = (
            f"{', '.join(listener.trusted_networks)} as {listener.trusted_account}"
            if listener.trusted_account and listener.trusted_networks
            else "nobody"
        )
        proxies = f", behind {', '.join(listener.proxy_networks)}" if listener.proxy_networks else ""
        lines.append(f"listener       {listener.name} on {listener.address}{proxies}, TLS {listener.tls}, without password: {who}")
    for account in settings.account:
        login = "password" if account.password else "no password"
        quota = "".join(
            f", {format_rate(rate)} {what}"
            for rate, what in ((account.message_rate, "messages"), (account.recipient_rate, "recipients"))
            if rate is not None
        )
        uses = f"stream {account.stream}, told by {_TOLD_BY[account.notify]}"
        lines.append(f"account        {account.name}: {login}{quota}, domains {', '.join(account.domains)}, {uses}")
    lines.append(_suppression(settings))
    for domain in settings.domain:
        keys = ", ".join(f"{key.selector} ({key.algorithm})" for key in domain.dkim) or f"no key: {domain.without_key}"
        lines.append(f"domain         {domain.name}: {keys}")
    for stream in settings.stream:
        retry = stream.retry
        slower = f", each time {retry.growth:g} times as long up to {format_duration(retry.longest)}" if retry.growth > 1 else ""
        schedule = f"retries after {format_duration(retry.first)}{slower}, for {format_duration(retry.lifetime)}"
        lines.append(f"stream         {stream.name}: {stream.kind}, {stream.priority}, pool {stream.pool}, {schedule}")
    lines += [
        f"pool           {pool.name}: {', '.join(f'{name} {weight}' for name, weight in pool.members.items())}" for pool in settings.pool
    ]
    lines += [f"route          {route.domain} -> {route.host}:{route.port} as {route.provider}" for route in settings.route]
    limits = settings.default_provider
    rate = format_rate(limits.rate) if limits.rate else "no rate limit"
    lines.append(f"providers      {len(settings.provider)} known; others get {limits.connections} connections, {rate}")
    trust = settings.sending.tls
    asked = [name for name, on in (("MTA-STS", trust.mta_sts), ("DANE", trust.dane), ("TLS reports", trust.reports)) if on]
    believed = {"auto": "name servers on loopback are believed", "yes": "name servers are believed", "no": "name servers are not believed"}
    lines.append(f"next hops      {', '.join(asked) or 'no policies'}; about DNSSEC {believed[settings.dns.validating]}")
    lines.append(f"spool          refuses mail below {format_size(settings.spool.minimum_free)} free")
    lines += _publishing(settings)
    lines.append(_retention(settings))
    lines.append(f"status page    {settings.http.address or 'off'}")
    keys = ", ".join(f"{key.name} ({key.role})" for key in settings.api_key)
    lines.append(f"HTTP API       {settings.api.address or 'off'}, keys: {keys or 'none'}")
    return lines


def _publishing(settings: Settings) -> Iterator[str]:
    """Where events go."""
    yield f"events         to {settings.events.file or 'no file'}"
    if settings.contacts.database is not None:
        parts = urlsplit(settings.contacts.database)
        place = f"{parts.path.strip('/') or 'database'} on {parts.hostname or 'a local socket'}"
        own = sum(map(len, settings.contacts.statements.values()))
        yield f"contacts       PostgreSQL {place}, {own} statements of yours"
    if settings.contacts.embedded:
        yield "contacts       embedded event log, events.db in the data folder"
    for hook in settings.webhook:
        what = ", ".join(hook.events) or "all events"
        yield f"webhook        {hook.name}: {what} to {urlsplit(hook.url).hostname}"


def _suppression(settings: Settings) -> str:
    known = settings.suppression
    soft = f"{known.soft_bounces} soft bounces suppress for {format_duration(known.soft_expiry)}"
    passes = ", ".join(known.transactional_passes) or "nothing"
    return f"suppression    transactional mail passes {passes}; {soft if known.soft_bounces else 'soft bounces never suppress'}"


def _retention(settings: Settings) -> str:
    kept = settings.retention
    times: dict[str, float] = {
        "sent ledger": settings.gateway.return_window,
        "raw reports": kept.reports,
        "event files": kept.event_files,
        "events": kept.events,
        "dead letters": kept.dead_letters,
        **{kind.value: seconds for kind, seconds in kept.event_kinds.items()},
    }
    return f"kept for       {', '.join(f'{name} {format_duration(seconds)}' for name, seconds in times.items())}; logs: their own rotation"


def warnings(settings: Settings) -> Iterator[str]:
    """What is allowed and looks unwise."""
    yield from _about_doors(settings)
    yield from _about_accounts(settings)
    yield from _about_sending(settings)
    yield from _about_keys(settings)
    yield from _about_publishing(settings)


def _about_publishing(settings: Settings) -> Iterator[str]:
    for hook in settings.webhook:
        if hook.allow_private:
            yield f"webhook {hook.name} may lead to private addresses: whoever controls the name of its host reaches your network"
    for name, file in [("contacts.database_file", settings.contacts.database_file)] + [
        (f"the secret of webhook {hook.name}", hook.secret_file) for hook in settings.webhook
    ]:
        if file is not None and _others_may(file, stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
            yield f"{name} {file} can be read or changed by others: chmod 600 or 640"


def _others_may(file: Path, rights: int) -> bool:
    try:
        return bool(file.stat().st_mode & rights)
    except OSError:
        return False  # a missing file is an error of the loader's


def _about_doors(settings: Settings) -> Iterator[str]:
    if not settings.listener:
        yield "there is no listener: nothing can be handed in"
    for listener in settings.listener:
        host, _ = split_host_port(listener.address)
        open_to_others = not ipaddress.ip_address(host).is_loopback
        if open_to_others and listener.tls is ListenerTls.NONE:
            yield f"listener {listener.name} has no TLS: only trusted networks can log in, and all mail is readable on the way"
        for network in listener.trusted_networks if listener.trusted_account else []:
            if _is_wide(network):
                yield f"listener {listener.name} trusts {network}, which is more than one organisation's network"
    if settings.http.address is not None and not ipaddress.ip_address(split_host_port(settings.http.address)[0]).is_loopback:
        yield f"the status page on {settings.http.address} has no TLS and no login; it tells who you send to"

    if settings.api.address is not None:
        if not ipaddress.ip_address(split_host_port(settings.api.address)[0]).is_loopback:
            yield f"the HTTP API on {settings.api.address} has no TLS: keys and addresses are readable on the way"
        if not settings.api_key:
            yield "the HTTP API has no key, so nobody can use it: `mailwright apikey add NAME`"


def _is_wide(network: str) -> bool:
    parsed = ipaddress.ip_network(network)
    return parsed.prefixlen < _WIDE[parsed.version]


def _about_accounts(settings: Settings) -> Iterator[str]:
    trusted = {listener.trusted_account for listener in settings.listener}
    known = {domain.name for domain in settings.domain}
    for account in settings.account:
        if account.password is None and not account.networks and account.name not in trusted:
            yield f"account {account.name} has no password, no network and no listener that trusts it: nobody can use it"
        if "any" in account.domains:
            yield f"account {account.name} may send as any domain in the world"
        if account.domains == ["*"] and not known:
            yield f"account {account.name} owns every configured domain, and there is none: add a [[domain]]"
        for network in account.networks:
            if _is_wide(network):
                yield f"account {account.name} needs no password from {network}, which is more than one organisation's network"
        for domain in account.domains:
            if domain not in ("*", "any") and domain not in known:
                yield f"account {account.name} owns {domain}, which no [[domain]] describes"

    dangerous = {"hard_bounce", "complaint", "invalid"}
    for kind, passes in (
        ("transactional", settings.suppression.transactional_passes),
        ("marketing", settings.suppression.marketing_passes),
    ):
        for reason in passes:
            if reason in dangerous or kind == "marketing":
                yield f"suppression.{kind}_passes has {reason}: such mail is what providers block senders for"


def _about_sending(settings: Settings) -> Iterator[str]:
    if settings.gateway.hostname is None or "." not in settings.gateway.hostname:
        yield "gateway.hostname is not set to a full name; receivers expect the name that the IP's reverse DNS gives"
    used = {source for pool in settings.pool for source in pool.members}
    for source in settings.source:
        if source.name not in used:
            yield f"source {source.name} is in no pool: nothing leaves by it"
    if settings.dns.allow_private:
        yield "dns.allow_private lets any MX record point our connections at private addresses: only for tests"
    if settings.sending.tls.dane and settings.dns.validating == "auto" and _far(settings.dns.servers):
        yield "DANE is off: the name servers are not on this machine's loopback; set dns.validating to yes if they validate DNSSEC"
    if settings.dns.port != 25:
        yield f"dns.port is {settings.dns.port}: no mail server of the Internet listens there"


def _far(servers: list[str]) -> bool:
    """Whether one of these name servers is another machine."""
    return any(not ipaddress.ip_address(split_host_port(server, 53)[0]).is_loopback for server in servers)


def _about_keys(settings: Settings) -> Iterator[str]:
    for domain in settings.domain:
        if not domain.dkim and not settings.gateway.dkim and domain.without_key != "refuse":
            yield f"mail from {domain.name} leaves without a signature: `mailwright dkim generate {domain.name.removeprefix('*.')}`"
    for owner, file in [(listener.name, listener.key) for listener in settings.listener if listener.key is not None]:
        if _others_may(file, stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
            yield f"the private key {file} of {owner} can be read or changed by others: chmod 600 or 640"

"""How often labelled replies and complaints are read as their labels say: figures for `python -m bench.judgement --corpora FOLDER`.

A label is the word of another program for what it read. `CATEGORIES` says which of our categories mean the same or cannot be told apart
from the text alone; what a label leaves open is not asked. The corpora are data beside the project and stay there.
"""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bounce.classify import classify, reply_of
from fbl.parse import parse as parse_complaint
from fbl.report import Feedback
from mail.reply import Reply

CATEGORIES: dict[str, set[str]] = {
    # sisimai's reasons
    "userunknown": {"bad-mailbox"},
    "hostunknown": {"bad-domain", "routing"},
    "hasmoved": {"moved", "inactive-mailbox"},
    "notaccept": {"bad-domain", "policy", "bad-mailbox"},
    "mailboxfull": {"mailbox-full"},
    "suspend": {"inactive-mailbox"},
    "filtered": {"policy", "bad-mailbox", "inactive-mailbox", "content"},
    "expired": {"expired", "network"},
    "networkerror": {"network", "routing", "loop", "tls", "bad-domain"},
    "rejected": {"sender-rejected", "domain-reputation", "policy"},
    "blocked": {"ip-reputation", "policy", "domain-reputation"},
    "badreputation": {"ip-reputation", "domain-reputation", "rate-limited"},
    "requireptr": {"ip-reputation", "auth-failed", "policy"},
    "authfailure": {"auth-failed"},
    "spamdetected": {"content"},
    "virusdetected": {"content"},
    "policyviolation": {"policy", "content"},
    "contenterror": {"content", "protocol"},
    "notcompliantrfc": {"content", "protocol"},
    "mesgtoobig": {"message-too-large"},
    "exceedlimit": {"message-too-large"},
    "emailtoolarge": {"message-too-large"},
    "norelaying": {"relaying"},
    "securityerror": {"policy", "tls", "auth-failed"},
    "failedstarttls": {"tls"},
    "speeding": {"rate-limited"},
    "toomanyconn": {"rate-limited"},
    "systemerror": {"receiver-trouble"},
    "systemfull": {"receiver-trouble"},
    "mailererror": {"receiver-trouble"},
    "syntaxerror": {"protocol"},
    "onhold": {"other"},
    "undefined": {"other"},
    # postalsys' classes
    "user_unknown": {"bad-mailbox"},
    "mailbox_full": {"mailbox-full"},
    "mailbox_disabled": {"inactive-mailbox"},
    "ip_blacklisted": {"ip-reputation"},
    "domain_blacklisted": {"domain-reputation"},
    "auth_failure": {"auth-failed"},
    "policy_blocked": {"policy", "content"},
    "spam_blocked": {"content"},
    "server_error": {"receiver-trouble"},
    "greylisting": {"greylisted"},
    "relay_denied": {"relaying"},
    "rate_limited": {"rate-limited"},
    # KumoMTA's
    "QuotaIssues": {"mailbox-full", "message-too-large"},
    "InactiveMailbox": {"inactive-mailbox", "moved"},
    "Uncategorized": {"other", "mailbox-full"},
}
_SAME_NAME = ("original_mail_from", "source_ip", "user_agent", "incidents")


class Score(msgspec.Struct):
    """How many were asked, how many were right, and what the others were."""

    asked: int = 0
    right: int = 0
    misses: list[str] = []

    @property
    def share(self) -> float:
        """Right of asked, 0 to 1."""
        return self.right / self.asked if self.asked else 1.0

    def ask(self, right: bool, miss: str) -> None:
        """Counts one question."""
        self.asked += 1
        self.right += right
        if not right:
            self.misses.append(miss)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8").split("\n"):
        if line:
            yield json.loads(line)


def replies(corpora: Path) -> Score:
    """Labelled reply strings: whether the category is one of those the label stands for."""
    score = Score()
    for name in ("labels.jsonl", "from_sisimai_messages.jsonl"):
        for label in _lines(corpora / "smtp_replies" / name):
            expected = label["expected"]
            words = [expected.get("reason"), expected.get("category"), *expected.get("category_any_of", ())]
            wanted: set[str] = set().union(*(CATEGORIES.get(word, set()) for word in words if word))
            if not wanted:
                continue
            reply = reply_of(label["text"], "" if expected.get("status_is_sisimai_pseudo_code") else expected.get("status") or "")
            if not reply.code and expected.get("reply_code"):
                reply = Reply(int(expected["reply_code"]), reply.text, reply.enhanced)
            found = classify(reply)
            score.ask(found.category in wanted, f"{label['id']}: {sorted(wanted)}, not {found.category} ({found.rule})")
    return score


def complaints(corpora: Path) -> Score:
    """Labelled feedback reports: every field that a label states. What is no report must not be taken for one: that counts as well."""
    score = Score()
    for folder in sorted(path.parent for path in corpora.glob("*/labels.jsonl") if (path.parent / "messages").is_dir()):
        for label in _lines(folder / "labels.jsonl"):
            found = parse_complaint((folder / label["file"]).read_bytes())
            is_report = label["kind"] == "feedback"
            if is_report or found is not None:
                score.ask(is_report and found is not None, f"{label['file']}: a report or not")
            if is_report and found is not None and label.get("expected"):
                for name, wanted, got in _fields(label["expected"]["results"], found):
                    score.ask(wanted == got, f"{label['file']}: {name} is {wanted!r}, not {got!r}")
    return score


def _fields(results: list[dict[str, Any]], found: Feedback) -> Iterator[tuple[str, Any, Any]]:
    """Each field that is stated: its name, what it should be, and what was read."""
    addresses = {entry["recipient"] for entry in results if entry.get("recipient") and "undisclosed" not in entry["recipient"]}
    if addresses:
        yield "recipients", addresses, set(found.recipients)
    raw = results[0].get("raw_json") or {}
    stated = {**{name: value for name, value in raw.items() if value}, **{name: value for name, value in results[0].items() if value}}
    if stated.get("feedback_type"):
        yield "feedback_type", stated["feedback_type"], found.feedback_type
    for name in _SAME_NAME:
        if stated.get(name):
            yield name, stated[name], getattr(found, name)
    domain = stated.get("reported_domain")
    if domain:
        yield "reported_domain", domain[0] if isinstance(domain, list) else domain, found.reported_domain
    if raw.get("arrival_date"):
        at = datetime.datetime.fromtimestamp(raw["arrival_date"], datetime.UTC)
        yield "arrival_date", at.isoformat().replace("+00:00", "Z"), found.arrival_date
    if raw.get("auth_failure"):
        yield "auth_failure", raw["auth_failure"].lower(), found.auth_failure


def reports(corpora: Path) -> tuple[list[bytes], list[bytes]]:
    """The bounces with a machine-readable part, and those without, that are labelled."""
    with_part: list[bytes] = []
    without: list[bytes] = []
    for label in _lines(corpora / "sisimai" / "labels.jsonl"):
        raw = (corpora / "sisimai" / label["file"]).read_bytes()
        if label["kind"] == "bounce":
            (with_part if b"/delivery-status" in raw else without).append(raw)
    return with_part, without

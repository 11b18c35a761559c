"""What a complaint says: type, recipients, and what ties it to a message of ours.

Values only. Types are kept apart, because only some of them are complaints: `opt-out` is a wish, `not-spam` the opposite of a complaint,
`auth-failure` a report about our DNS and keys (RFC 6591). An address that the operator has blacked out stays in `recipients` as it came and
is named in `redacted`, so that nobody suppresses `redacted@example.org`.
"""

import enum

import msgspec


class FeedbackType(enum.StrEnum):
    """RFC 5965 section 7.3 and its registry; what is not registered is `other`."""

    ABUSE = "abuse"
    FRAUD = "fraud"
    VIRUS = "virus"
    NOT_SPAM = "not-spam"
    OPT_OUT = "opt-out"
    AUTH_FAILURE = "auth-failure"
    OTHER = "other"


class Feedback(msgspec.Struct, frozen=True):
    """One report. Absent facts are "". `arrival_date` is RFC 3339 UTC where it could be read; `rule` names the variant."""

    feedback_type: FeedbackType
    recipients: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()
    token: str = ""
    sealed: tuple[str, ...] = ()
    original_message_id: str = ""
    original_mail_from: str = ""
    reported_domain: str = ""
    source_ip: str = ""
    arrival_date: str = ""
    user_agent: str = ""
    auth_failure: str = ""
    incidents: int = 1
    rule: str = ""

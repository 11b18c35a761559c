"""Settings of the suppression list: what each kind of mail may pass, for whom an unsubscription holds, when soft bounces add up."""

from typing import Literal

from pydantic import Field, field_validator

from config.model import Model
from config.units import Duration

Passable = Literal["hard_bounce", "soft_bounce_limit", "complaint", "unsubscribe", "manual", "invalid", "imported"]


class Suppression(Model):
    """Who is not written to. docs/operations/suppression.md explains."""

    transactional_passes: list[Passable] = Field(
        default=["unsubscribe"], description="Reasons that do not keep transactional mail back. A hard bounce or a complaint does."
    )
    marketing_passes: list[Passable] = Field(default=[], description="The same for marketing mail.")
    unsubscribe_scope: Literal["global", "account", "stream", "list"] = Field(
        "account", description="For whom an unsubscription holds: everybody, the account, the stream, or the list it names."
    )
    soft_bounces: int = Field(
        5, ge=0, le=60, description="Failures of one mailbox (full, inactive) on different days that suppress it for a while; 0: never."
    )
    soft_window: Duration = Field(2_592_000.0, ge=86_400, description="Time in which they count together; a delivery forgets them.")
    soft_expiry: Duration = Field(7_776_000.0, ge=3600, description="How long such a suppression lasts.")
    soft_probation: Duration = Field(2_592_000.0, ge=0, description="Time after it in which a single failure suppresses again.")

    @field_validator("transactional_passes", "marketing_passes")
    @classmethod
    def _once(cls, reasons: list[Passable]) -> list[Passable]:
        if len(set(reasons)) != len(reasons):
            raise ValueError("a reason stands here once")
        return reasons

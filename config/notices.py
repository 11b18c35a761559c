"""Settings of notices: the reports (DSN, RFC 3464) that tell a sender what became of its recipients."""

from typing import Annotated

from pydantic import Field

from config.model import Model
from config.units import Duration, NoneWord, Rate, Size, Word


class Notices(Model):
    """Reports to envelope senders. Which accounts get any is `notify` of the account."""

    stream: Word = Field("notices", description="Stream of reports. One of this name may be configured; else it is transactional.")
    delay: Annotated[Duration | None, NoneWord] = Field(
        14_400.0, description="Time after acceptance at which a deferral is told to the sender, once for each recipient; `none`: never."
    )
    gather: Duration = Field(5.0, ge=0.1, le=600, description="Time in which recipients of one message come into one report.")
    account_rate: Rate = Field(1000 / 3600, description="Reports to one account; what is over is dropped and said in the log.")
    sender_rate: Rate = Field(100 / 3600, description="The same to one sender address.")
    return_size: Size = Field(100_000, ge=0, description="Largest message that a report returns whole; of larger ones the header.")

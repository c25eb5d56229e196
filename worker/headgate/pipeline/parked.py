"""What waits for a start of its pipeline, as the ledger knows it: everything that a decision depends on."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """The parked arrivals of a pipeline, and what else its start depends on. All times are the database's clock."""

    now: datetime
    count: int  # parked arrivals, at least 1
    size: int  # bytes of them
    oldest: datetime  # when the first of them came
    newest: datetime  # when the last of them came
    asked_at: datetime | None = None  # when a person or a rule asked for a start that is still to be made
    watched_since: datetime | None = None  # quiet periods count from here: before, nothing was taken in
    # When the pipelines named in `After` persisted something since this one's last start, in order: time and pipeline.
    # All that does not decide about the next start may be left out.
    persisted: tuple[tuple[datetime, str], ...] = ()
    recent: tuple[tuple[datetime, int], ...] = ()  # starts within the last period of the rate, in order: time and cost

"""The way of one arrival, hop by hop: where its time went."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Hop:
    """A point on the way."""

    name: str
    at: datetime


# Of a file as the ledger has them, in the order of the road. What Prefect does stands between rung and answered.
COLUMNS = {
    "modified": "modified_at",
    "noticed": "noticed_at",
    "opened": "arrived_at",
    "rung": "rung_at",
    "answered": "answered_at",
    "claimed": "claimed_at",
    "parsed": "parsed_at",
    "enriched": "enriched_at",
    "committed": "committed_at",
}

"""The hops of one arrival: where its time went."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Hop:
    """A step of an arrival, and when it took place."""

    name: str
    at: datetime


# The hops of a file, in order, with their columns in the ledger. Prefect's part lies between rung and answered.
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

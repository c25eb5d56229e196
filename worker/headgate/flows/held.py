"""A permanent cause holds a pipeline: attempts are for errors that may end otherwise by themselves."""

from headgate.errors import LedgerUnavailable, Misuse, RecordsRefused, SinkRefused
from headgate.ledger import Holds


def is_permanent(error: BaseException) -> bool:
    """Whether each arrival would meet this until a person puts something right: a grant, a column, a declaration."""
    return isinstance(error, Misuse | SinkRefused) and not isinstance(error, RecordsRefused)


class Held:
    """Whether the pipeline of a run is held, and what the run finds out about that.

    Args:
        holds: of the ledger.
        pipeline: its name.

    """

    def __init__(self, holds: Holds, pipeline: str) -> None:
        self._holds = holds
        self._pipeline = pipeline
        self._held = pipeline in holds.find()

    def most(self, limit: int | None) -> int | None:
        """How many arrivals to claim at most: a single one while the pipeline is held."""
        return 1 if self._held else limit

    def see(self, error: Exception | None, *, fenced: bool) -> None:
        """Hold the pipeline for a permanent cause, or let it go on once a claim came through."""
        try:
            if error is not None and is_permanent(error):
                self._holds.put(self._pipeline, str(error))
                self._held = True
            elif self._held and error is None and not fenced:
                self._holds.lift(self._pipeline)
                self._held = False
        except (LedgerUnavailable, Misuse):
            return  # the next run finds the same

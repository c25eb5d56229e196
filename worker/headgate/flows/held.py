"""A permanent cause holds a pipeline, because attempts are for errors that may go away by themselves."""

from headgate.errors import LedgerUnavailable, Misuse, RecordsRefused, SinkRefused
from headgate.ledger import Holds


def is_permanent(error: BaseException) -> bool:
    """Return whether every arrival would fail with this until a person fixes a grant, a column or a declaration."""
    return isinstance(error, Misuse | SinkRefused) and not isinstance(error, RecordsRefused)


class Held:
    """Whether the pipeline of a run is held; the run puts and lifts the hold.

    Args:
        holds: the ledger's holds.
        pipeline: the pipeline's name.

    """

    def __init__(self, holds: Holds, pipeline: str) -> None:
        self._holds = holds
        self._pipeline = pipeline
        self._held = pipeline in holds.find()

    def most(self, limit: int | None) -> int | None:
        """Return how many arrivals to claim at most: only one while the pipeline is held."""
        return 1 if self._held else limit

    def see(self, error: Exception | None, *, fenced: bool) -> None:
        """Hold the pipeline for a permanent cause, or lift the hold after a claim that succeeded."""
        try:
            if error is not None and is_permanent(error):
                self._holds.put(self._pipeline, str(error))
                self._held = True
            elif self._held and error is None and not fenced:
                self._holds.lift(self._pipeline)
                self._held = False
        except (LedgerUnavailable, Misuse):
            return  # the next run will see the same error, and try again

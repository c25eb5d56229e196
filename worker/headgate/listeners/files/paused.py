"""The paused sources, as a listener knows them."""

from collections.abc import Callable, Collection
from time import monotonic

from headgate.errors import LedgerUnavailable
from headgate.listeners.files.source import Source

AGAIN = 1.0  # seconds between two queries
AFTER_FAILURE = 10.0  # seconds; a query to an unavailable database takes long to fail, and files wait meanwhile


class PausedSources:
    """The paused sources; while the database does not answer, the last known ones.

    Args:
        ask: returns them, by pipeline and name.

    """

    def __init__(self, ask: Callable[[], Collection[tuple[str, str]]]) -> None:
        self._ask = ask
        self._known: Collection[tuple[str, str]] = frozenset()
        self._ask_at = 0.0  # seconds on the monotonic clock

    def look(self) -> None:
        """Ask for the paused sources, unless the last query is too recent."""
        if monotonic() < self._ask_at:
            return
        try:
            self._known, pause = self._ask(), AGAIN
        except LedgerUnavailable:
            pause = AFTER_FAILURE
        self._ask_at = monotonic() + pause

    def __contains__(self, source: Source) -> bool:
        return (source.pipeline, source.name) in self._known

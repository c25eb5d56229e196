"""Which sources are paused, as a listener knows it."""

from collections.abc import Callable, Collection
from time import monotonic

from headgate.errors import LedgerUnavailable
from headgate.listeners.files.source import Source

AGAIN = 1.0  # seconds between two looks
AFTER_FAILURE = 10.0  # seconds; a database that is unavailable takes its time to say so, and files wait meanwhile


class PausedSources:
    """The sources that nothing is taken in from; while the database does not answer, what was known holds.

    Args:
        ask: gives them, by pipeline and name.

    """

    def __init__(self, ask: Callable[[], Collection[tuple[str, str]]]) -> None:
        self._ask = ask
        self._known: Collection[tuple[str, str]] = frozenset()
        self._ask_at = 0.0  # seconds on the monotonic clock

    def look(self) -> None:
        """See which they are, unless that was done just now."""
        if monotonic() < self._ask_at:
            return
        try:
            self._known, pause = self._ask(), AGAIN
        except LedgerUnavailable:
            pause = AFTER_FAILURE
        self._ask_at = monotonic() + pause

    def __contains__(self, source: Source) -> bool:
        return (source.pipeline, source.name) in self._known

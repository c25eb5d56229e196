"""The rhythm of a pipeline's arrivals: how long it is worth waiting for the next one."""

from collections.abc import Sequence
from datetime import datetime, timedelta

NEWEST = 0.3  # the weight of the latest gap in the moving average
GAPS = 4  # after this many average gaps without an arrival, the stream has probably ended
LEAST = timedelta(seconds=1)  # waiting this long costs less than a new run


class Rhythm:
    """Distinguishes a steady stream from a single drop by the times between arrivals.

    Args:
        before: when the last arrival came that an earlier run worked on.

    """

    def __init__(self, before: datetime | None) -> None:
        self.last = before  # when the last arrival came
        self._first = True
        self._gap: timedelta | None = None

    def add(self, arrived: Sequence[datetime], idle: timedelta) -> None:
        """Add the times at which a claim's arrivals came; many at once after a pause are a burst, not a stream.

        Args:
            arrived: the times, in any order.
            idle: the longest gap within a stream.

        """
        if not arrived:
            return
        first, last = min(arrived), max(arrived)
        is_old = self.last is not None and last <= self.last  # another attempt, not a new arrival
        if self.last is not None and not is_old and not (self._first and first - self.last > idle):
            gap = (last - self.last) / len(arrived)
            self._gap = gap if self._gap is None else NEWEST * gap + (1 - NEWEST) * self._gap
        self._first = False
        self.last = last if self.last is None else max(self.last, last)

    def patience(self, idle: timedelta) -> timedelta:
        """Return how long to wait for the next arrival: zero unless it is expected soon.

        Args:
            idle: the longest time that a run may wait.

        """
        if self._gap is None or self._gap > idle:
            return timedelta(0)
        return min(idle, max(LEAST, GAPS * self._gap))

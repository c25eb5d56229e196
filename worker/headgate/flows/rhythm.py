"""The rhythm of a pipeline's arrivals: how long it is worth while to wait for the next one."""

from collections.abc import Sequence
from datetime import datetime, timedelta

NEWEST = 0.3  # the weight of the latest gap beside all before
GAPS = 4  # so many usual gaps without an arrival, and the stream has probably ended
LEAST = timedelta(seconds=1)  # a run that waits for so long costs less than a new one


class Rhythm:
    """Tells a steady stream from a single drop, by the times between arrivals.

    Args:
        before: when the last arrival came that an earlier run worked on.

    """

    def __init__(self, before: datetime | None) -> None:
        self.last = before  # when the last arrival came
        self._first = True
        self._gap: timedelta | None = None

    def add(self, arrived: Sequence[datetime], idle: timedelta) -> None:
        """Take in when the arrivals of a claim came; many at once after a pause are a burst, and no stream.

        Args:
            arrived: the times, in any order.
            idle: the longest gap of a stream.

        """
        if not arrived:
            return
        first, last = min(arrived), max(arrived)
        is_old = self.last is not None and last <= self.last  # another attempt, and nothing that came just now
        if self.last is not None and not is_old and not (self._first and first - self.last > idle):
            gap = (last - self.last) / len(arrived)
            self._gap = gap if self._gap is None else NEWEST * gap + (1 - NEWEST) * self._gap
        self._first = False
        self.last = last if self.last is None else max(self.last, last)

    def patience(self, idle: timedelta) -> timedelta:
        """Say how long to wait for the next arrival; not at all where nothing says that it comes soon.

        Args:
            idle: the longest that a run may wait.

        """
        if self._gap is None or self._gap > idle:
            return timedelta(0)
        return min(idle, max(LEAST, GAPS * self._gap))

"""How often a pipeline may start."""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from headgate.pipeline.checks import require, whole
from headgate.pipeline.durations import Duration, duration, words


@dataclass(frozen=True)
class Rate:
    """The most starts in any period. The excess waits in the ledger, and starts in order.

    If a pipeline runs on arrival, each arrival counts as a start; otherwise each batch, or all that one start takes.

    Args:
        count: how many starts.
        per: "second", "minute", "hour", "day", or a duration such as "10s".

    """

    count: int
    per: Duration = "minute"

    def __post_init__(self) -> None:
        require(whole(self.count), f"Rate({self.count!r}): write 1 or more, such as Rate(6, per='minute').")
        _ = self.period

    @cached_property
    def period(self) -> timedelta:
        """The time in which starts are counted."""
        named = {"second": "1s", "minute": "1m", "hour": "1h", "day": "1d"}
        written = named.get(self.per, self.per) if isinstance(self.per, str) else self.per
        return duration(f"Rate({self.count}, per={self.per!r})", written)

    @property
    def words(self) -> str:
        """The limit, as the end of a sentence."""
        period = words(self.period)
        return f"at most {self.count} in any {period.removeprefix('1 ')}"

"""Pipelines that run on a schedule: at fixed intervals, or at times of the wall clock."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from headgate.errors import BadPipeline
from headgate.pipeline.checks import require
from headgate.pipeline.durations import Duration, duration, words
from headgate.pipeline.parked import Parked

ANCHOR = datetime(2020, 1, 1, tzinfo=UTC)  # `Every` counts from here, so that all processes agree, after a restart too
SHORTEST_PERIOD = timedelta(seconds=1)
FIELDS = 5  # in a cron expression; of six, Prefect reads the last as seconds and others the first
CRON = re.compile(r"[0-9A-Za-z*,/ -]+")  # the syntax that Prefect's schedules and ours read alike


@dataclass(frozen=True)
class Every:
    """The pipeline runs at fixed intervals, counted from midnight UTC of 2020-01-01, and takes all that came.

    For a time of day, write `Cron`: `Every` ignores daylight saving time.

    Args:
        period: the interval, such as "6h".

    """

    period: Duration

    parks = True
    scheduled = True

    def __post_init__(self) -> None:
        _ = self.step

    @cached_property
    def step(self) -> timedelta:
        """The time from one run to the next."""
        return duration(f"Every({self.period!r})", self.period, at_least=SHORTEST_PERIOD)

    @property
    def words(self) -> str:
        """When it runs."""
        return f"every {words(self.step)}"

    def due_at(self, waiting: Parked) -> datetime | None:
        """Return the first step after the oldest arrival; it makes up for all steps missed while no process ran."""
        return ANCHOR + ((waiting.oldest - ANCHOR) // self.step + 1) * self.step


@dataclass(frozen=True)
class Cron:
    """The pipeline runs at times of the wall clock, and takes all that came.

    When clocks are set forward, a skipped time is made up for at once; when they are set back, a time that occurs twice
    counts once, except for hourly jobs.

    Args:
        expression: minute, hour, day of the month, month, day of the week, such as "0 6 * * 1-5".
        timezone: a name of the IANA time zone database, such as "Europe/Berlin".

    """

    expression: str
    timezone: str = "UTC"

    parks = True
    scheduled = True

    def __post_init__(self) -> None:
        say = f"Cron({self.expression!r})"
        require(
            isinstance(self.expression, str)
            and len(self.expression.split()) == FIELDS
            and CRON.fullmatch(self.expression),
            f"{say}: write five fields of digits, '*', ',', '-' and '/', such as '0 6 * * 1-5'.",
        )
        *_, day, _month, weekday = self.expression.upper().split()
        require(
            "W" not in day and "L" not in weekday,
            f"{say}: Prefect's schedules know no W of days of the month and no L of days of the week; "
            "write for example '0 6 * * 1-5'.",
        )
        _ = self.zone
        try:
            comes = next(self._after(ANCHOR), None)
        except CronSimError as error:
            why = str(error)[0].lower() + str(error)[1:]
            raise BadPipeline(f"{say}: {why}, or it never comes; write for example '0 6 * * 1-5'.") from error
        require(comes, f"{say}: that time never comes; write for example '0 6 * * 1-5'.")

    @cached_property
    def zone(self) -> ZoneInfo:
        """The time zone of the expression."""
        try:
            return ZoneInfo(self.timezone)
        except (LookupError, ValueError, OSError, TypeError) as error:
            say = f"Cron(timezone={self.timezone!r})"
            raise BadPipeline(f"{say}: no such time zone; write for example 'Europe/Berlin' or 'UTC'.") from error

    @property
    def words(self) -> str:
        """When it runs."""
        return f"by the schedule {self.expression} ({self.timezone})"

    def _after(self, moment: datetime) -> Iterator[datetime]:
        return CronSim(self.expression, moment.astimezone(self.zone))

    def due_at(self, waiting: Parked) -> datetime | None:
        """Return the first time after the oldest arrival; it makes up for all times missed while no process ran."""
        # In an hour that comes twice, CronSim goes back to the first: its times may lie before the arrival.
        times = (each.astimezone(UTC) for each in self._after(waiting.oldest))
        return next(each for each in times if each > waiting.oldest)

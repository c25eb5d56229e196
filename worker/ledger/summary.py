"""The ledger in a few numbers: what people see while things happen."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from worker.ledger.database import Database
from worker.ledger.queries import QUERIES


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the arrivals of one pipeline."""

    pipeline: str
    arrived: int
    waiting: int  # ready, or due again later
    claimed: int
    held: int
    done: int
    rejected: int
    duplicates: int
    rows_persisted: int
    dead_letters: int
    messages: int  # in ranges of topics
    seconds: float | None  # from the first arrival to the last that was done
    oldest_seconds: float | None  # the age of the oldest that is not done

    @property
    def under_way(self) -> int:
        """Arrivals that will still change by themselves."""
        return self.waiting + self.claimed


@dataclass(frozen=True, slots=True)
class RingCounts:
    """How often the ladder was climbed."""

    again: int  # rings rung again
    direct: int  # runs dispatched without Prefect's event path


def summaries(database: Database, since: datetime | None = None) -> list[Summary]:
    """Sum up each pipeline's arrivals, or those since a time.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection, connection.cursor(row_factory=class_row(Summary)) as cursor:
        return cursor.execute(QUERIES["summary"], {"since": since}).fetchall()


def ring_counts(database: Database) -> RingCounts:
    """Count the rings of higher rungs, over the last day.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection, connection.cursor(row_factory=class_row(RingCounts)) as cursor:
        return cursor.execute(QUERIES["rings_summary"]).fetchone() or RingCounts(0, 0)


def database_time(database: Database) -> datetime:
    """Ask the clock that all times in the ledger come from.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection:
        row = connection.execute("select now() as now").fetchone()
    if row is None:
        raise AssertionError("a query without a table gives one row")
    now: datetime = row["now"]
    return now

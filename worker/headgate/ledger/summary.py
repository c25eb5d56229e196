"""The ledger in a few numbers, for displays."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from headgate.ledger.database import Connection, Database
from headgate.ledger.dead_letters import Selection
from headgate.ledger.queries import QUERIES
from headgate.model import State


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the arrivals of one pipeline."""

    pipeline: str
    arrived: int
    waiting: int  # ready, or due again later
    claimed: int
    parked: int  # waiting for a start of the pipeline
    held: int
    done: int
    rejected: int
    duplicates: int
    skipped: int  # did not meet the condition
    rows_persisted: int
    dead_letters: int
    messages: int  # in ranges of topics
    seconds: float | None  # time that runs worked on the arrivals that are done, without waiting
    oldest_seconds: float | None  # the age of the oldest that is waiting or claimed

    @property
    def under_way(self) -> int:
        """Arrivals that will still change by themselves."""
        return self.waiting + self.claimed + self.parked


@dataclass(frozen=True, slots=True)
class PipelineNow:
    """The state of one pipeline, for operators."""

    pipeline: str
    arrived: int
    waiting: int  # ready, or due again later
    running: int
    parked: int  # waiting for a start of their pipeline
    held: int  # by an operator, arrival by arrival
    done: int
    skipped: int  # did not meet the condition
    rejected: int
    rejected_since_yesterday: int
    duplicates: int
    rows_persisted: int
    rows_today: int  # of arrivals that were done today, by the database's clock
    dead_letters: int  # open ones
    dead_letters_since_yesterday: int
    oldest_seconds: float | None  # the age of the oldest that is waiting or running

    @property
    def under_way(self) -> int:
        """Arrivals that will still change by themselves."""
        return self.waiting + self.running + self.parked


@dataclass(frozen=True, slots=True)
class Hour:
    """What ended in one hour of the last day, for one pipeline."""

    pipeline: str
    hours_ago: int  # whole hours between its end and now: 0 is the hour that ends now
    rows_persisted: int
    dead_letters: int
    rejected: int  # arrivals


@dataclass(frozen=True, slots=True)
class OpenRings:
    """The unanswered rings of a pipeline."""

    pipeline: str
    unanswered: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class RingCounts:
    """How often the ladder was climbed."""

    again: int  # repeated rings
    direct: int  # runs dispatched without Prefect's event path


def summaries(database: Database, since: datetime | None = None) -> list[Summary]:
    """Sum up each pipeline's arrivals: all of them, or those since a time.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection, connection.cursor(row_factory=class_row(Summary)) as cursor:
        return cursor.execute(QUERIES["summary"], {"since": since}).fetchall()


def screen(database: Database) -> list[PipelineNow]:
    """Return the state of each pipeline that something arrived for.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection, connection.cursor(row_factory=class_row(PipelineNow)) as cursor:
        return cursor.execute(QUERIES["screen"]).fetchall()


def hours(database: Database) -> list[Hour]:
    """Sum up the last day by hour; hours in which nothing ended are left out.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection, connection.cursor(row_factory=class_row(Hour)) as cursor:
        return cursor.execute(QUERIES["hours"]).fetchall()


def open_rings(database: Database) -> list[OpenRings]:
    """Count the unanswered rings of each pipeline; pipelines without any are left out.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection, connection.cursor(row_factory=class_row(OpenRings)) as cursor:
        return cursor.execute(QUERIES["rings_open"]).fetchall()


def count_arrivals(
    database: Database,
    *,
    pipeline: str | None = None,
    state: State | None = None,
    name: str | None = None,
    since: timedelta | None = None,
) -> int:
    """Count what `Arrivals.find` would return without a limit.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    asked = {"pipeline": pipeline, "state": state, "name": name, "since": since}
    return _count(database, "arrivals_count", asked)


def count_dead_letters(database: Database, selection: Selection) -> int:
    """Count what `DeadLetters.find` would return without a limit.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    return _count(database, "dead_letters_count", {**asdict(selection), "ids": list(selection.ids) or None})


def knows_pipeline(database: Database, name: str) -> bool:
    """Return whether the ledger has arrivals for a pipeline of this name.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection:
        row = connection.execute(QUERIES["knows_pipeline"], {"pipeline": name}).fetchone()
    return row is not None and bool(row["known"])


def _count(database: Database, query: str, asked: Mapping[str, object]) -> int:
    with database.transaction() as connection:
        row = connection.execute(QUERIES[query], asked).fetchone()
    return 0 if row is None else int(row["count"])


def ring_counts(database: Database) -> RingCounts:
    """Count the rings above rung 0 that the ledger still has; it keeps closed rings for a day or longer.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection, connection.cursor(row_factory=class_row(RingCounts)) as cursor:
        return cursor.execute(QUERIES["rings_summary"]).fetchone() or RingCounts(0, 0)


def database_time(database: Database) -> datetime:
    """Return the time of the database's clock, which the ledger uses.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    with database.transaction() as connection:
        return now(connection)


def now(connection: Connection) -> datetime:
    """Return the time of the database's clock in the caller's transaction: when that began."""
    row = connection.execute("select now() as now").fetchone()
    if row is None:
        raise AssertionError("a query without a table gives one row")
    found: datetime = row["now"]
    return found

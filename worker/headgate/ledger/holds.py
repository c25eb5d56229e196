"""Holds: pipelines that cannot go on until a person fixes something, each with one line that says what."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from psycopg.rows import class_row

from headgate.ledger.database import Database
from headgate.ledger.queries import QUERIES

FIRST, LONGEST = timedelta(seconds=10), timedelta(minutes=2)  # the first and the longest pause between two tries
LONGEST_CAUSE = 1000  # characters

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Hold:
    """A pipeline that is held."""

    pipeline: str
    cause: str  # one line: what is wrong, and what to do
    tries: int
    since: datetime
    again_at: datetime


class Holds:
    """The holds of the ledger.

    Args:
        database: the ledger's database.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, pipeline: str, cause: str) -> None:
        """Hold a pipeline: no rings go out for it for a while, then one arrival is tried."""
        cause = " ".join(cause.split())[:LONGEST_CAUSE].replace("\0", "")
        with self._database.transaction() as connection:
            asked = {"pipeline": pipeline, "cause": cause, "first": FIRST, "longest": LONGEST}
            row = connection.execute(QUERIES["hold_put"], asked).fetchone()
        if row is not None and row["tries"] == 1:
            log.error("pipeline held; it goes on by itself once this is put right", action="hold", cause=cause)

    def lift(self, pipeline: str) -> None:
        """Release a pipeline and make the arrivals that waited for it due."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["hold_lift"], {"pipeline": pipeline})
        log.info("pipeline goes on: what held it was put right", action="hold", pipeline=pipeline)

    def find(self) -> dict[str, Hold]:
        """Return all holds by pipeline."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Hold)) as cursor:
            return {each.pipeline: each for each in cursor.execute(QUERIES["holds"])}

"""Alerts in the ledger: which are broken, and which notices are due."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES
from headgate.model import Fact

LEASE = timedelta(minutes=1)  # for this long nobody else sends a taken notice
LONGEST = timedelta(minutes=15)  # the longest pause between two tries


def source_silent(source: str) -> str:
    """Return the name of the alert that breaks when nothing comes from a source."""
    return f"source-silent {source}"


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An alert as the ledger knows it."""

    pipeline: str
    alert: str
    watched_since: datetime
    broken_since: datetime | None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A message about an alert, to be sent through a block."""

    notice_id: int
    block: str
    subject: str
    body: str
    tries: int


@dataclass(frozen=True, slots=True)
class Failing:
    """A notice that has not been delivered, because each try failed."""

    notice_id: int
    block: str
    subject: str
    tries: int
    failure: str
    occurred_at: datetime


class Alerts:
    """The alerts of the ledger.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def alone(self, connection: Connection) -> bool:
        """Try to become the only process that decides about alerts until the transaction ends; return success."""
        row = connection.execute(QUERIES["alert_lock"]).fetchone()
        return row is not None and bool(row["ours"])

    def states(self, connection: Connection, keys: Sequence[tuple[str, str]]) -> list[AlertRecord]:
        """Return the states of these alerts (pipeline, alert); new ones are watched from now on."""
        asked = {"pipelines": [key[0] for key in keys], "alerts": [key[1] for key in keys]}
        return [AlertRecord(**row) for row in connection.execute(QUERIES["alert_states"], asked)]

    def turn(  # noqa: PLR0913 - one per column
        self,
        connection: Connection,
        pipeline: str,
        alert: str,
        *,
        detail: str | None,
        event: Fact,
        facts: dict[str, object],
    ) -> None:
        """Record that an alert broke (with a detail) or healed (without one), and post the event."""
        asked = {"pipeline": pipeline, "alert": alert, "detail": detail}
        connection.execute(QUERIES["alert_healed" if detail is None else "alert_broke"], asked)
        posted = {"kind": event, "pipeline": pipeline, "facts": Jsonb({"alert": alert, **facts})}
        connection.execute(QUERIES["post"], posted)
        connection.execute(QUERIES["notify"], {"pipeline": pipeline})

    def owe(  # noqa: PLR0913 - one per column
        self, connection: Connection, pipeline: str, alert: str, block: str, *, subject: str, body: str
    ) -> None:
        """Record a notice to be sent through a block, in the transaction that decided it."""
        asked = {"pipeline": pipeline, "alert": alert, "block": block, "subject": subject, "body": body}
        connection.execute(QUERIES["alert_notice"], asked)

    def find(self) -> list[AlertRecord]:
        """Return all alerts that are or were watched."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(AlertRecord)) as found:
            return found.execute(QUERIES["alerts_shown"]).fetchall()

    def owed(self) -> int:
        """Return the number of notices that are due now."""
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["notices_owed"]).fetchone()
        return 0 if row is None else int(row["count"])

    def take(self) -> list[Notice]:
        """Take the oldest unsent notice of each block, if it is due: each block gets its notices in order."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Notice)) as cursor:
            return cursor.execute(QUERIES["notice_take"], {"lease": LEASE}).fetchall()

    def sent(self, notice: Notice) -> None:
        """Record that a notice was delivered."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["notice_sent"], {"notice_id": notice.notice_id})

    def failed(self, notice: Notice, why: str) -> timedelta:
        """Record that a notice could not be delivered; return how long until the next try."""
        delay = min(LONGEST, timedelta(seconds=5 * 2.0 ** min(notice.tries, 10)))
        with self._database.transaction() as connection:
            asked = {"notice_id": notice.notice_id, "delay": delay, "failure": why}
            connection.execute(QUERIES["notice_failed"], asked)
        return delay

    def failing(self) -> list[Failing]:
        """Return up to 20 notices whose delivery has failed so far, oldest first."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Failing)) as cursor:
            return cursor.execute(QUERIES["notices_failing"]).fetchall()

    def forget(self) -> None:
        """Delete notices that were delivered more than 30 days ago."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["notices_forget"])

"""Rings of the doorbell: what is owed, what was rung, who answered, and what goes out through the outbox."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from worker.ledger.database import Database
from worker.ledger.queries import QUERIES


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What one pipeline has to do, who works on it, and which rings nobody answered."""

    claimable: int  # arrivals due now
    next_due_in: timedelta | None  # until the next one comes due
    busy: int  # runs that answered and are alive
    unanswered: int  # rings that nobody answered yet
    rung: int | None  # the highest rung among them
    oldest_ring_age: timedelta | None  # the age of the oldest among them


@dataclass(frozen=True, slots=True)
class Posted:
    """A fact in the outbox."""

    outbox_id: int
    event_id: UUID
    kind: str
    pipeline: str
    facts: dict[str, object]
    occurred_at: datetime


class Rings:
    """The doorbell's side of the ledger.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database, *, lease: timedelta) -> None:
        self._database = database
        self._lease = lease

    def outstanding(self, pipeline: str) -> Outstanding:
        """See what a pipeline is owed."""
        with (
            self._database.transaction() as connection,
            connection.cursor(row_factory=class_row(Outstanding)) as cursor,
        ):
            found = cursor.execute(QUERIES["outstanding"], {"pipeline": pipeline}).fetchone()
        if found is None:
            raise AssertionError("a query of aggregates gives one row")
        return found

    def ring(self, ring_id: UUID, pipeline: str, rung: int, *, direct: bool) -> None:
        """Record a ring before it is rung; it takes the place of those that nobody answered."""
        with self._database.transaction() as connection:
            if rung:
                connection.execute(QUERIES["give_up_rings"], {"pipeline": pipeline})
            connection.execute(
                QUERIES["ring"], {"ring_id": ring_id, "pipeline": pipeline, "rung": rung, "direct": direct}
            )

    def unring(self, ring_id: UUID) -> None:
        """Forget a ring that could not be rung."""
        self._execute("unring", ring_id=ring_id)

    def give_up(self, pipeline: str) -> None:
        """Close rings that need no answer any more: there is nothing left to claim."""
        self._execute("give_up_rings", pipeline=pipeline)

    def wait_longer(self, pipeline: str) -> None:
        """Count the wait of the open rings anew: runs are queued already, and more rings would not help."""
        self._execute("wait_longer", pipeline=pipeline)

    def answer(self, ring_id: UUID, pipeline: str, holder: str) -> None:
        """Record that a run has come, for a ring or by itself, and that it is alive."""
        self._execute("answer", ring_id=ring_id, pipeline=pipeline, holder=holder, lease=self._lease)

    def leave(self, holder: str) -> None:
        """Record that a run is over, and wake the announcer."""
        self._execute("leave", holder=holder)

    def posted(self, limit: int = 100) -> list[Posted]:
        """The oldest facts in the outbox."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Posted)) as cursor:
            return cursor.execute(QUERIES["outbox_next"], {"limit": limit}).fetchall()

    def sent(self, ids: Sequence[int]) -> None:
        """Take facts that were published out of the outbox."""
        self._execute("outbox_sent", ids=list(ids))

    def _execute(self, query: str, **values: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(QUERIES[query], values)

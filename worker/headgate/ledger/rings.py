"""Rings of the doorbell: what is owed, what was rung, who answered, and what goes out through the outbox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from headgate.ledger.database import Database
from headgate.ledger.queries import QUERIES

OUTBOX_BATCH = 100  # facts that are published at once


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What one pipeline has to do, who works on it, and which rings nobody answered."""

    claimable: int  # files of the home due now, counted up to what was asked for
    next_due_in: timedelta | None  # until the next one comes due
    busy: int  # runs that answered and are alive
    unanswered: int  # rings that nobody answered yet
    rung: int | None  # the highest rung among them
    oldest_ring_age: timedelta | None  # the age of the oldest among them
    ranges: int = 0  # ranges due now, which any home may work on


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

    def outstanding(self, most: Mapping[str, int], home: UUID | None) -> dict[str, Outstanding]:
        """See what pipelines are owed in a home.

        Args:
            most: of each pipeline, up to how many arrivals are counted, so that a look costs the same whatever waits.
            home: whose files, rings and runs.

        """
        asked = {"pipelines": list(most), "most": list(most.values()), "home": home}
        with self._database.transaction() as connection:
            return {
                row.pop("pipeline"): Outstanding(**row) for row in connection.execute(QUERIES["outstanding"], asked)
            }

    def ring(self, ring_id: UUID, pipeline: str, rung: int, *, direct: bool, home: UUID | None) -> None:
        """Record a ring before it is rung; it takes the place of those that nobody answered."""
        with self._database.transaction() as connection:
            if rung:
                connection.execute(QUERIES["give_up_rings"], {"pipeline": pipeline, "home": home})
            asked = {"ring_id": ring_id, "pipeline": pipeline, "home": home, "rung": rung, "direct": direct}
            connection.execute(QUERIES["ring"], asked)

    def unring(self, ring_id: UUID) -> None:
        """Forget a ring that could not be rung."""
        self._execute("unring", ring_id=ring_id)

    def give_up(self, pipeline: str, home: UUID | None) -> None:
        """Close rings that need no answer any more: there is nothing left to claim."""
        self._execute("give_up_rings", pipeline=pipeline, home=home)

    def wait_longer(self, pipeline: str, home: UUID | None) -> None:
        """Count the wait of the open rings anew: runs are queued already, and more rings would not help."""
        self._execute("wait_longer", pipeline=pipeline, home=home)

    def answer(self, ring_id: UUID, pipeline: str, holder: str, home: UUID | None) -> datetime | None:
        """Record that a run has come, for a ring or by itself, and that it is alive.

        Returns:
            When the last arrival came that a run of this pipeline worked on before, in this home.

        """
        asked = {"ring_id": ring_id, "pipeline": pipeline, "holder": holder, "home": home, "lease": self._lease}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["answer"], asked)
            before = connection.execute(QUERIES["before"], asked).fetchone()
        return None if before is None else before["at"]

    def leave(self, holder: str, last_arrival: datetime | None = None) -> None:
        """Record that a run is over, and wake the announcer.

        Args:
            holder: the run.
            last_arrival: when the last arrival came that it worked on.

        """
        self._execute("leave", holder=holder, last_arrival_at=last_arrival)

    def lead(self, holder: str) -> bool:
        """Be the one that rings, for a lease; whether nobody else is. Only for where a session cannot hold a lock."""
        asked = {"role": "announcer", "holder": holder, "lease": self._lease}
        with self._database.transaction() as connection:
            return connection.execute(QUERIES["lead"], asked).fetchone() is not None

    def usual_answer(self) -> timedelta | None:
        """How long first rings wait for their answers, most of the time; None while too few were answered."""
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["usual_answers"]).fetchone()
        return None if row is None else row["wait"]

    def close_dead(self) -> None:
        """Close the rings of runs that have not said for two leases that they are alive."""
        self._execute("close_dead_rings", lease=self._lease)

    def over(self, holders: Sequence[str]) -> dict[str, bool]:
        """Say of each of these runs that the ledger knows whether it is over."""
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["over"], {"holders": list(holders)})
            return {row["holder"]: row["over"] for row in rows}

    def posted(self, limit: int = OUTBOX_BATCH) -> list[Posted]:
        """The oldest facts in the outbox."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Posted)) as cursor:
            return cursor.execute(QUERIES["outbox_next"], {"limit": limit}).fetchall()

    def sent(self, ids: Sequence[int]) -> None:
        """Take facts that were published out of the outbox."""
        self._execute("outbox_sent", ids=list(ids))

    def _execute(self, query: str, **values: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(QUERIES[query], values)

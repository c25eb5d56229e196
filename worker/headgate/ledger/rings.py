"""Rings of the doorbell: which are due, rung and answered; and the outbox, through which facts are published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from headgate.ledger.database import Database
from headgate.ledger.queries import QUERIES

OUTBOX_BATCH = 100  # facts published at once


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A pipeline's due arrivals in a home, the runs at work on it there, and its unanswered rings."""

    claimable: int  # files of the home due now, counted up to the given limit
    next_due_in: timedelta | None  # until the next arrival is due
    busy: int  # runs that answered and are alive
    unanswered: int  # rings that nobody has answered yet
    rung: int | None  # the highest rung among the unanswered rings
    oldest_ring_age: timedelta | None  # the age of the oldest of them
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
        """Return the outstanding work of pipelines in a home.

        Args:
            most: how many arrivals to count at most, by pipeline, so that the cost does not grow with the backlog.
            home: the home whose files, rings and runs count.

        """
        asked = {"pipelines": list(most), "most": list(most.values()), "home": home}
        with self._database.transaction() as connection:
            return {
                row.pop("pipeline"): Outstanding(**row) for row in connection.execute(QUERIES["outstanding"], asked)
            }

    def ring(self, ring_id: UUID, pipeline: str, rung: int, *, direct: bool, home: UUID | None) -> None:
        """Record a ring before it is rung; one above rung 0 replaces the unanswered rings."""
        with self._database.transaction() as connection:
            if rung:
                connection.execute(QUERIES["give_up_rings"], {"pipeline": pipeline, "home": home})
            asked = {"ring_id": ring_id, "pipeline": pipeline, "home": home, "rung": rung, "direct": direct}
            connection.execute(QUERIES["ring"], asked)

    def unring(self, ring_id: UUID) -> None:
        """Forget a ring that could not be rung."""
        self._execute("unring", ring_id=ring_id)

    def give_up(self, pipeline: str, home: UUID | None) -> None:
        """Close rings that no longer need an answer, because nothing is left to claim."""
        self._execute("give_up_rings", pipeline=pipeline, home=home)

    def wait_longer(self, pipeline: str, home: UUID | None) -> None:
        """Restart the wait of the open rings: runs are queued already, so more rings would not help."""
        self._execute("wait_longer", pipeline=pipeline, home=home)

    def answer(self, ring_id: UUID, pipeline: str, holder: str, home: UUID | None) -> datetime | None:
        """Record that a run has begun, for a ring or without one, and that it is alive.

        Returns:
            When the last arrival of the previous run of this pipeline in this home came, or when that run was rung if
            no arrival is recorded; None without a previous run.

        """
        asked = {"ring_id": ring_id, "pipeline": pipeline, "holder": holder, "home": home, "lease": self._lease}
        with self._database.transaction() as connection:
            connection.execute(QUERIES["answer"], asked)
            before = connection.execute(QUERIES["before"], asked).fetchone()
        return None if before is None else before["at"]

    def leave(self, holder: str, last_arrival: datetime | None = None) -> None:
        """Record that a run is over, and wake the announcer.

        Args:
            holder: the holder's name.
            last_arrival: when the last arrival that it worked on came.

        """
        self._execute("leave", holder=holder, last_arrival_at=last_arrival)

    def lead(self, holder: str) -> bool:
        """Become or stay the only announcer for one lease; return whether that worked.

        Used only where a session cannot hold a lock.
        """
        asked = {"role": "announcer", "holder": holder, "lease": self._lease}
        with self._database.transaction() as connection:
            return connection.execute(QUERIES["lead"], asked).fetchone() is not None

    def usual_answer(self) -> timedelta | None:
        """Return how long recent first rings waited for an answer (90th percentile); None if too few were answered."""
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["usual_answers"]).fetchone()
        return None if row is None else row["wait"]

    def heard(self) -> bool:
        """Return whether the latest answer to a ring came through an automation, and not from a direct run."""
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["latest_answer"]).fetchone()
        return row is None or not row["direct"]

    def close_dead(self) -> None:
        """Close the rings of runs that have not renewed their lease for two leases."""
        self._execute("close_dead_rings", lease=self._lease)

    def over(self, holders: Sequence[str]) -> dict[str, bool]:
        """Return for each of these holders that the ledger knows whether its run is over."""
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["over"], {"holders": list(holders)})
            return {row["holder"]: row["over"] for row in rows}

    def posted(self, limit: int = OUTBOX_BATCH) -> list[Posted]:
        """Return the oldest facts in the outbox."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Posted)) as cursor:
            return cursor.execute(QUERIES["outbox_next"], {"limit": limit}).fetchall()

    def sent(self, ids: Sequence[int]) -> None:
        """Remove published facts from the outbox."""
        self._execute("outbox_sent", ids=list(ids))

    def _execute(self, query: str, **values: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(QUERIES[query], values)

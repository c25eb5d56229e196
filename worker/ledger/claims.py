"""Claims: arrivals leased by a run, worked on, and ended under the epoch of the lease."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from worker.errors import ArrivalRejected, Fenced, LedgerUnavailable
from worker.ledger.database import Connection, Database
from worker.ledger.queries import QUERIES
from worker.model import Claim, ClaimedArrival, RangePosition, Reason, Stage, State
from worker.retry import delay_after

if TYPE_CHECKING:  # it holds polars, and `headgate up` and the embedded Prefect server do without
    from worker.pipeline import Pipeline

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Part:
    """What one commit holds of one arrival. A delete that a tombstone asked for counts as persisted."""

    arrival_id: int
    epoch: int
    rows_committed: int  # the last row this commit accounts for
    rows_in: int
    rows_persisted: int
    rows_dead: int
    ended: bool  # it is the arrival's last
    rows_skipped: int = 0


class Claims:
    """Leases on arrivals of one pipeline, held by one run.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database, *, lease: timedelta) -> None:
        self._database = database
        self._lease = lease

    def claim(self, pipeline: "Pipeline", *, holder: str, only: int | None = None, limit: int | None = None) -> Claim:
        """Lease what is due, up to the pipeline's limits; the attempt counts from here on.

        Args:
            pipeline: whose arrivals.
            holder: who leases: the flow run's id.
            only: this arrival and no other.
            limit: at the most so many arrivals.

        """
        asked = {
            "pipeline": pipeline.name,
            "attempts": pipeline.retry.attempts,
            "arrivals": min(limit or pipeline.max_arrivals, pipeline.max_arrivals),
            "bytes": pipeline.max_bytes,
            "only": only,
            "holder": holder,
            "lease": self._lease,
        }
        with self._database.transaction() as connection:
            given_up = connection.execute(QUERIES["reject_exhausted"], asked).fetchall()
            if given_up:
                ids = [row["arrival_id"] for row in given_up]
                connection.execute(QUERIES["set_aside_arrival"], {"ids": ids, "stage": Stage.PARSE})
                connection.execute(QUERIES["post_rejected"], {"ids": ids})
            rows = connection.execute(QUERIES["claim"], asked).fetchall()
        for row in given_up:
            log.error(
                "arrival rejected",
                action="reject",
                pipeline=pipeline.name,
                arrival_id=row["arrival_id"],
                reason=row["reason"],
            )
        return Claim(pipeline.name, holder, tuple(_claimed(row) for row in rows))

    def peek(self, pipeline: "Pipeline", *, holder: str, only: int | None = None, limit: int | None = None) -> Claim:
        """See what a claim would lease, and lease nothing: for a dry run."""
        asked = {
            "pipeline": pipeline.name,
            "only": only,
            "arrivals": min(limit or pipeline.max_arrivals, pipeline.max_arrivals),
        }
        with self._database.transaction() as connection:
            rows = connection.execute(QUERIES["peek"], asked).fetchall()
        return Claim(pipeline.name, holder, tuple(_claimed(row) for row in rows))

    @contextmanager
    def renewing(self, holder: str) -> Iterator[None]:
        """Renew all that a run holds, and that it is alive, every third of a lease, from a thread."""
        stopped = threading.Event()

        def renew() -> None:
            while not stopped.wait(self._lease.total_seconds() / 3):
                # Away for a moment: the next turn may still be in time, and if not, the fence holds.
                with suppress(LedgerUnavailable), self._database.transaction() as connection:
                    held = {"holder": holder, "lease": self._lease}
                    connection.execute(QUERIES["renew"], held)
                    connection.execute(QUERIES["keep_alive"], held)

        thread = threading.Thread(target=renew, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def fence(self, connection: Connection, epochs: Mapping[int, int]) -> dict[int, int]:
        """Lock arrivals for the rest of the transaction and make sure that they are still ours.

        Args:
            connection: in the transaction that will write for them.
            epochs: of each arrival, the epoch of our claim.

        Returns:
            Of each arrival, the row up to which all is committed already. An arrival that our own epoch has ended
            (its commit was in doubt) counts as committed to its end.

        Raises:
            Fenced: the lease ran out, or another run holds the arrival. Nothing may be written.

        """
        committed: dict[int, int] = {}
        for row in connection.execute(QUERIES["fence"], {"ids": list(epochs)}):
            arrival_id = row["arrival_id"]
            ours = row["lease_epoch"] == epochs[arrival_id]
            if ours and row["state"] == State.DONE:
                committed[arrival_id] = 2**62
            elif ours and row["state"] == State.CLAIMED and row["live"]:
                committed[arrival_id] = row["rows_committed"]
        lost = sorted(set(epochs) - set(committed))
        if lost:
            raise Fenced(
                f"The claim on {len(lost)} arrivals (first: {lost[0]}) was lost; another run has them or will."
            )
        return committed

    def advance(  # noqa: PLR0913 - what one commit holds
        self,
        connection: Connection,
        pipeline: str,
        parts: Sequence[Part],
        dead: Mapping[str, int],
        *,
        since_parsed: timedelta | None = None,
        since_enriched: timedelta | None = None,
    ) -> None:
        """Record in the transaction that wrote the rows what it holds, and what is to be told of it.

        Args:
            connection: in the transaction that fenced and wrote.
            pipeline: its name.
            parts: what it holds of each arrival.
            dead: of each reason, how many dead letters it holds.
            since_parsed: how long ago the claim was parsed.
            since_enriched: how long ago it was enriched.

        """
        connection.execute(
            QUERIES["advance"],
            {
                "ids": [part.arrival_id for part in parts],
                "rows_committed": [part.rows_committed for part in parts],
                "rows_in": [part.rows_in for part in parts],
                "rows_persisted": [part.rows_persisted for part in parts],
                "rows_dead": [part.rows_dead for part in parts],
                "rows_skipped": [part.rows_skipped for part in parts],
                "ended": [part.ended for part in parts],
                "since_parsed": since_parsed,
                "since_enriched": since_enriched,
            },
        )
        ended = [part.arrival_id for part in parts if part.ended]
        if ended:
            facts = {
                "arrivals": len(ended),
                "arrival_ids": ended[:100],
                "rows_persisted": sum(part.rows_persisted for part in parts),
                "dead_letters": sum(part.rows_dead for part in parts),
            }
            connection.execute(QUERIES["post"], _post("arrivals.persisted", pipeline, facts))
        for reason, count in dead.items():
            facts = {
                "reason": reason,
                "count": count,
                "arrival_ids": [p.arrival_id for p in parts if p.rows_dead][:100],
            }
            connection.execute(QUERIES["post"], _post("rows.dead-lettered", pipeline, facts))

    def reject(self, arrival: ClaimedArrival, stage: Stage, error: ArrivalRejected) -> None:
        """Give up a claimed arrival; its bytes are kept and a dead letter stands for it.

        Raises:
            Fenced: the claim was lost.

        """
        self._end_attempt("reject", arrival, stage, reason=error.reason, detail=error.detail)

    def retry(self, pipeline: "Pipeline", arrival: ClaimedArrival, stage: Stage, error: Exception) -> timedelta | None:
        """Put a claimed arrival back for a later attempt, or give it up if there is none left.

        Returns:
            When it comes due, or None if it was given up.

        Raises:
            Fenced: the claim was lost.

        """
        detail = _detail(error)
        delay = delay_after(arrival.attempt, pipeline.retry)
        if delay is None:
            self._end_attempt("reject", arrival, stage, reason=Reason.ATTEMPTS_USED_UP, detail=detail)
        else:
            self._end_attempt("retry", arrival, stage, reason=stage, detail=detail, delay=delay)
        return delay

    def postpone(self, arrival: ClaimedArrival, stage: Stage, error: Exception, delay: timedelta) -> None:
        """Put a claimed arrival back because what it, or one beside it, is read from is away: no attempt of its own.

        Raises:
            Fenced: the claim was lost.

        """
        self._end_attempt("postpone", arrival, stage, reason=stage, detail=_detail(error), delay=delay)

    def _end_attempt(self, query: str, arrival: ClaimedArrival, stage: Stage, **values: object) -> None:
        with self._database.transaction() as connection:
            asked = {"arrival_id": arrival.arrival_id, "epoch": arrival.epoch, **values}
            if connection.execute(QUERIES[query], asked).fetchone() is None:
                raise Fenced(f"The claim on arrival {arrival.arrival_id} was lost; another run has it or will.")
            if query == "reject":
                connection.execute(QUERIES["set_aside_arrival"], {"ids": [arrival.arrival_id], "stage": stage})
                connection.execute(QUERIES["post_rejected"], {"ids": [arrival.arrival_id]})

    def release(self, holder: str) -> int:
        """Hand back what a run holds, untouched: the attempt does not count; how many arrivals that were."""
        with self._database.transaction() as connection:
            return connection.execute(QUERIES["release"], {"holder": holder}).rowcount


def _detail(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:2000].replace("\0", "")


def _post(kind: str, pipeline: str, facts: object) -> dict[str, object]:

    return {"kind": kind, "pipeline": pipeline, "facts": Jsonb(facts)}


def _claimed(row: DictRow) -> ClaimedArrival:
    return ClaimedArrival(
        arrival_id=row["arrival_id"],
        epoch=row["lease_epoch"],
        attempt=row["attempts"],
        source=row["source"],
        name=row["name"],
        path=row["path"] or b"",
        spool=row["spool"],
        size=row["size_bytes"],
        sha256=row["content_sha256"] or b"",
        rows_committed=row["rows_committed"],
        range=_range(row) if row["kind"] == "range" else None,
    )


def _range(row: DictRow) -> RangePosition:
    return RangePosition(
        cluster=row["cluster"],
        topic=row["topic"],
        topic_id=row["topic_id"],
        partition=row["partition"],
        first=row["first_offset"],
        end=row["end_offset"],
        size=row["size_bytes"],
    )

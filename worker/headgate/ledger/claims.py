"""Claims: a run leases arrivals, works on them, and ends them under the epoch of its lease."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from headgate.errors import ArrivalRejected, Fenced
from headgate.ledger.database import Connection, Database
from headgate.ledger.holders import bury
from headgate.ledger.holding import Holding, holding
from headgate.ledger.homes import Homes
from headgate.ledger.queries import QUERIES
from headgate.ledger.retry_delay import delay_after
from headgate.model import Claim, ClaimedArrival, Fact, RangePosition, Reason, Stage, State

if TYPE_CHECKING:  # it imports polars, which `headgate up` and the embedded Prefect server do without
    from headgate.pipeline import Pipeline

MOST_NAMED = 100  # the most arrivals that one fact names
TO_ITS_END = 2**62  # stands for all rows: the arrival is done

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Part:
    """The part of one arrival in one commit. A delete requested by a tombstone counts as persisted."""

    arrival_id: int
    epoch: int
    rows_committed: int  # the last row this commit accounts for
    rows_in: int
    rows_persisted: int
    rows_dead: int
    ended: bool  # this is the arrival's last part
    rows_skipped: int = 0


class Claims:
    """Leases that runs hold on arrivals of one pipeline: on files of their own home, and on ranges.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database, *, lease: timedelta, homes: Homes | None = None) -> None:
        self._database = database
        self._lease = lease
        self._homes = homes

    def claim(
        self,
        pipeline: "Pipeline",
        *,
        holder: str,
        only: int | None = None,
        limit: int | None = None,
        start: int | None = None,
    ) -> Claim:
        """Lease due arrivals of one start, up to the pipeline's limits; the attempt counts from here on.

        Args:
            pipeline: the pipeline whose arrivals are leased.
            holder: the name of the execution; unique even among executions of one flow run.
            only: lease only this arrival.
            limit: lease at most this many arrivals.
            start: lease only arrivals of this start; None: of the oldest due arrival's start.

        Raises:
            HomeUnavailable: the home of this process cannot be used, and no ranges are due.

        """
        asked: dict[str, object] = {
            "pipeline": pipeline.name,
            "attempts": pipeline.retry.attempts,
            "arrivals": min(limit or pipeline.max_arrivals, pipeline.max_arrivals),
            "bytes": pipeline.max_bytes,
            "only": only,
            "start": start,
            "holder": holder,
            "lease": self._lease,
        }
        with self._database.transaction() as connection:
            asked["home"], unavailable = self._homes.usable(connection) if self._homes else (None, None)
            bury(connection)
            given_up = connection.execute(QUERIES["reject_exhausted"], asked).fetchall()
            if given_up:
                ids = [row["arrival_id"] for row in given_up]
                connection.execute(QUERIES["set_aside_arrival"], {"ids": ids, "stage": Stage.PARSE})
                connection.execute(QUERIES["post_rejected"], {"ids": ids, "kind": Fact.REJECTED})
            if pipeline.start.parks:
                connection.execute(QUERIES["pace_lock"], asked)  # otherwise two runs could take the same start
            rows = connection.execute(QUERIES["claim"], asked).fetchall()
            if rows and rows[0]["start_id"]:
                connection.execute(QUERIES["take_start"], {"start_id": rows[0]["start_id"], "holder": holder})
        for row in given_up:
            log.error(
                "arrival rejected",
                action="reject",
                pipeline=pipeline.name,
                arrival_id=row["arrival_id"],
                reason=row["reason"],
            )
        if unavailable is not None and not rows:
            raise unavailable
        return Claim(pipeline.name, holder, tuple(_claimed(row) for row in rows))

    def peek(
        self,
        pipeline: "Pipeline",
        *,
        holder: str,
        only: int | None = None,
        limit: int | None = None,
        start: int | None = None,  # noqa: ARG002 - same signature as `claim`; a dry run has no start
    ) -> Claim:
        """Return what a claim could lease next, even if parked or not due yet, without leasing it: for a dry run."""
        asked: dict[str, object] = {
            "pipeline": pipeline.name,
            "only": only,
            "arrivals": min(limit or pipeline.max_arrivals, pipeline.max_arrivals),
        }
        with self._database.transaction() as connection:
            asked["home"], unavailable = self._homes.usable(connection) if self._homes else (None, None)
            rows = connection.execute(QUERIES["peek"], asked).fetchall()
        if unavailable is not None and not rows:
            raise unavailable
        return Claim(pipeline.name, holder, tuple(_claimed(row) for row in rows))

    def holding(self, holder: str, heard: Callable[[str], None] = lambda _: None) -> AbstractContextManager[Holding]:
        """Renew all of a run's leases and show that it is alive, in a separate database session.

        Args:
            holder: the name that it claims under.
            heard: called in a thread with the pipeline that something arrived for; with "" if arrivals may have been
                missed.

        """
        return holding(self._database, holder, lease=self._lease, heard=heard)

    def fence(self, connection: Connection, epochs: Mapping[int, int]) -> dict[int, int]:
        """Lock arrivals for the rest of the transaction, and make sure that they are still ours.

        Args:
            connection: the connection in the transaction that will write for them.
            epochs: the epoch of our claim on each arrival.

        Returns:
            For each arrival, the row up to which all is committed. An arrival that is done under our own epoch, because
            a commit in doubt succeeded, counts as committed to its end.

        Raises:
            Fenced: the lease ran out, or another run holds the arrival. Nothing may be written.

        """
        committed: dict[int, int] = {}
        for row in connection.execute(QUERIES["fence"], {"ids": list(epochs)}):
            arrival_id = row["arrival_id"]
            ours = row["lease_epoch"] == epochs[arrival_id]
            if ours and row["state"] == State.DONE:
                committed[arrival_id] = TO_ITS_END
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
        skipping: str | None = None,
    ) -> None:
        """Record the progress of arrivals and post the facts about it, in the transaction that wrote the rows.

        Args:
            connection: the connection in the transaction that fenced and wrote.
            pipeline: the pipeline's name.
            parts: the part of each arrival in this commit.
            dead: the number of dead letters in this commit, by reason.
            since_parsed: how long ago the claim was parsed.
            since_enriched: how long ago it was enriched.
            skipping: why messages were skipped, as a sentence; used only if any were.

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
                "lease": self._lease,
                "since_parsed": since_parsed,
                "since_enriched": since_enriched,
                "skipping": skipping,
            },
        )
        ended = [part.arrival_id for part in parts if part.ended]
        if ended:
            facts = {
                "arrivals": len(ended),
                "arrival_ids": ended[:MOST_NAMED],
                "rows_persisted": sum(part.rows_persisted for part in parts),
                "dead_letters": sum(part.rows_dead for part in parts),
            }
            asked = {**_post(Fact.PERSISTED, pipeline, facts), "ids": ended[:MOST_NAMED]}
            connection.execute(QUERIES["post_of"], asked)
        bad = [part.arrival_id for part in parts if part.rows_dead][:MOST_NAMED]
        for reason, count in dead.items():
            facts = {"reason": reason, "count": count, "arrival_ids": bad}
            connection.execute(QUERIES["post_of"], {**_post(Fact.DEAD_LETTERED, pipeline, facts), "ids": bad})

    def reject(self, arrival: ClaimedArrival, stage: Stage, error: ArrivalRejected) -> None:
        """Give up a claimed arrival: its bytes are kept, and it gets a dead letter.

        Raises:
            Fenced: the claim was lost.

        """
        self._end_attempt("reject", arrival, stage, reason=error.reason, detail=error.detail)

    def retry(self, pipeline: "Pipeline", arrival: ClaimedArrival, stage: Stage, error: Exception) -> timedelta | None:
        """Put a claimed arrival back for a later attempt, or give it up if no attempts are left.

        Returns:
            How long until it is due again, or None if it was given up.

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
        """Put a claimed arrival back without counting the attempt, because its own content did not cause the failure.

        Its source or home is unavailable, others used up the time, or its pipeline cannot go on.

        Raises:
            Fenced: the claim was lost.

        """
        self._end_attempt("postpone", arrival, stage, reason=stage, detail=_detail(error), delay=delay)

    def _end_attempt(self, query: str, arrival: ClaimedArrival, stage: Stage, **values: object) -> None:
        with self._database.transaction() as connection:
            asked = {"arrival_id": arrival.arrival_id, "epoch": arrival.epoch, **values}
            # It may quote a file's name or bytes. If PostgreSQL refused the text, the attempt would not be ended.
            asked["detail"] = _storable(str(values["detail"]))
            if connection.execute(QUERIES[query], asked).fetchone() is None:
                raise Fenced(f"The claim on arrival {arrival.arrival_id} was lost; another run has it or will.")
            if query == "reject":
                connection.execute(QUERIES["set_aside_arrival"], {"ids": [arrival.arrival_id], "stage": stage})
                asked = {"ids": [arrival.arrival_id], "kind": Fact.REJECTED}
                connection.execute(QUERIES["post_rejected"], asked)

    def release(self, arrivals: Sequence[ClaimedArrival]) -> int:
        """Hand claimed arrivals back because the run was interrupted: the attempt does not count.

        Args:
            arrivals: the arrivals as this process claimed them. Those that it no longer holds, or whose lease ran out,
                are left alone.

        Returns:
            The number of arrivals handed back.

        """
        asked = {"ids": [each.arrival_id for each in arrivals], "epochs": [each.epoch for each in arrivals]}
        with self._database.transaction() as connection:
            return connection.execute(QUERIES["release"], asked).rowcount


def _detail(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _storable(text: str) -> str:
    return text[:2000].replace("\0", "").encode(errors="backslashreplace").decode()


def _post(kind: Fact, pipeline: str, facts: object) -> dict[str, object]:
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
        arrived_at=row["arrived_at"],
        range=_range(row) if row["kind"] == "range" else None,
        start_id=row["start_id"],
        replay_of=row["replay_of"],
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

"""Starts: which parked arrivals may be claimed now. The announcer asks, and so do runs that nobody rang for.

The decision is a pure function; this module reads its facts and writes its answer, one pipeline at a time and under its
lock. So nothing starts twice, whoever asks, and only the database's clock counts.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES

if TYPE_CHECKING:  # it imports polars, which `headgate up` and the embedded Prefect server do without
    from headgate.pipeline import Pipeline
    from headgate.pipeline.pacing import Decision
    from headgate.pipeline.start import After

log = structlog.get_logger()


class Starts:
    """The starts of the ledger.

    Args:
        database: the ledger's database.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def watch(self) -> datetime:
        """Return the ledger's time, to be passed as `watched_since` by an announcer that begins now."""
        with self._database.transaction() as connection:
            row = connection.execute("select clock_timestamp() as now").fetchone()
        if row is None:
            raise AssertionError("a query without a table gives one row")
        began: datetime = row["now"]
        return began

    def make_due(
        self,
        pipelines: Sequence["Pipeline"],
        *,
        patience: timedelta = timedelta(0),
        watched_since: datetime | None = None,
    ) -> timedelta | None:
        """Make the starts that are due.

        Args:
            pipelines: the pipelines whose starts are made.
            patience: for this long, a scheduled start is left to the schedule on the Prefect server.
            watched_since: a quiet period starts here at the earliest, because nothing was taken in before.

        Returns:
            How long until the next call is needed if nothing happens before; None: not until something does.

        """
        with self._database.transaction() as connection:
            found = connection.execute(QUERIES["parked_pipelines"], {"pipelines": [each.name for each in pipelines]})
            parked = {row["pipeline"] for row in found}
        waits: list[timedelta] = []
        for pipeline in pipelines:
            if pipeline.name in parked:
                with self._database.transaction() as connection:
                    left = _make(connection, pipeline, patience=patience, watched_since=watched_since)
                waits += [] if left is None else [left]
        return min(waits, default=None)

    def ask(self, pipeline: "Pipeline", *, by: str, most: int | None = None) -> None:
        """Ask for a start now, for a person or a rule; if the rate does not allow it yet, it is made once it does.

        Args:
            pipeline: the pipeline to start.
            by: the flow run's id; a run that is executed again, because its worker was stopped or killed, asks for
                nothing more.
            most: let at most this many arrivals go; None: all that a start lets go.

        """
        with self._database.transaction() as connection:
            request = {"key": f"start {by}", "by": by, "pipeline": pipeline.name}
            if not connection.execute(QUERIES["request_start"], request).rowcount:
                return
            connection.execute(QUERIES["pace_lock"], {"pipeline": pipeline.name})
            connection.execute(QUERIES["pace_asked"], {"pipeline": pipeline.name})
            _make(connection, pipeline, most=most)

    def let_go(self, pipeline: "Pipeline", arrival_id: int) -> None:
        """Let one parked arrival be claimed, whatever start and rate say, because a person asked for it."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["let_one_go"], {"pipeline": pipeline.name, "arrival_id": arrival_id})


def _make(
    connection: Connection,
    pipeline: "Pipeline",
    *,
    patience: timedelta = timedelta(0),
    watched_since: datetime | None = None,
    most: int | None = None,
) -> timedelta | None:
    """Make a pipeline's start if one is due; return how long until the next decision, None if it is unknown."""
    from headgate.pipeline.pacing import decide  # noqa: PLC0415 - as above
    from headgate.pipeline.parked import Parked  # noqa: PLC0415 - as above
    from headgate.pipeline.start import After  # noqa: PLC0415 - as above

    start, rate, asked = pipeline.start, pipeline.rate, {"pipeline": pipeline.name}
    pace = connection.execute(QUERIES["pace_lock"], asked).fetchone()
    found = connection.execute(QUERIES["waiting"], {**asked, "most": pipeline.looks_at}).fetchone()
    if pace is None or found is None:
        return None  # somebody else has let its arrivals go meanwhile
    persisted = _persisted(connection, pipeline.name, start) if isinstance(start, After) else ()
    recent = connection.execute(QUERIES["recent_starts"], {**asked, "period": rate.period}) if rate else ()
    waiting = Parked(
        **found,
        asked_at=pace["asked_at"],
        watched_since=watched_since,
        persisted=persisted,
        recent=tuple((row["at"], row["cost"]) for row in recent),
    )
    decision = decide(start, rate, waiting, patience=patience)
    if decision.due_at is not None:
        _let_go(connection, pipeline, decision, most)
    return None if decision.look_at is None else max(decision.look_at - waiting.now, timedelta(0))


def _persisted(connection: Connection, pipeline: str, start: "After") -> tuple[tuple[datetime, str], ...]:
    """Return when the pipelines that a start waits for persisted what makes it due: time and pipeline, in order."""
    within = None if start.apart is None else start.apart.total_seconds()
    asked = {"pipeline": pipeline, "after": list(start.pipelines), "within": within}
    found = connection.execute(QUERIES["persisted_since_start"], asked)
    return tuple((row["at"], row["pipeline"]) for row in found)


def _let_go(connection: Connection, pipeline: "Pipeline", decision: "Decision", most: int | None) -> None:
    take = min((each for each in (decision.take, most) if each is not None), default=None)
    # If each arrival is a start of its own, those that `most` leaves behind are not started.
    cost = decision.cost if pipeline.start.parks or most is None else min(decision.cost, most)
    asked = {"pipeline": pipeline.name, "due_at": decision.due_at, "cost": cost, "take": take}
    row = connection.execute(QUERIES["start"], asked).fetchone()
    start_id = row["start_id"] if row else 0
    # If each arrival is a start of its own, one run may claim several: they belong to no start.
    of_start = start_id if pipeline.start.parks else 0
    arrivals = connection.execute(QUERIES["let_go"], {**asked, "of_start": of_start}).rowcount
    connection.execute(QUERIES["started"], {"start_id": start_id, "arrivals": arrivals})
    connection.execute(QUERIES["pace_served"], asked)
    log.info("started", action="start", pipeline=pipeline.name, start_id=start_id, arrivals=arrivals)

"""The state that alerts watch, read from the ledger, the disk and the Prefect server: one function per kind."""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headgate.app import App, publisher
from headgate.errors import BadSettings, PrefectUnavailable
from headgate.ledger.database import Connection
from headgate.ledger.queries import QUERIES
from headgate.operations.alert_states import Key, Reading, broken, fine, unknown
from headgate.pipeline import Pipeline
from headgate.pipeline.alerts import (
    Alert,
    DeadLetterShare,
    DiskAlmostFull,
    Halted,
    RunStuck,
    SourceSilent,
    Waiting,
    WorkerGone,
    span,
)


@dataclass(frozen=True, slots=True)
class Watched:
    """One alert that is watched."""

    key: Key
    alert: Alert
    pipeline: Pipeline
    source: str = ""  # of a SourceSilent


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at all alerts works with."""

    app: App
    connection: Connection
    now: datetime  # by the database's clock
    workers: int | None  # that are online; None: unknown

    def read(self, watched: Watched, since: datetime) -> Reading:  # noqa: PLR0911 - one a kind
        """Read the state of one.

        Args:
            watched: which.
            since: when it was first watched; of a source that was paused, when it was resumed.

        """
        name = watched.pipeline.name
        match watched.alert:
            case SourceSilent() as alert:
                return self._silent(name, watched.source, alert, since)
            case DeadLetterShare() as alert:
                return self._share(watched.pipeline, alert)
            case Waiting() as alert:
                return self._waiting(name, alert)
            case Halted():
                return self._halted(name)
            case RunStuck() as alert:
                return self._stuck(name, alert)
            case DiskAlmostFull() as alert:
                return _disk(self.app.settings.home, alert)
            case WorkerGone():
                return self._worker()

    def _silent(self, pipeline: str, source: str, alert: SourceSilent, since: datetime) -> Reading:
        asked = {"pipeline": pipeline, "source": source}
        row = self.connection.execute(QUERIES["read_source"], asked).fetchone()
        last, paused = (row["arrived_at"], row["paused"]) if row else (None, False)
        if paused:
            return unknown(f"{source} is paused.")
        if self._older(max(last or since, since), alert.longer):
            when = f"since {_time(last)}" if last else "so far"
            return broken(f"Nothing has arrived from {source} {when}; {alert.longer} are allowed.")
        return fine(f"{source} sends again.")

    def _share(self, pipeline: Pipeline, alert: DeadLetterShare) -> Reading:
        sources = [source.name for source in pipeline.sources]
        asked = {"pipeline": pipeline.name, "sources": sources, "within": span(alert.within)}
        row = self.connection.execute(QUERIES["read_share"], asked).fetchone()
        rows, dead = (row["rows"], row["dead"]) if row else (0, 0)
        if rows < alert.rows:
            return unknown(f"{rows} rows came in the last {alert.within}.")
        told = f"{dead:,} of {rows:,} rows of the last {alert.within} were set aside, {dead / rows:.1%}"
        detail = f"{told}; {alert.more:.1%} are allowed (`headgate dead-letters list --pipeline {pipeline.name}`)."
        return broken(detail) if dead / rows > alert.more else fine(detail)

    def _waiting(self, pipeline: str, alert: Waiting) -> Reading:
        row = self.connection.execute(QUERIES["read_waiting"], {"pipeline": pipeline}).fetchone()
        since = row["since"] if row else None
        if since is not None and self._older(since, alert.longer):
            told = f"What is due since {_time(since)} waits for a run; {alert.longer} are allowed"
            return broken(f"{told} (`headgate doctor`).")
        return fine("Nothing waits for long.")

    def _halted(self, pipeline: str) -> Reading:
        found = self.connection.execute(QUERIES["read_halted"], {"pipeline": pipeline}).fetchall()
        if found:
            told = ", ".join(f"{row['topic']}[{row['partition']}] ({row['halted']})" for row in found)
            return broken(f"No ranges are cut of {told} (`headgate topics`).")
        return fine("No partition is halted.")

    def _stuck(self, pipeline: str, alert: RunStuck) -> Reading:
        row = self.connection.execute(QUERIES["read_stuck"], {"pipeline": pipeline}).fetchone()
        if row is not None and self._older(row["claimed_at"], alert.longer):
            arrival = f"arrival {row['arrival_id']} ({row['name']})"
            told = f"Run {row['claimed_by']} has been at work on {arrival} since {_time(row['claimed_at'])}"
            return broken(f"{told}; {alert.longer} are allowed.")
        return fine("No run takes long.")

    def _worker(self) -> Reading:
        pool = self.app.settings.worker.pool
        if self.workers is None:
            return unknown("The Prefect server does not answer.")
        if self.workers == 0:
            return broken(f"No worker is online in work pool {pool!r}: start `headgate work`.")
        return fine(f"Workers are online in work pool {pool!r}: {self.workers}.")

    def _older(self, time: datetime, longer: str) -> bool:
        age: timedelta = self.now - time
        return age > span(longer)


def workers_online(app: App) -> int | None:
    """Count the workers that are online; None if the Prefect server does not tell."""
    with suppress(PrefectUnavailable, BadSettings), publisher(app.settings) as server:
        return server.workers_online(app.settings.worker.pool)
    return None


def _disk(home: Path, alert: DiskAlmostFull) -> Reading:
    try:
        usage = shutil.disk_usage(home)
    except OSError as error:
        return unknown(f"The disk of {home} does not tell: {error.strerror}.")
    used = 1 - usage.free / usage.total
    free = f"{usage.free / 1024**3:.1f} GB are free"
    detail = f"{used:.1%} of the disk of {home} are used, and {free}; {alert.more:.1%} are allowed."
    return broken(detail) if used > alert.more else fine(detail)


def _time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

"""Paused sources: a durable state that every listener respects."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from headgate.ledger.alerts import source_silent
from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES
from headgate.model import Fact

TOLD = {"pause": Fact.SOURCE_PAUSED, "resume": Fact.SOURCE_RESUMED}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Paused:
    """A source from which nothing is taken in."""

    pipeline: str
    source: str
    paused_at: datetime
    by: str
    reason: str


class Sources:
    """The ledger's record of which sources are paused.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def paused(self) -> dict[tuple[str, str], Paused]:
        """Return the paused sources by pipeline and name."""
        with self._database.transaction() as connection, connection.cursor(row_factory=class_row(Paused)) as cursor:
            return {(each.pipeline, each.source): each for each in cursor.execute(QUERIES["paused_sources"])}

    def pause(
        self, connection: Connection, pipeline: str, sources: Sequence[str], *, by: str, reason: str
    ) -> list[str]:
        """Take nothing in from these sources until they are resumed; return those that this call paused."""
        return self._change(connection, "pause", pipeline, sources, by=by, reason=reason)

    def resume(
        self, connection: Connection, pipeline: str, sources: Sequence[str], *, by: str, reason: str
    ) -> list[str]:
        """Take in from these sources again; return those that were paused."""
        return self._change(connection, "resume", pipeline, sources, by=by, reason=reason)

    def _change(  # noqa: PLR0913 - one per column
        self, connection: Connection, change: str, pipeline: str, sources: Sequence[str], *, by: str, reason: str
    ) -> list[str]:
        changed = []
        for source in sorted(sources):  # in the same order everywhere, so that two changes cannot deadlock
            asked = {"pipeline": pipeline, "source": source, "by": by, "reason": reason}
            if connection.execute(QUERIES[f"{change}_source"], asked).fetchone() is None:
                continue
            changed.append(source)
            if change == "resume":  # nothing could come meanwhile
                asked = {"pipeline": pipeline, "alert": source_silent(source)}
                connection.execute(QUERIES["alert_watch_anew"], asked)
            facts = Jsonb({"source": source, "by": by, "reason": reason})
            posted = {"kind": TOLD[change], "pipeline": pipeline, "facts": facts}
            connection.execute(QUERIES["post"], posted)
            connection.execute(QUERIES["notify"], {"pipeline": pipeline})
            log.info("source turned", action=change, pipeline=pipeline, source=source, by=by)
        return [source for source in sources if source in changed]

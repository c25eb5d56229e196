"""Dead holders: their locks are free, so their claims are due at once instead of when the leases run out.

The lease still fences: a live holder that is taken for dead, because its session broke, finds its claims lost when it
commits. So a mistake here costs an attempt, never a row.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES

# Time from the first look that finds a lock free until its holder counts as dead. PostgreSQL may have restarted, or a
# connection broken; a live holder takes its lock again within a quarter of this.
GRACE = timedelta(seconds=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Gone:
    """A holder that died."""

    holder: str
    since: datetime  # when its lock was found free, by the database's clock


@dataclass(frozen=True, slots=True)
class Buried:
    """The result of a look."""

    gone: tuple[Gone, ...]
    left: int  # the number of holders not known to be dead


class Holders:
    """The holders that the ledger knows.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def bury(self) -> "Buried":
        """Find dead holders and free their claims; a lock found free for the first time gets the grace."""
        with self._database.transaction() as connection:
            return bury(connection)


def bury(connection: Connection) -> "Buried":
    """Find dead holders and free their claims, in the caller's transaction."""
    looked = connection.execute(QUERIES["holders_look"], {"grace": GRACE}).fetchall()
    since = {row["holder"]: row["free_since"] for row in looked if row["dead"]}
    if not since:
        return Buried((), len(looked))
    connection.execute(QUERIES["holders_lose"], {"holders": list(since)})
    left = connection.execute(QUERIES["holders_leave"], {"holders": list(since)}).fetchall()
    gone = tuple(Gone(row["holder"], since[row["holder"]]) for row in left)
    for each in gone:
        log.warning("a run died; what it had claimed is due again", action="bury", holder=each.holder)
    return Buried(gone, len(looked) - len(gone))

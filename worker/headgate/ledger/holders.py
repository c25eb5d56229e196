"""Holders that died: their locks are free, so what they had claimed is due at once, without a wait for their leases.

The lease stays what fences: a holder that is taken for dead and is not, because its session broke, finds its claims
lost when it comes to commit. So a mistake here costs an attempt, and never a row.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES

# From the first look that finds a lock free until its holder counts as dead: PostgreSQL may have been started again, or
# a connection cut, and a holder that lives takes its lock again within a quarter of this.
GRACE = timedelta(seconds=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Gone:
    """A holder that died."""

    holder: str
    since: datetime  # when its lock was found free, by the database's clock


@dataclass(frozen=True, slots=True)
class Buried:
    """What a look found."""

    gone: tuple[Gone, ...]  # holders that died
    left: int  # holders that live, as far as anybody knows yet


class Holders:
    """The holders that the ledger knows.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def bury(self) -> "Buried":
        """Find dead holders, and free what they held; those found now for the first time get a moment of grace."""
        with self._database.transaction() as connection:
            return bury(connection)


def bury(connection: Connection) -> "Buried":
    """Do the same within a transaction."""
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

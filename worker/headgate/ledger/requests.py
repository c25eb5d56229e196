"""Requests of rules, each answered once: an event may come twice, and a run may be started again."""

from dataclasses import dataclass
from datetime import timedelta

from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES

LEASE = timedelta(minutes=10)  # after this long without an answer, another run may take the request


@dataclass(frozen=True, slots=True)
class Before:
    """A request that another run took earlier."""

    asked_by: str  # the flow run's id
    answer: str | None  # None: it is still at work


class Requests:
    """The requests of the ledger.

    Raises:
        LedgerUnavailable: from any method, when the database does not answer.

    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, key: str, *, by: str) -> Before | None:
        """Take a request for a run.

        Args:
            key: identifies the request.
            by: the flow run's id; the same run may take the request again until it is answered.

        Returns:
            None if the request is now this run's; otherwise who has it, and the answer.

        """
        with self._database.transaction() as connection:
            asked = {"key": key, "by": by, "lease": LEASE}
            if connection.execute(QUERIES["take_request"], asked).fetchone() is not None:
                return None
            found = connection.execute(QUERIES["request"], asked).fetchone()
        return None if found is None else Before(**found)

    def give_back(self, key: str, *, by: str) -> None:
        """Let others take a request that a run could not answer."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["give_request_back"], {"key": key, "by": by})

    def end(self, connection: Connection, key: str, answer: str) -> None:
        """Record the answer, if possible in the transaction that did what was asked."""
        connection.execute(QUERIES["end_request"], {"key": key, "answer": answer})

    def forget(self) -> None:
        """Forget requests so old that no event repeats them."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["forget_requests"])

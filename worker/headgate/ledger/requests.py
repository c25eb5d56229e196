"""What rules ask for, each once: an event may come twice, and a run may be started again."""

from dataclasses import dataclass
from datetime import timedelta

from headgate.ledger.database import Connection, Database
from headgate.ledger.queries import QUERIES

LEASE = timedelta(minutes=10)  # a run that has not answered for this long does not keep others from the request


@dataclass(frozen=True, slots=True)
class Before:
    """A request that another run took before."""

    asked_by: str  # the flow run
    answer: str | None  # None: it is at work


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
            key: tells the request from all others.
            by: the flow run; the same one may take it again until it is answered.

        Returns:
            None: it is this run's. Else who has it, and what was answered.

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
        """Record what was done, in the transaction that did it where there is one."""
        connection.execute(QUERIES["end_request"], {"key": key, "answer": answer})

    def forget(self) -> None:
        """Forget requests that no event can ask for again."""
        with self._database.transaction() as connection:
            connection.execute(QUERIES["forget_requests"])

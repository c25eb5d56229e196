"""The one door to PostgreSQL: a pool of connections, and the migrations."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from operator import attrgetter
from time import monotonic
from types import TracebackType
from typing import Any, LiteralString, Self

import psycopg
import structlog
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from headgate.errors import HeadgateError, LedgerBusy, WrongDatabase
from headgate.ledger.locks import Lock
from headgate.ledger.sqlstates import Meaning, meaning
from headgate.ledger.telling import address_in, parsed, told

Connection = psycopg.Connection[DictRow]

TURN = 0.25  # seconds between two looks whether the server refuses every connection

# Of each connection; the URL may say otherwise.
RELIABLE = {
    # After a failover, an old primary that is read-only now, or a standby among several hosts, is passed over.
    "target_session_attrs": "read-write",
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    # Keepalives are not sent while data waits for an answer; this also ends such a connection to a host that vanished.
    "tcp_user_timeout": 60_000,  # milliseconds
}


log = structlog.get_logger()


class Database:
    """Connections to the ledger's database.

    Owns the pool; knows nothing of what is asked. Safe to use from several threads.

    Args:
        url: a PostgreSQL URL; its password is never shown.
        size: how many connections may be open at the same time.
        wait: seconds to wait for a connection before the database counts as unavailable.
        idle: seconds after which a connection that nobody uses is closed.

    Raises:
        BadSettings: the URL is not one.

    """

    def __init__(self, url: str, *, size: int = 4, wait: float = 5, idle: float = 60) -> None:
        given = parsed(url)
        self._options: dict[str, Any] = {name: value for name, value in RELIABLE.items() if name not in given}
        self._options |= {
            "row_factory": dict_row,
            "application_name": "headgate",
            "connect_timeout": max(2, int(wait)),
        }
        self._failures: list[psycopg.Error] = []  # the last one, until a connection is made again
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=0,
            max_size=size,
            max_idle=idle,
            # Between two tries to connect, its pauses double; a new request tries at once after it gave up.
            reconnect_timeout=1,
            check=ConnectionPool.check_connection,
            connection_class=_remembering(self._failures),
            kwargs={
                **self._options,
                # A process that is stopped in the middle of a transaction must not hold its locks for ever.
                "options": "-c idle_in_transaction_session_timeout=60s -c statement_timeout=600s",
            },
            open=False,
        )
        self._size = size
        self._wait = wait
        self._url = url
        self._address = address_in(given)

    def __enter__(self) -> Self:
        """Open the pool; no connection is made before it is needed."""
        self._pool.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close all connections."""
        self._pool.close(timeout=2)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give a connection in a transaction: committed at the end, rolled back on any error.

        Raises:
            LedgerUnavailable: the database does not answer, does not serve now, or the connection broke. After a break
                during the commit nobody knows whether it took place: ask again what the ledger says.
            LedgerBusy: a lock, a deadlock or a time-out ended the transaction.
            LedgerRefused: a value was refused.
            WrongDatabase: waiting will not help.

        """
        try:
            connection = self._connection()
            try:
                with connection.transaction():
                    yield connection
            except psycopg.Error as error:
                if meaning(error) is Meaning.UNAVAILABLE:
                    connection.close()  # the next connection may find a host that serves
                raise
            finally:
                self._pool.putconn(connection)
        except psycopg.Error as error:
            raise self._told(error) from error

    def _connection(self) -> Connection:
        """Take a connection from the pool, as soon as there is one; do not wait for what will never let us in."""
        deadline = monotonic() + self._wait
        while True:
            try:
                return self._pool.getconn(timeout=TURN)
            except PoolTimeout:
                for failure in self._failures:
                    if meaning(failure) is Meaning.WRONG or monotonic() >= deadline:
                        raise failure from None
                if monotonic() >= deadline:
                    raise

    @contextmanager
    def listening(self, channel: LiteralString) -> Iterator[Connection]:
        """Give a connection of its own, outside the pool, that LISTENs on a channel.

        Raises:
            LedgerUnavailable: the database does not answer, does not serve now, or the connection broke.
            WrongDatabase: waiting will not help.

        """
        try:
            with psycopg.Connection[DictRow].connect(self._url, autocommit=True, **self._options) as connection:
                connection.execute(f"listen {channel}")
                yield connection
        except psycopg.Error as error:
            raise self._told(error) from error

    def keeps_sessions(self, connection: Connection) -> bool:
        """Whether a connection is one session of PostgreSQL for as long as it lasts.

        Behind a pooler in transaction mode it is not: there, an advisory lock would be held by whoever is given the
        same session next, and nobody would hear a NOTIFY.

        Args:
            connection: outside a transaction.

        Raises:
            LedgerUnavailable: the database does not answer.

        """
        try:
            if _backend(connection) == connection.info.backend_pid:
                return True  # no pooler: the server itself said who it is
            with psycopg.Connection[DictRow].connect(self._url, autocommit=True, **self._options) as other:
                mine = _backend(connection)
                with other.transaction():  # a pooler that gives our session to others does so now, or gives us another
                    return _backend(other) != mine and all(_backend(connection) == mine for _ in range(2))
        except psycopg.Error as error:
            raise self._told(error) from error

    @contextmanager
    def alone(self, lock: Lock, *, wait: float = 60) -> Iterator[None]:
        """Hold an advisory lock, on a connection of its own.

        Args:
            lock: which.
            wait: seconds to wait for whoever holds it.

        Raises:
            LedgerBusy: whoever holds it did not let go.
            LedgerUnavailable: the database does not answer, or the connection broke before the lock was held.
            WrongDatabase: waiting will not help.

        """
        try:
            connection = psycopg.Connection[DictRow].connect(self._url, autocommit=True, **self._options)
        except psycopg.Error as error:
            raise self._told(error) from error
        with closing(connection):  # which lets go of the lock
            try:
                connection.execute(f"set lock_timeout = '{wait:g}s'".encode())
                connection.execute("select pg_advisory_lock(%s)", (lock,))
            except psycopg.Error as error:
                raise self._told(error) from error
            yield

    def _told(self, error: psycopg.Error) -> HeadgateError:
        if isinstance(error, PoolTimeout):
            text = f"all {self._size} connections of this process were in use for {self._wait:g} s."
            return LedgerBusy(f"PostgreSQL at {self._address}: {text}")
        return told(error, self._url)

    def migrate(self) -> list[str]:
        """Bring the ledger's tables up to date; safe to call from many processes at once.

        Returns:
            The names of the migrations that were applied now.

        Raises:
            LedgerUnavailable: the database does not answer.
            WrongDatabase: we may not make the tables, or a newer Headgate has migrated them.

        """
        with self.transaction() as connection:
            # Looked at before anything is locked or made: whoever may only read can use a ledger that is up to date.
            if not self._missing(connection):
                return []
            connection.execute("select pg_advisory_xact_lock(%s)", (Lock.MIGRATE,))
            # "if not exists" asks for the right to create one even where it exists.
            row = connection.execute("select to_regnamespace('headgate') is null as missing").fetchone()
            if row is not None and row["missing"]:
                connection.execute("create schema headgate")
            connection.execute(
                "create table if not exists headgate.migration"
                " (name text primary key, applied_at timestamptz default now())"
            )
            missing = self._missing(connection)
            for script in missing:
                connection.execute(script.read_bytes())
                connection.execute("insert into headgate.migration (name) values (%s)", (script.name,))
        for script in missing:
            log.info("ledger migrated", action="migrate", migration=script.name)
        return [script.name for script in missing]

    def _missing(self, connection: Connection) -> list[Traversable]:
        """Find the migrations that are not applied yet, in their order."""
        row = connection.execute("select to_regclass('headgate.migration') is not null as made").fetchone()
        there: set[str] = set()
        if row is not None and row["made"]:
            there = {row["name"] for row in connection.execute("select name from headgate.migration")}
        folder = resources.files("headgate.ledger").joinpath("migrations")
        scripts = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=attrgetter("name"))
        if unknown := sorted(there - {script.name for script in scripts}):
            # What a newer version wrote, this one may read wrongly or leave half done.
            message = f"its ledger belongs to a newer Headgate ({unknown[-1]} is unknown here); upgrade this one."
            raise WrongDatabase(f"PostgreSQL at {self._address}: {message}")
        return [script for script in scripts if script.name not in there]


def _backend(connection: Connection) -> int:
    row = connection.execute("select pg_backend_pid() as pid").fetchone()
    return int(row["pid"]) if row else 0


def let_in(url: str) -> None:
    """See that the database lets us in; one that is unavailable may still do so later. Without a thread.

    Raises:
        WrongDatabase: it does not let us in: a password, a database, a right.
        BadSettings: the URL is not one.

    """
    parsed(url)
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error as error:
        refusal = told(error, url)
        if isinstance(refusal, WrongDatabase):
            raise refusal from error


def _remembering(failures: list[psycopg.Error]) -> type[Connection]:
    """Make a class of connections that note why the last one was not made; the pool keeps that to itself."""

    class Remembering(psycopg.Connection[DictRow]):
        @classmethod
        def connect(cls, conninfo: str = "", **options: Any) -> Self:
            try:
                connection = super().connect(conninfo, **options)
            except psycopg.Error as error:
                failures[:] = [error]
                raise
            failures.clear()
            return connection

    return Remembering

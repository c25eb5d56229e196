"""The ledger's access to PostgreSQL: a pool of connections, and the migrations."""

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

TURN = 0.25  # seconds between two checks whether the server refuses every connection

# Defaults for each connection; the URL overrides them.
RELIABLE = {
    # Among several hosts, skip a standby, or an old primary that is read-only after a failover.
    "target_session_attrs": "read-write",
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    # Keepalives are not sent while sent data is unacknowledged; this also ends such a connection to a vanished host.
    "tcp_user_timeout": 60_000,  # milliseconds
}


log = structlog.get_logger()


class Database:
    """Connections to the ledger's database.

    Owns the pool, and knows nothing about the statements. Safe to use from several threads.

    Args:
        url: a PostgreSQL URL; its password is never shown.
        size: the maximum number of pooled connections open at the same time.
        wait: seconds to wait for a connection before the database counts as unavailable.
        idle: seconds after which an unused connection is closed.

    Raises:
        BadSettings: the URL is not valid.

    """

    def __init__(self, url: str, *, size: int = 4, wait: float = 5, idle: float = 60) -> None:
        given = parsed(url)
        self._options: dict[str, Any] = {name: value for name, value in RELIABLE.items() if name not in given}
        self._options |= {
            "row_factory": dict_row,
            "application_name": "headgate",
            # We send UTF-8, whatever the database, or PGCLIENTENCODING, would make of other clients.
            "client_encoding": "utf8",
            "connect_timeout": max(2, int(wait)),
        }
        self._failures: list[psycopg.Error] = []  # the latest failure to connect, until a connection succeeds
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=0,
            max_size=size,
            max_idle=idle,
            # The pool's pauses between tries double, so let it give up soon: the next request then tries at once.
            reconnect_timeout=1,
            check=ConnectionPool.check_connection,
            connection_class=_remembering(self._failures),
            kwargs={
                **self._options,
                # A process that is stopped (SIGSTOP) within a transaction must not hold its locks for ever.
                "options": "-c idle_in_transaction_session_timeout=60s -c statement_timeout=600s",
            },
            open=False,
        )
        self._size = size
        self._wait = wait
        self._url = url
        self._address = address_in(given)

    def __enter__(self) -> Self:
        """Open the pool; connections are made when needed."""
        self._pool.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close all connections."""
        self._pool.close(timeout=2)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection in a transaction: committed at the end, rolled back on any error.

        Raises:
            LedgerUnavailable: the database does not answer or serve now, or the connection broke. If it broke during
                the commit, the outcome is unknown: read the ledger again.
            LedgerBusy: a lock, a deadlock or a timeout ended the transaction.
            LedgerRefused: a value was refused.
            WrongDatabase: waiting does not help.

        """
        try:
            connection = self._connection()
            try:
                with connection.transaction():
                    yield connection
            except psycopg.Error as error:
                if meaning(error) is Meaning.UNAVAILABLE:
                    connection.close()  # the next one may reach a host that serves
                raise
            finally:
                self._pool.putconn(connection)
        except psycopg.Error as error:
            raise self._told(error) from error

    def _connection(self) -> Connection:
        """Take a connection from the pool as soon as one is free; do not wait for a server that refuses us for good."""
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
        """Yield a separate connection, outside the pool, that LISTENs on a channel.

        Raises:
            LedgerUnavailable: the database does not answer or serve now, or the connection broke.
            WrongDatabase: waiting does not help.

        """
        try:
            with psycopg.Connection[DictRow].connect(self._url, autocommit=True, **self._options) as connection:
                connection.execute(f"listen {channel}")
                yield connection
        except psycopg.Error as error:
            raise self._told(error) from error

    def keeps_sessions(self, connection: Connection) -> bool:
        """Return whether a connection keeps one PostgreSQL session for as long as it lasts.

        Behind a pooler in transaction mode it does not: an advisory lock would pass to whichever client gets the
        session next, and a NOTIFY would reach nobody.

        Args:
            connection: a connection outside a transaction.

        Raises:
            LedgerUnavailable: the database does not answer.

        """
        try:
            if _backend(connection) == connection.info.backend_pid:
                return True  # no pooler: the id from the handshake is the server process's own
            with psycopg.Connection[DictRow].connect(self._url, autocommit=True, **self._options) as other:
                mine = _backend(connection)
                with other.transaction():  # a pooler that shares sessions gives ours away now, or gives us another
                    return _backend(other) != mine and all(_backend(connection) == mine for _ in range(2))
        except psycopg.Error as error:
            raise self._told(error) from error

    @contextmanager
    def alone(self, lock: Lock, *, wait: float = 60) -> Iterator[None]:
        """Hold an advisory lock on a separate connection.

        Args:
            lock: the lock.
            wait: seconds to wait for its current holder.

        Raises:
            LedgerBusy: the current holder did not release it in time.
            LedgerUnavailable: the database does not answer, or the connection broke before the lock was held.
            WrongDatabase: waiting does not help.

        """
        try:
            connection = psycopg.Connection[DictRow].connect(self._url, autocommit=True, **self._options)
        except psycopg.Error as error:
            raise self._told(error) from error
        with closing(connection):  # closing it releases the lock
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
            The names of the migrations that this call applied.

        Raises:
            LedgerUnavailable: the database does not answer.
            WrongDatabase: we may not create the tables, or a newer Headgate has migrated them.

        """
        with self.transaction() as connection:
            # Check before locking or creating anything: read-only users can use a ledger that is up to date.
            if not self._missing(connection):
                return []
            connection.execute("select pg_advisory_xact_lock(%s)", (Lock.MIGRATE,))
            # Not "if not exists": that needs the privilege to create a schema even if the schema exists.
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
        """Return the migrations that are not applied yet, in order."""
        row = connection.execute("select to_regclass('headgate.migration') is not null as made").fetchone()
        there: set[str] = set()
        if row is not None and row["made"]:
            there = {row["name"] for row in connection.execute("select name from headgate.migration")}
        folder = resources.files("headgate.ledger").joinpath("migrations")
        scripts = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=attrgetter("name"))
        if unknown := sorted(there - {script.name for script in scripts}):
            # This version may misread what a newer one wrote, or leave it half done.
            message = f"its ledger belongs to a newer Headgate ({unknown[-1]} is unknown here); upgrade this one."
            raise WrongDatabase(f"PostgreSQL at {self._address}: {message}")
        return [script for script in scripts if script.name not in there]


def _backend(connection: Connection) -> int:
    row = connection.execute("select pg_backend_pid() as pid").fetchone()
    return int(row["pid"]) if row else 0


def let_in(url: str) -> None:
    """Check that the database accepts our login; an unavailable one may do so later. Starts no thread.

    Raises:
        WrongDatabase: it rejects our login: a wrong password, a missing database or privilege.
        BadSettings: the URL is not valid.

    """
    parsed(url)
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.Error as error:
        refusal = told(error, url)
        if isinstance(refusal, WrongDatabase):
            raise refusal from error


def _remembering(failures: list[psycopg.Error]) -> type[Connection]:
    """Return a connection class that records why the last connection failed, which the pool does not report."""

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

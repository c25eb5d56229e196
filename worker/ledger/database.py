"""The one door to PostgreSQL: a pool of connections, and the migrations."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from types import TracebackType
from typing import LiteralString, Self

import psycopg
import structlog
from psycopg.rows import DictRow, dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from worker.errors import BadSettings, LedgerUnavailable

Connection = psycopg.Connection[DictRow]

MIGRATION_LOCK = 0x4EAD6A7E  # any number, the same in every process

log = structlog.get_logger()


class Database:
    """Connections to the ledger's database.

    Owns the pool; knows nothing of what is asked. Safe to use from several threads.

    Args:
        url: a PostgreSQL URL; its password is never shown.
        size: how many connections may be open at the same time.
        wait: seconds to wait for a connection before the database counts as away.

    Raises:
        BadSettings: the URL is none.

    """

    def __init__(self, url: str, *, size: int = 4, wait: float = 5) -> None:
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            url,
            min_size=0,
            max_size=size,
            timeout=wait,
            max_idle=60,
            check=ConnectionPool.check_connection,
            connection_class=psycopg.Connection[DictRow],
            kwargs={
                "row_factory": dict_row,
                "application_name": "headgate",
                "connect_timeout": max(2, int(wait)),
                # A process that is stopped in the middle of a transaction must not hold its locks for ever.
                "options": "-c idle_in_transaction_session_timeout=60s -c statement_timeout=600s",
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
            },
            open=False,
        )
        self._url = url
        self._address = _address(url)

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
            LedgerUnavailable: the database does not answer, or the connection broke. After a break during the commit
                nobody knows whether it took place: ask again what the ledger says.

        """
        try:
            with self._pool.connection() as connection, connection.transaction():
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise LedgerUnavailable(self._away(error)) from error

    @contextmanager
    def listening(self, channel: LiteralString) -> Iterator[Connection]:
        """Give a connection of its own, outside the pool, that LISTENs on a channel.

        Raises:
            LedgerUnavailable: the database does not answer, or the connection broke.

        """
        try:
            with psycopg.Connection[DictRow].connect(
                self._url, autocommit=True, row_factory=dict_row, connect_timeout=5
            ) as connection:
                connection.execute(f"listen {channel}")
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise LedgerUnavailable(self._away(error)) from error

    def _away(self, error: Exception) -> str:
        """Say that the database is away, why, and what to do."""
        what = f"PostgreSQL at {self._address} does not answer"
        return f"{what} ({_first_line(error)}); start it, or correct HEADGATE_DATABASE_URL."

    def migrate(self) -> list[str]:
        """Bring the ledger's tables up to date; safe to call from many processes at once.

        Returns:
            The names of the migrations that were applied now.

        Raises:
            LedgerUnavailable: the database does not answer.

        """
        applied = []
        folder = resources.files("worker.ledger").joinpath("migrations")
        scripts = sorted(
            (entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda each: each.name
        )
        with self.transaction() as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            connection.execute("create schema if not exists headgate")
            connection.execute(
                "create table if not exists headgate.migration"
                " (name text primary key, applied_at timestamptz default now())"
            )
            there = {row["name"] for row in connection.execute("select name from headgate.migration")}
            for script in scripts:
                if script.name not in there:
                    connection.execute(script.read_bytes())
                    connection.execute("insert into headgate.migration (name) values (%s)", (script.name,))
                    applied.append(script.name)
        for name in applied:
            log.info("ledger migrated", action="migrate", migration=name)
        return applied


def _address(url: str) -> str:
    """Say where a URL leads, without user and password."""
    try:
        info = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # Without the cause: it quotes the whole text, password and all.
        raise BadSettings("HEADGATE_DATABASE_URL: write postgresql://user:password@host:port/name.") from None
    return f"{info.get('host', 'localhost')}:{info.get('port', 5432)}/{info.get('dbname', '')}"


def _first_line(error: BaseException) -> str:
    """Shorten an error to one line, without anything that looks like a password."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    return re.sub(r"password=\S+|://[^@\s]+@", "***", line)

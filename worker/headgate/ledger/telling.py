"""Database errors in words: what happened, at which database, and what to do."""

import re
from collections.abc import Mapping
from typing import Any

import psycopg

from headgate.errors import BadSettings, HeadgateError, LedgerBusy, LedgerRefused, LedgerUnavailable, WrongDatabase
from headgate.ledger.sqlstates import Meaning, answered, first_line, meaning

MISSING_DATABASE = re.compile(r'database ".*" does not exist')
NO_CONNECT = re.compile(r"permission denied for database|does not have CONNECT privilege")


def told(error: psycopg.Error, url: str) -> HeadgateError:
    """Return our error for a database error, with the cause and the remedy in one line.

    Args:
        error: the error that psycopg raised.
        url: the database's URL; its password is not shown.

    """
    given = parsed(url)
    where, why = f"PostgreSQL at {address_in(given)}", first_line(error)
    match meaning(error):
        case Meaning.UNAVAILABLE if answered(error):
            return LedgerUnavailable(f"{where} does not serve now ({why}); wait until it does.")
        case Meaning.UNAVAILABLE:
            return LedgerUnavailable(f"{where} does not answer ({why}); start it, or correct HEADGATE_DATABASE_URL.")
        case Meaning.BUSY:
            return LedgerBusy(f"{where} gave a transaction up ({why}); try again.")
        case Meaning.REFUSED:
            return LedgerRefused(f"{where} refused a value ({why}).")
        case Meaning.WRONG:
            return WrongDatabase(f"{where}: {why}; {_remedy(error, given)}")


def _remedy(error: psycopg.Error, given: Mapping[str, object]) -> str:
    """Return what to do, as an SQL statement where one helps."""
    user, dbname = str(given.get("user", "the user")), str(given.get("dbname", "the database"))
    # A refused connection has no SQLSTATE, only the server's text.
    if error.sqlstate == "3D000" or MISSING_DATABASE.search(str(error)):
        return f"run `create database {dbname} owner {user}`, or correct HEADGATE_DATABASE_URL."
    if error.sqlstate is None and NO_CONNECT.search(str(error)):
        return f"run `grant connect on database {dbname} to {user}` as its owner."
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        if "for database" in str(error):
            return f"run `grant create on database {dbname} to {user}` as its owner."
        return (
            f"run `grant all on schema headgate to {user}; grant all on all tables in schema headgate to {user}; "
            f"grant all on all sequences in schema headgate to {user}` as their owner."
        )
    if error.sqlstate is None:
        return "correct HEADGATE_DATABASE_URL."
    return "repair the database, or set HEADGATE_DATABASE_URL to another."


def address(url: str) -> str:
    """Return the URL of a database without its password.

    Raises:
        BadSettings: the URL is not valid.

    """
    given = parsed(url)
    user = f"{given['user']}@" if "user" in given else ""
    return f"postgresql://{user}{address_in(given)}"


def address_in(given: Mapping[str, object]) -> str:
    """Return where a database is, as host:port/name."""
    return f"{given.get('host', 'localhost')}:{given.get('port', 5432)}/{given.get('dbname', '')}"


def parsed(url: str) -> dict[str, Any]:
    """Parse a URL.

    Raises:
        BadSettings: it is not valid.

    """
    try:
        return dict(psycopg.conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        # Without the cause, because that quotes the whole text, including the password.
        raise BadSettings("HEADGATE_DATABASE_URL: write postgresql://user:password@host:port/name.") from None

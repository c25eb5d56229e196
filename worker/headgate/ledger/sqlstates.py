"""What to do about a PostgreSQL error: the one table of SQLSTATEs, for the ledger and the sink."""

import re
from enum import Enum

import psycopg


class Meaning(Enum):
    """What to do about a database error."""

    UNAVAILABLE = "wait until the database serves again"
    BUSY = "try the transaction again"
    REFUSED = "the values were refused: each will be, whoever sends them again"
    WRONG = "a person has to change the database or how we reach it"


# Appendix A of PostgreSQL's manual, by class. An entry in CODES overrides the class of its code.
CLASSES = {
    **dict.fromkeys(("08", "53", "58"), Meaning.UNAVAILABLE),  # connection, resources, the server's own files
    **dict.fromkeys(("40", "55", "57"), Meaning.BUSY),  # deadlocks, locks, timeouts
    # data, constraints, check options of views, limits of an index, errors raised by triggers
    **dict.fromkeys(("09", "21", "22", "23", "27", "2F", "38", "39", "44", "54", "P0"), Meaning.REFUSED),
    **dict.fromkeys(
        ("00", "01", "02", "03", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "24", "25", "26", "28", "2B", "2D"),
        Meaning.WRONG,
    ),
    **dict.fromkeys(("34", "3B", "3D", "3F", "42", "72", "F0", "HV", "XX"), Meaning.WRONG),
}
CODES = {
    "25006": Meaning.UNAVAILABLE,  # read-only: this server is not, or no longer, the primary
    "57P01": Meaning.UNAVAILABLE,  # shutting down
    "57P02": Meaning.UNAVAILABLE,  # another process of the server crashed
    "57P03": Meaning.UNAVAILABLE,  # starting up
    "57P05": Meaning.UNAVAILABLE,  # idle for too long
    "25P03": Meaning.BUSY,  # idle in a transaction for too long
    "25P04": Meaning.BUSY,  # a transaction that took too long
    "XX000": Meaning.BUSY,  # such as "tuple concurrently updated"
    "54011": Meaning.WRONG,  # too many columns
    "55000": Meaning.WRONG,  # a view that cannot be written to, a sequence that was never used
    "57P04": Meaning.WRONG,  # the database was dropped
}

# For a refused connection, libpq gives no SQLSTATE, only the server's text.
_NOT_LET_IN = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|(role|database) \".*\" does not exist"
    r"|not permitted to log in|permission denied for database"
    r"|invalid connection option|unsupported frontend protocol|(private key|certificate).*(failed|not exist)"
)
_READ_ONLY = re.compile(r"session is read-only|session is not read-write|in hot standby mode")


def meaning(error: psycopg.Error) -> Meaning:
    """Return what to do about an error.

    An SQLSTATE class that PostgreSQL does not define comes from a trigger that raises its own code: a refusal.
    """
    code = error.sqlstate
    if code is not None:
        return CODES.get(code) or CLASSES.get(code[:2], Meaning.REFUSED)
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return Meaning.WRONG if _NOT_LET_IN.search(str(error)) else Meaning.UNAVAILABLE
    if isinstance(error, psycopg.DataError):
        return Meaning.REFUSED  # psycopg itself cannot encode the value
    return Meaning.WRONG


def answered(error: psycopg.Error) -> bool:
    """Return whether the server itself sent the error, so that no message claims that it does not answer."""
    return error.sqlstate is not None or "FATAL:" in str(error) or bool(_READ_ONLY.search(str(error)))


def first_line(error: BaseException) -> str:
    """Return an error as one line, without anything that looks like a password."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = (primary or str(error)).strip()
    # For a failed connection, take the server's last message, not the list of addresses.
    said = re.findall(r"FATAL:\s*(.+)", text)
    line = (said[-1] if said else text.partition("\n")[0]) or type(error).__name__
    return re.sub(r"password=\S+|://[^@\s]+@", "***", line)

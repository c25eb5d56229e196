"""Reference tables for look-ups."""

import polars as pl
import psycopg
from psycopg import Connection, sql
from psycopg.rows import DictRow

from headgate.errors import SinkRefused


def read_reference(connection: Connection[DictRow], table: str) -> pl.DataFrame:
    """Read a whole reference table.

    Args:
        connection: a connection to the table's database.
        table: its name, with its database schema if that is not on the search path.

    Raises:
        SinkRefused: the table does not exist, or we may not read it.

    """
    try:
        cursor = connection.execute(sql.SQL("select * from {}").format(sql.Identifier(*table.split("."))))
    except psycopg.ProgrammingError as error:
        raise SinkRefused(
            f"Look-up table {table}: {error}".partition("\n")[0] + "; create it, or correct lookup(...)."
        ) from error
    names = [column.name for column in cursor.description or ()]
    return pl.DataFrame(cursor.fetchall(), schema=names, infer_schema_length=None)

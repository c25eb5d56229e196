"""Reference tables for look-ups."""

from collections.abc import Mapping
from typing import LiteralString

import polars as pl
import psycopg
from polars.exceptions import PolarsError
from psycopg import Connection, sql
from psycopg.rows import DictRow, tuple_row

from headgate.errors import SinkRefused

# What psycopg and polars both hold exactly; a column of any other type is read as PostgreSQL's text.
_TYPES: Mapping[str, pl.DataType] = {
    "bool": pl.Boolean(),
    "int2": pl.Int64(),
    "int4": pl.Int64(),
    "int8": pl.Int64(),
    "float4": pl.Float64(),
    "float8": pl.Float64(),
    "date": pl.Date(),
    "time": pl.Time(),
    "timestamp": pl.Datetime("us"),
    "timestamptz": pl.Datetime("us", "UTC"),
    "bytea": pl.Binary(),
}
_ARRAY = "array"
_READ: Mapping[str, LiteralString] = {_ARRAY: "to_json({})::text"}
_DIGITS = 38  # of a polars Decimal


def read_reference(connection: Connection[DictRow], table: str) -> pl.DataFrame:
    """Read a whole reference table.

    Args:
        connection: a connection to the table's database.
        table: its name, with its database schema if that is not on the search path.

    Returns:
        The rows. Types follow from the table's, so an empty table has them too: `numeric` is a Decimal of as many
        decimal places as the values have, and what has no counterpart (uuid, inet, interval, jsonb) is text, an
        array is JSON.

    Raises:
        SinkRefused: the table does not exist, we may not read it, or it has a value that cannot be held, such as the
            date `infinity`.

    """
    name = sql.Identifier(*table.split("."))
    try:
        with connection.cursor(row_factory=tuple_row) as cursor:
            columns = cursor.execute(sql.SQL("select * from {} limit 0").format(name)).description or ()
            kinds = {column.name: _kind(connection, column.type_code) for column in columns}
            wanted = sql.SQL(", ").join(
                sql.SQL(_READ.get(kind, "{}" if kind in _TYPES else "{}::text")).format(sql.Identifier(column))
                for column, kind in kinds.items()
            )
            rows = cursor.execute(sql.SQL("select {} from {}").format(wanted, name)).fetchall()
        schema = {column: _TYPES.get(kind, pl.String()) for column, kind in kinds.items()}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame.with_columns(_exact(frame[column]) for column, kind in kinds.items() if kind == "numeric")
    except psycopg.OperationalError:
        raise  # the database is unavailable: the transaction tells that
    except psycopg.ProgrammingError as error:
        raise SinkRefused(f"{_told(table, error)}; create it, or correct lookup(...).") from error
    except (psycopg.Error, PolarsError, ValueError) as error:
        raise SinkRefused(
            f"{_told(table, error)}; correct the value, or look up in a view that casts the column to text."
        ) from error


def _kind(connection: Connection[DictRow], oid: int) -> str:
    """Return the name of a type, or "array", or "" if psycopg does not know it."""
    found = connection.adapters.types.get(oid)  # an array is found by the type of its elements
    return "" if found is None else found.name if found.oid == oid else _ARRAY


def _exact(numbers: pl.Series) -> pl.Series:
    """Turn the text of numbers into a Decimal that has room for the decimal places of each."""
    places = numbers.str.split(".").list.get(1, null_on_oob=True).str.len_bytes().max()
    return numbers.cast(pl.Decimal(_DIGITS, places if isinstance(places, int) else 0))


def _told(table: str, error: Exception) -> str:
    return f"Look-up table {table}: {error}".partition("\n")[0]

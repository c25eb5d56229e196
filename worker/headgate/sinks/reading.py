"""Rows of a pipeline's table, as shown to people."""

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from headgate.records.batch import ARRIVAL, ROW


def newest_rows(connection: psycopg.Connection[DictRow], name: str, last: int) -> list[dict[str, object]]:
    """Return the newest rows of a table, newest first: by arrival, then by row.

    Args:
        connection: a connection to the table's database.
        name: the table's name, with its database schema if that is not `public`.
        last: at most this many rows.

    Returns:
        For each row, its columns, and last its origin as `arrival` and `row`, or as `_arrival_id` and `_row` where the
        table has columns of these names; no rows if the table does not exist yet.

    """
    schema, _, bare = name.rpartition(".")
    there = connection.execute("select to_regclass(%s) as there", (f"{schema or 'public'}.{bare}",)).fetchone()
    if there is None or there["there"] is None:
        return []
    statement = sql.SQL("select * from {} order by {} desc nulls last, {} desc limit {}").format(
        sql.Identifier(schema or "public", bare), sql.Identifier(ARRIVAL), sql.Identifier(ROW), sql.Literal(last)
    )
    return [
        {
            **{column: value for column, value in row.items() if column not in (ARRIVAL, ROW)},
            "arrival" if "arrival" not in row else ARRIVAL: row[ARRIVAL],
            "row" if "row" not in row else ROW: row[ROW],
        }
        for row in connection.execute(statement)
    ]

"""Rows that the database inserts one by one, to find which of them it refuses, and why."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import DictRow, class_row

from headgate.ledger.sqlstates import CLASSES, CODES, Meaning
from headgate.records.batch import ARRIVAL, ROW

MOST = 1_000  # rows: larger batches are halved first, because each row takes a savepoint of its own

BATCH = sql.Identifier("pg_temp", "headgate_rows")
REFUSED = sql.Identifier("pg_temp", "headgate_refused")

# A refusal undoes only its own row. An error that is not about the row is raised again, and ends the loop.
LOOP = """
#variable_conflict use_column
declare
    given record;
    state text; rule text; about text; message text;
begin
    for given in select * from {batch} loop
        begin
            insert into {table} as there ({columns}) values ({values}) {conflict};
        exception when others then
            get stacked diagnostics state = returned_sqlstate, rule = constraint_name, about = column_name,
                                    message = message_text;
            if state = any({codes}) or left(state, 2) = any({classes}) then
                raise;
            end if;
            insert into {refused} values (given.{arrival}, given.{row}, state, rule, about, message);
        end;
    end loop;
end
"""


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the database refuses."""

    arrival_id: int
    row: int
    sqlstate: str
    rule: str  # the constraint; empty if none
    about: str  # the column; empty if none, or if the database did not name it
    message: str


def insert_one_by_one(
    connection: psycopg.Connection[DictRow],
    table: sql.Composable,
    frame: pl.DataFrame,
    copy: Callable[[sql.Composable, pl.DataFrame], None],
    conflict: sql.Composable,
) -> list[Refused]:
    """Insert rows one by one in the caller's transaction.

    Args:
        connection: a connection in a transaction.
        table: the table to insert into.
        frame: at most MOST rows, with the origin columns, in the order to insert them.
        copy: copies a frame into a table.
        conflict: the `on conflict` clause for a row whose key exists already.

    Raises:
        psycopg.Error: no row was inserted: one of them cannot be sent to the database at all, or the error is not
            about single rows.

    """
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    body = sql.SQL(LOOP).format(
        batch=BATCH,
        refused=REFUSED,
        table=table,
        columns=columns,
        values=sql.SQL(", ").join(sql.Identifier("given", name) for name in frame.columns),
        conflict=conflict,
        arrival=sql.Identifier(ARRIVAL),
        row=sql.Identifier(ROW),
        codes=sql.Literal([code for code, meaning in CODES.items() if meaning is not Meaning.REFUSED]),
        classes=sql.Literal([each for each, meaning in CLASSES.items() if meaning is not Meaning.REFUSED]),
    )
    with connection.transaction():
        connection.execute(
            sql.SQL("create temporary table {} as select {} from {} limit 0").format(
                sql.Identifier("headgate_rows"), columns, table
            )
        )
        connection.execute(
            "create temporary table headgate_refused"
            " (arrival_id bigint, row bigint, sqlstate text, rule text, about text, message text)"
        )
        copy(BATCH, frame)
        connection.execute("set constraints all immediate")
        connection.execute(sql.SQL("do {}").format(sql.Literal(body.as_string(connection))))
        with connection.cursor(row_factory=class_row(Refused)) as cursor:
            refused = cursor.execute("select * from pg_temp.headgate_refused").fetchall()
        connection.execute("drop table pg_temp.headgate_rows, pg_temp.headgate_refused")
    return refused

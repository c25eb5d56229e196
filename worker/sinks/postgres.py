"""Rows into a PostgreSQL table: COPY, and a merge where the mode asks for one, in the caller's transaction."""

from collections.abc import Sequence
from typing import Literal

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from worker.errors import SinkRefused, SinkUnavailable
from worker.model import Fault, Reason
from worker.pipeline import Pipeline
from worker.records.batch import ARRIVAL, ROW, Refusal
from worker.sinks.columns import copy_text, postgres_type

Connection = psycopg.Connection[DictRow]

AT_A_TIME = 10_000  # rows: PostgreSQL reads these while we write the next into text

ORIGIN = (ARRIVAL, ROW)  # which record of which arrival: the row's origin

# What speaks against single records, whoever sends them again: data exceptions, constraints, values too long to index.
_ABOUT_RECORDS = ("22", "23", "54")


class PostgresSink:
    """The table of a pipeline.

    Where the mode asks for a merge, records are first written as if no key were there yet: for new data that is all,
    and half the work. The first key that is there ends that for good: from then on all goes by way of a merge.

    Args:
        pipeline: its sink, key and schema say what the table is.

    """

    def __init__(self, pipeline: Pipeline) -> None:
        schema, _, name = pipeline.sink.name.rpartition(".")
        self._schema = schema or "public"
        self._name = name
        self._mode = pipeline.sink.mode
        self._key = pipeline.key
        self._required = {name for name, column in pipeline.schema.columns().items() if not column.nullable}
        self._table = sql.Identifier(self._schema, self._name)
        self._merging = False

    def prepare(self, connection: Connection, frame: pl.DataFrame) -> None:
        """Create the table if it is absent; check that it has the frame's columns, and the key if the mode needs it.

        To be called in each transaction: a table made in one that was rolled back is not there.

        Args:
            connection: in a transaction.
            frame: typed; its columns are the table's.

        Raises:
            SinkRefused: a table is there that lacks columns or the key; the text says how to add them.

        """
        there = self._columns(connection)
        if not there:
            # Two runs may both find no table: "if not exists" alone can still collide in the catalogue.
            connection.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"{self._schema}.{self._name}",))
            connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(self._schema)))
            connection.execute(self._create(frame))
        elif missing := [name for name in frame.columns if name not in there]:
            additions = ", ".join(f'add column "{name}" {postgres_type(frame.schema[name])}' for name in missing)
            raise SinkRefused(
                f"Table {self._schema}.{self._name} lacks {', '.join(missing)}; "
                f"run: alter table {self._schema}.{self._name} {additions};"
            )
        elif self._mode != "append" and not self._has_key(connection):
            # Without it, records of the same key would be added side by side, and nobody would be told.
            key = ", ".join(f'"{name}"' for name in self._key)
            raise SinkRefused(
                f"Table {self._schema}.{self._name} has no unique key ({key}), which mode={self._mode!r} needs; "
                f"run: alter table {self._schema}.{self._name} add primary key ({key});"
            )

    def _columns(self, connection: Connection) -> set[str]:
        found = connection.execute(
            "select column_name from information_schema.columns where table_schema = %s and table_name = %s",
            (self._schema, self._name),
        )
        return {row["column_name"] for row in found}

    def _has_key(self, connection: Connection) -> bool:
        found = connection.execute(
            "select from pg_index as i"
            " where i.indrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))"
            "   and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null"
            "   and %s = (select array_agg(c.attname::text order by c.attname) from pg_attribute as c"
            "             where c.attrelid = i.indrelid and c.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1]))",
            (self._schema, self._name, sorted(self._key)),
        )
        return found.fetchone() is not None

    def _create(self, frame: pl.DataFrame) -> sql.Composed:
        columns = [
            sql.SQL("{} {}{}").format(
                sql.Identifier(name),
                sql.SQL(postgres_type(dtype)),
                sql.SQL(" not null" if name in self._required or name in ORIGIN else ""),
            )
            for name, dtype in frame.schema.items()
        ]
        if self._key:
            columns.append(sql.SQL("primary key ({})").format(_names(self._key)))
        if self._mode == "append":
            # A second guard beside the epoch: no record of an arrival can be there twice.
            columns.append(sql.SQL("unique ({})").format(_names(ORIGIN)))
        return sql.SQL("create table if not exists {} ({})").format(self._table, sql.SQL(", ").join(columns))

    def write(self, connection: Connection, frame: pl.DataFrame) -> list[Refusal]:
        """Write records in the caller's transaction; those that the database refuses are left out and returned.

        A refused batch is halved until each bad record stands alone; all others are written.

        Args:
            connection: in a transaction that has fenced the arrivals.
            frame: typed, with the origin columns, in order of origin.

        Returns:
            The records that were refused.

        Raises:
            SinkRefused: it is not about single records: the table is not as it should be.
            SinkUnavailable: the database asks to try again.

        """
        if frame.is_empty():
            return []
        try:
            with connection.transaction():  # a savepoint: a refusal undoes this batch alone
                self._merge(connection, frame) if self._merging else self._add(connection, frame)
                connection.execute("set constraints all immediate")
        except psycopg.Error as error:
            if isinstance(error, psycopg.errors.UniqueViolation) and self._mode != "append" and not self._merging:
                self._merging = True
                return self.write(connection, frame)
            state = error.sqlstate or ""
            if state[:2] in _ABOUT_RECORDS:
                if frame.height == 1:
                    return [_refusal(frame, error)]
                half = frame.height // 2
                return self.write(connection, frame[:half]) + self.write(connection, frame[half:])
            if isinstance(error, psycopg.OperationalError):
                raise SinkUnavailable(f"PostgreSQL could not take the rows now: {_message(error)}") from error
            raise SinkRefused(f"PostgreSQL refused {self._schema}.{self._name}: {_message(error)}") from error
        return []

    def delete(self, connection: Connection, keys: pl.DataFrame) -> list[Refusal]:
        """Delete rows in the caller's transaction, each unless a later record has written it.

        To be called after `write` for the same chunk: origins say whether the row or its deletion came later.

        Args:
            connection: in a transaction that has fenced the arrivals.
            keys: the key columns, typed, with the origin columns; empty where there is nothing to delete.

        Returns:
            The deletions that were refused.

        """
        if keys.is_empty():
            return []
        batch = sql.Identifier("pg_temp", "headgate_deletes")
        same = sql.SQL(" and ").join(sql.SQL("there.{0} = gone.{0}").format(sql.Identifier(name)) for name in self._key)
        try:
            with connection.transaction():
                connection.execute(
                    sql.SQL(
                        "create temporary table headgate_deletes on commit drop as select {} from {} limit 0"
                    ).format(_names(keys.columns), self._table)
                )
                self._copy(connection, batch, keys)
                connection.execute(
                    sql.SQL(
                        "delete from {} as there using {} as gone where {} and (there._arrival_id, there._row) < "
                        "(gone._arrival_id, gone._row)"
                    ).format(self._table, batch, same)
                )
                connection.execute("drop table pg_temp.headgate_deletes")
        except psycopg.OperationalError as error:
            raise SinkUnavailable(f"PostgreSQL could not delete the rows now: {_message(error)}") from error
        except psycopg.Error as error:
            if (error.sqlstate or "")[:2] not in _ABOUT_RECORDS:
                raise SinkRefused(f"PostgreSQL refused {self._schema}.{self._name}: {_message(error)}") from error
            if keys.height == 1:
                return [_refusal(keys, error)]
            half = keys.height // 2
            return self.delete(connection, keys[:half]) + self.delete(connection, keys[half:])
        return []

    def _add(self, connection: Connection, frame: pl.DataFrame) -> None:
        self._copy(connection, self._table, self._in_order(frame))

    def _in_order(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Leave one record a key, where one replaces another, and sort by key: it is how the index wants them."""
        if not self._key:
            return frame
        if self._mode != "append":
            keep: Literal["first", "last"] = "last" if self._mode == "upsert" else "first"
            frame = frame.unique(subset=list(self._key), keep=keep, maintain_order=True)
        return frame.sort(self._key)

    def _copy(self, connection: Connection, table: sql.Composable, frame: pl.DataFrame) -> None:
        statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(table, _names(frame.columns))
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for part in frame.iter_slices(AT_A_TIME):
                copy.write(copy_text(part))

    def _merge(self, connection: Connection, frame: pl.DataFrame) -> None:
        batch = sql.Identifier("pg_temp", "headgate_batch")
        columns = _names(frame.columns)
        connection.execute(
            sql.SQL("create temporary table headgate_batch on commit drop as select {} from {} limit 0").format(
                columns, self._table
            )
        )
        self._copy(connection, batch, self._in_order(frame))
        connection.execute(
            sql.SQL("insert into {} as there ({}) select {} from {} on conflict ({}) {}").format(
                self._table, columns, columns, batch, _names(self._key), self._on_conflict(frame.columns)
            )
        )
        connection.execute("drop table pg_temp.headgate_batch")

    def _on_conflict(self, columns: Sequence[str]) -> sql.Composable:
        if self._mode == "ignore":
            return sql.SQL("do nothing")
        sets = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns if name not in self._key]
        # The newest arrival wins, in whatever order runs come to their commit.
        newer = sql.SQL("(there._arrival_id, there._row) <= (excluded._arrival_id, excluded._row)")
        return sql.SQL("do update set {} where {}").format(sql.SQL(", ").join(sets), newer)


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in columns)


def _message(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip().partition("\n")[0]


def _refusal(frame: pl.DataFrame, error: psycopg.Error) -> Refusal:
    column = error.diag.column_name
    value = str(frame[column][0])[:200] if column in frame.columns else None
    rule = error.diag.constraint_name or f"sqlstate {error.sqlstate}"
    arrival_id, row = frame.select(ORIGIN).row(0)
    return Refusal(arrival_id, row, Reason.SINK, (Fault(f"{rule}: {_message(error)}", column, value),))


def count_rows(connection: Connection, table: str) -> int:
    """Count the rows of a table; 0 if it is not there yet.

    Args:
        connection: to the database where it stands.
        table: its name, with its database schema if it is not `public`.

    """
    schema, _, name = table.rpartition(".")
    there = connection.execute("select to_regclass(%s) as there", (f"{schema or 'public'}.{name}",)).fetchone()
    if there is None or there["there"] is None:
        return 0
    statement = sql.SQL("select count(*) as rows from {}").format(sql.Identifier(schema or "public", name))
    counted = connection.execute(statement).fetchone()
    return 0 if counted is None else int(counted["rows"])

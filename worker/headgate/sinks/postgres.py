"""Rows into a PostgreSQL table: COPY, and a merge if the mode needs one, in the caller's transaction."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Literal

import polars as pl
import psycopg
from psycopg import sql

from headgate.errors import RecordsRefused
from headgate.ledger.sqlstates import Meaning, first_line, meaning
from headgate.pipeline import Pipeline
from headgate.records.batch import Refusal
from headgate.sinks.columns import copy_text
from headgate.sinks.one_by_one import MOST, insert_one_by_one
from headgate.sinks.refusals import changed, refusal, refused
from headgate.sinks.table import ORIGIN, Connection, TargetTable, names

AT_A_TIME = 10_000  # rows: PostgreSQL reads these while we convert the next ones to text

# The origin of an existing row of the table. A row from before Headgate wrote to the table has none: it counts as older
# than any arrival, because a comparison with null would keep it for ever.
_THERE = sql.SQL("(coalesce(there._arrival_id, 0), coalesce(there._row, 0))")


class PostgresSink:
    """The table of a pipeline.

    If the mode needs a merge, records are first written as if no key existed yet: for new data this is enough, and half
    the work. The first key that exists ends this for good: from then on, all records are merged.

    Args:
        pipeline: its sink, key and schema define the table.

    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._target = TargetTable(pipeline)
        self._table = self._target.identifier
        self._mode = pipeline.sink.mode
        self._key = pipeline.key
        self._merging = False

    def prepare(self, connection: Connection, frame: pl.DataFrame) -> None:
        """Create or check the table, as `TargetTable.prepare` does; call this in each transaction."""
        self._target.prepare(connection, frame)

    def write(self, connection: Connection, frame: pl.DataFrame) -> list[Refusal]:
        """Write records in the caller's transaction; leave out and return those that the database refuses.

        The same applies to records with a value that the database would change, such as a time finer than
        microseconds. A refused batch is halved until each bad record is found; all others are written.

        Args:
            connection: a connection in a transaction that has fenced the arrivals.
            frame: typed, with the origin columns, in order of origin.

        Returns:
            The records that were refused.

        Raises:
            SinkRefused: the error is not about single records: the table is not as it should be.
            SinkUnavailable: the database asks to try again.

        """
        altered = changed(frame)
        if altered:
            frame = frame.filter(pl.Series([row not in altered for row in frame.select(ORIGIN).rows()]))
        return [*altered.values(), *self._write(connection, frame)]

    def _write(self, connection: Connection, frame: pl.DataFrame) -> list[Refusal]:
        error = self._written(connection, frame)
        if error is None:
            return []
        if frame.height == 1:
            return [refusal(frame, refused(frame, error))]
        if frame.height <= MOST:
            with suppress(RecordsRefused):
                return self._write_one_by_one(connection, frame)
        half = frame.height // 2
        return self._write(connection, frame[:half]) + self._write(connection, frame[half:])

    def add(self, connection: Connection, frame: pl.DataFrame) -> None:
        """Write all records in the caller's transaction.

        Args:
            connection: a connection in a transaction that has fenced the arrivals.
            frame: typed, with the origin columns, in order of origin.

        Raises:
            RecordsRefused: some are refused; `write` finds them. The transaction is left as it was before.
            SinkRefused: the error is not about single records: the table is not as it should be.
            SinkUnavailable: the database asks to try again.

        """
        if changed(frame):
            raise RecordsRefused(f"{self._target} would change values.")
        if error := self._written(connection, frame):
            raise RecordsRefused(f"{self._target}: {first_line(error)}") from error

    def _written(self, connection: Connection, frame: pl.DataFrame) -> psycopg.Error | None:
        """Write a batch as a whole; if any record is refused, write nothing and return the error."""
        if frame.is_empty():
            return None
        try:
            with connection.transaction():  # a savepoint: a refusal undoes only this batch
                self._merge(connection, frame) if self._merging else self._add(connection, frame)
                connection.execute("set constraints all immediate")
        except psycopg.Error as error:
            if isinstance(error, psycopg.errors.UniqueViolation) and self._mode != "append" and not self._merging:
                self._merging = True
                return self._written(connection, frame)
            if meaning(error) is not Meaning.REFUSED:
                raise self._target.told(error) from error
            return error
        return None

    def _write_one_by_one(self, connection: Connection, frame: pl.DataFrame) -> list[Refusal]:
        conflict: sql.Composable = sql.SQL("")
        if self._mode != "append":
            conflict = sql.SQL("on conflict ({}) {}").format(names(self._key), self._on_conflict(frame.columns))
        if self._key:
            frame = frame.sort(self._key, maintain_order=True)
        try:
            found = insert_one_by_one(connection, self._table, frame, partial(self._copy, connection), conflict)
        except psycopg.Error as error:
            if meaning(error) is not Meaning.REFUSED:
                raise self._target.told(error) from error
            raise RecordsRefused(first_line(error)) from error
        return sorted((refusal(frame, each) for each in found), key=attrgetter("arrival_id", "row"))

    def delete(self, connection: Connection, keys: pl.DataFrame) -> list[Refusal]:
        """Delete rows in the caller's transaction, except those that a later record has written.

        Call this after `write` for the same chunk: origins tell whether the row or its deletion came later.

        Args:
            connection: a connection in a transaction that has fenced the arrivals.
            keys: the key columns, typed, with the origin columns; empty where there is nothing to delete.

        Returns:
            The deletions that were refused.

        """
        error = self._deleted(connection, keys)
        if error is None:
            return []
        if keys.height == 1:
            return [refusal(keys, refused(keys, error))]
        half = keys.height // 2
        return self.delete(connection, keys[:half]) + self.delete(connection, keys[half:])

    def remove(self, connection: Connection, keys: pl.DataFrame) -> None:
        """Delete all rows, by the rules of `delete`.

        Raises:
            RecordsRefused: some are refused; `delete` finds them.

        """
        if error := self._deleted(connection, keys):
            raise RecordsRefused(f"{self._target}: {first_line(error)}") from error

    def _deleted(self, connection: Connection, keys: pl.DataFrame) -> psycopg.Error | None:
        """Delete a batch as a whole; if that is refused, delete nothing and return the error."""
        if keys.is_empty():
            return None
        batch = sql.Identifier("pg_temp", "headgate_deletes")
        same = sql.SQL(" and ").join(sql.SQL("there.{0} = gone.{0}").format(sql.Identifier(name)) for name in self._key)
        try:
            with connection.transaction():
                connection.execute(
                    sql.SQL(
                        "create temporary table headgate_deletes on commit drop as select {} from {} limit 0"
                    ).format(names(keys.columns), self._table)
                )
                self._copy(connection, batch, keys)
                connection.execute(
                    sql.SQL(
                        "delete from {} as there using {} as gone where {} and {} < (gone._arrival_id, gone._row)"
                    ).format(self._table, batch, same, _THERE)
                )
                connection.execute("drop table pg_temp.headgate_deletes")
        except psycopg.Error as error:
            if meaning(error) is not Meaning.REFUSED:
                raise self._target.told(error) from error
            return error
        return None

    def _add(self, connection: Connection, frame: pl.DataFrame) -> None:
        self._copy(connection, self._table, self._in_order(frame))

    def _in_order(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Keep one record per key, where one replaces another, and sort by key, which suits the index."""
        if not self._key:
            return frame
        if self._mode != "append":
            keep: Literal["first", "last"] = "last" if self._mode == "upsert" else "first"
            frame = frame.unique(subset=list(self._key), keep=keep, maintain_order=True)
        return frame.sort(self._key)

    def _copy(self, connection: Connection, table: sql.Composable, frame: pl.DataFrame) -> None:
        statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(table, names(frame.columns))
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for part in frame.iter_slices(AT_A_TIME):
                copy.write(copy_text(part))

    def _merge(self, connection: Connection, frame: pl.DataFrame) -> None:
        batch = sql.Identifier("pg_temp", "headgate_batch")
        columns = names(frame.columns)
        connection.execute(
            sql.SQL("create temporary table headgate_batch on commit drop as select {} from {} limit 0").format(
                columns, self._table
            )
        )
        self._copy(connection, batch, self._in_order(frame))
        connection.execute(
            sql.SQL("insert into {} as there ({}) select {} from {} on conflict ({}) {}").format(
                self._table, columns, columns, batch, names(self._key), self._on_conflict(frame.columns)
            )
        )
        connection.execute("drop table pg_temp.headgate_batch")

    def _on_conflict(self, columns: Sequence[str]) -> sql.Composable:
        if self._mode == "ignore":
            return sql.SQL("do nothing")
        sets = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in columns if name not in self._key]
        # The newest arrival wins, in whatever order runs commit.
        return sql.SQL("do update set {} where {} <= (excluded._arrival_id, excluded._row)").format(
            sql.SQL(", ").join(sets), _THERE
        )


def count_rows(connection: Connection, table: str) -> int:
    """Count the rows of a table; return 0 if it does not exist yet.

    Args:
        connection: a connection to the table's database.
        table: its name, with its database schema if that is not `public`.

    """
    schema, _, name = table.rpartition(".")
    there = connection.execute("select to_regclass(%s) as there", (f"{schema or 'public'}.{name}",)).fetchone()
    if there is None or there["there"] is None:
        return 0
    statement = sql.SQL("select count(*) as rows from {}").format(sql.Identifier(schema or "public", name))
    counted = connection.execute(statement).fetchone()
    return 0 if counted is None else int(counted["rows"])

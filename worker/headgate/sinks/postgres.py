"""Rows into a PostgreSQL table: COPY, and a merge if the mode needs one, in the caller's transaction."""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Literal

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from headgate.errors import RecordsRefused, SinkRefused, SinkUnavailable
from headgate.ledger.sqlstates import Meaning, first_line, meaning
from headgate.model import Fault, Reason
from headgate.pipeline import Pipeline
from headgate.pipeline.table import LONGEST_NAME
from headgate.records.batch import ARRIVAL, ROW, Refusal, cut
from headgate.sinks.columns import copy_text, postgres_type, shown, unstorable
from headgate.sinks.lossless import changes
from headgate.sinks.one_by_one import MOST, Refused, insert_one_by_one

Connection = psycopg.Connection[DictRow]

MOST_COLUMNS = 1600  # of a table, including our origin columns
AT_A_TIME = 10_000  # rows: PostgreSQL reads these while we convert the next ones to text

ORIGIN = (ARRIVAL, ROW)  # a row's origin: which record of which arrival

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
        schema, _, name = pipeline.sink.name.rpartition(".")
        self._schema = schema or "public"
        self._name = name
        self._mode = pipeline.sink.mode
        self._key = pipeline.key
        self._required = {name for name, column in pipeline.schema.columns().items() if not column.nullable}
        self._table = sql.Identifier(self._schema, self._name)
        self._merging = False
        self._user = "us"
        self._database = ""

    def prepare(self, connection: Connection, frame: pl.DataFrame) -> None:
        """Create the table if it is absent; check that it has the frame's columns, and the key if the mode needs it.

        Call this in each transaction: a rollback also removes a table that the transaction created.

        Args:
            connection: a connection in a transaction.
            frame: typed; its columns are the table's.

        Raises:
            SinkRefused: the table exists but lacks columns or the key, or would change values, or we may not create it;
                the text says what to do.
            SinkUnavailable: the database asks to try again.

        """
        self._user, self._database = connection.info.user, connection.info.dbname
        try:
            self._prepare(connection, frame)
        except psycopg.Error as error:
            raise self._told(error) from error

    def _prepare(self, connection: Connection, frame: pl.DataFrame) -> None:
        if frame.width > MOST_COLUMNS:
            raise SinkRefused(
                f"Table {self._schema}.{self._name} would have {frame.width} columns, and PostgreSQL takes at most "
                f"{MOST_COLUMNS}; leave some out of the schema, or put them into one dy.Struct column."
            )
        if long := [name for name in frame.columns if len(name.encode()) > LONGEST_NAME]:
            raise SinkRefused(
                f"Table {self._schema}.{self._name}: PostgreSQL keeps at most {LONGEST_NAME} bytes of a column's name; "
                f"shorten {', '.join(long)} in what enriches the records."
            )
        there = self._columns(connection)
        if not there:
            # Two runs may both find no table: "if not exists" alone can still cause a conflict in the catalog.
            connection.execute("select pg_advisory_xact_lock(hashtext(%s))", (f"{self._schema}.{self._name}",))
            # Not "if not exists": that needs the privilege to create schemas even if the schema exists.
            found = connection.execute("select to_regnamespace(quote_ident(%s)) as there", (self._schema,)).fetchone()
            if found is None or found["there"] is None:
                connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(self._schema)))
            connection.execute(self._create(frame))
        elif missing := [name for name in frame.columns if name not in there]:
            additions = ", ".join(f'add column "{name}" {postgres_type(frame.schema[name])}' for name in missing)
            raise SinkRefused(
                f"Table {self._schema}.{self._name} lacks {', '.join(missing)}; "
                f"run: alter table {self._schema}.{self._name} {additions};"
            )
        elif lossy := [name for name, dtype in frame.schema.items() if changes(dtype, there[name])]:
            alterations = ", ".join(f'alter column "{name}" type {postgres_type(frame.schema[name])}' for name in lossy)
            raise SinkRefused(
                f"Table {self._schema}.{self._name} would change values in silence: "
                f"{', '.join(f'{name} is {there[name]}' for name in lossy)}; "
                f"run: alter table {self._schema}.{self._name} {alterations}; or change the schema of the pipeline."
            )
        elif self._mode != "append" and not self._has_key(connection):
            # Without the key, records with the same key would be added side by side, without any error.
            key = ", ".join(f'"{name}"' for name in self._key)
            raise SinkRefused(
                f"Table {self._schema}.{self._name} has no unique key ({key}), which mode={self._mode!r} needs; "
                f"run: alter table {self._schema}.{self._name} add primary key ({key});"
            )

    def _columns(self, connection: Connection) -> dict[str, str]:
        """Return the table's columns with their types; for a domain, the type below it. Empty without a table."""
        found = connection.execute(
            "select c.attname as name, case t.typtype when 'd' then format_type(t.typbasetype, t.typtypmod)"
            "    else format_type(c.atttypid, c.atttypmod) end as type"
            " from pg_attribute as c join pg_type as t on t.oid = c.atttypid"
            " where c.attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))"
            "   and c.attnum > 0 and not c.attisdropped",
            (self._schema, self._name),
        )
        return {row["name"]: row["type"] for row in found}

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
            # A second guard beside the epoch: no record of an arrival can be in the table twice.
            columns.append(sql.SQL("unique ({})").format(_names(ORIGIN)))
        return sql.SQL("create table if not exists {} ({})").format(self._table, sql.SQL(", ").join(columns))

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
        changed = _changed(frame)
        if changed:
            frame = frame.filter(pl.Series([row not in changed for row in frame.select(ORIGIN).rows()]))
        return [*changed.values(), *self._write(connection, frame)]

    def _write(self, connection: Connection, frame: pl.DataFrame) -> list[Refusal]:
        error = self._written(connection, frame)
        if error is None:
            return []
        if frame.height == 1:
            return [_refusal(frame, _refused(frame, error))]
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
        if _changed(frame):
            raise RecordsRefused(f"{self._schema}.{self._name} would change values.")
        if error := self._written(connection, frame):
            raise RecordsRefused(f"{self._schema}.{self._name}: {first_line(error)}") from error

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
                raise self._told(error) from error
            return error
        return None

    def _write_one_by_one(self, connection: Connection, frame: pl.DataFrame) -> list[Refusal]:
        conflict: sql.Composable = sql.SQL("")
        if self._mode != "append":
            conflict = sql.SQL("on conflict ({}) {}").format(_names(self._key), self._on_conflict(frame.columns))
        if self._key:
            frame = frame.sort(self._key, maintain_order=True)
        try:
            found = insert_one_by_one(connection, self._table, frame, partial(self._copy, connection), conflict)
        except psycopg.Error as error:
            if meaning(error) is not Meaning.REFUSED:
                raise self._told(error) from error
            raise RecordsRefused(first_line(error)) from error
        return sorted((_refusal(frame, each) for each in found), key=attrgetter("arrival_id", "row"))

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
            return [_refusal(keys, _refused(keys, error))]
        half = keys.height // 2
        return self.delete(connection, keys[:half]) + self.delete(connection, keys[half:])

    def remove(self, connection: Connection, keys: pl.DataFrame) -> None:
        """Delete all rows, by the rules of `delete`.

        Raises:
            RecordsRefused: some are refused; `delete` finds them.

        """
        if error := self._deleted(connection, keys):
            raise RecordsRefused(f"{self._schema}.{self._name}: {first_line(error)}") from error

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
                    ).format(_names(keys.columns), self._table)
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
                raise self._told(error) from error
            return error
        return None

    def _told(self, error: psycopg.Error) -> SinkUnavailable | SinkRefused:
        """Translate a database error that is not about single records into one of ours."""
        what = f"{self._schema}.{self._name}: {first_line(error)}"
        if meaning(error) is Meaning.WRONG:
            return SinkRefused(f"PostgreSQL refused {what}{self._grant(error)}")
        return SinkUnavailable(f"PostgreSQL could not write to {what}; it is tried again")

    def _grant(self, error: psycopg.Error) -> str:
        """Return the statement that grants us a missing privilege, or "" if the error is about something else."""
        if not isinstance(error, psycopg.errors.InsufficientPrivilege):
            return ""
        said = str(error)
        if "temporary tables" in said:
            return f"; run: grant temporary on database {self._database} to {self._user};"
        if "for database" in said:
            return f"; run: create schema {self._schema} authorization {self._user}; as the owner of the database"
        if "for schema" in said:
            return f"; run: grant usage, create on schema {self._schema} to {self._user};"
        return f"; run: grant select, insert, update, delete on {self._schema}.{self._name} to {self._user};"

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
        # The newest arrival wins, in whatever order runs commit.
        return sql.SQL("do update set {} where {} <= (excluded._arrival_id, excluded._row)").format(
            sql.SQL(", ").join(sets), _THERE
        )


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in columns)


def _message(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip().partition("\n")[0]


def _refused(frame: pl.DataFrame, error: psycopg.Error) -> Refused:
    said = error.diag
    arrival_id, row = frame.select(ORIGIN).row(0)
    message, rule, about = _message(error), said.constraint_name or "", said.column_name or ""
    return Refused(arrival_id, row, error.sqlstate or "", rule, about, message)


def _refusal(frame: pl.DataFrame, refused: Refused) -> Refusal:
    column, value = refused.about or None, None
    if column in frame.columns:
        here = (pl.col(ARRIVAL) == refused.arrival_id) & (pl.col(ROW) == refused.row)
        value = str(frame.filter(here)[column][0])[:200]
    rule = refused.rule or f"sqlstate {refused.sqlstate}"
    message = refused.message.strip().partition("\n")[0]
    return Refusal(refused.arrival_id, refused.row, Reason.SINK, (Fault(f"{rule}: {message}", column, value),))


def _changed(frame: pl.DataFrame) -> dict[tuple[int, int], Refusal]:
    """Return refusals, by origin, for the records with a value that the database would change."""
    refusals: dict[tuple[int, int], Refusal] = {}
    for name in frame.columns:
        cells = unstorable(frame[name])
        if cells is None:
            continue
        changed = frame.filter(cells).select(*ORIGIN, shown(frame[name]).alias("value"))
        for arrival_id, row, value in changed.iter_rows():
            fault = Fault("PostgreSQL cannot hold this value as it is", name, cut(value))
            refusals.setdefault((arrival_id, row), Refusal(arrival_id, row, Reason.SINK, (fault,)))
    return refusals


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

"""The table that a pipeline writes to: it is created if it is absent, and checked if it is there."""

from collections.abc import Iterable

import polars as pl
import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from headgate.errors import SinkRefused, SinkUnavailable
from headgate.ledger.sqlstates import Meaning, first_line, meaning
from headgate.pipeline import Pipeline
from headgate.pipeline.table import LONGEST_NAME
from headgate.records.batch import ARRIVAL, ROW
from headgate.sinks.columns import postgres_type
from headgate.sinks.lossless import changes

Connection = psycopg.Connection[DictRow]

MOST_COLUMNS = 1600  # of a table, including our origin columns

ORIGIN = (ARRIVAL, ROW)  # a row's origin: which record of which arrival


def names(columns: Iterable[str]) -> sql.Composed:
    """Return a list of column names for a statement."""
    return sql.SQL(", ").join(sql.Identifier(name) for name in columns)


class TargetTable:
    """The table of a pipeline, as its declaration wants it.

    Args:
        pipeline: its sink, key and schema define the table.

    Attributes:
        identifier: the table's name for a statement.

    """

    def __init__(self, pipeline: Pipeline) -> None:
        schema, _, name = pipeline.sink.name.rpartition(".")
        self._schema = schema or "public"
        self._name = name
        self._mode = pipeline.sink.mode
        self._key = pipeline.key
        self._required = {name for name, column in pipeline.schema.columns().items() if not column.nullable}
        self.identifier = sql.Identifier(self._schema, self._name)
        self._user = "us"
        self._database = ""

    def __str__(self) -> str:
        return f"{self._schema}.{self._name}"

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
            raise self.told(error) from error

    def _prepare(self, connection: Connection, frame: pl.DataFrame) -> None:
        if frame.width > MOST_COLUMNS:
            raise SinkRefused(
                f"Table {self} would have {frame.width} columns, and PostgreSQL takes at most "
                f"{MOST_COLUMNS}; leave some out of the schema, or put them into one dy.Struct column."
            )
        if long := [name for name in frame.columns if len(name.encode()) > LONGEST_NAME]:
            raise SinkRefused(
                f"Table {self}: PostgreSQL keeps at most {LONGEST_NAME} bytes of a column's name; "
                f"shorten {', '.join(long)} in what enriches the records."
            )
        there = self._columns(connection)
        if not there:
            # Two runs may both find no table: "if not exists" alone can still cause a conflict in the catalog.
            connection.execute("select pg_advisory_xact_lock(hashtext(%s))", (str(self),))
            # Not "if not exists": that needs the privilege to create schemas even if the schema exists.
            found = connection.execute("select to_regnamespace(quote_ident(%s)) as there", (self._schema,)).fetchone()
            if found is None or found["there"] is None:
                connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(self._schema)))
            connection.execute(self._create(frame))
        elif missing := [name for name in frame.columns if name not in there]:
            additions = ", ".join(f'add column "{name}" {postgres_type(frame.schema[name])}' for name in missing)
            raise SinkRefused(f"Table {self} lacks {', '.join(missing)}; run: alter table {self} {additions};")
        elif lossy := [name for name, dtype in frame.schema.items() if changes(dtype, there[name])]:
            alterations = ", ".join(f'alter column "{name}" type {postgres_type(frame.schema[name])}' for name in lossy)
            raise SinkRefused(
                f"Table {self} would change values in silence: "
                f"{', '.join(f'{name} is {there[name]}' for name in lossy)}; "
                f"run: alter table {self} {alterations}; or change the schema of the pipeline."
            )
        elif self._mode != "append" and not self._has_key(connection):
            # Without the key, records with the same key would be added side by side, without any error.
            key = ", ".join(f'"{name}"' for name in self._key)
            raise SinkRefused(
                f"Table {self} has no unique key ({key}), which mode={self._mode!r} needs; "
                f"run: alter table {self} add primary key ({key});"
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
            columns.append(sql.SQL("primary key ({})").format(names(self._key)))
        if self._mode == "append":
            # A second guard beside the epoch: no record of an arrival can be in the table twice.
            columns.append(sql.SQL("unique ({})").format(names(ORIGIN)))
        return sql.SQL("create table if not exists {} ({})").format(self.identifier, sql.SQL(", ").join(columns))

    def told(self, error: psycopg.Error) -> SinkUnavailable | SinkRefused:
        """Translate a database error that is not about single records into one of ours."""
        what = f"{self}: {first_line(error)}"
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
        return f"; run: grant select, insert, update, delete on {self} to {self._user};"

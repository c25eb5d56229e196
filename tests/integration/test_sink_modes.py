"""The table and its modes: what is added, replaced, kept, refused."""

import threading
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

import dataframely as dy
import polars as pl
import pytest
from harness import Services
from headgate.errors import SinkRefused, SinkUnavailable
from headgate.ledger import Database
from headgate.model import Reason
from headgate.pipeline import Mode, Table
from headgate.records.batch import ARRIVAL, ROW, Refusal, number_rows
from headgate.sinks.postgres import PostgresSink
from specimens import pipeline

NAMES = (
    "create table names (name text primary key);"
    " insert into names select 'n' || i from generate_series(0, 40) as i;"
    " alter table orders add constraint known foreign key (name) references names"
)


class Note(dy.Schema):
    """Without a key."""

    id = dy.Int64(nullable=False)
    name = dy.String(nullable=True)


class Wide(dy.Schema):
    """A key of two columns, a decimal, a zone."""

    b = dy.String(primary_key=True)
    a = dy.Int16(primary_key=True)
    price = dy.Decimal(10, 2, nullable=True)
    at = dy.Datetime(nullable=False, time_zone="UTC")


NOTES = pipeline(schema=Note, sink=Table("notes"))


def sink(mode: Mode = "upsert", table: str = "orders") -> PostgresSink:
    return PostgresSink(pipeline(sink=Table(table, mode=mode)))


def orders(arrival_id: int, *rows: tuple[int, str, int | None]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema={"id": pl.Int64, "name": pl.String, "amount": pl.Int64}, orient="row")
    return number_rows(frame, arrival_id, 1)


def write(database: Database, into: PostgresSink, frame: pl.DataFrame) -> list[Refusal]:
    with database.transaction() as connection:
        into.prepare(connection, frame)
        return into.write(connection, frame)


def sql(database: Database, statement: str) -> list[tuple[object, ...]]:
    with database.transaction() as connection:
        connection.execute("set local search_path to public")
        cursor = connection.execute(statement.encode())
        return [tuple(row.values()) for row in cursor] if cursor.description else []


def there(database: Database, table: str = "orders") -> list[tuple[object, ...]]:
    return sql(database, f"select id, name, amount, _arrival_id, _row from {table} order by id, _arrival_id, _row")


def test_the_table_is_made_as_the_schema_says(database: Database) -> None:
    frame = number_rows(pl.DataFrame(schema={"b": pl.String, "a": pl.Int16, "price": pl.Decimal(10, 2)}), 1, 1)
    frame = frame.with_columns(pl.Series("at", [], pl.Datetime("us", "UTC")))
    write(database, PostgresSink(pipeline(schema=Wide, sink=Table("wide", mode="upsert"))), frame)
    columns = sql(
        database,
        "select column_name, format_type(atttypid, atttypmod), is_nullable from information_schema.columns"
        " join pg_attribute on attrelid = 'wide'::regclass and attname = column_name"
        " where table_name = 'wide' order by ordinal_position",
    )
    assert columns == [
        ("b", "text", "NO"),
        ("a", "smallint", "NO"),
        ("price", "numeric(10,2)", "YES"),
        ("_arrival_id", "bigint", "NO"),
        ("_row", "bigint", "NO"),
        ("at", "timestamp with time zone", "NO"),
    ]
    keys = sql(
        database,
        "select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'wide'::regclass and contype = 'p'",
    )
    assert keys == [("PRIMARY KEY (b, a)",)]


def test_a_table_may_stand_in_another_schema(database: Database) -> None:
    into = sink(table="landing.orders")
    assert write(database, into, orders(1, (1, "a", None))) == []
    assert write(database, sink(table="landing.orders"), orders(2, (1, "b", None))) == []
    assert there(database, "landing.orders") == [(1, "b", None, 2, 1)]
    assert sql(database, "select to_regclass('public.orders')") == [(None,)]


def test_a_table_whose_transaction_was_rolled_back_is_made_again(database: Database) -> None:
    """The next try of the same run must not take the table for granted."""
    into, frame = sink(), orders(1, (1, "a", None))
    with pytest.raises(KeyError), database.transaction() as connection:  # noqa: PT012 - what comes before the error is the case
        into.prepare(connection, frame)
        into.write(connection, frame)
        raise KeyError
    assert write(database, into, frame) == []
    assert there(database) == [(1, "a", None, 1, 1)]


def test_no_rows_are_no_work(database: Database) -> None:
    assert write(database, sink(), orders(1)) == []
    assert there(database) == []


def test_append_adds_each_record(database: Database) -> None:
    into = PostgresSink(NOTES)
    frame = pl.DataFrame({"id": [1, 1], "name": ["a", "a"]})
    for arrival_id in (1, 2):
        assert write(database, into, number_rows(frame, arrival_id, 1)) == []
    assert sql(database, "select count(*) from notes") == [(4,)]


def test_append_never_holds_a_record_twice(database: Database) -> None:
    """A second guard behind the fence: the origin is unique in the table."""
    into, frame = PostgresSink(NOTES), number_rows(pl.DataFrame({"id": [1, 2], "name": ["a", "b"]}), 7, 1)
    assert write(database, into, frame) == []
    refused = write(database, into, frame)
    assert [(each.arrival_id, each.row) for each in refused] == [(7, 1), (7, 2)]
    assert sql(database, "select id, _arrival_id, _row from notes order by 1") == [(1, 7, 1), (2, 7, 2)]


def test_upsert_replaces_by_the_newest_arrival(database: Database) -> None:
    into = sink()
    write(database, into, orders(1, (1, "old", 1), (2, "stays", 2)))
    assert write(database, into, orders(2, (1, "new", None), (3, "more", 3))) == []
    assert there(database) == [(1, "new", None, 2, 1), (2, "stays", 2, 1, 2), (3, "more", 3, 2, 2)]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2)])
def test_upsert_ends_the_same_in_whatever_order_runs_commit(database: Database, order: tuple[int, ...]) -> None:
    for arrival_id in order:
        assert write(database, sink(), orders(arrival_id, (1, f"of {arrival_id}", arrival_id))) == []
    assert there(database) == [(1, "of 3", 3, 3, 1)]


@pytest.mark.parametrize("merging", [False, True])
@pytest.mark.parametrize(("mode", "kept"), [("upsert", (1, "last", 3, 5, 3)), ("ignore", (1, "first", 1, 5, 1))])
def test_a_key_repeated_in_a_batch_ends_as_the_mode_says(
    database: Database,
    mode: Mode,
    kept: tuple[object, ...],
    merging: bool,  # noqa: FBT001 - pytest's
) -> None:
    into = sink(mode)
    if merging:
        write(database, into, orders(1, (9, "x", 1)))
        write(database, into, orders(2, (9, "x", 1)))
    assert write(database, into, orders(5, (1, "first", 1), (2, "b", 2), (1, "last", 3))) == []
    assert [row for row in there(database) if row[0] == 1] == [kept]
    assert len([row for row in there(database) if row[0] == 2]) == 1


def test_ignore_keeps_the_row_that_is_there(database: Database) -> None:
    into = sink("ignore")
    write(database, into, orders(2, (1, "first", 1)))
    assert write(database, into, orders(1, (1, "older", 2), (2, "b", 2))) == []
    assert write(database, into, orders(3, (1, "newer", 3))) == []
    assert there(database) == [(1, "first", 1, 2, 1), (2, "b", 2, 1, 2)]


def test_the_same_batch_again_changes_nothing(database: Database) -> None:
    for mode, table in (("upsert", "u"), ("ignore", "i")):
        frame = orders(1, (1, "a", 1), (2, "b", 2))
        into = PostgresSink(pipeline(sink=Table(table, mode=mode)))  # type: ignore[arg-type]
        write(database, into, frame)
        before = there(database, table)
        assert write(database, into, frame) == []
        assert there(database, table) == before


@pytest.mark.parametrize("mode", ["append", "upsert", "ignore"])
@pytest.mark.parametrize(
    ("constraint", "rule"),
    [
        ("alter table orders add constraint small check (amount < 100)", "small"),
        ("alter table orders alter column name type varchar(5)", "sqlstate 22001"),
        ("alter table orders add constraint one_name unique (name)", "one_name"),
        (
            "alter table orders add constraint one_name unique (name) deferrable initially deferred",
            "one_name",
        ),
        (NAMES, "known"),
        (f"{NAMES} deferrable initially deferred", "known"),
    ],
    ids=["check", "too long", "unique", "deferred unique", "foreign key", "deferred foreign key"],
)
def test_only_the_refused_records_are_left_out(database: Database, mode: Mode, constraint: str, rule: str) -> None:
    """A batch is halved until each bad record stands alone; all others are in the table."""
    into = sink(mode)
    write(database, into, orders(1, (1000, "n0", 1)))
    sql(database, constraint)
    rows = [(number, f"n{number}", number) for number in range(1, 21)]
    bad_name = {"one_name": "n0", "known": "n99"}.get(rule, "too long for it")
    bad = (1, 13, 20)
    mixed = [(i, bad_name if i in bad else name, 100 if i in bad else amount) for i, name, amount in rows]
    refused = write(database, into, orders(2, *mixed))
    assert [(each.arrival_id, each.row, each.reason) for each in refused] == [(2, row, Reason.SINK) for row in bad]
    assert all(each.faults[0].rule.startswith(f"{rule}: ") for each in refused)
    kept = [row[0] for row in there(database) if row[3] == 2]
    assert kept == [number for number in range(1, 21) if number not in bad]


def test_refused_records_leave_the_rest_of_the_transaction_alone(database: Database) -> None:
    into = sink()
    write(database, into, orders(1, (1, "a", 1)))
    sql(database, "alter table orders add constraint small check (amount < 100)")
    with database.transaction() as connection:
        connection.execute("create table public.witness (id int)")
        assert len(into.write(connection, orders(2, (2, "b", 500), (3, "c", 3)))) == 1
        connection.execute("insert into public.witness values (1)")
    assert sql(database, "select * from witness") == [(1,)]
    assert [row[0] for row in there(database)] == [1, 3]


def test_a_null_where_none_may_be_names_its_column(database: Database) -> None:
    into = sink()
    write(database, into, orders(1, (1, "a", 1)))
    sql(database, "alter table orders alter column amount set not null")
    (refused,) = write(database, into, orders(2, (2, "b", None), (3, "c", 3)))
    assert (refused.row, refused.faults[0].column) == (1, "amount")


def test_a_missing_column_is_refused_with_the_statement_that_helps(database: Database) -> None:
    sql(database, "create table orders (id bigint primary key, name text, _arrival_id bigint, _row bigint)")
    extra = orders(1, (1, "a", 5)).with_columns(price=pl.lit(Decimal("1.50"), pl.Decimal(10, 2)))
    with pytest.raises(SinkRefused, match="lacks amount, price; run: alter table") as caught:
        write(database, sink(), extra)
    sql(database, str(caught.value).partition("run: ")[2])
    assert write(database, sink(), extra) == []
    assert sql(database, "select amount, price from orders") == [(5, Decimal("1.50"))]


def test_columns_that_only_the_table_has_are_left_alone(database: Database) -> None:
    write(database, sink(), orders(1, (1, "a", 1)))
    sql(database, "alter table orders add column note text default 'hand'")
    sql(database, "update orders set note = 'kept'")
    assert write(database, sink(), orders(2, (1, "b", 2), (2, "c", 3))) == []
    assert sql(database, "select id, name, note from orders order by id") == [(1, "b", "kept"), (2, "c", "hand")]


@pytest.mark.parametrize("mode", ["upsert", "ignore"])
@pytest.mark.parametrize(
    "index",
    [
        "select 1",
        "create unique index on orders (id, name)",
        "create unique index on orders (lower(name), id)",
        "create unique index on orders (id) where amount > 0",
        "create index on orders (id)",
    ],
)
def test_a_table_without_the_key_is_refused_with_the_statement_that_helps(
    database: Database, mode: Mode, index: str
) -> None:
    """Or records of one key would be added side by side, and nobody would be told."""
    sql(database, "create table orders (id bigint, name text, amount bigint, _arrival_id bigint, _row bigint)")
    sql(database, index)
    with pytest.raises(SinkRefused, match=r'has no unique key \("id"\)') as caught:
        write(database, sink(mode), orders(1, (1, "a", 1)))
    sql(database, str(caught.value).partition("run: ")[2])
    for arrival_id in (1, 2):
        assert write(database, sink(mode), orders(arrival_id, (1, "a", 1))) == []
    assert len(there(database)) == 1


def test_any_unique_index_on_the_key_will_do(database: Database) -> None:
    sql(database, "create table wide (a int, b text, price numeric, at timestamptz, _arrival_id bigint, _row bigint)")
    sql(database, "create unique index on wide (a, b) include (price)")
    into = PostgresSink(pipeline(schema=Wide, sink=Table("wide", mode="upsert")))
    at = datetime(2024, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame({"b": ["x"], "a": [1], "price": [Decimal(1)], "at": [at]})
    for arrival_id in (1, 2):
        assert write(database, into, number_rows(frame, arrival_id, 1)) == []
    assert sql(database, "select a, b, _arrival_id from wide") == [(1, "x", 2)]


def test_a_lock_that_does_not_come_is_worth_another_attempt(database: Database) -> None:
    into = sink()
    write(database, into, orders(1, (1, "a", 1)))
    with database.transaction() as other:
        other.execute("lock table public.orders")
        with (  # noqa: PT012 - what comes before the error is the case
            pytest.raises(SinkUnavailable, match=r"could not write to public\.orders"),
            database.transaction() as connection,
        ):
            connection.execute("set local lock_timeout = '50ms'")
            into.write(connection, orders(2, (2, "b", 2)))
    assert write(database, into, orders(2, (2, "b", 2))) == []


def test_origin_columns_are_where_the_records_came_from(database: Database) -> None:
    frame = orders(3, (1, "a", 1), (2, "b", 2)).with_columns(pl.Series(ROW, [4, 9]), pl.lit(3, pl.Int64).alias(ARRIVAL))
    write(database, sink(), frame)
    assert [row[3:] for row in there(database)] == [(3, 4), (3, 9)]


def test_two_runs_that_find_no_table_both_get_one(database: Database) -> None:
    start, errors = threading.Barrier(3), list[BaseException]()

    def run(arrival_id: int) -> None:
        start.wait(10)
        try:
            write(database, sink(), orders(arrival_id, (arrival_id, "x", 1)))
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert len(there(database)) == 3


RAISE = """
create function refuse() returns trigger language plpgsql as $$ begin
    if new.name = 'bad' then raise exception 'we do not want it' {}; end if; return new;
end $$;
create trigger refuse before insert on orders for each row execute function refuse()
"""
TWO_ROWS = """
create function look() returns trigger language plpgsql as $$ begin
    new.amount = (select i from generate_series(1, case when new.name = 'bad' then 2 else 1 end) as i); return new;
end $$;
create trigger look before insert on orders for each row execute function look()
"""
VIEW = """
create table copies (name text);
create view wanted as select * from copies where name <> 'bad' with check option;
create function copy() returns trigger language plpgsql as $$ begin
    insert into public.wanted values (new.name); return null;
end $$;
create trigger copy after insert on orders for each row execute function copy()
"""


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        (RAISE.format(""), "sqlstate P0001"),
        (RAISE.format("using errcode = 'HG001'"), "sqlstate HG001"),
        (VIEW, "sqlstate 44000"),
        (TWO_ROWS, "sqlstate 21000"),
    ],
    ids=["a trigger raises", "with a code of its own", "a view's check option", "a trigger's query gives two rows"],
)
def test_one_record_that_the_database_refuses_for_whatever_reason_leaves_the_nine_others(
    database: Database, statement: str, rule: str
) -> None:
    into = sink("append")
    write(database, into, orders(1))
    sql(database, statement)
    rows = [(number, "bad" if number == 7 else "good", 1) for number in range(1, 11)]
    with database.transaction() as connection:
        (refused,) = into.write(connection, orders(2, *rows))
    assert (refused.row, refused.reason) == (7, Reason.SINK)
    assert refused.faults[0].rule.startswith(f"{rule}: ")
    assert len(there(database)) == 9


def test_a_row_that_was_there_before_headgate_is_older_than_any_arrival(database: Database) -> None:
    sql(database, "create table orders (id bigint primary key, name text, amount bigint)")
    sql(database, "insert into orders values (1, 'before', 1), (2, 'before', 2), (3, 'before', 3)")
    sql(database, "alter table orders add column _arrival_id bigint, add column _row bigint")
    into = sink()
    assert write(database, into, orders(1, (1, "newer", 5))) == []
    keys = number_rows(pl.DataFrame({"id": [2]}, schema={"id": pl.Int64}), 2, 1)
    with database.transaction() as connection:
        assert into.delete(connection, keys) == []
    assert there(database) == [(1, "newer", 5, 1, 1), (3, "before", 3, None, None)]


def test_a_table_that_we_may_not_make_is_refused_by_the_servers_own_reason(database: Database) -> None:
    with pytest.raises(SinkRefused, match="permission denied for schema information_schema"):
        write(database, sink(table="information_schema.orders"), orders(1))


class Coarse(dy.Schema):
    """Prices in cents."""

    price = dy.Decimal(10, 2)


class Fine(dy.Schema):
    """The same, two decimal places more: COPY would round them without a word."""

    price = dy.Decimal(12, 4)


def prices(arrival_id: int, price: str, dtype: pl.Decimal) -> pl.DataFrame:
    return number_rows(pl.DataFrame({"price": [Decimal(price)]}, schema={"price": dtype}), arrival_id, 1)


def test_a_column_that_would_round_is_refused_with_the_statement_that_helps(database: Database) -> None:
    write(database, PostgresSink(pipeline(schema=Coarse, sink=Table("prices"))), prices(1, "1.20", pl.Decimal(10, 2)))
    finer, new = PostgresSink(pipeline(schema=Fine, sink=Table("prices"))), prices(2, "1.2345", pl.Decimal(12, 4))
    with pytest.raises(SinkRefused) as refused:
        write(database, finer, new)
    why, _, statement = str(refused.value).partition("; run: ")
    assert why == "Table public.prices would change values in silence: price is numeric(10,2)"
    sql(database, statement.partition(";")[0])
    assert write(database, finer, new) == []
    found = sql(database, "select price from prices order by _arrival_id")
    assert found == [(Decimal("1.2000"),), (Decimal("1.2345"),)]


class Typed(dy.Schema):
    """Text for columns of types of their own, and a number for a domain."""

    a = dy.String()
    b = dy.String()
    c = dy.String()
    d = dy.String()
    e = dy.Decimal(6, 2)


def test_columns_that_parse_text_take_it(database: Database) -> None:
    """A uuid, an enum, JSON, a limited text and a domain: what does not fit is a dead letter."""
    sql(
        database,
        "create type mood as enum ('good'); create domain price as numeric(8, 2) check (value > 0);"
        " create table typed (a uuid, b mood, c jsonb, d varchar(3), e price,"
        " _arrival_id bigint not null, _row bigint not null)",
    )
    id_ = str(UUID(int=7))
    rows = [(id_, mood, "{}", "abc", Decimal("1.25")) for mood in ("good", "bad")]
    schema = {**dict.fromkeys("abcd", pl.String()), "e": pl.Decimal(6, 2)}
    frame = number_rows(pl.DataFrame(rows, schema=schema, orient="row"), 1, 1)
    refusals = write(database, PostgresSink(pipeline(schema=Typed, sink=Table("typed"))), frame)
    assert [each.row for each in refusals] == [2]
    found = sql(database, "select a::text, b::text, c::text, d, e from typed")
    assert found == [(id_, "good", "{}", "abc", Decimal("1.25"))]


def test_a_schema_that_is_there_needs_no_right_to_create_one(services: Services, database: Database) -> None:
    role = f"limited_{uuid4().hex[:8]}"
    services.administer(f"create role {role}", f"grant {role} to headgate")
    sql(database, f"create schema landing; grant usage, create on schema landing to {role}")
    into = PostgresSink(pipeline(sink=Table("landing.orders", mode="upsert")))
    frame = orders(1, (1, "a", 2))
    with database.transaction() as connection:
        connection.execute(f"set local role {role}".encode())
        into.prepare(connection, frame)
        assert into.write(connection, frame) == []


def test_a_column_whose_name_postgresql_would_cut_is_refused(database: Database) -> None:
    frame = orders(1, (1, "a", 2)).with_columns(pl.lit(1).alias("ы" * 32))
    with pytest.raises(SinkRefused, match="at most 63 bytes of a column's name; shorten ыы"):
        write(database, sink(), frame)


def test_text_comes_as_it_is_whatever_encoding_the_environment_asks_for(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with Database(database_url) as other:
        write(other, sink(), orders(1, (1, "é", 2)))
    assert [row[1] for row in there(database)] == ["é"]

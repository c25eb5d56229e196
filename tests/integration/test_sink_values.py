"""What a frame holds is what the table holds, type by type."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import dataframely as dy
import polars as pl
import psycopg
import pytest
from headgate.errors import SinkRefused
from headgate.ledger import Database
from headgate.pipeline import Table
from headgate.records.batch import number_rows
from headgate.sinks.columns import postgres_type
from headgate.sinks.postgres import PostgresSink, count_rows
from headgate.sinks.reference import read_reference
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from specimens import pipeline


class Loose(dy.Schema):
    """Without a key; what else the frame has is made nullable."""

    value = dy.String(nullable=True)


NAN, INF = float("nan"), float("inf")
KATHMANDU = timezone(timedelta(hours=5, minutes=45))
TEXTS = [
    "",
    None,
    '"',
    '""',
    "a,b",
    "\\.",
    "\n\\.\n",
    "\\N",
    "NULL",
    "null",
    "\r\n",
    "\r",
    "\t",
    " x ",
    "é😀\u202e\ufeff",
    "a\\nb\\",
    "'; drop table orders; --",
    "=cmd()",
]


def stored(database: Database, frame: pl.DataFrame) -> list[dict[str, object]]:
    """Write a frame into a table of its own; what the table holds then."""
    sink = PostgresSink(pipeline(schema=Loose, sink=Table("orders")))
    framed = number_rows(frame, 1, 1)
    with database.transaction() as connection:
        connection.execute("drop table if exists public.orders")
        sink.prepare(connection, framed)
        assert sink.write(connection, framed) == []
        connection.execute("set local timezone to 'UTC'")
        rows = connection.execute("select * from public.orders order by _row").fetchall()
    assert [(row.pop("_arrival_id"), row.pop("_row")) for row in rows] == [(1, n + 1) for n in range(frame.height)]
    return rows


@pytest.mark.parametrize(
    ("dtype", "kind", "values"),
    [
        (pl.Int8, "smallint", [-128, 127, None]),
        (pl.UInt8, "smallint", [0, 255]),
        (pl.Int16, "smallint", [-(2**15), 2**15 - 1]),
        (pl.UInt16, "integer", [2**16 - 1]),
        (pl.Int32, "integer", [-(2**31), 2**31 - 1]),
        (pl.UInt32, "bigint", [2**32 - 1]),
        (pl.Int64, "bigint", [-(2**63), 2**63 - 1]),
        (pl.UInt64, "numeric(20)", [2**64 - 1]),
        (pl.Int128, "numeric(39)", [2**127 - 1, -(2**127)]),
        (pl.Float32, "real", [0.5, 1e-30, -INF]),
        (pl.Float64, "double precision", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, INF, -INF, -0.0, None]),
        (pl.Decimal(18, 2), "numeric(18,2)", [Decimal("0.01"), Decimal("-9999999999999999.99"), None]),
        (pl.Decimal(38, 10), "numeric(38,10)", [Decimal("1234567890123456789012345678.0123456789")]),
        (pl.Boolean, "boolean", [True, False, None]),
        (pl.Date, "date", [date(1, 1, 1), date(9999, 12, 31), date(2024, 2, 29), None]),
        (pl.Time, "time", [time(0), time(23, 59, 59, 999999), None]),
        (pl.Datetime("us"), "timestamp", [datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(9999, 12, 31)]),  # noqa: DTZ001 - without a zone is the case
        (pl.Datetime("ms"), "timestamp", [datetime(2024, 1, 1, 0, 0, 0, 123000), None]),  # noqa: DTZ001 - as above
        (pl.Duration("us"), "interval", [timedelta(0), timedelta(days=-1, microseconds=1), timedelta(days=400), None]),
        (pl.String, "text", TEXTS),
        (pl.Categorical, "text", ["a", None]),
        (pl.Enum(["EUR", ""]), "text", ["EUR", "", None]),
        (pl.Binary, "bytea", [b"", bytes(range(256)), None]),
        (pl.List(pl.Int64), "jsonb", [[1, 2], [], None, [None]]),
        (pl.List(pl.String), "jsonb", [['"', "a,b\n", "é}"], [""]]),
        (pl.List(pl.List(pl.Int8)), "jsonb", [[[1], []], None]),
        (pl.Array(pl.Int64, 2), "jsonb", [[1, 2], None]),
        (pl.Struct({"a": pl.Int64, "b": pl.String}), "jsonb", [{"a": 1, "b": 'x"y'}, {"a": None, "b": None}]),
        (pl.List(pl.Struct({"a": pl.Float64})), "jsonb", [[{"a": 0.1}]]),
        (pl.Null, "text", [None]),
    ],
    ids=str,
)
def test_each_type_comes_back_as_it_went(
    database: Database, dtype: pl.DataType, kind: str, values: list[object]
) -> None:
    frame = pl.DataFrame({"value": values}, schema={"value": dtype})
    assert postgres_type(frame.schema["value"]) == kind
    assert [row["value"] for row in stored(database, frame)] == [
        bytes(value) if isinstance(value, bytes) else value for value in values
    ]


def test_an_instant_stays_the_same_in_any_zone(database: Database) -> None:
    instants = [datetime(2024, 3, 10, 12, 0, 0, 1, tzinfo=KATHMANDU), None]
    for zone in ("UTC", "Asia/Kathmandu", "America/New_York"):
        frame = pl.DataFrame({"value": instants}, schema={"value": pl.Datetime("us", zone)})
        assert postgres_type(frame.schema["value"]) == "timestamptz"
        assert [row["value"] for row in stored(database, frame)] == instants


def test_not_a_number_comes_back_as_such(database: Database) -> None:
    (row,) = stored(database, pl.DataFrame({"value": [NAN]}))
    assert row["value"] != row["value"]


INTEGERS = pl.List(pl.Int64)
LATE = pl.Datetime("us", "America/New_York")
TOO_LATE = 253402318799999999  # in New York, the last microsecond of the year 9999


@pytest.mark.parametrize(
    ("dtype", "given_as", "good", "bad"),
    [
        (pl.List(pl.Float64), None, [0.0, None, 5e-324], [1.0, -0.0]),
        (pl.List(pl.Float32), None, [0.5], [-INF]),
        (pl.Struct({"a": pl.Array(pl.Float64, 1)}), None, {"a": [1.5]}, {"a": [NAN]}),
        (pl.Date, pl.Int32, 0, 3_000_000),
        (LATE, pl.Int64, 0, TOO_LATE),
        (pl.Time, pl.Int64, 1000, 1),
        (pl.List(pl.Date), pl.List(pl.Int32), [0], [3_000_000]),
        (pl.List(LATE), INTEGERS, [0, None], [TOO_LATE]),
        (pl.List(pl.Datetime("ms")), INTEGERS, [], [0, -(2**62)]),
        (pl.List(pl.Time), INTEGERS, [1000], [1]),
        (pl.List(pl.Duration("ns")), INTEGERS, [1000], [1]),
        (pl.Array(pl.Datetime("ns"), 1), pl.Array(pl.Int64, 1), [1000], [1]),
        (pl.Struct({"a": pl.List(LATE)}), pl.Struct({"a": INTEGERS}), {"a": [0]}, {"a": [None, TOO_LATE]}),
        (pl.List(pl.Struct({"a": LATE})), pl.List(pl.Struct({"a": pl.Int64})), [None], [{"a": 0}, {"a": TOO_LATE}]),
    ],
    ids=str,
)
def test_a_value_that_the_database_would_change_is_refused_wherever_it_is(
    database: Database, dtype: pl.DataType, given_as: pl.DataType | None, good: object, bad: object
) -> None:
    column = pl.Series("value", [good, bad, None], dtype=given_as or dtype).cast(dtype)
    frame = number_rows(column.to_frame(), 1, 1)
    sink = PostgresSink(pipeline(schema=Loose, sink=Table("orders")))
    with database.transaction() as connection:
        sink.prepare(connection, frame)
        [refused] = sink.write(connection, frame)
        rows = [row["_row"] for row in connection.execute("select _row from public.orders order by _row")]
    assert rows == [1, 3]
    assert refused.row == 2
    assert refused.faults[0].rule == "PostgreSQL cannot hold this value as it is"
    assert refused.faults[0].value


def test_columns_of_one_nested_type_do_not_get_in_each_others_way(database: Database) -> None:
    frame = pl.DataFrame({"a": [b"1"], "b": [b"2"], "c": [[1]], "d": [[2]], "e": [{"x": 1}], "f": [timedelta(1)]})
    assert stored(database, frame) == [{"a": b"1", "b": b"2", "c": [1], "d": [2], "e": {"x": 1}, "f": timedelta(1)}]


def test_column_names_are_quoted(database: Database) -> None:
    frame = pl.DataFrame({"select": [1], 'a "b"': [2], "É": [3]})
    assert stored(database, frame) == [{"select": 1, 'a "b"': 2, "É": 3}]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
            st.none() | st.floats(allow_nan=False),
            st.none() | st.binary(max_size=5),
            st.none()
            | st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_stands_in_a_row_comes_back(
    database: Database, rows: list[tuple[str | None, float | None, bytes | None, list[str] | None]]
) -> None:
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "text": pl.String,
        "float": pl.Float64,
        "bytes": pl.Binary,
        "list": pl.List(pl.String),
    }
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    assert [tuple(row.values()) for row in stored(database, frame)] == rows


def test_rows_are_counted_wherever_the_table_is(database: Database) -> None:
    with database.transaction() as connection:
        assert count_rows(connection, "orders") == 0
        connection.execute('create schema landing; create table landing."order" as select 1 as a')
        assert count_rows(connection, "landing.order") == 1
        assert count_rows(connection, "nowhere.order") == 0


def test_a_reference_is_read_whole(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("create schema ref; create table ref.airlines (code text, seats int)")
        assert read_reference(connection, "ref.airlines").columns == ["code", "seats"]
        connection.execute("insert into ref.airlines values ('AA', null), ('BB', 7)")
        found = read_reference(connection, "ref.airlines")
    assert found.rows() == [("AA", None), ("BB", 7)]


def test_a_reference_is_read_with_the_types_of_its_table_even_if_it_is_empty(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(
            "create table ref_all (code varchar(3), seats smallint, rate real, price numeric, tax numeric(6,3), "
            "day date, at timestamptz, clock time, raw bytea, id uuid, net inet, every interval, tags text[], "
            "ok bool, nights int[])"
        )
        empty = read_reference(connection, "ref_all")
        connection.execute(
            "insert into ref_all values ('AA', 1, 1.1, 1.2345, 0.5, '2026-01-02', '2026-01-02 03:04+05', '01:02:03.5',"
            " 'a', '00000000-0000-0000-0000-00000000000a', '10.0.0.1', '1 mon 2 days', '{x,y}', true, '{1,null}')"
        )
        connection.execute("insert into ref_all (code) values (null)")
        found = read_reference(connection, "ref_all")
    assert [name for name, dtype in empty.schema.items() if dtype == pl.String()] == [
        *("code", "id", "net", "every", "tags", "nights")
    ]
    assert found.row(0) == (
        *("AA", 1, 1.1, Decimal("1.2345"), Decimal("0.5"), date(2026, 1, 2)),
        *(datetime(2026, 1, 1, 22, 4, tzinfo=UTC), time(1, 2, 3, 500_000), b"a"),
        *("00000000-0000-0000-0000-00000000000a", "10.0.0.1/32", "1 mon 2 days", '["x","y"]', True, "[1,null]"),
    )
    assert found.row(1) == (None,) * found.width
    assert {name for name in found.columns if found.schema[name] != empty.schema[name]} <= {"price", "tax"}


@pytest.mark.parametrize("value", ["date 'infinity'", "'NaN'::numeric", "timestamp '0044-03-15 BC'", "1e40::numeric"])
def test_a_reference_with_a_value_that_cannot_be_held_says_what_to_do(database: Database, value: str) -> None:
    with database.transaction() as connection:
        connection.execute(f"create table ref_odd as select 1 as key, {value} as odd".encode())
        with pytest.raises(SinkRefused, match=r"^Look-up table ref_odd: .*casts the column to text\.$"):
            read_reference(connection, "ref_odd")


def test_a_reference_that_is_not_there_says_what_to_do(database: Database) -> None:
    with (
        pytest.raises(SinkRefused, match=r"Look-up table airlines: .*create it, or correct lookup") as caught,
        database.transaction() as connection,
    ):
        read_reference(connection, "airlines")
    assert isinstance(caught.value.__cause__, psycopg.errors.UndefinedTable)
    assert "\n" not in str(caught.value)

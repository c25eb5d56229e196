"""Text against a schema."""

from datetime import UTC, date, datetime, time
from decimal import Decimal

import dataframely as dy
import polars as pl
import pytest
from headgate.errors import BadPipeline
from headgate.model import Fault, Reason
from headgate.records.batch import ARRIVAL, ROW
from headgate.records.casting import cast
from headgate.records.contract import Validated, validate
from hypothesis import given
from hypothesis import strategies as st


class Order(dy.Schema):
    """A key, limits, a rule over two columns."""

    order_id = dy.Int64(primary_key=True)
    code = dy.String(nullable=True, unique=True, regex="^[A-Z]+$")
    low = dy.Int32(min=0, nullable=False)
    high = dy.Int32(nullable=True)

    @dy.rule()
    def low_is_lower(cls) -> pl.Expr:  # noqa: N805  dataframely hands over the class
        """Hold two columns against each other."""
        return cls.low.col <= cls.high.col


def run(*rows: tuple[str | None, str | None, str | None, str | None]) -> Validated:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(Order.column_names(), pl.String), orient="row")
    numbers = pl.int_range(11, 11 + len(rows), dtype=pl.Int64, eager=True)
    return validate(frame.with_columns(pl.lit(5, pl.Int64).alias(ARRIVAL), numbers.alias(ROW)), Order)


def test_good_rows_are_typed_and_keep_their_order_and_origin() -> None:
    good, [*refused] = run(("2", "B", "1", "2"), ("1", None, "0", None))
    assert refused == []
    assert good.rows() == [(2, "B", 1, 2, 5, 11), (1, None, 0, None, 5, 12)]
    assert good.schema["low"] == pl.Int32()


def test_equal_keys_and_equal_unique_cells_are_no_fault() -> None:
    """The key tells which row of the sink a record belongs to; it is no rule inside a batch."""
    assert run(("1", "A", "1", None), ("1", "A", "1", None)).good.height == 2


def test_a_key_may_still_not_be_null() -> None:
    _, [refusal] = run((None, "A", "1", None))
    assert refusal.faults == (Fault("order_id|nullability", "order_id", None),)


def test_every_broken_rule_is_told_with_column_and_text() -> None:
    """A cell that cannot be read does not hide the other rules of its row."""
    good, [*refused] = run(("1", "A", "1", "2"), ("x1", "a", "-7", "y"), ("2", "B", "5", "4"))
    assert good[ROW].to_list() == [11]
    assert [(refusal.arrival_id, refusal.row, refusal.reason) for refusal in refused] == [
        (5, 12, Reason.SCHEMA),
        (5, 13, Reason.SCHEMA),
    ]
    assert set(refused[0].faults) == {
        Fault("order_id|dtype", "order_id", "x1"),
        Fault("code|regex", "code", "a"),
        Fault("low|min", "low", "-7"),
        Fault("high|dtype", "high", "y"),
    }
    assert refused[1].faults == (Fault("low_is_lower", None, None),)


def test_long_values_are_cut_in_the_report() -> None:
    _, [refusal] = run(("1", "a" * 1000, "1", None))
    assert refusal.faults == (Fault("code|regex", "code", "a" * 200),)


@given(st.lists(st.tuples(*[st.sampled_from([None, "1", "x", "A", "-1", "A\0"])] * 4), max_size=20))
def test_each_row_is_either_good_or_refused(rows: list[tuple[str | None, str | None, str | None, str | None]]) -> None:
    good, [*refused] = run(*rows)
    assert sorted([*good[ROW], *(refusal.row for refusal in refused)]) == list(range(11, 11 + len(rows)))
    assert all(refusal.faults for refusal in refused)
    assert all(("\0" in (rows[r.row - 11][1] or "")) == (r.reason == Reason.NUL) for r in refused)


def test_infinite_and_undefined_floats_are_faults_unless_the_schema_allows_them() -> None:
    class Strict(dy.Schema):
        x = dy.Float64(nullable=True)

    class Loose(dy.Schema):
        x = dy.Float64(nullable=True, allow_inf=True, allow_nan=True)

    cells = ["nan", "inf", "-Infinity", "+inf", "1.5"]
    frame = pl.DataFrame({"x": cells, ARRIVAL: [1] * 5, ROW: range(1, 6)})
    assert [refusal.row for refusal in validate(frame, Strict).refused] == [1, 2, 3, 4]
    assert validate(frame, Loose).good.height == 5


def read(cells: list[str], dtype: pl.DataType) -> list[object]:
    return cast(pl.Series("x", cells, dtype=pl.String), dtype).to_list()


def test_integers_are_strict_but_for_blanks_around_them() -> None:
    assert read(["1", " 2\t", "+3", "-0"], pl.Int64()) == [1, 2, 3, 0]
    assert read(["1.0", "1e3", "1_0", "", "9223372036854775808", "0x1", "1 2"], pl.Int64()) == [None] * 7
    assert read(["300", "-1", "255"], pl.UInt8()) == [None, None, 255]


def test_decimals_are_never_rounded() -> None:
    cells = ["1.5", "1.500", "-.5", "2.", "12345678901234567.89", "1.005", "1e2", "abc", ".", "1,5"]
    expected = ["1.50", "1.50", "-0.50", "2.00", "12345678901234567.89"]
    wanted = [*map(Decimal, expected), None, None, None, None, None]
    # The last readable one has 17 digits before the point: more than 18 in all do not fit.
    wanted[4] = None
    assert read(cells, pl.Decimal(18, 2)) == wanted
    assert read(["7", "7.0", "7.5"], pl.Decimal(5, 0)) == [Decimal(7), Decimal(7), None]
    assert read([".0", "-.00", ".5", "-.9", "7."], pl.Decimal(5, 0)) == [Decimal(0), Decimal(0), None, None, Decimal(7)]


def test_booleans_are_true_false_one_and_zero_in_any_case() -> None:
    assert read(["true", "FALSE", "1", " 0 ", "yes", ""], pl.Boolean()) == [True, False, True, False, None, None]


def test_dates_and_times_are_iso() -> None:
    assert read(["2013-01-31", " 2013-02-28 "], pl.Date()) == [date(2013, 1, 31), date(2013, 2, 28)]
    assert read(["2013-02-30", "13-1-1", "2013-1-1", "01/02/2013", "2013-01-01T00:00"], pl.Date()) == [None] * 5
    assert read(["06:00", "06:00:01", "23:59:59.5"], pl.Time()) == [time(6), time(6, 0, 1), time(23, 59, 59, 500_000)]
    assert read(["6:00", "24:00", "06:61", "06:00:60"], pl.Time()) == [None] * 4


def test_moments_are_read_with_any_offset_and_without_one_in_the_columns_zone() -> None:
    moment = datetime(2013, 1, 1, 6, tzinfo=UTC)
    cells = [
        "2013-01-01T06:00:00Z",
        "2013-01-01 06:00:00Z",
        "2013-01-01T07:00:00+01:00",
        "2013-01-01T04:30-0130",
        "2013-01-01T08+02",
        "2013-01-01T06:00",
        " 2013-01-01 06:00:00.000000000 ",
    ]
    assert read(cells, pl.Datetime("us", "UTC")) == [moment] * 4 + [None] + [moment] * 2
    [berlin] = read(["2013-07-01T08:00:00"], pl.Datetime("us", "Europe/Berlin"))
    assert berlin == datetime(2013, 7, 1, 6, tzinfo=UTC)


def test_moments_that_are_not_or_would_change_are_not_read() -> None:
    zoned = ["2013-1-1", "2013-13-01T06:00:00Z", "2013-01-01T06:00:60Z", "2013-01-01T06:00:00.1234567Z", "yesterday"]
    assert read(zoned, pl.Datetime("us", "UTC")) == [None] * 5
    assert read(["2013-03-31T02:30:00", "2013-10-27T02:30:00"], pl.Datetime("us", "Europe/Berlin")) == [None, None]
    local = ["2013-01-01T06:00:00", "2013-01-01T06:00:00Z", "2013-01-01T06:00:00+01:00"]
    assert read(local, pl.Datetime("us")) == [datetime(2013, 1, 1, 6), None, None]  # noqa: DTZ001  has no zone


def test_a_date_alone_is_a_datetime_at_its_midnight() -> None:
    """Pandas writes midnights so."""
    assert read(["2012-01-01", " 2012-01-02 ", "2012-01-03T01:00:00"], pl.Datetime("us", "UTC")) == [
        datetime(2012, 1, 1, tzinfo=UTC),
        datetime(2012, 1, 2, tzinfo=UTC),
        datetime(2012, 1, 3, 1, tzinfo=UTC),
    ]
    assert read(["2012-01-01"], pl.Datetime("ms")) == [datetime(2012, 1, 1)]  # noqa: DTZ001 - has no zone
    assert read(["2012-07-01"], pl.Datetime("us", "Europe/Berlin")) == [datetime(2012, 6, 30, 22, tzinfo=UTC)]


def test_one_bad_nested_cell_does_not_hurt_the_others() -> None:
    assert read(["[1,2]", "no", "[]", "[" * 5000, '["x"]'], pl.List(pl.Int64())) == [[1, 2], None, [], None, None]


def test_choices_are_those_of_the_enum() -> None:
    assert read(["EUR", "eur", "USD"], pl.Enum(["EUR", "USD"])) == ["EUR", None, "USD"]


def test_a_type_that_text_cannot_be_is_the_declarations_fault() -> None:
    with pytest.raises(BadPipeline, match="'x'"):
        read(["1"], pl.Duration())

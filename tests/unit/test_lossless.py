"""Which columns would change a value in silence."""

import polars as pl
import pytest
from headgate.sinks.columns import postgres_type
from headgate.sinks.lossless import changes

# As `format_type` shows the types that we create.
SHOWN = {"timestamptz": "timestamp with time zone", "timestamp": "timestamp without time zone"}
OURS = [
    *(pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.Int128(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64()),
    *(pl.Float32(), pl.Float64(), pl.Decimal(10, 2), pl.String(), pl.Categorical(), pl.Enum(["a"]), pl.Boolean()),
    *(pl.Date(), pl.Time(), pl.Duration("us"), pl.Datetime("us"), pl.Datetime("us", "UTC"), pl.Binary()),
    *(pl.List(pl.Int64()), pl.Struct({"a": pl.String()}), pl.Null()),
]
NAIVE, ZONED = pl.Datetime("us"), pl.Datetime("us", "UTC")


@pytest.mark.parametrize("dtype", OURS, ids=str)
def test_what_we_create_keeps_every_value(dtype: pl.DataType) -> None:
    ours = postgres_type(dtype)
    shown = "time without time zone" if ours == "time" else SHOWN.get(ours, ours)
    assert not changes(dtype, shown)
    assert not changes(dtype, "text")
    assert not changes(dtype, "shop.some_type_of_their_own")


@pytest.mark.parametrize(
    ("dtype", "there"),
    [
        (pl.Decimal(12, 4), "numeric(10,2)"),
        (pl.Decimal(12, 4), "numeric(10,0)"),
        (pl.Decimal(12, 4), "money"),
        (pl.Decimal(12, 2), "double precision"),
        (pl.Float64(), "numeric(10,2)"),
        (pl.Float64(), "real"),
        (pl.Int64(), "double precision"),
        (pl.Int32(), "real"),
        (pl.Int64(), "numeric(3,-2)"),
        (pl.String(), "numeric(10,2)"),
        (pl.String(), "date"),
        (pl.String(), "name"),
        (pl.String(), '"char"'),
        (pl.Date(), "timestamp with time zone"),
        (NAIVE, "date"),
        (NAIVE, "timestamp with time zone"),
        (NAIVE, "timestamp(0) without time zone"),
        (NAIVE, "time without time zone"),
        (ZONED, "date"),
        (ZONED, "timestamp without time zone"),
        (ZONED, "timestamp(3) with time zone"),
        (pl.Time(), "time(0) without time zone"),
        (pl.Time(), "time with time zone"),
        (pl.Duration("us"), "interval(0)"),
        (pl.Duration("us"), "interval hour to minute"),
    ],
)
def test_what_rounds_cuts_or_shifts_is_found(dtype: pl.DataType, there: str) -> None:
    assert changes(dtype, there)


@pytest.mark.parametrize(
    ("dtype", "there"),
    [
        (pl.Int16(), "real"),
        (pl.Int32(), "double precision"),
        (pl.Int64(), "smallint"),  # what is too large raises an error
        (pl.Int64(), "numeric(5,0)"),
        (pl.Decimal(10, 2), "numeric"),
        (pl.Decimal(10, 2), "numeric(6,2)"),
        (pl.Float64(), "numeric"),
        (pl.String(), "uuid"),
        (pl.String(), "character varying(10)"),
        (pl.String(), "character(2)"),
        (pl.String(), "jsonb"),
        (pl.Date(), "timestamp without time zone"),
        (NAIVE, "timestamp(6) without time zone"),
        (pl.List(pl.Int64()), "json"),
    ],
)
def test_what_keeps_all_values_or_raises_an_error_is_fine(dtype: pl.DataType, there: str) -> None:
    assert not changes(dtype, there)

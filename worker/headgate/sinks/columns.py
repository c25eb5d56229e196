"""A frame's columns in PostgreSQL: their types, and their text for COPY."""

import polars as pl

from headgate.records.leaves import NESTED, any_leaf, as_json
from headgate.records.years import iso, within_years

_TYPES: dict[type[pl.DataType], str] = {
    pl.Int8: "smallint",
    pl.UInt8: "smallint",
    pl.Int16: "smallint",
    pl.UInt16: "integer",
    pl.Int32: "integer",
    pl.UInt32: "bigint",
    pl.Int64: "bigint",
    pl.UInt64: "numeric(20)",
    pl.Int128: "numeric(39)",
    pl.Float32: "real",
    pl.Float64: "double precision",
    pl.String: "text",
    pl.Categorical: "text",
    pl.Enum: "text",
    pl.Boolean: "boolean",
    pl.Date: "date",
    pl.Time: "time",
    pl.Duration: "interval",
    pl.Binary: "bytea",
    pl.Struct: "jsonb",
    pl.List: "jsonb",
    pl.Array: "jsonb",
    pl.Null: "text",
}


def postgres_type(dtype: pl.DataType) -> str:
    """Return the PostgreSQL type that holds every value of a polars type."""
    if isinstance(dtype, pl.Decimal):
        return f"numeric({dtype.precision or 38},{dtype.scale})"
    if isinstance(dtype, pl.Datetime):
        return "timestamptz" if dtype.time_zone else "timestamp"
    return _TYPES[type(dtype)]


def copy_text(frame: pl.DataFrame) -> bytes:
    r"""Return a frame as CSV for COPY: null is an empty cell, an empty text is a quoted empty cell.

    Args:
        frame: any columns, except nested ones that hold what JSON cannot hold.

    Returns:
        The rows without a header, each with a line feed at its end.

    """
    return frame.select(_plain(frame[name]) for name in frame.columns).write_csv(include_header=False).encode()


def _plain(column: pl.Series) -> pl.Expr:
    """Convert what CSV cannot hold into text that PostgreSQL reads."""
    this = pl.col(column.name)
    match column.dtype:
        case pl.Binary():
            return (pl.lit("\\x") + this.bin.encode("hex")).alias(column.name)
        case _ if isinstance(column.dtype, NESTED):
            return as_json(this, column.dtype, _leaf).alias(column.name)
        case pl.Datetime(time_zone=str()):
            return this.dt.convert_time_zone("UTC")
        case pl.Duration():
            return this.dt.total_microseconds().cast(pl.String) + " microseconds"
        case _:
            return this


def _leaf(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Convert a value in a list or structure into what JSON holds: text, except for numbers and booleans."""
    match dtype:
        case pl.Datetime(time_zone=str()):
            return value.dt.convert_time_zone("UTC").dt.to_string("iso:strict")
        case pl.Binary():
            return pl.lit("\\x") + value.bin.encode("hex")
        case _ if dtype.is_temporal():
            return value.dt.to_string("iso:strict")
        case _:
            return value


def unstorable(column: pl.Series) -> pl.Series | None:
    """Find the cells that PostgreSQL would round, misread, or change, in nested values too.

    PostgreSQL keeps microseconds; we write the years 1 to 9999; numbers in jsonb cannot be infinite, NaN or
    negative zero.

    Args:
        column: a column of any type.

    Returns:
        A Boolean series, true for such cells, or None if there are none.

    """
    this = pl.col(column.name)
    test = _unlike_json if isinstance(column.dtype, NESTED) else _changed
    found = any_leaf(this, column.dtype, test)
    if found is None:
        return None
    cells = column.to_frame().select(found.fill_null(value=False)).to_series()
    return cells if cells.any() else None


def _changed(value: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    match dtype:
        case pl.Time() | pl.Duration(time_unit="ns") | pl.Datetime(time_unit="ns"):
            return value.to_physical() % 1000 != 0
        case pl.Date() | pl.Datetime():
            return ~within_years(value, dtype)
        case _:
            return None


def _unlike_json(value: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    return ~value.is_finite() | ((value == 0) & (1 / value < 0)) if dtype.is_float() else _changed(value, dtype)


def shown(column: pl.Series) -> pl.Expr:
    """Return the cells of a column as text for people, including those that cannot be stored."""
    this = pl.col(column.name)
    if isinstance(column.dtype, NESTED):
        return as_json(this, column.dtype, _shown)
    return _shown(this, column.dtype)


def _shown(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    match dtype:
        case pl.Date() | pl.Datetime():
            return iso(value, dtype)  # Python's years end at 9999
        case _ if dtype.is_float():
            return value.cast(pl.String)  # JSON cannot hold some of them
        case _:
            return _leaf(value, dtype)

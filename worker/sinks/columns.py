"""How a frame's columns stand in PostgreSQL: their types, and their text for COPY."""

import polars as pl

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
    """Name the PostgreSQL type that holds every value of a polars type."""
    if isinstance(dtype, pl.Decimal):
        return f"numeric({dtype.precision or 38},{dtype.scale})"
    if isinstance(dtype, pl.Datetime):
        return "timestamptz" if dtype.time_zone else "timestamp"
    return _TYPES[type(dtype)]


def copy_text(frame: pl.DataFrame) -> bytes:
    r"""Write a frame as COPY's CSV: null is an empty cell, an empty text a quoted one.

    Args:
        frame: any columns but nested ones inside nested ones that JSON cannot hold.

    Returns:
        The rows without a header, each ended by a line feed.

    """
    return frame.select(_plain(frame[name]) for name in frame.columns).write_csv(include_header=False).encode()


def _plain(column: pl.Series) -> pl.Expr:
    """Turn what CSV cannot hold into text that PostgreSQL reads."""
    this = pl.col(column.name)
    match column.dtype:
        case pl.Binary():
            return (pl.lit("\\x") + this.bin.encode("hex")).alias(column.name)
        case pl.Struct():
            return this.struct.json_encode()
        case pl.List() | pl.Array():
            # Lists have no encoder of their own; as the only field of a struct they do: {"":[1,2]} -> [1,2].
            wrapped = pl.struct(this.alias("")).struct.json_encode().str.slice(4)
            return pl.when(this.is_null()).then(None).otherwise(wrapped.str.head(-1)).alias(column.name)
        case pl.Datetime(time_zone=str()):
            return this.dt.convert_time_zone("UTC")
        case pl.Duration():
            return this.dt.total_microseconds().cast(pl.String) + " microseconds"
        case _:
            return this

"""The column types that a record can be read into and a table can hold."""

from collections.abc import Iterator

import polars as pl
from polars.datatypes import DataTypeClass

from headgate.imports import dy
from headgate.pipeline.checks import require

INSTEAD: dict[type[pl.DataType], str] = {
    pl.Duration: "write dy.Int64() and give the unit in its name, such as delay_seconds",
    pl.Object: "write dy.String(), dy.Struct({...}) or dy.List(...)",
    pl.Null: "write the type of its values",
}


def check_types(schema: type[dy.Schema], say: str) -> None:
    """Make sure that each column can be read from text and stored.

    Args:
        schema: a pipeline's schema.
        say: how the text of an error begins.

    Raises:
        BadPipeline: a column, or a type nested in it, cannot be read or stored.

    """
    for name, column in schema.columns().items():
        for dtype in _all(column.dtype):
            remedy = INSTEAD.get(type(dtype))
            kind = type(column).__name__
            require(remedy is None, f"{say}: column {name!r}: dy.{kind} cannot hold {dtype} from files; {remedy}.")


def _all(dtype: pl.DataType | DataTypeClass) -> Iterator[pl.DataType]:
    """Yield a type and all types nested in it."""
    dtype = dtype() if isinstance(dtype, type) else dtype
    yield dtype
    match dtype:
        case pl.Struct():
            for field in dtype.fields:
                yield from _all(field.dtype)
        case pl.List() | pl.Array():
            yield from _all(dtype.inner)

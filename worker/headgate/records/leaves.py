"""The leaves of nested columns: changed, tested, and written as JSON text."""

from collections.abc import Callable

import polars as pl
from polars.datatypes import DataTypeClass

NESTED = (pl.List, pl.Array, pl.Struct)

Change = Callable[[pl.Expr, pl.DataType], pl.Expr]
Test = Callable[[pl.Expr, pl.DataType], pl.Expr | None]  # returns None for a type whose leaves all pass


def as_json(column: pl.Expr, dtype: pl.DataType, change: Change) -> pl.Expr:
    """Write a nested column as JSON text; null stays null.

    Args:
        column: a column of the type.
        dtype: List, Array or Struct.
        change: converts a leaf into what can be written as JSON.

    """
    # Wrap the column, because only a structure can be written as JSON; then cut the wrapping off: {"": ... }.
    written = pl.struct(mapped(column, dtype, change).alias("")).struct.json_encode().str.slice(4).str.head(-1)
    return pl.when(column.is_not_null()).then(written)


def mapped(column: pl.Expr, dtype: pl.DataType, change: Change) -> pl.Expr:
    """Change the leaves of a column."""
    match dtype:
        case pl.List():
            return column.list.eval(mapped(pl.element(), instance(dtype.inner), change))
        case pl.Array():
            return column.arr.to_list().list.eval(mapped(pl.element(), instance(dtype.inner), change))
        case pl.Struct():
            fields = [
                mapped(column.struct.field(field.name), instance(field.dtype), change).alias(field.name)
                for field in dtype.fields
            ]
            return pl.when(column.is_not_null()).then(pl.struct(fields))
        case _:
            return change(column, dtype)


def any_leaf(column: pl.Expr, dtype: pl.DataType, test: Test) -> pl.Expr | None:
    """Return for each cell whether a leaf in it fails a test, or None if no leaf of this type can fail.

    Args:
        column: a column of the type.
        dtype: flat or nested; a flat cell is its own leaf.
        test: true for a leaf that fails.

    """
    match dtype:
        case pl.List() | pl.Array():
            inner = any_leaf(pl.element(), instance(dtype.inner), test)
            lists = column.arr.to_list() if isinstance(dtype, pl.Array) else column
            return None if inner is None else lists.list.eval(inner).list.any()
        case pl.Struct():
            found = [
                each
                for field in dtype.fields
                if (each := any_leaf(column.struct.field(field.name), instance(field.dtype), test)) is not None
            ]
            return pl.any_horizontal(found) if found else None
        case _:
            return test(column, dtype)


def instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    """Return an instance of a polars type, given an instance or a class."""
    return dtype() if isinstance(dtype, DataTypeClass) else dtype

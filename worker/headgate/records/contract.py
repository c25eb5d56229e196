"""Text records against a schema: typed records, and a refusal for each record that breaks a rule."""

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import polars as pl

from headgate.imports import dy
from headgate.model import Fault, Reason
from headgate.records.batch import ARRIVAL, ROW, Refusal, cut
from headgate.records.casting import cast
from headgate.records.leaves import NESTED
from headgate.records.nested import misfit

PLACE = "_place"  # a record's position in the frame that is validated
UNREAD = "dtype"  # the rule broken by a cell that cannot be read as its column's type
TEXT = (pl.String, pl.Enum, pl.Categorical, *NESTED)


class Validated(NamedTuple):
    """The result of validating a frame."""

    good: pl.DataFrame  # the schema's columns in their types, `_arrival_id` and `_row`; in the order they came
    refused: Iterator[Refusal]  # in the order they came; made one by one, because all records of a frame may be bad


def validate(frame: pl.DataFrame, schema: type[dy.Schema]) -> Validated:
    """Cast text records to the types of a schema, and separate those that meet all of its rules from those that do not.

    Every rule that a record breaks is reported, with the cell's text. The primary key says which row of the sink a
    record belongs to, so records with equal keys are all good; the same applies to columns marked unique.

    Args:
        frame: records of any number of arrivals: the schema's columns as String, `_arrival_id` and `_row` as Int64.
        schema: the contract.

    Raises:
        BadPipeline: the schema has a column of a type that cannot be read from text.

    """
    contract = _contract(schema)
    columns = schema.columns()
    text = frame.with_row_index(PLACE)
    typed = text.with_columns(cast(text[name], column.dtype) for name, column in columns.items())
    broken: list[_Broken] = []
    unread: dict[str | None, pl.Series] = {}
    for name, column in columns.items():
        if isinstance(column.dtype, TEXT):
            broken.append(_Broken(f"{name}|nul", name, text[name].str.contains("\0", literal=True).arg_true()))
        if typed[name].null_count() != text[name].null_count():
            unread[name] = (typed[name].is_null() & text[name].is_not_null()).arg_true()
            broken.append(_Broken(UNREAD, name, unread[name]))
    good, failure = contract.filter(typed)
    if len(failure):
        details = failure.details()
        for rule in failure.counts():
            name_of_rule = rule.rpartition("|")[0] or None
            places = details.filter(pl.col(rule) == "invalid")[PLACE]
            if name_of_rule in unread:
                # A cell that could not be read is null by now, so a broken not-null rule says nothing new.
                places = places.filter(~places.is_in(unread[name_of_rule].implode()))
            broken.append(_Broken(rule, name_of_rule, places))
    numbered = [
        pl.DataFrame({PLACE: each.places}).with_columns(pl.lit(number, dtype=pl.UInt32).alias("rule"))
        for number, each in enumerate(broken)
        if len(each.places)
    ]
    if not numbered:
        return Validated(good.select(*columns, ARRIVAL, ROW), iter(()))
    found = pl.concat(numbered).sort(PLACE, maintain_order=True)
    kept = good.join(found, on=PLACE, how="anti", maintain_order="left")
    return Validated(kept.select(*columns, ARRIVAL, ROW), _refusals(text, schema, broken, found))


class _Broken(NamedTuple):
    """A rule, and the records that break it."""

    rule: str
    column: str | None
    places: pl.Series  # positions in the frame that is validated


def _refusals(
    text: pl.DataFrame, schema: type[dy.Schema], broken: Sequence[_Broken], found: pl.DataFrame
) -> Iterator[Refusal]:
    """Make a refusal for each position in `found`, which has one row for each rule broken there."""
    columns = schema.columns()  # once: it makes all columns anew
    for place, marks in groupby(found.iter_rows(), key=itemgetter(0)):
        faults = tuple(_fault(text, columns, place, broken[number]) for _, number in marks)
        yield Refusal(
            arrival_id=text.item(place, ARRIVAL),
            row=text.item(place, ROW),
            reason=Reason.NUL if any(fault.rule.endswith("|nul") for fault in faults) else Reason.SCHEMA,
            faults=faults,
        )


def _fault(text: pl.DataFrame, columns: Mapping[str, dy.Column], place: int, broken: _Broken) -> Fault:
    name = broken.column
    cell = None if name is None else text.item(place, name)
    if name is not None and cell is not None and broken.rule == UNREAD:
        return _unread(name, cell, columns[name].dtype)
    return Fault(broken.rule, name, None if cell is None else cut(cell))


def validate_keys(frame: pl.DataFrame, schema: type[dy.Schema]) -> Validated:
    """Cast the keys of rows to delete.

    Args:
        frame: key columns as String, `_arrival_id` and `_row` as Int64.
        schema: defines the types.

    """
    columns = schema.columns()
    keys = [name for name in frame.columns if name in columns]
    typed = frame.with_columns(cast(frame[name], columns[name].dtype) for name in keys)
    whole = pl.all_horizontal(pl.col(name).is_not_null() for name in keys)
    refused = (
        Refusal(
            arrival_id=frame.item(place, ARRIVAL),
            row=frame.item(place, ROW),
            reason=Reason.SCHEMA,
            faults=tuple(
                Fault(f"{name}|dtype", name, cut(frame.item(place, name)))
                for name in keys
                if typed.item(place, name) is None
            ),
        )
        for place in _where(~typed.select(whole).to_series())
    )
    return Validated(typed.filter(whole), refused)


def _unread(name: str, cell: str, dtype: pl.DataType) -> Fault:
    """Return the fault that says why a cell could not be read."""
    rule, value = UNREAD, cell
    if isinstance(dtype, NESTED):
        found = misfit(cell, dtype)
        if found is not None:
            rule, value = found.rule, f"{name}{found.value}"
        elif "\\u0000" in cell:
            rule = "nul"
    return Fault(f"{name}|{rule}", name, cut(value))


def _where(mask: pl.Series) -> list[int]:
    return mask.arg_true().to_list() if mask.any() else []


@cache
def _contract(schema: type[dy.Schema]) -> type[dy.Schema]:
    """Derive the schema that a frame is checked against: without uniqueness, and with our own columns to keep."""
    attributes: dict[str, object] = {}
    for base in reversed(schema.__mro__):
        for attribute in vars(base):
            column = getattr(schema, attribute, None)
            if isinstance(column, dy.Column):
                attributes[attribute] = _without_uniqueness(column)
    attributes |= {
        PLACE: dy.UInt32(nullable=False),
        ARRIVAL: dy.Int64(nullable=False),
        ROW: dy.Int64(nullable=False),
    }
    derived = types.new_class(schema.__name__, (schema,), exec_body=lambda namespace: namespace.update(attributes))
    return typing.cast("type[dy.Schema]", derived)


def _without_uniqueness(column: dy.Column) -> dy.Column:
    if not (column.primary_key or column.unique):
        return column
    relaxed = copy(column)
    relaxed.primary_key = relaxed.unique = False
    return relaxed

"""Text records against a schema: typed records, and a refusal for each record that breaks a rule."""

import types
import typing
from collections import defaultdict
from copy import copy
from functools import cache
from typing import NamedTuple

import polars as pl

from worker.imports import dy
from worker.model import Fault, Reason
from worker.records.batch import ARRIVAL, ROW, Refusal, cut
from worker.records.casting import cast

PLACE = "_place"  # where a record stands in the frame that is validated
TEXT = (pl.String, pl.Enum, pl.Categorical, pl.List, pl.Array, pl.Struct)


class Validated(NamedTuple):
    """What became of the records of a frame."""

    good: pl.DataFrame  # the schema's columns in their types, `_arrival_id` and `_row`; in the order they came
    refused: tuple[Refusal, ...]  # in the order they came


def validate(frame: pl.DataFrame, schema: type[dy.Schema]) -> Validated:
    """Cast text records to the types of a schema and part those that keep all of its rules from those that do not.

    Every rule that a record breaks is reported, with the cell's text. The primary key says which row of the sink a
    record belongs to, so records with equal keys are all good; the same goes for columns marked unique.

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
    faults: defaultdict[int, list[Fault]] = defaultdict(list)
    with_nul: set[int] = set()
    unread: set[tuple[int, str | None]] = set()
    for name, column in columns.items():
        if isinstance(column.dtype, TEXT):
            for place in _where(text[name].str.contains("\0", literal=True)):
                with_nul.add(place)
                faults[place].append(Fault(f"{name}|nul", name, cut(text.item(place, name))))
        if typed[name].null_count() != text[name].null_count():
            for place in _where(typed[name].is_null() & text[name].is_not_null()):
                unread.add((place, name))
                faults[place].append(Fault(f"{name}|dtype", name, cut(text.item(place, name))))
    good, failure = contract.filter(typed)
    if len(failure):
        details = failure.details()
        for rule in failure.counts():
            column_of_rule = rule.rpartition("|")[0] or None
            for place in details.filter(pl.col(rule) == "invalid")[PLACE]:
                # A cell that could not be read is null by now: that it may not be null says nothing new.
                if (place, column_of_rule) not in unread:
                    value = None if column_of_rule is None else text.item(place, column_of_rule)
                    faults[place].append(Fault(rule, column_of_rule, None if value is None else cut(value)))
    kept = good if not faults else good.filter(~pl.col(PLACE).is_in(list(faults)))
    refused = tuple(
        Refusal(
            arrival_id=text.item(place, ARRIVAL),
            row=text.item(place, ROW),
            reason=Reason.NUL if place in with_nul else Reason.SCHEMA,
            faults=tuple(faults[place]),
        )
        for place in sorted(faults)
    )
    return Validated(kept.select(*columns, ARRIVAL, ROW), refused)


def validate_keys(frame: pl.DataFrame, schema: type[dy.Schema]) -> Validated:
    """Cast the keys of rows to be deleted.

    Args:
        frame: key columns as String, `_arrival_id` and `_row` as Int64.
        schema: gives the types.

    """
    columns = schema.columns()
    keys = [name for name in frame.columns if name in columns]
    typed = frame.with_columns(cast(frame[name], columns[name].dtype) for name in keys)
    whole = pl.all_horizontal(pl.col(name).is_not_null() for name in keys)
    refused = tuple(
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


def _where(mask: pl.Series) -> list[int]:
    return mask.arg_true().to_list() if mask.any() else []


@cache
def _contract(schema: type[dy.Schema]) -> type[dy.Schema]:
    """Derive the schema that a frame is held against: without uniqueness, and with our own columns, to be kept."""
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

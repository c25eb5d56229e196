"""Lists and structures from JSON text, by the same rules as flat cells.

A value is split into columns of its leaves, the leaves are cast like any other column, and the parts are put back
together by counting. So leaves are read as strictly as cells, and no record gets another record's values.
"""

import json
from collections.abc import Callable, Sequence

import polars as pl

from headgate.records.leaves import instance

Cast = Callable[[pl.Series, pl.DataType], pl.Series]  # returns null where a text cannot be read


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class Members(list[tuple[str, object]]):
    """The members of an object; none is lost if a name occurs twice."""


class Misfit(ValueError):
    """An object that has a member twice, or a member that its type lacks; `rule` and `value` say which."""

    def __init__(self, rule: str, value: str) -> None:
        super().__init__(rule)
        self.rule = rule
        self.value = value


def loads(text: str) -> object:
    """Read JSON: objects as `Members`, numbers as `Number`.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: the text is nested too deep.

    """
    return _DECODER.decode(text)


def dumps(value: object) -> str:
    """Write a result of `loads` as JSON again, with numbers as they were."""
    match value:
        case Number():
            return str(value)
        case Members():
            return "{" + ",".join(f"{json.dumps(name)}:{dumps(member)}" for name, member in value) + "}"
        case list():
            return "[" + ",".join(map(dumps, value)) + "]"
        case _:
            return json.dumps(value)


def fitted(value: object, dtype: pl.DataType, *, drop_extra: bool, path: str) -> object:
    """Check the members of all objects in a value against the fields of its type.

    Args:
        value: a result of `loads`.
        dtype: the type to read it as.
        drop_extra: leave out members that the type lacks.
        path: the value's name in the report.

    Raises:
        Misfit: a member occurs twice, or the type lacks it and it may not be left out.

    """
    match dtype, value:
        case pl.Struct(), Members():
            fields = {field.name: instance(field.dtype) for field in dtype.fields}
            kept = Members()
            seen = set()
            for name, member in value:
                if name in seen:
                    raise Misfit("key given twice", f"{path}.{name}")
                seen.add(name)
                if name in fields:
                    inside = fitted(member, fields[name], drop_extra=drop_extra, path=f"{path}.{name}")
                    kept.append((name, inside))
                elif not drop_extra:
                    raise Misfit("unknown key", f"{path}.{name}")
            return kept
        case ((pl.List() | pl.Array()), list()) if not isinstance(value, Members):
            inner = instance(dtype.inner)
            return [fitted(each, inner, drop_extra=drop_extra, path=path) for each in value]
        case _:
            return value


def misfit(text: str, dtype: pl.DataType) -> Misfit | None:
    """Return what is wrong with the members of the objects in a cell, or None if the fault is something else."""
    try:
        fitted(loads(text), dtype, drop_extra=False, path="")
    except Misfit as found:
        return found
    except (ValueError, RecursionError):
        pass
    return None


def without_extra(text: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Leave out the members that a type lacks; a cell that cannot be read stays as it is."""
    return pl.Series(text.name, [cell and _without_extra(cell, dtype) for cell in text], dtype=pl.String)


def _without_extra(cell: str, dtype: pl.DataType) -> str:
    try:
        return dumps(fitted(loads(cell), dtype, drop_extra=True, path=""))
    except (ValueError, RecursionError):
        return cell


def read_nested(text: pl.Series, dtype: pl.DataType, cast: Cast) -> pl.Series:
    """Read each cell as JSON of a nested type; a cell that cannot be read becomes null.

    Args:
        text: String.
        dtype: List, Array or Struct, of any inner types.
        cast: reads the leaves.

    """
    values: list[object] = [None] * len(text)
    bad = set()
    with_members = has_members(dtype)
    for place, cell in enumerate(text):
        if cell is None:
            continue
        try:
            value = loads(cell)
            values[place] = fitted(value, dtype, drop_extra=False, path="") if with_members else value
        except (ValueError, RecursionError):
            bad.add(place)
    read, misread = _typed(values, dtype, cast)
    return _without(read, bad | misread).alias(text.name)


def _typed(values: Sequence[object], dtype: pl.DataType, cast: Cast) -> tuple[pl.Series, set[int]]:
    """Return values as a column, and the positions of those that are not of this type."""
    match dtype:
        case pl.List() | pl.Array():
            return _lists(values, dtype, cast)
        case pl.Struct():
            return _structures(values, dtype, cast)
        case _:
            return _scalars(values, dtype, cast)


def _scalars(values: Sequence[object], dtype: pl.DataType, cast: Cast) -> tuple[pl.Series, set[int]]:
    bad = set()
    cells: list[str | None] = []
    for place, value in enumerate(values):
        if isinstance(value, str):
            good = value.isascii() or not lone_surrogate(value)
            cells.append(value if good and "\0" not in value else None)
            if cells[-1] is None:
                bad.add(place)
        elif isinstance(value, list):
            bad.add(place)
            cells.append(None)
        else:
            cells.append(scalar(value))
    text = pl.Series(cells, dtype=pl.String)
    read = cast(text, dtype)
    wrong = read.is_null() & text.is_not_null()
    if dtype.is_float():
        wrong |= ~read.is_finite().fill_null(value=True)  # JSON cannot express these
    return read, bad | set(wrong.arg_true())


def _lists(values: Sequence[object], dtype: pl.List | pl.Array, cast: Cast) -> tuple[pl.Series, set[int]]:
    bad: set[int] = set()
    parts: list[object] = []
    parents: list[int] = []
    for place, value in enumerate(values):
        if isinstance(value, list) and not isinstance(value, Members):
            parts += value
            parents += [place] * len(value)
            if isinstance(dtype, pl.Array) and len(value) != dtype.shape[0]:
                bad.add(place)
        elif value is not None:
            bad.add(place)
    inner, wrong = _typed(parts, instance(dtype.inner), cast)
    bad.update(parents[place] for place in wrong)
    whole = pl.DataFrame({"place": pl.Series(parents, dtype=pl.UInt32), "": inner})
    lists = pl.DataFrame({"place": pl.int_range(len(values), dtype=pl.UInt32, eager=True)}).join(
        whole.group_by("place", maintain_order=True).agg(""), on="place", how="left", maintain_order="left"
    )[""]
    empty = pl.Series([isinstance(value, list) for value in values], dtype=pl.Boolean) & lists.is_null()
    if empty.any():
        lists = lists.zip_with(~empty, pl.Series([[]], dtype=lists.dtype).new_from_index(0, len(lists)))
    if isinstance(dtype, pl.Array):
        lists = _without(lists, bad).list.to_array(dtype.shape[0])
    return lists, bad


def _structures(values: Sequence[object], dtype: pl.Struct, cast: Cast) -> tuple[pl.Series, set[int]]:
    bad = {place for place, value in enumerate(values) if value is not None and not isinstance(value, Members)}
    members = [dict(value) if isinstance(value, Members) else {} for value in values]
    columns = []
    for field in dtype.fields:
        column, wrong = _typed([each.get(field.name) for each in members], instance(field.dtype), cast)
        columns.append(column.alias(field.name))
        bad |= wrong
    absent = {place for place, value in enumerate(values) if value is None}
    return _without(pl.DataFrame(columns).to_struct(), absent | bad), bad


def scalar(value: object) -> str | None:
    """Return a value that is neither a list nor an object as the text of a cell."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def lone_surrogate(value: str) -> bool:
    """Return whether a text has a lone surrogate, which UTF-8 cannot express."""
    return not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)


def has_members(dtype: pl.DataType) -> bool:
    """Return whether a nested type contains a structure."""
    match dtype:
        case pl.Struct():
            return True
        case pl.List() | pl.Array():
            return has_members(instance(dtype.inner))
        case _:
            return False


def _without(column: pl.Series, places: set[int]) -> pl.Series:
    """Make some cells null."""
    if not places:
        return column
    keep = pl.repeat(value=True, n=len(column), dtype=pl.Boolean, eager=True).scatter(sorted(places), values=False)
    return column.zip_with(keep, pl.Series([None], dtype=column.dtype).new_from_index(0, len(column)))


def _refuse_constant(name: str) -> object:
    message = f"{name} is not a JSON number"
    raise ValueError(message)


# Made once: `json.loads` makes a decoder for each call with other options than the defaults.
_DECODER = json.JSONDecoder(
    object_pairs_hook=Members, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
)

"""Parquet into text records, some rows at a time.

All values become the text that CSV would hold, so that the schema applies in the same way to each format.
"""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl

from headgate.errors import ArrivalRejected
from headgate.model import Fault, Reason, Stage
from headgate.pipeline import Parquet
from headgate.records.batch import CELL_BYTES, ROW, Batch, Limits, Original, Refusal, cut, number_rows
from headgate.records.columns import check_columns
from headgate.records.expansion import Growth
from headgate.records.leaves import NESTED, any_leaf, as_json, instance
from headgate.records.letters import letter_frame
from headgate.records.parquet_footer import RowGroup, read_footer
from headgate.records.values import text as decoded
from headgate.records.years import iso

NOT_TEXT = "binary that is not UTF-8; declare the column as dy.Binary, or write text, such as hex inside a list"
UNSUPPORTED = {  # by polars' message
    "LogicalType union": "Parquet with a column of a logical type that is not supported, such as VARIANT or GEOMETRY; "
    "write it as text or as plain binary",
    "annotated as MAP": "Parquet with a MAP whose schema is not as the format asks; write its key as required",
    "invalid UTF-8": "Parquet with text that is not UTF-8, as the format asks; write it as UTF-8, or as plain binary",
    "time zone": "Parquet with a time zone that is not supported; write times in UTC or in a zone with a name",
    "extension types": "Parquet with a list or structure of a logical type that is not supported; write it as text or "
    "as plain binary",
    "precision must be": "Parquet with decimals of more than 38 digits; write fewer digits, or text",
    "Not yet supported": "Parquet with an encoding or type that is not supported; write the file with the defaults",
}


def read_parquet(  # noqa: PLR0913 - what a file is, and how it is read
    path: Path,
    form: Parquet,
    columns: Sequence[str],
    limits: Limits,
    arrival_id: int,
    *,
    binary: AbstractSet[str] = frozenset(),
) -> Iterator[Batch]:
    """Read Parquet; the columns in `binary` stay bytes, all others become text.

    The original of a record is a JSON object of its text cells; if columns hold binary, which JSON cannot express, it
    is a Parquet file of one row.

    Raises:
        ArrivalRejected: the file is not Parquet, is truncated, damaged or too large, or has other columns than the
            schema's.

    """
    groups = read_footer(path)
    growth = Growth(path.stat().st_size, limits)
    for group in groups:
        _check(group, growth, limits)
    # Opened here, because polars would take the name to be UTF-8, and not all names are.
    with path.open("rb") as file:
        yield from _read(file, groups, form, columns, limits, arrival_id, binary)


def _check(group: RowGroup, growth: Growth, limits: Limits) -> None:
    """Refuse a row group that cannot be read within the memory limit, before reading it."""
    largest = max((page for column in group.columns for page in column.pages), default=0)
    # Rows are read some at a time, but a page is expanded as a whole, and so are the values of nested lists.
    nested = sum(column.values for column in group.columns if column.values > group.rows)
    if max(largest, CELL_BYTES * nested) > limits.memory_bytes // 4:
        raise ArrivalRejected(
            Reason.TOO_LARGE,
            f"Parquet with a page of {largest} bytes once expanded and {nested} nested values in a group of rows; "
            "write smaller pages and groups of rows, or raise HEADGATE_RECORDS_MEMORY_MB.",
        )
    growth.add(group.expanded + group.values)


def _read(  # noqa: PLR0913, PLR0917 - what a file is, and how it is read
    file: BinaryIO,
    groups: Sequence[RowGroup],
    form: Parquet,
    columns: Sequence[str],
    limits: Limits,
    arrival_id: int,
    binary: AbstractSet[str],
) -> Iterator[Batch]:
    growth = Growth(os.fstat(file.fileno()).st_size, limits)
    row = 0
    try:
        scan = pl.scan_parquet(file)
        schema = scan.collect_schema()
        check_columns(schema.names(), columns, form.on_extra)
        plain = {name: _plain(schema[name]) for name in columns}
        there = sum(group.rows for group in groups)
        _check_count(there, scan.select(pl.len()).collect().item())
        texts = [pl.col(name).cast(pl.Binary) if name in binary else _text(name, plain[name]) for name in columns]
        no_text = [
            found.fill_null(value=False).alias(name)
            for name in columns
            if name not in binary and (found := any_leaf(pl.col(name), plain[name], _no_text)) is not None
        ]
        # A column that is to be binary may come as text or as binary: written as JSON, both would look alike.
        exact = bool(no_text) or any(plain[name] == pl.Binary for name in binary)
        scan = scan.select(_as_plain(pl.col(name), schema[name]) for name in columns)
        for count in _windows(groups, len(columns), limits):
            for part in _portions(scan.slice(row, count).collect(), plain, limits):
                growth.add(int(part.sizes.sum()))
                frame = part.frame.select(texts)
                originals = _Originals(part.frame if exact else frame, row + 1, exact=exact)
                dead = _undecodable(part.frame, part.frame.select(no_text))
                letters = (
                    Refusal(arrival_id, row + 1 + at, Reason.ENCODING, faults).dead_letter(
                        Stage.PARSE, originals.original(row + 1 + at)
                    )
                    for at, faults in dead.items()
                )
                numbered = number_rows(frame, arrival_id, row + 1)
                good = numbered.filter(~pl.col(ROW).is_in([row + 1 + at for at in dead])) if dead else numbered
                yield Batch(good, letter_frame(letters), originals.original)
                row += frame.height
        _check_count(there, row)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArrivalRejected(Reason.UNDECODABLE, _why(error)) from error


def _plain(dtype: pl.DataType) -> pl.DataType:
    """Return the type as which to read a type that no schema has: a map is read as the list of its entries."""
    match dtype:
        case pl.BaseExtension():
            return _plain(instance(dtype.ext_storage()))
        case pl.Map():
            return pl.List(pl.Struct({"key": _plain(instance(dtype.key)), "value": _plain(instance(dtype.value))}))
        case pl.List():
            return pl.List(_plain(instance(dtype.inner)))
        case pl.Array():
            return pl.Array(_plain(instance(dtype.inner)), dtype.size)
        case pl.Struct():
            return pl.Struct({field.name: _plain(instance(field.dtype)) for field in dtype.fields})
        case _:
            return dtype


def _as_plain(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    stored = value.ext.storage() if isinstance(dtype, pl.BaseExtension) else value
    return stored.cast(_plain(dtype)) if isinstance(dtype, (*NESTED, pl.Map)) else stored


def _check_count(written: int, read: int) -> None:
    """Refuse a file from which polars reads more or fewer rows than its footer says."""
    if read != written:
        raise ArrivalRejected(
            Reason.UNDECODABLE,
            f"the Parquet file has {written} rows, of which {read} can be read; write it again with another tool "
            "(repeated fields need to be annotated as lists).",
        )


def _why(error: BaseException) -> str:
    """Return which feature is not supported, or that the file is damaged."""
    text = str(error).partition("\n")[0]
    for mark, what in UNSUPPORTED.items():
        if mark in text:
            return f"{what} ({cut(text)})."
    return f"damaged Parquet, or of a kind that is not supported ({cut(text)}); write the file again."


def _windows(groups: Sequence[RowGroup], columns: int, limits: Limits) -> Iterator[int]:
    """Yield how many rows to read each time, based on the average size of a row in its group."""
    rows = size = 0
    for group in groups:
        count = max(group.rows, 1)
        each = group.expanded // count + CELL_BYTES * (columns + group.values // count)
        left = group.rows
        while left:
            taken = min(left, limits.chunk_rows - rows, (limits.chunk_bytes - size) // each)
            if taken <= 0 and rows:
                yield rows
                rows = size = 0
                continue
            taken = max(taken, 1)
            rows, size, left = rows + taken, size + taken * each, left - taken
    if rows:
        yield rows


class _Portion(NamedTuple):
    frame: pl.DataFrame  # as it was read
    sizes: pl.Series  # bytes of each row as text


def _portions(frame: pl.DataFrame, schema: Mapping[str, pl.DataType], limits: Limits) -> Iterator[_Portion]:
    """Cut rows by their size as text: equal values share memory as they were read, but not as text."""
    sizes = frame.select(pl.sum_horizontal(_size(pl.col(name), schema[name]) for name in frame.columns)).to_series()
    largest = int(sizes.max() or 0)  # type: ignore[arg-type]
    if largest > limits.max_record_bytes:
        raise ArrivalRejected(
            Reason.TOO_LARGE,
            f"a record of about {largest} bytes, of {limits.max_record_bytes} that are allowed; "
            "correct the file, or raise HEADGATE_RECORDS_MAX_RECORD_BYTES.",
        )
    step = max(1, frame.height * limits.chunk_bytes // max(int(sizes.sum()), 1))
    for start in range(0, frame.height, step):
        yield _Portion(frame.slice(start, step), sizes.slice(start, step))


def _size(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return about how many bytes a value takes as text."""
    match dtype:
        case pl.String():
            size = value.str.len_bytes()
        case pl.Categorical() | pl.Enum():
            size = value.cat.len_bytes()  # as String, each row would have a copy of its text
        case pl.Binary():
            size = value.bin.size()
        case pl.List(inner=inner) | pl.Array(inner=inner):
            values = value.arr.to_list() if isinstance(dtype, pl.Array) else value
            size = values.list.eval(_size(pl.element(), instance(inner))).list.sum() + 2
        case pl.Struct(fields=fields):
            members = (_size(value.struct.field(each.name), instance(each.dtype)) + len(each.name) for each in fields)
            size = pl.sum_horizontal(*members, pl.lit(2))
        case _:
            size = pl.lit(8)
    return size.cast(pl.Int64).fill_null(0) + 1


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Write a column as text without loss."""
    if isinstance(dtype, NESTED):
        return as_json(pl.col(name), dtype, _leaf).alias(name)
    return _leaf(pl.col(name), dtype)


def _leaf(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    match dtype:
        case pl.Binary():
            return value.map_batches(decoded, return_dtype=pl.String)
        case pl.Date() | pl.Datetime():
            return iso(value, dtype)
        case pl.Time() | pl.Duration():
            return value.dt.to_string("iso")
        case pl.Float16() | pl.Float32():
            # Its shortest text would be another number when read as a wider float.
            return value.cast(pl.Float64).cast(pl.String)
        case _:
            return value.cast(pl.String)


def _no_text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr | None:
    """Return whether binary is not UTF-8, and so is not text; None for other types."""
    return value.is_not_null() & _leaf(value, dtype).is_null() if isinstance(dtype, pl.Binary) else None


def _undecodable(raw: pl.DataFrame, no_text: pl.DataFrame) -> dict[int, tuple[Fault, ...]]:
    """Find the cells with binary that is not text, by row, from 0."""
    found: dict[int, tuple[Fault, ...]] = {}
    for name in no_text.columns:
        for at in no_text[name].arg_true():
            fault = Fault(NOT_TEXT, name, cut(_shown(raw.item(at, name))))
            found[at] = (*found.get(at, ()), fault)
    return dict(sorted(found.items()))


def _shown(value: object) -> str:
    if isinstance(value, pl.Series):
        value = value.to_list()
    return repr(value)[2:-1] if isinstance(value, bytes) else repr(value)


class _Originals:
    """The originals of a frame's rows, each written on request: as JSON, or exactly, as Parquet."""

    def __init__(self, frame: pl.DataFrame, first: int, *, exact: bool) -> None:
        self._frame = frame
        self._first = first
        self._exact = exact

    def original(self, row: int) -> Original:
        record = self._frame.slice(row - self._first, 1)
        if not self._exact:
            return Original(record.write_ndjson().encode(), "jsonl")
        file = io.BytesIO()
        record.write_parquet(file, statistics=False)
        return Original(file.getvalue(), "parquet")

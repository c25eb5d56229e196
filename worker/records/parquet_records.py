"""Parquet into text records, some rows at a time.

All values become the text that CSV would hold, so that the schema is applied in one way whatever the format.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from worker.errors import ArrivalRejected
from worker.model import Reason
from worker.pipeline import Parquet
from worker.records.batch import Batch, Limits, Original, number_rows
from worker.records.columns import check_columns

MAGIC = b"PAR1"  # at both ends of a file


def read_parquet(path: Path, form: Parquet, columns: Sequence[str], limits: Limits, arrival_id: int) -> Iterator[Batch]:
    """Read Parquet. The original of a record is its text cells as a JSON object.

    Raises:
        ArrivalRejected: no Parquet, cut short, damaged, too large, or with other columns than the schema's.

    """
    _check_ends(path)
    size = row = 0
    try:
        scan = pl.scan_parquet(path)
        schema = scan.collect_schema()
        check_columns(schema.names(), columns, form.on_extra)
        scan = scan.select(_text(name, schema[name]) for name in columns)
        while not (frame := scan.slice(row, limits.chunk_rows).collect()).is_empty():
            size += int(frame.estimated_size())
            if size > limits.max_expanded_bytes:
                raise ArrivalRejected(
                    Reason.TOO_LARGE,
                    f"more than {limits.max_expanded_bytes} bytes once expanded; "
                    "split the file, or raise HEADGATE_RECORDS_MAX_EXPANDED_BYTES.",
                )
            yield Batch(number_rows(frame, arrival_id, row + 1), (), _Originals(frame, row + 1).original)
            row += frame.height
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArrivalRejected(
            Reason.UNDECODABLE, f"damaged Parquet, or of a kind that is not read ({error}); write the file again."
        ) from error


def _check_ends(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
        file.seek(-min(path.stat().st_size, len(MAGIC)), 2)
        tail = file.read()
    if not head:
        raise ArrivalRejected(Reason.EMPTY, "no bytes; there is nothing to read.")
    if head != MAGIC:
        raise ArrivalRejected(Reason.UNDECODABLE, "no Parquet; give the file the ending of what it is.")
    if tail != MAGIC:
        raise ArrivalRejected(Reason.TRUNCATED, "the Parquet file has no end; send it again.")


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Write a column as text, nothing lost."""
    column = pl.col(name)
    match dtype:
        case pl.Datetime():
            return column.dt.to_string("iso:strict")
        case pl.Duration():
            return column.dt.to_string("iso")
        case pl.List() | pl.Array() | pl.Struct():
            # Wrapped, because only a structure can be written as JSON; the wrapping is then cut off: {"": ... }.
            written = pl.struct(column.alias("")).struct.json_encode().str.slice(4).str.head(-1)
            return pl.when(column.is_not_null()).then(written).alias(name)
        case _:
            return column.cast(pl.String)


class _Originals:
    """Writes the rows of a frame as JSON, one when it is asked for."""

    def __init__(self, frame: pl.DataFrame, first: int) -> None:
        self._frame = frame
        self._first = first

    def original(self, row: int) -> Original:
        return Original(self._frame.slice(row - self._first, 1).write_ndjson().encode(), "jsonl")

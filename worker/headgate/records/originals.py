"""The original bytes of records that failed after they were read, and how to join such bytes into a file again."""

import io
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

import polars as pl

from headgate.pipeline import Pipeline
from headgate.records.batch import Limits, Original
from headgate.records.binary_values import Schemas
from headgate.records.reading import read


def originals(  # noqa: PLR0913 - what reading takes, and which rows
    path: Path,
    name: str,
    pipeline: Pipeline,
    limits: Limits,
    rows: AbstractSet[int],
    *,
    source: str = "",
    schemas: Schemas | None = None,
) -> dict[int, Original]:
    """Read a file again for the bytes of some of its records.

    Args:
        path: where the bytes are; they must be the same as in the first read.
        name: the file's name when it arrived.
        pipeline: says how the file is read.
        limits: the limits on what is read.
        rows: numbers of the records wanted.
        source: the source that the file came from.
        schemas: asks the schema registry.

    Returns:
        The originals by row; reading stops after the last one wanted.

    Raises:
        ArrivalRejected: the file cannot be read that far.

    """
    found: dict[int, Original] = {}
    left = sorted(rows, reverse=True)
    for batch in read(path, name, pipeline, limits, arrival_id=0, source=source, schemas=schemas):
        while left and left[-1] <= batch.last_row:
            row = left.pop()
            found[row] = batch.original(row)
        if not left:
            break
    return found


def together(records: Iterable[Original], end: bytes = b"\n") -> bytes:
    """Join originals with the same format and preamble into the bytes of a file.

    Args:
        records: in their order; elements of a JSON array become an array again, and rows of Parquet a Parquet file.
        end: a line end in their encoding; a line without one gets it, so that the next record does not run into it.

    """
    given = list(records)
    if given and given[0].format == "json":
        return b"[" + b",\n".join(record.data for record in given) + b"]\n"
    if given and given[0].format == "parquet":
        file = io.BytesIO()
        pl.concat([pl.read_parquet(record.data) for record in given]).write_parquet(file)
        return file.getvalue()
    lines = [record.data if record.data.endswith(end) else record.data + end for record in given]
    return b"".join([*(record.preamble for record in given[:1]), *lines])

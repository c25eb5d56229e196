"""The original bytes of records that failed after they were read, and how to put such bytes together again."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

from worker.pipeline import Pipeline
from worker.records.batch import Limits, Original
from worker.records.binary_values import Schemas
from worker.records.reading import read


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
        path: where the bytes are; they must be those that were read the first time.
        name: what the file was called when it came.
        pipeline: how it is read.
        limits: what is too much.
        rows: numbers of records.
        source: what the file came in by.
        schemas: asks the schema registry.

    Returns:
        The originals by row; reading ends with the last one asked for.

    Raises:
        ArrivalRejected: the file cannot be read as far as that.

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


def together(records: Iterable[Original]) -> bytes:
    """Make a file's bytes of originals with one format and one preamble; a last line without an end gets one."""
    parts: list[bytes] = []
    for record in records:
        parts = parts or [record.preamble]
        parts.append(record.data if record.data.rstrip(b"\0").endswith(b"\n") else record.data + b"\n")
    return b"".join(parts)

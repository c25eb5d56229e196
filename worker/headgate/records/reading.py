"""A spooled file into batches of text records, in the format that its folder or its name's ending says."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath

import polars as pl

from headgate.errors import ArrivalRejected
from headgate.model import Reason
from headgate.pipeline import ENDINGS, Csv, Format, Json, Parquet, Pipeline
from headgate.records.batch import Batch, Limits, cut
from headgate.records.binary_values import Schemas
from headgate.records.columns import drop_members
from headgate.records.csv_records import read_csv
from headgate.records.decoding import Decoder
from headgate.records.expansion import expanded
from headgate.records.json_array import read_json_array
from headgate.records.json_line import LineReader
from headgate.records.json_records import LineParser, read_json_lines
from headgate.records.messages import ENDING
from headgate.records.parquet_records import read_parquet
from headgate.records.text import text


def read(  # noqa: PLR0913 - what a file is, and how it is read
    path: Path,
    name: str,
    pipeline: Pipeline,
    limits: Limits,
    *,
    arrival_id: int,
    source: str = "",
    schemas: Schemas | None = None,
) -> Iterator[Batch]:
    """Read a file as its pipeline declares; memory holds a few blocks, whatever the file's size.

    Args:
        path: where the bytes are.
        name: the file's name when it arrived; its ending tells the format.
        pipeline: gives the schema's columns and how each format is read.
        limits: the limits on what is read.
        arrival_id: the arrival that the records and dead letters belong to.
        source: where the file came from: a folder may say how to read it, a topic how to read messages sent again.
        schemas: asks the schema registry for such messages; None if none is set.

    Yields:
        Batches of at most `limits.chunk_rows` readable records, in the file's order; all cells are text. A file with
        only a header, or with an empty array, yields no batches.

    Raises:
        ArrivalRejected: the file as a whole, or from here on, cannot become records.

    """
    topic = next((topic for topic in pipeline.topics if topic.name == source), None)
    if topic is not None and name.endswith(ENDING):
        decoder = Decoder.of(topic, pipeline, limits, arrival_id, schemas)
        yield from decoder.batches(_blocks(path))
        return
    row = 0
    for batch in _batches(path, name, pipeline, limits, arrival_id, source):
        if batch.rows_in:
            row += batch.rows_in
            if batch.last_row != row:  # the records of a file are numbered without gaps
                detail = f"{row} records were read up to record {batch.last_row}; please report this with the file."
                raise ArrivalRejected(Reason.MISCOUNTED, detail)
            yield from batch.portions(limits.chunk_rows)


def _blocks(path: Path) -> Iterator[pl.DataFrame]:
    try:
        yield pl.read_ipc(path)
    except pl.exceptions.PolarsError as error:
        raise ArrivalRejected(Reason.UNDECODABLE, f"no messages set aside by Headgate ({error}).") from error


def _batches(  # noqa: PLR0913, PLR0917 - what `read` takes
    path: Path, name: str, pipeline: Pipeline, limits: Limits, arrival_id: int, source: str
) -> Iterator[Batch]:
    columns = pipeline.schema.column_names()
    form = form_of(name, pipeline, source)
    if isinstance(form, Parquet):
        binary = {name for name, column in pipeline.schema.columns().items() if column.dtype == pl.Binary}
        batches = read_parquet(path, form, columns, limits, arrival_id, binary=binary)
        yield from _fitted(batches, pipeline, form)
        return
    blocks = expanded(path, name, limits)
    if isinstance(form, Csv):
        yield from _fitted(read_csv(text(blocks, form.encoding), form, columns, limits, arrival_id), pipeline, form)
        return
    array = _bare(name).endswith(".json")
    parser = LineParser(LineReader.of(pipeline.schema, form), form.nulls, arrival_id, "json" if array else "jsonl")
    yield from (read_json_array if array else read_json_lines)(text(blocks, "utf-8"), parser, limits)


def form_of(name: str, pipeline: Pipeline, source: str) -> Format:
    """Return how a file is read: as its folder says, otherwise as its ending says.

    Raises:
        ArrivalRejected: neither tells the format.

    """
    folder = next((folder for folder in pipeline.folders if folder.name == source), None)
    given = folder.reader(name) if folder else None
    if given is not None:
        return given
    bare = _bare(name)
    if bare.endswith(".csv"):
        return pipeline.format(Csv)
    if bare.endswith((".json", ".jsonl", ".ndjson")):
        return pipeline.format(Json)
    if name.lower().endswith(".parquet"):
        return pipeline.format(Parquet)
    ending = PurePath(bare).suffix or name
    raise ArrivalRejected(
        Reason.UNKNOWN_FORMAT,
        f"no reader for {cut(name)!r}; rename it to end in one of {', '.join(ENDINGS)}, "
        f"or say how it is read: Folder(..., readers={{{'*' + ending!r}: Csv()}}).",
    )


def _bare(name: str) -> str:
    return name.lower().removesuffix(".gz")


def _fitted(batches: Iterator[Batch], pipeline: Pipeline, form: Csv | Parquet) -> Iterator[Batch]:
    """Drop members of structures that the schema lacks, if columns that it lacks are dropped too."""
    if form.on_extra != "drop":
        return batches
    return (replace(batch, frame=drop_members(batch.frame, pipeline.schema)) for batch in batches)

"""A spooled file into batches of text records, by the ending of its name."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from worker.errors import ArrivalRejected
from worker.model import Reason
from worker.pipeline import Csv, Json, Parquet, Pipeline
from worker.records.batch import Batch, Limits
from worker.records.binary_values import Schemas
from worker.records.csv_records import read_csv
from worker.records.decoding import Decoder
from worker.records.expansion import expanded
from worker.records.json_array import read_json_array
from worker.records.json_line import LineReader
from worker.records.json_records import LineParser, read_json_lines
from worker.records.messages import ENDING
from worker.records.parquet_records import read_parquet
from worker.records.text import text

ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz", ".parquet")


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
        name: what the file was called when it came; its ending tells the format.
        pipeline: gives the schema's columns and how each format is read.
        limits: what is too much.
        arrival_id: the arrival that the records and dead letters belong to.
        source: what the file came in by; a topic's says how messages that are sent again are read.
        schemas: asks the schema registry for those; None if there is none.

    Yields:
        Batches of at most `limits.chunk_rows` readable records, in the file's order; all cells are text. None at all
        for a file with a header alone, or an empty array.

    Raises:
        ArrivalRejected: the file as a whole, or from here on, cannot become records.

    """
    topic = next((topic for topic in pipeline.topics if topic.name == source), None)
    if topic is not None and name.endswith(ENDING):
        decoder = Decoder.of(topic, pipeline, limits, arrival_id, schemas)
        yield from decoder.batches(_blocks(path))
        return
    for batch in _batches(path, name, pipeline, limits, arrival_id):
        if batch.rows_in:
            yield from batch.portions(limits.chunk_rows)


def _blocks(path: Path) -> Iterator[pl.DataFrame]:
    try:
        yield pl.read_ipc(path)
    except pl.exceptions.PolarsError as error:
        raise ArrivalRejected(Reason.UNDECODABLE, f"no messages set aside by Headgate ({error}).") from error


def _batches(path: Path, name: str, pipeline: Pipeline, limits: Limits, arrival_id: int) -> Iterator[Batch]:
    columns = pipeline.schema.column_names()
    ending = name.lower().removesuffix(".gz")
    if ending.endswith(".parquet") and not name.lower().endswith(".gz"):
        yield from read_parquet(path, pipeline.format(Parquet), columns, limits, arrival_id)
        return
    blocks = expanded(path, name, limits)
    if ending.endswith(".csv"):
        form = pipeline.format(Csv)
        yield from read_csv(text(blocks, form.encoding), form, columns, limits, arrival_id)
    elif ending.endswith((".jsonl", ".ndjson")):
        yield from read_json_lines(text(blocks, "utf-8"), _lines(pipeline, arrival_id), limits)
    elif ending.endswith(".json"):
        yield from read_json_array(text(blocks, "utf-8"), _lines(pipeline, arrival_id), limits)
    else:
        raise ArrivalRejected(
            Reason.UNKNOWN_FORMAT, f"no reader for {name!r}; rename it to end in one of {', '.join(ENDINGS)}."
        )


def _lines(pipeline: Pipeline, arrival_id: int) -> LineParser:
    form = pipeline.format(Json)
    return LineParser(LineReader.of(pipeline.schema, form), form.nulls, arrival_id)

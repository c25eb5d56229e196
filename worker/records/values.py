"""Values of messages into text cells, in bulk: one reader for each way a topic's values are written."""

from collections.abc import Callable

import polars as pl

from worker.model import Fault, Reason
from worker.pipeline import Avro, Json, Pipeline, Plain, Protobuf, Topic
from worker.records.batch import ROW, Refusal, cut
from worker.records.binary_values import HEAD, MAGIC, Schemas, avro_parser, parsed_values, protobuf_parser
from worker.records.json_line import LineReader
from worker.records.json_records import LineParser

# Given values (Binary, none null) and the row of each (Int64, rising), it gives a frame of the schema's columns that
# values fill (String) and `_row`, in order, and a refusal for each value that is no record.
ValueReader = Callable[[pl.Series, pl.Series], tuple[pl.DataFrame, tuple[Refusal, ...]]]


def value_reader(topic: Topic, pipeline: Pipeline, arrival_id: int, schemas: Schemas | None = None) -> ValueReader:
    """Choose how the values of a topic are read.

    Args:
        topic: says how its values are written.
        pipeline: gives the schema, and how JSON is read.
        arrival_id: the arrival that refusals belong to.
        schemas: asks the schema registry; None if there is none.

    Raises:
        BadPipeline: values cannot be read so here: the text says what is missing.

    """
    match topic.value:
        case Plain() as plain:
            return lambda values, rows: _plain(values, rows, plain, arrival_id)
        case Avro() as avro:
            parse = avro_parser(avro, schemas)
        case Protobuf() as protobuf:
            parse = protobuf_parser(protobuf)
        case None:
            return json_reader(filled(topic, pipeline), pipeline, arrival_id)
    columns = filled(topic, pipeline)
    return lambda values, rows: parsed_values(values, rows, parse, columns, arrival_id)


def filled(topic: Topic, pipeline: Pipeline) -> list[str]:
    """The columns of the schema that values fill: those that nothing else of the message does."""
    return [name for name in pipeline.schema.column_names() if name not in topic.columns.names]


def json_reader(columns: list[str], pipeline: Pipeline, arrival_id: int) -> ValueReader:
    """Read one JSON object a value."""
    form = pipeline.format(Json)
    reader = LineReader.of(pipeline.schema, form)
    parser = LineParser(LineReader(columns, reader.nested, reader.drop_extra), form.nulls, arrival_id)

    def read(values: pl.Series, rows: pl.Series) -> tuple[pl.DataFrame, tuple[Refusal, ...]]:
        framed = values.bin.starts_with(b"\0")  # JSON never begins so
        if framed.any():  # magic byte and schema id: they are no part of it
            bare = [value[HEAD:] if value[0] == MAGIC else value for value in values]
            values = pl.Series("value", bare, dtype=pl.Binary)
        batch = parser.parse_texts(text(values), rows, values.__getitem__)
        refusals = (Refusal(arrival_id, each.row, each.reason, each.faults) for each in batch.dead)
        return batch.frame.select(*columns, ROW), tuple(refusals)

    return read


def text(column: pl.Series, encoding: str = "utf-8") -> pl.Series:
    """Decode bytes; what is not text in the encoding is null."""
    if encoding.lower().replace("_", "-") == "utf-8":
        try:
            return column.cast(pl.String)
        except pl.exceptions.ComputeError:
            pass  # some value of the block is not: each is tried alone
    return pl.Series(column.name, [_decoded(value, encoding) for value in column], dtype=pl.String)


def undecodable(column: pl.Series, decoded: pl.Series, rows: pl.Series, name: str, arrival_id: int) -> list[Refusal]:
    """Refuse the rows whose bytes are there and could not be decoded."""
    bad = decoded.is_null() & column.is_not_null()
    return [
        Refusal(arrival_id, rows[place], Reason.ENCODING, (Fault("encoding", name, cut(repr(column[place])[2:-1])),))
        for place in (bad.arg_true() if bad.any() else ())
    ]


def _plain(
    values: pl.Series, rows: pl.Series, form: Plain, arrival_id: int
) -> tuple[pl.DataFrame, tuple[Refusal, ...]]:
    decoded = text(values, form.encoding)
    refusals = undecodable(values, decoded, rows, form.column, arrival_id)
    frame = pl.DataFrame({form.column: decoded, ROW: rows})
    return (frame.filter(decoded.is_not_null()) if refusals else frame), tuple(refusals)


def _decoded(value: bytes | None, encoding: str) -> str | None:
    try:
        return None if value is None else value.decode(encoding)
    except UnicodeDecodeError:
        return None

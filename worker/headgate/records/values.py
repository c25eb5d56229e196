"""Message values into text cells, in bulk: one reader for each format that a topic's values can have."""

from collections.abc import Callable

import polars as pl

from headgate.model import Fault, Reason
from headgate.pipeline import Avro, Json, Pipeline, Plain, Protobuf, Topic
from headgate.records.batch import ROW, Refusal, cut
from headgate.records.binary_values import HEAD, MAGIC, Schemas, avro_parser, parsed_values, protobuf_parser
from headgate.records.columns import drop_members
from headgate.records.json_line import LineReader
from headgate.records.json_records import LineParser
from headgate.records.letters import letters_of

# Takes values (Binary, none null) and the row of each (Int64, ascending). Returns a frame of the schema's columns that
# values fill (String) and `_row`, in order, and a refusal for each value that is not a record.
ValueReader = Callable[[pl.Series, pl.Series], tuple[pl.DataFrame, tuple[Refusal, ...]]]


def value_reader(topic: Topic, pipeline: Pipeline, arrival_id: int, schemas: Schemas | None = None) -> ValueReader:
    """Return the reader for a topic's values.

    Args:
        topic: says how its values are written.
        pipeline: gives the schema, and how JSON is read.
        arrival_id: the arrival that refusals belong to.
        schemas: asks the schema registry; None if none is set.

    Raises:
        BadPipeline: values cannot be read this way here; the text says what is missing.

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

    def read(values: pl.Series, rows: pl.Series) -> tuple[pl.DataFrame, tuple[Refusal, ...]]:
        frame, refusals = parsed_values(values, rows, parse, columns, arrival_id)
        return drop_members(frame, pipeline.schema), refusals

    return read


def filled(topic: Topic, pipeline: Pipeline) -> list[str]:
    """Return the columns of the schema that values fill: those that no other part of the message fills."""
    return [name for name in pipeline.schema.column_names() if name not in topic.columns.names]


def json_reader(columns: list[str], pipeline: Pipeline, arrival_id: int) -> ValueReader:
    """Return a reader of one JSON object per value."""
    form = pipeline.format(Json)
    reader = LineReader.of(pipeline.schema, form)
    parser = LineParser(LineReader(columns, reader.nested, reader.drop_extra), form.nulls, arrival_id)

    def read(values: pl.Series, rows: pl.Series) -> tuple[pl.DataFrame, tuple[Refusal, ...]]:
        framed = values.bin.starts_with(b"\0")  # JSON never begins with a zero byte
        if framed.any():  # magic byte and schema id, which are not part of the JSON
            bare = [value[HEAD:] if value[0] == MAGIC else value for value in values]
            values = pl.Series("value", bare, dtype=pl.Binary)
        batch = parser.parse_texts(text(values), rows, values.__getitem__)
        refusals = (Refusal(arrival_id, each.row, each.reason, each.faults) for each in letters_of(batch.dead))
        return batch.frame.select(*columns, ROW), tuple(refusals)

    return read


def text(column: pl.Series, encoding: str = "utf-8") -> pl.Series:
    """Decode bytes; those that are not text in the encoding become null."""
    if encoding.lower().replace("_", "-") == "utf-8":
        try:
            return column.cast(pl.String)
        except pl.exceptions.ComputeError:
            pass  # some value of the block is not text: try each one alone
    return pl.Series(column.name, [_decoded(value, encoding) for value in column], dtype=pl.String)


def undecodable(column: pl.Series, decoded: pl.Series, rows: pl.Series, name: str, arrival_id: int) -> list[Refusal]:
    """Refuse the rows that have bytes which could not be decoded."""
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

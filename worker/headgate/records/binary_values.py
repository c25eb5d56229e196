"""Avro and Protocol Buffers values into text cells. The libraries that read them come with extras."""

import datetime as dt
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module

import orjson
import polars as pl

from headgate.errors import BadPipeline
from headgate.model import Fault, Reason
from headgate.pipeline import Avro, Protobuf
from headgate.pipeline.loading import load_object
from headgate.records.batch import ROW, Refusal, cut
from headgate.records.nested import Members, dumps

MAGIC = 0  # the first byte of a value that names its schema, as Confluent's serializers write it
HEAD = 5  # bytes: the magic byte, and the schema's id

# Returns the text of the schema with an id, after those it refers to; raises KafkaUnavailable or LookupError.
Schemas = Callable[[int], Sequence[str]]
Parse = Callable[[bytes], Mapping[str, object]]


class NotAsDeclared(ValueError):
    """A value that is not in the format that the topic declares."""


def avro_parser(form: Avro, schemas: Schemas | None) -> Parse:
    """Return a function that reads one datum; for invalid bytes, it raises an error that `parsed_values` handles.

    Raises:
        BadPipeline: the extra is not installed, the schema is not valid, or no registry is set.

    """
    try:
        fastavro = import_module("fastavro")
    except ImportError as error:
        raise BadPipeline("Avro() needs fastavro: run pip install 'headgate[avro]'.") from error
    if form.schema is not None:
        try:
            own = fastavro.parse_schema(orjson.loads(form.schema))
        except (ValueError, fastavro.schema.SchemaParseException) as error:
            raise BadPipeline(f"Avro(schema=...): that is not an Avro schema ({error}).") from error
        return lambda value: _datum(fastavro.schemaless_reader, value, own)
    if schemas is None:
        raise BadPipeline("Avro() without a schema asks a registry: set HEADGATE_KAFKA_REGISTRY_URL, or give schema=.")
    asked = schemas

    @cache
    def parsed(number: int) -> object:
        named: dict[str, object] = {}
        *before, schema = map(orjson.loads, asked(number))
        for each in before:
            fastavro.parse_schema(each, named_schemas=named)
        return fastavro.parse_schema(schema, named_schemas=named)

    def parse(value: bytes) -> Mapping[str, object]:
        if len(value) < HEAD or value[0] != MAGIC:
            raise NotAsDeclared("no magic byte and schema id before the datum")
        return _datum(fastavro.schemaless_reader, value[HEAD:], parsed(int.from_bytes(value[1:HEAD], "big")))

    return parse


def protobuf_parser(form: Protobuf) -> Parse:
    """Return a function that reads one message; for invalid bytes, it raises an error that `parsed_values` handles.

    Raises:
        BadPipeline: the extra is not installed, or the class does not exist.

    """
    try:
        json_format = import_module("google.protobuf.json_format")
    except ImportError as error:
        raise BadPipeline("Protobuf(...) needs protobuf: run pip install 'headgate[protobuf]'.") from error
    kind = load_object(form.message, "Protobuf")
    if not callable(kind) or not hasattr(kind, "FromString"):
        raise BadPipeline(f"Protobuf({form.message!r}): that is not a generated message class.")

    def parse(value: bytes) -> Mapping[str, object]:
        message = kind.FromString(_unframed(value) if form.framed else value)
        fields: Mapping[str, object] = json_format.MessageToDict(
            message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return fields

    return parse


def parsed_values(
    values: pl.Series, rows: pl.Series, parse: Parse, columns: Iterable[str], arrival_id: int
) -> tuple[pl.DataFrame, tuple[Refusal, ...]]:
    """Read values one by one. Leave out fields without a column in the schema; a missing field is null."""
    names = list(columns)
    good: list[tuple[str | int | None, ...]] = []
    refusals = []
    for value, row in zip(values, rows, strict=True):
        try:
            fields = parse(value)
            cells = [cell(fields.get(name)) for name in names]
        except (ValueError, EOFError, LookupError, ArithmeticError, TypeError, AttributeError, RecursionError) as error:
            refusals.append(_refusal(arrival_id, row, error))
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "google":  # protobuf's DecodeError derives from Exception
                raise
            refusals.append(_refusal(arrival_id, row, error))
        else:
            good.append((*cells, row))
    schema = {**dict.fromkeys(names, pl.String), ROW: pl.Int64}
    return pl.DataFrame(good, schema=schema, orient="row"), tuple(refusals)


def cell(value: object) -> str | None:
    """Return a value as the text that JSON or CSV would hold; raise UnicodeDecodeError for bytes that are not text."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case bytes():
            return value.decode()
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dict() | list():
            return dumps(_nested(value))
        case _:
            return str(value)


def _nested(value: object) -> object:
    """Convert the values in a list or structure as flat values are converted."""
    match value:
        case dict():
            return Members((str(name), _nested(member)) for name, member in value.items())
        case list():
            return [_nested(each) for each in value]
        case _:
            return cell(value)


def _datum(read: Callable[..., object], value: bytes, schema: object) -> Mapping[str, object]:
    file = io.BytesIO(value)
    found = read(file, schema, None)
    if file.tell() != len(value):
        raise NotAsDeclared(f"{len(value) - file.tell()} bytes behind the datum")
    if not isinstance(found, dict):
        raise NotAsDeclared("the datum is not a record")
    return found


def _unframed(value: bytes) -> bytes:
    """Remove the magic byte, the schema id and the message's place in its file: we know the class."""
    if len(value) <= HEAD or value[0] != MAGIC:
        raise NotAsDeclared("no magic byte and schema id before the message")
    count, at = _varint(value, HEAD)
    for _ in range(count):
        _, at = _varint(value, at)
    return value[at:]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            return (number >> 1) ^ -(number & 1), at


def _refusal(arrival_id: int, row: int, error: Exception) -> Refusal:
    rule = "not as declared" if isinstance(error, NotAsDeclared) else type(error).__name__
    return Refusal(arrival_id, row, Reason.MALFORMED, (Fault(rule, None, cut(error)),))

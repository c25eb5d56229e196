"""Messages into records: values in every way they are written, and what comes with them."""

import io
import struct
from collections.abc import Sequence

import dataframely as dy
import fastavro
import orjson
import polars as pl
import pytest
from google.protobuf.type_pb2 import EnumValue
from headgate.errors import BadPipeline
from headgate.model import Reason
from headgate.pipeline import Pipeline, Table, When
from headgate.pipeline.topic import Avro, Columns, Plain, Protobuf, Topic
from headgate.records.batch import ARRIVAL, ROW, Batch, Limits
from headgate.records.decoding import Decoder
from headgate.records.letters import letters_of
from headgate.records.messages import Header, Unreadable, block, moment, moments


class Item(dy.Schema):
    """A number, a text, a flag."""

    id = dy.Int64(nullable=True)
    name = dy.String(nullable=True)
    flag = dy.Bool(nullable=True)


class Named(dy.Schema):
    """Two fields of protobuf's own EnumValue."""

    name = dy.String(nullable=True)
    number = dy.Int64(nullable=True)


SCHEMA = {
    "type": "record",
    "name": "Item",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "name", "type": ["null", "string"]},
        {"name": "flag", "type": "boolean"},
        {"name": "other", "type": {"type": "array", "items": "int"}},
    ],
}


def decode(  # noqa: PLR0913 - one keyword a thing that tests vary
    topic: Topic,
    values: Sequence[bytes | None],
    *,
    schema: type[dy.Schema] = Item,
    limits: Limits | None = None,
    asked: list[int] | None = None,
    when: When | None = None,
    headers: Sequence[Sequence[Header] | None] = (),
) -> Batch:
    """Decode messages at the offsets 10, 12, 14 ... of a range that begins at 10."""

    def schemas(number: int) -> list[str]:
        if number != 7:
            raise LookupError(number)
        if asked is not None:
            asked.append(number)
        return [orjson.dumps(SCHEMA).decode()]

    pipeline = Pipeline(name="items", sources=(topic,), schema=schema, sink=Table("items"), when=when)
    messages = block(
        first=10,
        partition=3,
        offsets=range(10, 10 + 2 * len(values), 2),
        timestamps=[1_700_000_000_123] * len(values),
        keys=[b"k"] * len(values),
        headers=headers or [None] * len(values),
        values=values,
    )
    return Decoder.of(topic, pipeline, limits or Limits(), 5, schemas).decode(messages)


def datum(number: int, name: str | None = "x") -> bytes:
    file = io.BytesIO()
    record = {"id": number, "name": name, "flag": True, "other": [1]}
    fastavro.schemaless_writer(file, fastavro.parse_schema(SCHEMA), record)
    return file.getvalue()


def framed(value: bytes, number: int = 7) -> bytes:
    return struct.pack(">bI", 0, number) + value


def refused(batch: Batch) -> list[tuple[int, Reason, str]]:
    return [(each.row, each.reason, each.faults[0].rule) for each in letters_of(batch.dead)]


def test_rows_are_counted_by_offset() -> None:
    """A gap of compaction moves no row, so a row is the message's identity."""
    batch = decode(Topic("t"), [b'{"id":1}', b'{"id":2}', b'{"id":3}'])
    assert batch.frame.select("id", ARRIVAL, ROW).rows() == [("1", 5, 1), ("2", 5, 3), ("3", 5, 5)]
    assert (batch.rows_in, batch.last_row) == (3, 5)


def test_json_may_stand_on_several_lines_and_behind_a_schema_id() -> None:
    values = [b'{\n  "id": 1,\r\n  "name": "a\\nb"\n}\n', framed(b'{"id":2}'), b"{", framed(b"[]"), b"\xff"]
    batch = decode(Topic("t"), values)
    assert batch.frame.select("id", "name").rows() == [("1", "a\nb"), ("2", None)]
    assert refused(batch) == [
        (5, Reason.MALFORMED, "json"),
        (7, Reason.MALFORMED, "object"),
        (9, Reason.ENCODING, "encoding"),
    ]
    assert batch.dead["original"][1] == framed(b"[]")


def test_many_messages_of_many_lines_are_read_at_once_as_one_by_one() -> None:
    values = [b'{"id": %d,\n "name": "n\xc3\xa9"}' % number for number in range(400)]
    batch = decode(Topic("t"), values)
    assert batch.frame["id"].to_list() == [str(number) for number in range(400)]
    assert set(batch.frame["name"]) == {"né"}


def test_plain_text_is_one_column() -> None:
    topic = Topic("t", value=Plain("name", encoding="latin-1"), columns=Columns(key="id"))
    batch = decode(topic, [b"caf\xe9", b"x\ny"])
    assert batch.frame.select("id", "name").rows() == [("k", "café"), ("k", "x\ny")]
    assert refused(decode(Topic("t", value=Plain("name")), [b"caf\xe9"])) == [(1, Reason.ENCODING, "encoding")]


def test_avro_is_read_by_a_schema_that_is_given() -> None:
    """A datum that is cut short, or that has bytes behind it, is not mistaken for another."""
    topic = Topic("t", value=Avro(schema=orjson.dumps(SCHEMA).decode()))
    batch = decode(topic, [datum(1), datum(2, None), datum(3)[:-2], datum(4) + b"\0", b"\xff" * 30])
    assert batch.frame.select("id", "name", "flag").rows() == [("1", "x", "true"), ("2", None, "true")]
    assert [(row, reason) for row, reason, _ in refused(batch)] == [
        (5, Reason.MALFORMED),
        (7, Reason.MALFORMED),
        (9, Reason.MALFORMED),
    ]


def test_avro_names_its_schema_by_magic_byte_and_id_and_the_registry_is_asked_once() -> None:
    asked: list[int] = []
    values = [framed(datum(1)), framed(datum(2)), datum(3), framed(datum(4), 8), b"\0"]
    batch = decode(Topic("t", value=Avro()), values, asked=asked)
    assert batch.frame["id"].to_list() == ["1", "2"]
    assert asked == [7]
    assert [row for row, *_ in refused(batch)] == [5, 7, 9]
    assert refused(batch)[0][2] == "not as declared"


def test_protobuf_is_read_by_a_generated_class() -> None:
    form = Protobuf("google.protobuf.type_pb2:EnumValue")
    written = EnumValue(name="one", number=1).SerializeToString()
    batch = decode(Topic("t", value=form), [written, b"", b"\xff", EnumValue().SerializeToString()], schema=Named)
    assert batch.frame.select("name", "number").rows() == [("one", "1")]
    assert [row for row, *_ in refused(batch)] == [3, 5, 7]
    framing = [framed(b"\0" + written), framed(b"\x04\x02\x00" + written), written]
    batch = decode(Topic("t", value=Protobuf(form.message, framed=True)), framing, schema=Named)
    assert batch.frame["name"].to_list() == ["one", "one"]
    assert refused(batch) == [(5, Reason.MALFORMED, "not as declared")]
    with pytest.raises(BadPipeline, match="no 'Nope'"):
        decode(Topic("t", value=Protobuf("google.protobuf.type_pb2:Nope")), [b"x"])


def test_what_has_no_value_follows_the_policy_of_the_topic() -> None:
    values = [b'{"id":1}', None, b"", b'{"id":2}', None]
    batch = decode(Topic("t", empty="skip"), values)
    assert (batch.skipped, batch.rows_in, batch.last_row) == ((3, 5, 9), 5, 9)
    batch = decode(Topic("t"), values)
    assert (batch.skipped, refused(batch)) == ((3, 9), [(5, Reason.MALFORMED, "empty value")])


def test_a_value_over_the_limit_is_set_aside_as_what_to_read_again() -> None:
    """Its bytes are not carried along: they stay where they are, and the dead letter says where that is."""
    batch = decode(Topic("t"), [b'{"id":1}', b"x" * 100], limits=Limits(max_record_bytes=50))
    assert refused(batch) == [(3, Reason.TOO_LARGE, "size")]
    assert batch.dead.select("original", "format").row(0) == (b'{"first": 12, "end": 13}', "offsets")


def test_columns_take_what_came_with_the_message() -> None:
    columns = Columns(key="name", timestamp="flag", offset="id")
    batch = decode(Topic("t", columns=columns), [b"{}"])
    assert batch.frame.select("name", "flag", "id").rows() == [("k", "2023-11-14T22:13:20.123Z", "10")]
    assert refused(decode(Topic("t", columns=columns), [b'{"id":1}'])) == [(1, Reason.MALFORMED, "unknown key")]


def test_a_time_that_no_calendar_has_is_written_as_a_number() -> None:
    """As a publisher sends it that gives nanoseconds where Kafka wants milliseconds."""
    far = 1_700_000_000_000_000_000
    assert moments(pl.Series("at", [0, far, None])).to_list() == [
        "1970-01-01T00:00:00.000Z",
        f"{far} ms since 1970",
        None,
    ]
    assert moment(far) == f"{far} ms since 1970"


def test_what_nobody_can_read_is_one_dead_letter() -> None:
    pipeline = Pipeline(name="items", sources=(Topic("t"),), schema=Item, sink=Table("items"))
    decoder = Decoder.of(Topic("t"), pipeline, Limits(), 5)
    (batch,) = decoder.batches([Unreadable(20, 30, Reason.CORRUPT, "why")], first=10)
    assert refused(batch) == [(11, Reason.CORRUPT, "offsets 20 to 29")]
    assert isinstance(batch.frame, pl.DataFrame)
    assert batch.frame.columns == [*Item.column_names(), ARRIVAL, ROW]


def test_tombstones_that_delete_need_an_order() -> None:
    """Else a range that is tried again would bring back what a later one has deleted."""

    class Keyed(dy.Schema):
        id = dy.Int64(primary_key=True)

    table = Table("items", mode="upsert")
    with pytest.raises(BadPipeline, match="needs ordered=True"):
        Pipeline(name="items", sources=(Topic("t", tombstones="delete"),), schema=Keyed, sink=table)
    assert Pipeline(name="items", sources=(Topic("t", tombstones="delete", ordered=True),), schema=Keyed, sink=table)


def test_messages_whose_headers_or_size_do_not_meet_the_condition_are_skipped_and_counted() -> None:
    when = When(header={"type": ("order*", "!order-test"), "origin": "!crawler"}, larger_than=10, smaller_than="1KB")
    good = b'{"id": 1, "name": "a"}'
    cases: list[tuple[bytes | None, list[Header] | None, bool]] = [
        (good, [("type", b"order")], True),
        (good, [("type", b"note"), ("type", b"order-2")], True),  # the last one counts
        (good, [("type", b"order"), ("type", b"note")], False),
        (good, [("type", b"order-test")], False),
        (good, [("type", b"order"), ("origin", b"crawler")], False),
        (good, [("type", b"order"), ("origin", None)], True),
        (good, [("type", b"\xff")], False),
        (good, None, False),
        (b'{"id": 1}', [("type", b"order")], False),
        (b'{"id": 1, "name": "' + b"a" * 1000 + b'"}', [("type", b"order")], False),
        (None, [("type", b"order")], False),
    ]
    batch = decode(Topic("t"), [value for value, _, _ in cases], headers=[each for _, each, _ in cases], when=when)
    rows = range(1, 2 * len(cases), 2)
    assert batch.frame[ROW].to_list() == [row for row, (_, _, met) in zip(rows, cases, strict=True) if met]
    assert list(batch.skipped) == [row for row, (_, _, met) in zip(rows, cases, strict=True) if not met]
    assert list(letters_of(batch.dead)) == []


def test_without_any_header_a_condition_on_headers_skips_all_and_one_that_only_excludes_none() -> None:
    values = [b'{"id": 1}'] * 3
    assert list(decode(Topic("t"), values, when=When(header={"type": "order"})).skipped) == [1, 3, 5]
    assert list(decode(Topic("t"), values, when=When(header={"type": "!order"})).skipped) == []


def test_a_dead_letter_among_skipped_messages_is_kept_with_its_own_bytes() -> None:
    headers: list[list[Header]] = [[("type", b"note")], [("type", b"order")]]
    batch = decode(Topic("t"), [b"skipped", b"broken"], headers=headers, when=When(header={"type": "order"}))
    (letter,) = letters_of(batch.dead)
    assert (letter.row, letter.original) == (3, b"broken")

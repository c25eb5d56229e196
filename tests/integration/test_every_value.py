"""Every value in the table is the value that came, or its record is a dead letter with its bytes.

Each format is written and read by an independent tool (csv, json, pyarrow), what it says is read by Python
(tests/oracle.py), and held against what PostgreSQL has.
"""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import uuid4

import dataframely as dy
import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import Services
from headgate.pipeline import Folder, Pipeline, Table
from headgate.records.batch import ARRIVAL, ROW, Limits
from headgate.records.letters import letters_of
from headgate.records.parsing import Spooled, parse
from headgate.sinks.postgres import PostgresSink
from headgate.sinks.table import Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Object, loads, same, text_of
from psycopg.rows import dict_row

EXAMPLES = 8  # of two files each, for each format and type; ten times as many with --long
RECORDS = 24  # in a file
FEWEST = 200  # records of each format and type: 20,000 in all

UTC_TIME = dy.Datetime(time_zone="UTC", nullable=True)
LOOSE = {"nullable": True, "allow_nan": True, "allow_inf": True}
COLUMNS: dict[str, dy.Column] = {
    "int8": dy.Int8(nullable=True),
    "int64": dy.Int64(nullable=True),
    "uint64": dy.UInt64(nullable=True),
    "float32": dy.Float32(nullable=True, allow_nan=True, allow_inf=True),
    "float64": dy.Float64(nullable=True, allow_nan=True, allow_inf=True),
    "decimal": dy.Decimal(18, 2, nullable=True),
    "decimal38": dy.Decimal(38, 10, nullable=True),
    "bool": dy.Bool(nullable=True),
    "date": dy.Date(nullable=True),
    "time": dy.Time(nullable=True),
    "datetime-ms": dy.Datetime(time_unit="ms", nullable=True),
    "datetime-us": dy.Datetime(nullable=True),
    "datetime-ns": dy.Datetime(time_unit="ns", nullable=True),
    "datetime-utc": dy.Datetime(time_zone="UTC", nullable=True),
    "datetime-zone": dy.Datetime(time_zone="America/New_York", nullable=True),
    "string": dy.String(nullable=True),
    "enum": dy.Enum(["EUR", "USD", ""], nullable=True),
    "binary": dy.Binary(nullable=True),
    "list-int": dy.List(dy.Int64(nullable=True), nullable=True),
    "list-string": dy.List(dy.String(nullable=True), nullable=True),
    "list-float": dy.List(dy.Float64(nullable=True, allow_nan=True, allow_inf=True), nullable=True),
    "list-binary": dy.List(dy.Binary(nullable=True), nullable=True),
    "list-datetime": dy.List(dy.Datetime(time_zone="America/New_York", nullable=True), nullable=True),
    "list-struct": dy.List(
        dy.Struct({"a": dy.Int64(nullable=True), "b": dy.String(nullable=True)}, nullable=True), nullable=True
    ),
    "struct": dy.Struct(
        {"a": dy.List(dy.Decimal(18, 2, nullable=True), nullable=True), "b": dy.Time(nullable=True)}, nullable=True
    ),
    "array": dy.Array(dy.Int64(nullable=True), 2, nullable=True),
}

# Texts that some reader somewhere takes for something else.
NUMBERS = [
    *("0", "1", "-1", "007", "+5", " 7 ", "1.0", "1.5", ".5", "5.", "1e2", "1E-3", "1e999", "-1e999", "1e-400", "1e39"),
    *(
        "127",
        "128",
        "255",
        "65536",
        "18446744073709551615",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
    ),
    *(
        "-9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
    ),
    *(
        "0.1",
        "0.30000000000000004",
        "1.10",
        "1.005",
        "99999999999999999.99",
        "9999999999999999.99",
        "-0",
        "-0.0",
        "1_0",
    ),
    *(
        "NaN",
        "nan",
        "-nan",
        "inf",
        "-Infinity",
        "+inf",
        "0x10",
        "1,5",
        "\u0661",
        "1 2",
        "--1",
        "e5",
        ".",
        "1e",
        "5e-324",
    ),
    *("16777217", "3.4028236e38", "1e-46", "12345678901234567890.0123456789", "0e999999"),
]
TIMES = [
    *("2024-02-29", "2023-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "10000-01-01", "-001-01-01", "24-01-01"),
    *(
        "2024-1-1",
        "01/02/2024",
        "2024-01-01T00:00:00",
        "2024-01-01 00:00",
        "2024-01-01T00:00:00Z",
        "2024-01-01T24:00:00",
    ),
    *("2024-01-01T00:00:00+01:00", "2024-01-01T00:00:00-0130", "2024-01-01T00:00:00+02", "2024-01-01T00:00:60Z"),
    *(
        "2024-01-01T00:00:00.1",
        "2024-01-01T00:00:00.123456",
        "2024-01-01T00:00:00.1234567",
        "2024-01-01T00:00:00.123000",
    ),
    *("2024-01-01T00:00:00.123456789Z", "2300-01-01T00:00:00", "1600-01-01T00:00:00", "9999-12-31T00:00:00"),
    *("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+14:00", "2100-07-01T08:00:00"),
    *(
        "2100-07-01T08:00:00Z",
        "1880-01-01T12:00:00",
        "1883-11-18T12:03:57",
        "2024-03-10T02:30:00",
        "2024-11-03T01:30:00",
    ),
    *("2100-03-14T02:30:00", "2100-11-07T01:30:00", "2500-06-15T12:00:00", "2024-01-01T00:00:00+23:59", "now", "epoch"),
    *("2024-01-01T00:00:00+24:00", "2024-01-01T00:00:00+00:00:30", "infinity", "2024-W01-1", "20240101", "1700000000"),
    *("00:00", "23:59:59", "23:59:59.999999", "23:59:59.9999999", "23:59:59.999999000", "24:00", "24:00:00", "12:60"),
    *("10:36:22.279388", " 06:00 ", "6:00", "23:59:60", "12:00:00Z", "12:00:00+01"),
]
TEXTS = [
    *(
        "",
        "a",
        "EUR",
        "eur",
        "NULL",
        "null",
        "\\N",
        "\\.",
        '"',
        '""',
        "a,b",
        "a;b\tc",
        "l1\nl2",
        "l1\r\nl2",
        "\r",
        " x ",
    ),
    *(
        "é",
        "😀",
        "\u202e",
        "\ufeffx",
        "\x00",
        "a\x00b",
        "\u2028",
        "\x85",
        "'; drop table t; --",
        "=cmd()",
        "true",
        "TRUE",
    ),
    *("false", "0", "yes", "a\\nb\\", "\\x41", "{}", "[]", "[1],[2]", "x" * 300, "\x1b", "e\u0301", "\ud7ff\ue000"),
]
NESTED = [
    *(
        "[]",
        "[1]",
        "[1,2]",
        "[null]",
        "[1.5]",
        "[true]",
        "[12345678901234567890]",
        "1",
        "[1],[2]",
        "[[1]]",
        "[1.10]",
        "{}",
    ),
    *('["x"]', '["1"]', "[1e2]", "[1e-400]", "[NaN]", '["NaN"]', "[1e999]", '["inf"]', "[0.1,-0.0]", '{"a":1}', "[{}]"),
    *('[{"a":1}]', '[{"a":1,"b":"x"},null]', '[{"a":1,"a":2}]', '[{"a":1,"c":2}]', '{"a":[1.10,2.5]}', '{"a":[1.005]}'),
    *(
        '{"a":null,"b":"10:00:00.5"}',
        '{"b":"23:59:59.9999999"}',
        '{"a":[],"b":null,"c":1}',
        '{"b":"1","b":"2"}',
        "null",
    ),
    *(
        '["2100-07-01T08:00:00"]',
        '["2024-11-03T01:30:00"]',
        '["1880-01-01T12:00:00",null]',
        '["\\u0000"]',
        '["\\ud800"]',
    ),
    *(
        '["a\\"b","c\\\\d","é😀"]',
        "[ 1 , 2 ]",
        "[1,2,3]",
        "[1,",
        "[01]",
        '{"a":[1]',
        "[" * 200 + "]" * 200,
        "[1 2]",
        "[,]",
    ),
]
GOOD = {
    **dict.fromkeys(("int8", "int64", "uint64", "float32", "float64", "decimal", "decimal38"), "17"),
    **dict.fromkeys(
        ("datetime-ms", "datetime-us", "datetime-ns", "datetime-utc", "datetime-zone"), "2024-05-05T06:07:08.123"
    ),
    **dict.fromkeys(("list-int", "list-string", "list-float", "array"), "[3,4]"),
    "bool": "true",
    "date": "2024-05-05",
    "time": "06:07:08.123456",
    "string": "plain",
    "enum": "EUR",
    "binary": "plain",
    "list-binary": '["plain"]',
    "list-datetime": '["2024-05-05T06:07:08"]',
    "list-struct": '[{"a":3,"b":"x"}]',
    "struct": '{"a":[1.25],"b":"06:07:08"}',
}

scalars = st.one_of(
    st.sampled_from([*NUMBERS, *TIMES, *TEXTS]),
    st.integers(-(2**70), 2**70).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats().map(repr),
    st.datetimes(timezones=st.none() | st.just(UTC)).map(datetime.isoformat),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
# With bytes that are not UTF-8, which come out of these as they are: see `octets_of`.
cells = st.one_of(scalars, st.sampled_from(["\udcff", "caf\udce9", "\udcf0\udc9f", "[1,\udc80]", "\udced\udca0\udc80"]))
# JSON, and some that is not.
tokens = st.one_of(
    st.sampled_from(["null", "true", "false", *NUMBERS, *NESTED]),
    cells.map(json.dumps),
    cells.map(partial(json.dumps, ensure_ascii=False)),
)
documents = st.recursive(
    tokens,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]"),
        st.lists(st.tuples(st.sampled_from("abc"), inner), max_size=3).map(
            lambda parts: "{" + ",".join(f'"{name}":{part}' for name, part in parts) + "}"
        ),
    ),
    max_leaves=4,
)


@dataclass
class Record:
    """A record of a file: what came, by an independent reader, and its bytes."""

    data: bytes
    came: object = None
    broken: bool = False  # it is not a record at all


@dataclass
class File:
    """A file of records."""

    name: str
    head: bytes
    records: list[Record]
    data: bytes = field(default=b"")


def octets_of(text: str) -> bytes:
    """Encode text, in which lone surrogates stand for bytes that are not UTF-8."""
    return text.encode(errors="surrogateescape")


def is_text(data: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def json_of(text: str) -> object:
    """Read JSON; None if it is not."""
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return None


def csv_file(cells: Sequence[str]) -> File:
    """Written and read by the csv module."""
    records = []
    for number, cell in enumerate(cells):
        target = io.StringIO(newline="")
        all_quoted = "\r" in cell or number % 2
        writer = csv.writer(target, quoting=csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL, lineterminator="\n")
        writer.writerow([number, cell])
        [(_, came)] = csv.reader(io.StringIO(target.getvalue(), newline=""))
        data = octets_of(target.getvalue())
        records.append(Record(data, came or None, broken=not is_text(data)))
    return File("a.csv", b"id,v\n", records)


def json_file(name: str, cells: Sequence[str]) -> File:
    """Read by the json module; cells are written as they are."""
    records = []
    for number, cell in enumerate(cells):
        line = f'{{"id":{number},"v":{cell}}}'
        record = Record(octets_of(line) + (b"\n" if name == "a.jsonl" else b""))
        read = json_of(line)
        record.broken = read is None or not is_text(record.data)
        record.came = text_of(dict(read)["v"]) if isinstance(read, Object) else None
        records.append(record)
    return File(name, b"", records)


def json_array(cells: Sequence[str]) -> File:
    """An array of the elements that are JSON: others would break the document."""
    file = json_file("a.json", [cell for cell in cells if json_of(cell) is not None or cell == "null"])
    file.records = [record for record in file.records if b"NaN" not in record.data]
    file.records = [record for record in file.records if b"Infinity" not in record.data]
    file.data = b"[" + b",\n".join(record.data for record in file.records) + b"]"
    return file


whole = st.integers(-(2**63), 2**63 - 1)
micros = st.one_of(whole, st.integers(-62135596800 * 10**6, 253402300799 * 10**6 + 999_999))
octets = st.one_of(st.binary(max_size=6), scalars.map(str.encode))
PARQUET: dict[str, tuple[pa.DataType, st.SearchStrategy[object]]] = {
    "int64": (pa.int64(), st.one_of(whole, st.integers(-200, 300))),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "double": (pa.float64(), st.floats()),
    "float": (pa.float32(), st.floats(width=32)),
    "bool": (pa.bool_(), st.booleans()),
    "decimal": (pa.decimal128(20, 3), st.decimals(-(10**16), 10**16, places=3, allow_nan=False)),
    "string": (pa.string(), scalars),
    "nested text": (pa.string(), st.one_of(documents.filter(str.isascii), st.sampled_from(list(GOOD.values())))),
    "binary": (pa.binary(), octets),
    "binary-4": (pa.binary(4), st.binary(min_size=4, max_size=4)),
    "date": (pa.date32(), st.integers(-800_000, 3_000_000)),
    "time-us": (pa.time64("us"), st.integers(0, 86_400 * 10**6 - 1)),
    "time-ns": (pa.time64("ns"), st.integers(0, 86_400 * 10**9 - 1)),
    "timestamp-ms": (pa.timestamp("ms"), micros.map(lambda each: each // 1000)),
    "timestamp-us": (pa.timestamp("us"), micros),
    "timestamp-ns": (pa.timestamp("ns"), whole),
    "timestamp-utc": (pa.timestamp("us", "UTC"), micros),
    "timestamp-zone": (pa.timestamp("us", "America/New_York"), micros),
    "list-int": (pa.list_(pa.int64()), st.lists(st.none() | whole, max_size=3)),
    "list-double": (pa.list_(pa.float64()), st.lists(st.none() | st.floats(), max_size=3)),
    "list-string": (pa.list_(pa.string()), st.lists(st.none() | scalars, max_size=3)),
    "list-zone": (pa.list_(pa.timestamp("us", "America/New_York")), st.lists(st.none() | micros, max_size=2)),
    "list-binary": (pa.list_(pa.binary()), st.lists(st.none() | octets, max_size=3)),
    "list-struct": (
        pa.list_(pa.struct([("a", pa.int64()), ("b", pa.string())])),
        st.lists(st.none() | st.fixed_dictionaries({"a": st.none() | whole, "b": st.none() | scalars}), max_size=2),
    ),
    "struct": (
        pa.struct([("a", pa.list_(pa.decimal128(10, 2))), ("b", pa.time64("us"))]),
        st.fixed_dictionaries(
            {
                "a": st.none() | st.lists(st.decimals(0, 10**6, places=2, allow_nan=False), max_size=2),
                "b": st.none() | st.integers(0, 86_400 * 10**6 - 1),
            }
        ),
    ),
    "struct-more": (
        pa.struct([("a", pa.list_(pa.decimal128(10, 2))), ("c", pa.int64())]),
        st.fixed_dictionaries({"a": st.just([]), "c": whole}),
    ),
}
# What a column of the table is fed with: what it is like, and what it is not.
FED = {
    "int8": ["int64", "string"],
    "int64": ["uint64", "double", "bool", "string"],
    "uint64": ["int64", "decimal"],
    "float32": ["float", "double", "string"],
    "float64": ["double", "float", "string"],
    "decimal": ["decimal", "int64"],
    "decimal38": ["decimal", "string"],
    "bool": ["bool", "int64"],
    "date": ["date", "timestamp-us", "string"],
    "time": ["time-us", "time-ns", "string"],
    "datetime-ms": ["timestamp-ms", "timestamp-us", "string"],
    "datetime-us": ["timestamp-us", "timestamp-ns", "timestamp-utc", "date"],
    "datetime-ns": ["timestamp-ns", "timestamp-us"],
    "datetime-utc": ["timestamp-utc", "timestamp-us", "timestamp-zone"],
    "datetime-zone": ["timestamp-zone", "timestamp-utc", "timestamp-us"],
    "string": ["string", "binary"],
    "enum": ["string", "binary"],
    "binary": ["binary", "binary-4", "string"],
    "list-int": ["list-int", "list-double", "nested text"],
    "list-string": ["list-string", "list-int", "list-binary"],
    "list-binary": ["list-binary", "list-string"],
    "list-float": ["list-double", "list-int"],
    "list-datetime": ["list-zone", "list-string"],
    "list-struct": ["list-struct", "nested text"],
    "struct": ["struct", "struct-more", "nested text"],
    "array": ["list-int", "nested text"],
}


def parquet_file(kind: str, values: Sequence[object]) -> File:
    """Written and read by pyarrow."""
    dtype = PARQUET[kind][0]
    table = pa.table({"id": pa.array(range(len(values)), pa.int64()), "v": pa.array(values, dtype)})
    target = io.BytesIO()
    pq.write_table(table, target, row_group_size=7)
    [_, column] = pq.read_table(target).columns
    file = File("a.parquet", b"", [Record(b"", _came(value, dtype)) for value in _plain(column, dtype)])
    file.data = target.getvalue()
    return file


def _plain(column: pa.ChunkedArray, dtype: pa.DataType) -> list[object]:
    """Python has no nanoseconds and not all years: times are taken as the numbers that they are."""
    if pa.types.is_timestamp(dtype) or pa.types.is_time64(dtype):
        column = column.cast(pa.int64())
    elif pa.types.is_date32(dtype):
        column = column.cast(pa.int32())
    elif pa.types.is_list(dtype) and pa.types.is_timestamp(dtype.value_type):
        column = column.cast(pa.list_(pa.int64()))
    values: list[object] = column.to_pylist()
    return values


def _came(value: object, dtype: pa.DataType) -> object:  # noqa: PLR0911 - a type each
    """What a value of Parquet is as text, and a nested one as JSON of texts."""
    if value is None:
        return None
    if isinstance(value, dict):
        return Object((name, _came(member, dtype.field(name).type)) for name, member in value.items())
    if isinstance(value, list):
        return [_came(each, dtype.value_type) for each in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and pa.types.is_date32(dtype):
        return _or_none(lambda: str(date(1970, 1, 1) + timedelta(days=value)))
    if isinstance(value, int) and pa.types.is_time64(dtype):
        return _text(value, dtype.unit).partition("T")[2]
    if isinstance(value, int) and pa.types.is_timestamp(dtype):
        return _text(value, dtype.unit) + ("Z" if dtype.tz else "")
    if isinstance(value, float | int | Decimal):
        return repr(value) if isinstance(value, float) else str(value)
    return value if isinstance(value, str | bytes) else str(value)


def _text(number: int, unit: str) -> str:
    second, digits = {"ms": (10**3, 3), "us": (10**6, 6), "ns": (10**9, 9)}[unit]
    whole_seconds, fraction = divmod(number, second)
    moment = _or_none(lambda: (datetime(1970, 1, 1) + timedelta(seconds=whole_seconds)).isoformat())  # noqa: DTZ001, PLW0108
    return f"{moment}.{fraction:0{digits}}"


def _or_none(text: Callable[[], str]) -> str:
    """Python ends at the year 9999, and so does the table: what is beyond is equal to nothing there."""
    try:
        return text()
    except OverflowError:
        return "beyond"


@pytest.fixture(scope="module")
def connection(services: Services) -> Iterator[Connection]:
    """A database for all tables of this module, one after the other."""
    with psycopg.connect(
        services.fresh_database(), autocommit=True, row_factory=dict_row, prepare_threshold=None
    ) as opened:
        yield opened


def check(connection: Connection, folder: Path, column: dy.Column, files: Sequence[File], good: str | None) -> int:
    """Bring files of one claim to a table, and hold all records against it and the dead letters; how many there are."""
    schema = type("Loose", (dy.Schema,), {"id": dy.Int64(nullable=True), "v": column})
    pipeline = Pipeline(name="p", sources=(Folder("p"),), schema=schema, sink=Table("loose"))
    place = folder / uuid4().hex
    place.mkdir()
    arrivals = {}
    for number, file in enumerate(files, 1):
        data = file.data or file.head + b"".join(record.data for record in file.records)
        path = place / f"{number}-{file.name}"
        path.write_bytes(data)
        arrivals[number] = Spooled(
            arrival_id=number,
            path=path,
            name=file.name,
            size=len(data),
            source="p",
            pipeline=pipeline,
            limits=Limits(),
        )
    parsed = parse({number: partial(_itself, each) for number, each in arrivals.items()}, pipeline, Limits(), place)
    assert (parsed.rejected, parsed.unread) == ({}, {})
    dead: dict[tuple[int, int], bytes] = {}
    sink = PostgresSink(pipeline)
    with connection.transaction():
        connection.execute("drop table if exists loose")
        connection.execute("set local timezone to 'UTC'")
        for chunk in parsed.chunks:
            frame, letters = chunk.read_rows(), chunk.read_letters()
            assert chunk.miscounted(frame, chunk.read_deletes(), letters) == {}
            sink.prepare(connection, frame)
            for refusal in sink.write(connection, frame):
                found = arrivals[refusal.arrival_id].originals({refusal.row})
                dead[refusal.arrival_id, refusal.row] = found[refusal.row].data
            dead |= {(letter.arrival_id, letter.row): letter.original for letter in letters_of(letters)}
        shown = "v::text" if isinstance(column.dtype, pl.List | pl.Array | pl.Struct) else "v"
        rows = connection.execute(f"select {ARRIVAL}, {ROW}, id, {shown} as v from loose").fetchall()
    there = {(row[ARRIVAL], row[ROW]): (row["id"], row["v"]) for row in rows}
    origins = {(number, row) for number, file in enumerate(files, 1) for row in range(1, len(file.records) + 1)}
    assert len(there) == len(rows)
    assert there.keys() | dead.keys() == origins
    assert not there.keys() & dead.keys()
    for number, file in enumerate(files, 1):
        for row, record in enumerate(file.records, 1):
            if (number, row) in dead:
                if file.name != "a.parquet":
                    assert dead[number, row] == record.data
                assert good is None or record.came != good, f"{good} is a good value"
                continue
            key, stored = there[number, row]
            assert not record.broken
            if file.name != "a.json":  # elements that break the document were left out
                assert key == row - 1
            assert same(record.came, stored, column.dtype), f"{record.came!r} became {stored!r}"
    shutil.rmtree(place)
    return len(origins)


def _itself(spooled: Spooled) -> Spooled:
    return spooled


def examples(request: pytest.FixtureRequest) -> settings:
    """How many examples to take."""
    long = 10 if request.config.getoption("--long") else 1
    return settings(
        max_examples=EXAMPLES * long,
        deadline=None,
        derandomize=long == 1,  # a change is held against what the one before passed; the long run seeks what is new
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def several(cells: st.SearchStrategy[str], good: str) -> st.SearchStrategy[list[list[str]]]:
    """Cells of two files, with a good one in each."""
    each = st.lists(cells, min_size=RECORDS - 1, max_size=RECORDS).map(lambda found: [good, *found])
    return st.lists(each, min_size=2, max_size=2)


@pytest.mark.parametrize("name", COLUMNS)
def test_each_value_of_csv_is_stored_as_it_came_or_a_dead_letter(
    request: pytest.FixtureRequest, connection: Connection, tmp_path: Path, name: str
) -> None:
    nested = isinstance(COLUMNS[name].dtype, pl.List | pl.Array | pl.Struct)

    seen = 0

    @examples(request)
    @given(several(st.one_of(documents, cells) if nested else cells, GOOD[name]))
    def hold(files: list[list[str]]) -> None:
        nonlocal seen
        seen += check(connection, tmp_path, COLUMNS[name], [csv_file(cells) for cells in files], GOOD[name])

    hold()
    assert seen >= FEWEST


@pytest.mark.parametrize("form", ["a.jsonl", "a.json"])
@pytest.mark.parametrize("name", COLUMNS)
def test_each_value_of_json_is_stored_as_it_came_or_a_dead_letter(
    request: pytest.FixtureRequest, connection: Connection, tmp_path: Path, name: str, form: str
) -> None:
    good = GOOD[name] if GOOD[name][0] in "[{t" or GOOD[name] == "17" else json.dumps(GOOD[name])
    make = partial(json_file, form) if form == "a.jsonl" else json_array

    seen = 0

    @examples(request)
    @given(several(documents, good))
    def hold(files: list[list[str]]) -> None:
        nonlocal seen
        seen += check(connection, tmp_path, COLUMNS[name], [make(cells) for cells in files], GOOD[name])

    hold()
    assert seen >= FEWEST


@pytest.mark.parametrize("name", COLUMNS)
def test_each_value_of_parquet_is_stored_as_it_came_or_a_dead_letter(
    request: pytest.FixtureRequest, connection: Connection, tmp_path: Path, name: str
) -> None:
    seen = 0

    @examples(request)
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        nonlocal seen
        files = []
        for _ in range(2):
            kind = data.draw(st.sampled_from(FED[name]))
            values = st.lists(st.none() | PARQUET[kind][1], min_size=RECORDS, max_size=RECORDS + 1)
            files.append(parquet_file(kind, data.draw(values)))
        seen += check(connection, tmp_path, COLUMNS[name], files, None)

    hold()
    assert seen >= FEWEST

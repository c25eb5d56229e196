"""Every value that is read is the value that came, or its record is a dead letter: from bytes to typed frames."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import dataframely as dy
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headgate.errors import ArrivalRejected
from headgate.model import DeadLetter, Reason
from headgate.pipeline import Csv, Folder, Json, Parquet, Pipeline, Table
from headgate.records.batch import Limits
from headgate.records.casting import cast
from headgate.records.letters import letters_of
from headgate.records.parsing import Spooled, parse

NEW_YORK = ZoneInfo("America/New_York")


@dataclass
class Came:
    """What became of some files."""

    rows: list[tuple[object, ...]]  # the schema's columns, arrival, row
    dead: list[DeadLetter]
    rejected: Mapping[int, ArrivalRejected]


def read(
    folder: Path, schema: type[dy.Schema], files: Sequence[tuple[str, bytes]], *formats: Csv | Json | Parquet
) -> Came:
    """Read files in one claim; the first one is arrival 1."""
    pipeline = Pipeline(name="p", sources=(Folder("p"),), schema=schema, sink=Table("p"), formats=formats)
    arrivals = {}
    for number, (name, data) in enumerate(files, 1):
        path = folder / f"{number}-{name}"
        path.write_bytes(data)
        arrivals[number] = partial(
            Spooled,
            arrival_id=number,
            path=path,
            name=name,
            size=len(data),
            source="p",
            pipeline=pipeline,
            limits=Limits(),
        )
    chunks = folder / "chunks"
    chunks.mkdir()
    parsed = parse(arrivals, pipeline, Limits(), chunks)
    assert parsed.unread == {}
    rows = [row for chunk in parsed.chunks for row in chunk.read_rows().rows()]
    dead = [letter for chunk in parsed.chunks for letter in letters_of(chunk.read_letters())]
    return Came(rows, dead, parsed.rejected)


def parquet(table: pa.Table, folder: Path) -> bytes:
    path = folder / "written.parquet"
    pq.write_table(table, path)
    return path.read_bytes()


class Half(dy.Schema):
    """A number that comes as a half float."""

    x = dy.Float64()


def test_half_floats_are_the_numbers_that_they_are(tmp_path: Path) -> None:
    halves = pa.table({"x": pa.array([0.1, 65504, 6e-8], pa.float16())})
    came = read(tmp_path, Half, [("a.parquet", parquet(halves, tmp_path))])
    assert [row[0] for row in came.rows] == [0.0999755859375, 65504, 2**-24]


def test_a_csv_whose_first_column_is_called_like_parquet_is_csv(tmp_path: Path) -> None:
    class Named(dy.Schema):
        PAR1 = dy.Int64()

    assert [row[0] for row in read(tmp_path, Named, [("a.csv", b"PAR1\n7\n")]).rows] == [7]


class Listed(dy.Schema):
    """A list."""

    id = dy.Int64(primary_key=True)
    l = dy.List(dy.Int64(nullable=True), nullable=True)  # noqa: E741


def lines(*records: str) -> bytes:
    return "".join(f"{record}\n" for record in records).encode()


BROKEN = ['{"id":1,"l":""}', '{"id":2,"l":[7]}', '{"id":3,"l":"[1],[2]"}']


def test_a_text_that_is_no_list_moves_no_value_to_another_record(tmp_path: Path) -> None:
    came = read(tmp_path, Listed, [("a.jsonl", lines(*BROKEN))])
    assert came.rows == [(2, [7], 1, 2)]
    assert [(letter.row, letter.original.decode().strip()) for letter in came.dead] == [(1, BROKEN[0]), (3, BROKEN[2])]


def test_values_stay_with_their_file_among_files_of_one_claim(tmp_path: Path) -> None:
    files = [(f"{number}.jsonl", lines(record)) for number, record in enumerate(BROKEN)]
    came = read(tmp_path, Listed, files)
    assert came.rows == [(2, [7], 2, 1)]
    assert sorted(letter.arrival_id for letter in came.dead) == [1, 3]


def test_an_empty_text_in_a_list_column_harms_no_other_record_of_the_claim(tmp_path: Path) -> None:
    files = [("a.jsonl", lines('{"id":1,"l":""}')), ("b.csv", b"id,l\n2,[8]\n")]
    came = read(tmp_path, Listed, files)
    assert came.rejected == {}
    assert came.rows == [(2, [8], 2, 1)]


def nested(cells: list[str], dtype: pl.DataType) -> list[object]:
    return cast(pl.Series("x", cells, dtype=pl.String), dtype).to_list()


@pytest.mark.parametrize("cell", ["[1.5]", "[true]", "[12345678901234567890]", "1", '"x"', "{}", "[[1]]", "[1e2]", ""])
def test_what_is_no_list_of_integers_is_not_read_as_one(cell: str) -> None:
    assert nested([cell, "[1]"], pl.List(pl.Int64())) == [None, [1]]


def test_leaves_of_lists_keep_the_text_they_were_written_with() -> None:
    assert nested(['[1.10,1e-400,true,"x",null]'], pl.List(pl.String())) == [["1.10", "1e-400", "true", "x", None]]


@pytest.mark.parametrize("cell", ["[NaN]", '["NaN"]', '["inf"]', "[1e999]", "[-Infinity]"])
def test_a_float_that_json_has_no_word_for_is_not_read_in_a_list(cell: str) -> None:
    assert nested([cell, "[0.5,1]"], pl.List(pl.Float64())) == [None, [0.5, 1.0]]


def test_lists_in_lists_arrays_and_structures_keep_their_places() -> None:
    dtype = pl.List(pl.Struct({"a": pl.Array(pl.Int8(), 2), "b": pl.List(pl.List(pl.String()))}))
    cells = ['[{"a":[1,2]},null]', "[]", '[{"a":[1]}]', '[{"b":[[],["x"],null]}]', '[{"a":[1,300]}]']
    assert nested(cells, dtype) == [
        [{"a": [1, 2], "b": None}, None],
        [],
        None,
        [{"a": None, "b": [[], ["x"], None]}],
        None,
    ]


class Point(dy.Schema):
    """A structure."""

    id = dy.Int64(primary_key=True)
    s = dy.Struct({"a": dy.Int64(nullable=True), "b": dy.String(nullable=True)}, nullable=True)


def test_structures_obey_on_extra_and_have_no_member_twice(tmp_path: Path) -> None:
    records = [
        '{"id":1,"s":{"a":1,"c":2}}',
        '{"id":2,"s":{"a":1,"a":2}}',
        '{"id":3,"s":{"b":"x"}}',
        '{"id":4,"s":null}',
    ]
    came = read(tmp_path, Point, [("a.jsonl", lines(*records))])
    assert came.rows == [(3, {"a": None, "b": "x"}, 1, 3), (4, None, 1, 4)]
    assert [(letter.row, letter.faults[0].rule, letter.faults[0].value) for letter in came.dead] == [
        (1, "unknown key", "s.c"),
        (2, "key given twice", "s.a"),
    ]


def test_members_that_are_dropped_are_dropped_in_structures_of_all_formats(tmp_path: Path) -> None:
    table = pa.table({"id": [3], "s": [{"a": 1, "c": "more"}]})
    files = [
        ("a.jsonl", lines('{"id":1,"s":{"a":1,"c":{"d":[]}}}')),
        ("b.csv", b'id,s\n2,"{""a"":1,""c"":2}"\n'),
        ("c.parquet", parquet(table, tmp_path)),
    ]
    came = read(tmp_path, Point, files, Json(on_extra="drop"), Csv(on_extra="drop"), Parquet(on_extra="drop"))
    assert [row[:2] for row in came.rows] == [(number, {"a": 1, "b": None}) for number in (1, 2, 3)]


def test_members_that_the_schema_lacks_refuse_records_of_csv_and_parquet(tmp_path: Path) -> None:
    table = pa.table({"id": [3], "s": [{"a": 1, "c": "more"}]})
    files = [("b.csv", b'id,s\n2,"{""a"":1,""c"":2}"\n'), ("c.parquet", parquet(table, tmp_path))]
    came = read(tmp_path, Point, files)
    assert came.rows == []
    assert [letter.faults[0].rule for letter in came.dead] == ["s|unknown key", "s|unknown key"]


def test_a_nul_in_a_list_is_refused_as_such(tmp_path: Path) -> None:
    class Words(dy.Schema):
        words = dy.List(dy.String(), nullable=True)

    came = read(tmp_path, Words, [("a.jsonl", lines('{"words":["a\\u0000"]}', '{"words":["\\ud800"]}'))])
    assert came.rows == []
    assert [letter.reason for letter in came.dead] == [Reason.NUL, Reason.SCHEMA]


def test_lists_of_parquet_with_nan_are_dead_letters_and_a_null_structure_is_null(tmp_path: Path) -> None:
    class Floats(dy.Schema):
        l = dy.List(dy.Float64(nullable=True, allow_nan=True), nullable=True)  # noqa: E741
        s = dy.Struct({"a": dy.Int64(nullable=True)}, nullable=True)

    table = pa.table(
        {"l": [[1.5, None], [float("nan")], [float("-inf")], None], "s": [{"a": 1}, None, None, None]},
        schema=pa.schema([("l", pa.list_(pa.float64())), ("s", pa.struct([("a", pa.int64())]))]),
    )
    came = read(tmp_path, Floats, [("a.parquet", parquet(table, tmp_path))])
    assert came.rows == [([1.5, None], {"a": 1}, 1, 1), (None, None, 1, 4)]
    assert [letter.row for letter in came.dead] == [2, 3]


def test_binary_of_parquet_that_is_no_text_is_the_fault_of_its_record_alone_in_lists_too(tmp_path: Path) -> None:
    class Blobs(dy.Schema):
        words = dy.List(dy.String(nullable=True), nullable=True)
        blobs = dy.List(dy.Struct({"a": dy.Binary(nullable=True)}), nullable=True)
        word = dy.String(nullable=True)

    table = pa.table(
        {
            "words": pa.array([[b"x", None], [b"\xff"], [], None, None], pa.list_(pa.binary())),
            "blobs": pa.array(
                [[{"a": b"y"}], None, [{"a": b"\xfe"}], [], None], pa.list_(pa.struct([("a", pa.binary())]))
            ),
            "word": pa.array([b"zz", None, None, None, b"\xfd\xfd"], pa.binary(2)),
        }
    )
    came = read(tmp_path, Blobs, [("a.parquet", parquet(table, tmp_path))])
    assert came.rejected == {}
    assert came.rows == [(["x", None], [{"a": b"y"}], "zz", 1, 1), (None, [], None, 1, 4)]
    assert [(letter.row, letter.reason, letter.faults[0].column) for letter in came.dead] == [
        (2, Reason.ENCODING, "words"),
        (3, Reason.ENCODING, "blobs"),
        (5, Reason.ENCODING, "word"),
    ]
    for letter in came.dead:
        [row] = pl.read_parquet(letter.original).rows()
        assert row == pl.read_parquet(tmp_path / "written.parquet").row(letter.row - 1)


def test_a_map_of_parquet_is_the_list_of_its_entries_and_a_logical_type_what_it_is_stored_as(tmp_path: Path) -> None:
    class Mapped(dy.Schema):
        m = dy.List(
            dy.Struct({"key": dy.String(nullable=True), "value": dy.List(dy.Int64(nullable=True), nullable=True)}),
            nullable=True,
        )
        j = dy.List(dy.Int64(nullable=True), nullable=True)
        u = dy.Binary(nullable=True)

    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"\xff" * 16, None], pa.binary(16)))
    table = pa.table(
        {
            "m": pa.array([[("a", [1]), ("b", None)], None], pa.map_(pa.string(), pa.list_(pa.int64()))),
            "j": pa.array(["[1, null]", None], pa.json_()),
            "u": uuids,
        }
    )
    came = read(tmp_path, Mapped, [("a.parquet", parquet(table, tmp_path))])
    assert came.rows == [
        ([{"key": "a", "value": [1]}, {"key": "b", "value": None}], [1, None], b"\xff" * 16, 1, 1),
        (None, None, None, 1, 2),
    ]


def test_text_of_parquet_that_is_not_utf_8_is_told_in_the_words_of_who_wrote_it(tmp_path: Path) -> None:
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    came = read(tmp_path, Single, [("a.parquet", parquet(pa.table({"word": text}), tmp_path))])
    assert came.rejected[1].reason == Reason.UNDECODABLE
    assert "text that is not UTF-8" in came.rejected[1].detail


def test_a_parquet_file_whose_rows_polars_does_not_read_is_rejected(tmp_path: Path) -> None:
    """Some writers leave the number of rows out of the footer; the row groups have it all the same."""
    data = parquet(pa.table({"id": [1, 2, 3], "l": [[1], None, []]}), tmp_path)
    length = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - length
    # The third field of the footer, behind the list of the schema: an integer, 3 in zigzag.
    at = data.index(b"\x16\x06\x19", start)
    forged = data[:at] + b"\x16\x00" + data[at + 2 :]
    came = read(tmp_path, Listed, [("a.parquet", data), ("b.parquet", forged)])
    assert [row[-2:] for row in came.rows] == [(1, 1), (1, 2), (1, 3)]
    assert came.rejected[2].reason == Reason.UNDECODABLE
    assert "says it has 0 rows, but its row groups have 3" in came.rejected[2].detail


class Moments(dy.Schema):
    """Times of all kinds."""

    t = dy.Time(nullable=True)
    n = dy.Datetime(time_unit="ns", nullable=True)
    z = dy.Datetime(time_zone="America/New_York", nullable=True)


def test_times_of_parquet_keep_their_fractions_and_zones_their_seconds(tmp_path: Path) -> None:
    early = datetime(1880, 1, 1, 12, 0, 0, tzinfo=NEW_YORK)
    table = pa.table(
        {
            "t": pa.array([time(10, 36, 22, 279388)], pa.time64("us")),
            "n": pa.array([datetime(2020, 1, 1, 0, 0, 0, 123456)], pa.timestamp("ns")),  # noqa: DTZ001 - as it came
            "z": pa.array([early], pa.timestamp("us", "America/New_York")),
        }
    )
    [row] = read(tmp_path, Moments, [("a.parquet", parquet(table, tmp_path))]).rows
    assert row[:2] == (time(10, 36, 22, 279388), datetime(2020, 1, 1, 0, 0, 0, 123456))  # noqa: DTZ001 - as it came
    assert isinstance(row[2], datetime)
    assert row[2].astimezone(UTC) == early.astimezone(UTC)


def test_nanoseconds_that_would_be_rounded_and_years_that_would_wrap_are_dead_letters(tmp_path: Path) -> None:
    table = pa.table(
        {
            "t": pa.array([86399999999900, None, None], pa.time64("ns")),
            "n": pa.array([None, 1_577_836_800_000_000_001, 0], pa.timestamp("ns")),
            "z": pa.array([None] * 3, pa.timestamp("us", "UTC")),
        }
    )
    text = b"t,n,z\n23:59:59.9999999,,\n,2300-01-01T00:00:00,\n,9999-12-31T00:00:00,\n"
    came = read(tmp_path, Moments, [("a.parquet", parquet(table, tmp_path)), ("b.csv", text)])
    assert [row[-2:] for row in came.rows] == [(1, 3)]
    assert sorted((letter.arrival_id, letter.row) for letter in came.dead) == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
    [original] = [json.loads(letter.original) for letter in came.dead if (letter.arrival_id, letter.row) == (1, 2)]
    assert original["n"].endswith("00:00:00.000000001")


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Sydney", "Asia/Kathmandu"])
@pytest.mark.parametrize("unit", ["ms", "us"])
def test_local_times_are_read_by_the_rules_of_their_zone_in_any_century(zone: str, unit: "pl._typing.TimeUnit") -> None:
    rules = ZoneInfo(zone)
    local = [datetime(year, month, 15, 12) for year in (1850, 1882, 1901, 2024, 2100, 2500, 9998) for month in (1, 7)]  # noqa: DTZ001 - local
    cells = pl.Series("x", [moment.isoformat() for moment in local])
    read = cast(cells, pl.Datetime(unit, zone)).dt.convert_time_zone("UTC").to_list()
    assert read == [moment.replace(tzinfo=rules).astimezone(UTC) for moment in local]


def test_local_times_that_a_zone_will_have_twice_or_not_at_all_are_not_read() -> None:
    cells = ["2100-03-14T02:30:00", "2100-11-07T01:30:00", "2100-11-07T03:30:00"]
    first, second, third = nested(cells, pl.Datetime("us", "America/New_York"))
    assert (first, second) == (None, None)
    assert isinstance(third, datetime)


def test_a_float_is_neither_made_infinite_nor_zero() -> None:
    cells = ["1e999", "-1e999", "1e-400", "inf", "0", "-0.0", "0e9", "5e-324"]
    assert nested(cells, pl.Float64()) == [None, None, None, float("inf"), 0, 0, 0, 5e-324]
    assert nested(["1e39", "1e-46", "1e38"], pl.Float32())[:2] == [None, None]


def test_an_object_is_no_list() -> None:
    assert nested(["{}", "[]", "[{}]"], pl.List(pl.Struct({"a": pl.Int64()}))) == [None, [], [{"a": None}]]


def test_years_far_off_and_narrow_floats_of_parquet_harm_no_other_record(tmp_path: Path) -> None:
    class Far(dy.Schema):
        u = dy.Datetime(nullable=True)
        f = dy.Float64(nullable=True)

    table = pa.table(
        {"u": pa.array([2**63 - 1, 0], pa.timestamp("us")), "f": pa.array([None, 6.61843679945687e16], pa.float32())}
    )
    came = read(tmp_path, Far, [("a.parquet", parquet(table, tmp_path))])
    assert [row[1:] for row in came.rows] == [(float(table["f"][1].as_py()), 1, 2)]
    assert [letter.row for letter in came.dead] == [1]


class Single(dy.Schema):
    """One column."""

    word = dy.String(nullable=True)


def test_a_blank_line_of_one_column_is_an_empty_cell(tmp_path: Path) -> None:
    class Required(dy.Schema):
        word = dy.String(nullable=False)

    data = b'word\na\n\n"b"\n\r\n'
    assert read(tmp_path, Single, [("a.csv", data)]).rows == [("a", 1, 1), (None, 1, 2), ("b", 1, 3), (None, 1, 4)]
    (tmp_path / "more").mkdir()
    came = read(tmp_path / "more", Required, [("a.csv", data)])
    assert [(letter.row, letter.original) for letter in came.dead] == [(2, b"\n"), (4, b"\r\n")]


@pytest.mark.parametrize(
    ("encoding", "delimiter", "word"),
    [
        ("iso2022_jp", ",", "日本"),
        ("shift_jis", "|", "ポ"),  # its second byte is a delimiter's
        ("big5", "|", "坼"),
        ("gb18030", "|", "亅"),
        ("hz", ",", "中"),
        ("euc_jp", ",", "表"),
        ("cp1252", ";", "€"),
    ],
)
def test_each_encoding_is_decoded_before_cells_are_cut(
    tmp_path: Path, encoding: str, delimiter: str, word: str
) -> None:
    class Pair(dy.Schema):
        a = dy.String(nullable=True)
        b = dy.String(nullable=True)

    rows = [f"a{delimiter}b", f"{word}{delimiter}x", word, f"y{delimiter}{word}"]
    came = read(
        tmp_path,
        Pair,
        [("a.csv", "".join(f"{row}\n" for row in rows).encode(encoding))],
        Csv(encoding=encoding, delimiter=delimiter),
    )
    assert came.rows == [(word, "x", 1, 1), ("y", word, 1, 3)]
    assert [(letter.row, letter.faults[0].rule) for letter in came.dead] == [(2, "number of cells")]

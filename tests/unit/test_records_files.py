"""What holds a file's text: gzip, Parquet, names."""

import gzip
import os
import zlib
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest
from headgate.errors import ArrivalRejected, KafkaUnavailable, NotTried
from headgate.model import Reason
from headgate.pipeline import Csv, Folder, Format, Json, Parquet, Pipeline, Table
from headgate.records.batch import Batch, Limits, Original
from headgate.records.contract import validate
from headgate.records.expansion import expanded
from headgate.records.letters import letters_of
from headgate.records.originals import originals, together
from headgate.records.parquet_footer import read_footer
from headgate.records.parsing import Spooled
from headgate.records.parsing import parse as parse_all
from headgate.records.reading import read


class Pair(dy.Schema):
    """Two columns."""

    a = dy.Int64(nullable=True)
    b = dy.String(nullable=True)


PAIRS = Pipeline(name="pairs", sources=(Folder("pairs"),), schema=Pair, sink=Table("pairs"))
CSV = b"a,b\n1,x\n2,y\n"


def parse(file: Path, data: bytes, name: str, limits: Limits | None = None) -> list[Batch]:
    file.write_bytes(data)
    return list(read(file, name, PAIRS, limits or Limits(), arrival_id=1))


def reason(file: Path, data: bytes, name: str, limits: Limits | None = None) -> str:
    with pytest.raises(ArrivalRejected) as caught:
        parse(file, data, name, limits)
    assert "\n" not in str(caught.value)
    return caught.value.reason


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spooled"


@pytest.mark.parametrize("name", ["a.csv", "A.CSV", "a.b.Csv"])
def test_the_ending_tells_the_format_in_any_case(file: Path, name: str) -> None:
    assert sum(batch.rows_in for batch in parse(file, CSV, name)) == 2


@pytest.mark.parametrize("name", ["a.xml", "csv", "a.yaml", "a.pickle", "a.parquet.gz", "a.csv.zip", ".gz"])
def test_an_unknown_ending_is_rejected_unread(tmp_path: Path, name: str) -> None:
    """Nothing but the listed formats is ever opened: no XML entities, YAML tags or pickles."""
    with pytest.raises(ArrivalRejected, match=r"\.ndjson") as caught:
        list(read(tmp_path / "absent", name, PAIRS, Limits(), arrival_id=1))
    assert caught.value.reason == Reason.UNKNOWN_FORMAT


def test_gzip_of_several_members_and_padding_is_one_text(file: Path) -> None:
    data = gzip.compress(CSV[:5]) + gzip.compress(b"") + gzip.compress(CSV[5:]) + b"\0" * 100
    assert [row for batch in parse(file, data, "a.csv.GZ") for row in batch.frame["a"]] == ["1", "2"]


@pytest.mark.parametrize("block", [1, 7, 100_000])
def test_expanding_gives_all_bytes_whatever_the_block(file: Path, block: int) -> None:
    data = os.urandom(1000) * 20
    file.write_bytes(gzip.compress(data[:9000]) + gzip.compress(data[9000:]))
    assert b"".join(expanded(file, "a.gz", Limits(block_bytes=block))) == data


def test_gzip_cut_short_is_rejected_as_truncated(file: Path) -> None:
    whole = gzip.compress(os.urandom(500).hex().encode())
    assert reason(file, gzip.compress(CSV)[:-9], "a.csv.gz") == Reason.TRUNCATED
    for length in range(1, len(whole), 37):
        file.write_bytes(whole[:length])
        with pytest.raises(ArrivalRejected, match="cut short"):
            list(expanded(file, "a.gz", Limits()))


def test_what_is_no_gzip_or_damaged_or_followed_by_something_else_is_rejected(file: Path) -> None:
    damaged = bytearray(gzip.compress(CSV))
    damaged[-6] ^= 1  # of the checksum
    for data in (CSV, bytes(damaged), gzip.compress(CSV) + b"rest"):
        assert reason(file, data, "a.csv.gz") == Reason.UNDECODABLE


def test_no_bytes_are_rejected_as_empty_whatever_the_format(file: Path) -> None:
    for name in ("a.csv", "a.csv.gz", "a.jsonl", "a.json", "a.parquet"):
        assert reason(file, b"", name) == Reason.EMPTY
    assert reason(file, gzip.compress(b""), "a.jsonl.gz") == Reason.EMPTY


def bomb(megabytes: int) -> bytes:
    pack = zlib.compressobj(9, wbits=31)
    lines = (pack.compress(b"1,x\n" * 250_000) for _ in range(megabytes))
    return b"".join([pack.compress(b"a,b\n"), *lines, pack.flush()])


def test_a_bomb_is_refused_once_it_is_large(file: Path) -> None:
    file.write_bytes(bomb(300))
    with pytest.raises(ArrivalRejected) as caught:
        list(expanded(file, "a.csv.gz", Limits()))
    assert caught.value.reason == Reason.BOMB
    assert sum(map(len, expanded(file, "a.csv.gz", Limits(max_expansion=2000)))) == 300_000_004


def test_a_file_of_equal_rows_is_no_bomb(file: Path) -> None:
    file.write_bytes(bomb(23))
    assert sum(map(len, expanded(file, "a.csv.gz", Limits()))) == 23_000_004


def test_a_file_over_the_limit_of_size_is_refused(file: Path) -> None:
    limits = Limits(max_expanded_bytes=10)
    assert reason(file, CSV, "a.csv", limits) == Reason.TOO_LARGE
    assert reason(file, gzip.compress(CSV), "a.csv.gz", limits) == Reason.TOO_LARGE


class Wide(dy.Schema):
    """A column of each kind."""

    i = dy.Int64(nullable=True)
    f = dy.Float64(nullable=True)
    m = dy.Decimal(18, 2, nullable=True)
    t = dy.Bool(nullable=True)
    d = dy.Date(nullable=True)
    w = dy.Datetime(time_zone="UTC", nullable=True)
    n = dy.Datetime(nullable=True)
    s = dy.String(nullable=True)
    l = dy.List(dy.Int64(), nullable=True)  # noqa: E741


WIDE = Pipeline(name="wide", sources=(Folder("wide"),), schema=Wide, sink=Table("wide"), formats=(Parquet("drop"),))


def test_parquet_values_survive_the_way_over_text(file: Path) -> None:
    moment = datetime(2013, 1, 1, 6, 0, 0, 5, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "more": [1, 2],
            "i": [2**62 + 1, None],
            "f": [0.1 + 0.2, None],
            "m": [Decimal("12345678901234.10"), None],
            "t": [True, None],
            "d": [date(2013, 2, 28), None],
            "w": [moment, None],
            "n": [moment.replace(tzinfo=None), None],
            "s": ["caf\u00e9", None],
            "l": [[1, 2], None],
        }
    )
    frame.write_parquet(file)
    [batch] = read(file, "a.PARQUET", WIDE, Limits(), arrival_id=3)
    good, [*refused] = validate(batch.frame, Wide)
    assert refused == []
    assert good.select(Wide.column_names()).rows() == frame.drop("more").rows()
    kept = together(originals(file, "a.parquet", WIDE, Limits(), {1, 2}).values())
    again = file.with_suffix(".again")
    again.write_bytes(kept)
    [batch] = read(again, "a.jsonl", WIDE, Limits(), arrival_id=3)
    assert validate(batch.frame, Wide).good.equals(good)


def test_parquet_comes_in_batches(file: Path) -> None:
    pl.DataFrame({"a": range(10), "b": ["x"] * 10}).write_parquet(file, row_group_size=4)
    batches = list(read(file, "a.parquet", PAIRS, Limits(chunk_rows=3), arrival_id=1))
    assert [batch.frame["_row"].to_list() for batch in batches] == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]


def test_parquet_that_is_none_or_broken_or_of_other_columns_is_rejected(file: Path) -> None:
    pl.DataFrame({"a": [1], "c": ["x"]}).write_parquet(file)
    data = file.read_bytes()
    assert reason(file, data, "a.parquet") == Reason.COLUMNS
    assert reason(file, data[:-10], "a.parquet") == Reason.TRUNCATED
    assert reason(file, b"nothing of the kind", "a.parquet") == Reason.UNDECODABLE
    assert reason(file, b"PAR1" + b"\xff" * 200 + b"\x10\0\0\0PAR1", "a.parquet") == Reason.UNDECODABLE


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_nul_characters_are_read_and_then_refused_by_the_contract(file: Path, name: str) -> None:
    if name == "a.parquet":
        pl.DataFrame({"a": [1, 2], "b": ["x", "y\0"]}).write_parquet(file)
        data = file.read_bytes()
    else:
        data = b"a,b\n1,x\n2,y\0\n" if name == "a.csv" else b'{"a":1,"b":"x"}\n{"a":2,"b":"y\\u0000"}\n'
    [batch] = parse(file, data, name)
    good, [refusal] = validate(batch.frame, Pair)
    assert good["_row"].to_list() == [1]
    assert (refusal.row, refusal.reason, refusal.faults[0].value) == (2, Reason.NUL, r"y\x00")


def test_a_folder_says_how_files_are_read_whose_names_do_not_tell(file: Path) -> None:
    readers: dict[str, Format] = {"*.tsv": Csv(delimiter="\t"), "*.LOG": Json(), "orders_*": Parquet("drop")}
    pipeline = Pipeline(name="p", sources=(Folder("in", readers=readers),), schema=Pair, sink=Table("t"))

    def columns(data: bytes, name: str) -> list[str]:
        file.write_bytes(data)
        batches = list(read(file, name, pipeline, Limits(), arrival_id=1, source="in"))
        return [row for batch in batches for row in batch.frame["b"]]

    assert columns(b"a\tb\n1\tx\n", "A.TSV") == ["x"]
    assert columns(gzip.compress(b"a\tb\n1\tx\n"), "a.tsv.gz") == ["x"]
    assert columns(b'{"a":1,"b":"x"}\n', "a.log") == ["x"]
    assert columns(CSV, "a.csv") == ["x", "y"]
    parquet = file.with_suffix(".parquet")
    pl.DataFrame({"a": [1], "b": ["x"], "c": [1]}).write_parquet(parquet)
    assert columns(parquet.read_bytes(), "orders_2026") == ["x"]


def test_parquet_that_asks_for_too_much_is_refused_before_it_is_read(file: Path) -> None:
    small = Limits(memory_bytes=4 * 1024**2, max_record_bytes=100_000)
    pl.DataFrame({"a": [1], "b": ["x" * 2_000_000]}).write_parquet(file, compression="brotli")
    assert file.stat().st_size < 10_000
    with pytest.raises(ArrivalRejected, match="HEADGATE_RECORDS_MEMORY_MB") as caught:
        list(read(file, "a.parquet", PAIRS, small, arrival_id=1))
    assert caught.value.reason == Reason.TOO_LARGE
    with pytest.raises(ArrivalRejected, match="HEADGATE_RECORDS_MAX_RECORD_BYTES"):
        list(read(file, "a.parquet", PAIRS, Limits(max_record_bytes=100_000), arrival_id=1))


def test_the_footer_tells_rows_values_and_what_pages_become(file: Path) -> None:
    texts = [f"text {number} " * 100 for number in range(1000)]
    frame = pl.DataFrame({"a": range(1000), "l": [list(range(50))] * 1000, "b": texts})
    for compression in ("zstd", "snappy", "gzip", "brotli", "uncompressed"):
        frame.write_parquet(file, compression=compression, row_group_size=300)
        groups = read_footer(file)
        assert [group.rows for group in groups] == [300, 300, 300, 100]
        assert [column.values for column in groups[0].columns] == [300, 15_000, 300]
        assert sum(sum(group.columns[2].pages) for group in groups) >= 800_000


class Image(dy.Schema):
    """Bytes beside text."""

    id = dy.Int64(primary_key=True)
    text = dy.String(nullable=True)
    data = dy.Binary(nullable=True)


IMAGES = Pipeline(name="images", sources=(Folder("images"),), schema=Image, sink=Table("images"))


def test_parquet_binary_is_bytes_in_a_binary_column_and_text_or_a_dead_letter_in_any_other(file: Path) -> None:
    texts = [b"a", b"\xff", None]
    frame = pl.DataFrame({"id": [1, 2, 3], "text": texts, "data": [b"\xff\x00", b"x", None]})
    frame.write_parquet(file)
    [batch] = read(file, "a.parquet", IMAGES, Limits(), arrival_id=1)
    good, [*refused] = validate(batch.frame, Image)
    assert refused == []
    assert good.select("id", "text", "data").rows() == [(1, "a", b"\xff\x00"), (3, None, None)]
    [letter] = letters_of(batch.dead)
    assert (letter.row, letter.reason, letter.faults[0].column, letter.format) == (
        2,
        Reason.ENCODING,
        "text",
        "parquet",
    )
    again = together([batch.original(1), Original(letter.original, letter.format)])
    assert pl.read_parquet(again).equals(frame[:2])


def test_binary_columns_of_files_in_several_formats_stand_in_one_chunk(tmp_path: Path) -> None:
    pl.DataFrame({"id": [1], "text": ["a"], "data": [b"\xff"]}).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_bytes(b"id,text,data\n2,b,caf\xc3\xa9\n")
    arrivals = {
        number: partial(
            Spooled, arrival_id=number, path=path, name=path.name, size=path.stat().st_size, source="images",
            pipeline=IMAGES, limits=Limits(),
        )
        for number, path in enumerate(sorted(tmp_path.iterdir()), start=1)
    }  # fmt: skip
    (tmp_path / "chunks").mkdir()
    [chunk] = parse_all(arrivals, IMAGES, Limits(), tmp_path / "chunks").chunks
    assert chunk.read_rows()["data"].to_list() == [b"\xff", "caf\u00e9".encode()]


def test_one_that_cannot_be_read_is_left_alone_and_those_behind_it_wait_no_longer_than_they_may(tmp_path: Path) -> None:
    """A broker that is down takes seconds to say so, for each of its ranges."""

    def unreadable() -> Spooled:
        raise KafkaUnavailable("nobody answers")

    parsed = parse_all({1: unreadable, 2: unreadable}, PAIRS, Limits(), tmp_path, patience=0)
    assert [type(parsed.unread[number]) for number in (1, 2)] == [KafkaUnavailable, NotTried]
    assert parsed.chunks == []

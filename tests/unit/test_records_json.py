"""JSON lines and JSON documents, on real bytes."""

import json
from collections.abc import Sequence
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest
from headgate.errors import ArrivalRejected
from headgate.model import DeadLetter, Reason
from headgate.pipeline import Folder, Json, Pipeline, Table
from headgate.records.batch import Batch, Limits, Original
from headgate.records.json_records import WORTHWHILE
from headgate.records.letters import letters_of
from headgate.records.originals import originals, together
from headgate.records.reading import read
from hypothesis import given
from hypothesis import strategies as st


class Item(dy.Schema):
    """Scalars and a list."""

    id = dy.Int64(primary_key=True)
    name = dy.String(nullable=True)
    price = dy.Decimal(18, 2, nullable=True)
    tags = dy.List(dy.String(), nullable=True)


COLUMNS = ["id", "name", "price", "tags"]


def pipeline(form: Json | None = None) -> Pipeline:
    formats = (form,) if form else ()
    return Pipeline(name="items", sources=(Folder("items"),), schema=Item, sink=Table("items"), formats=formats)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def parse(
    folder: Path, data: bytes, name: str = "a.jsonl", form: Json | None = None, limits: Limits | None = None
) -> list[Batch]:
    file = folder / "spooled"
    file.write_bytes(data)
    return list(read(file, name, pipeline(form), limits or Limits(), arrival_id=7))


def rows(batches: Sequence[Batch]) -> list[tuple[object, ...]]:
    return [row for batch in batches for row in batch.frame.select("_row", *COLUMNS).rows()]


def dead(batches: Sequence[Batch]) -> list[DeadLetter]:
    return [letter for batch in batches for letter in letters_of(batch.dead)]


def test_numbers_keep_the_text_they_were_written_with(folder: Path) -> None:
    data = b'{"id":123456789012345678901234567890,"price":12345678901234567.10,"name":"a","tags":[1.10,"x"]}\n'
    assert rows(parse(folder, data)) == [
        (1, "123456789012345678901234567890", "a", "12345678901234567.10", '[1.10,"x"]')
    ]


def test_a_missing_key_is_null_and_blank_lines_have_no_number(folder: Path) -> None:
    assert rows(parse(folder, b'\n{"id":1}\r\n  \n{"name":"b","id":2}')) == [
        (1, "1", None, None, None),
        (2, "2", "b", None, None),
    ]


BAD_LINES = [
    (b'{"id":NaN}', "json", Reason.MALFORMED),
    (b'{"id":-Infinity}', "json", Reason.MALFORMED),
    (b'{"id":1,"id":2}', "key given twice", Reason.MALFORMED),
    (b'{"id":1,"colour":2}', "unknown key", Reason.MALFORMED),
    (b'{"id":{"a":1}}', "nested value", Reason.MALFORMED),
    (b'{"name":"\\ud800"}', "lone surrogate", Reason.MALFORMED),
    (b'{"id":1', "json", Reason.MALFORMED),
    (b'{"id":01}', "json", Reason.MALFORMED),
    (b'{"id":1}{"id":2}', "json", Reason.MALFORMED),
    (b'{"id":1 "name":2}', "json", Reason.MALFORMED),
    (b'{"name":"a\tb"}', "json", Reason.MALFORMED),
    (b'{"id":5,"name":"a\tb"}', "json", Reason.MALFORMED),
    (b"[1]", "object", Reason.MALFORMED),
    (b"7", "object", Reason.MALFORMED),
    (b'{"tags":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "json", Reason.MALFORMED),
    (b'{"tags":' + b"[" * 50 + b"]" * 50 + b"}", None, None),
    (b'{"name":"\xff"}', "encoding", Reason.ENCODING),
]


@pytest.mark.parametrize(("bad", "rule", "reason"), BAD_LINES)
@pytest.mark.parametrize("others", [1, WORTHWHILE])
def test_a_bad_line_hits_only_its_own_record(
    folder: Path, bad: bytes, rule: str | None, reason: Reason | None, others: int
) -> None:
    """Alone among few lines, and among so many that most are read at once."""
    good = [b'{"id":%d,"name":"x"}\n' % number for number in range(others)]
    batches = parse(folder, b"".join([*good, bad + b"\n", *good]))
    letters = dead(batches)
    assert len(rows(batches)) == 2 * others + (rule is None)
    assert [(letter.row, letter.reason, letter.faults[0].rule, letter.original) for letter in letters] == (
        [(others + 1, reason, rule, bad + b"\n")] if rule else []
    )


def test_a_first_line_that_is_bad_does_not_spoil_the_others(folder: Path) -> None:
    batches = parse(folder, b"oops\n" + b'{"id":1}\n' * WORTHWHILE)
    assert [letter.row for letter in dead(batches)] == [1]
    assert [row[0] for row in rows(batches)] == list(range(2, WORTHWHILE + 2))


def test_unknown_keys_can_be_dropped(folder: Path) -> None:
    data = b'{"id":1,"x":{"y":[1]}}\n' + b'{"x":5,"id":2}\n' * WORTHWHILE
    assert {row[1] for row in rows(parse(folder, data, form=Json(on_extra="drop")))} == {"1", "2"}


def test_a_long_key_costs_its_own_line_at_most(folder: Path) -> None:
    """Among the first lines of a block it would become a part of a pattern for all others."""
    data = b'{"id":1,"%s":1}\n' % (b"k" * 1_000_000) + b'{"id":2}\n' * WORTHWHILE
    assert len(rows(parse(folder, data, form=Json(on_extra="drop")))) == WORTHWHILE + 1
    assert [letter.row for letter in dead(parse(folder, data))] == [1]


@pytest.mark.parametrize("many", [1, WORTHWHILE])
def test_declared_texts_mean_no_value(folder: Path, many: int) -> None:
    data = b'{"id":1,"name":"NA"}\n' * many
    assert {row[2] for row in rows(parse(folder, data, form=Json(nulls=("NA",))))} == {None}


def test_the_text_null_is_no_null(folder: Path) -> None:
    data = b'{"id":null,"name":"null","price":true}\n' * WORTHWHILE
    assert {row[1:] for row in rows(parse(folder, data))} == {(None, "null", "true", None)}


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.sampled_from('ab"\\:,{}[] \u2028\u00e9\t\x00'), max_size=5),
)
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(["id", "name", "price"]), VALUES, min_size=1), min_size=1, max_size=8
)


def as_text(value: object) -> str | None:
    return value if isinstance(value, str) or value is None else json.dumps(value)


@given(records=RECORDS, block=st.integers(1, 90), tidy=st.booleans(), often=st.sampled_from([1, 80]))
def test_lines_and_arrays_give_exactly_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, object]], block: int, often: int, *, tidy: bool
) -> None:
    """Wherever blocks are cut, few lines or many, pretty-printed or not."""
    folder = tmp_path_factory.getbasetemp()
    records = records * often
    limits = Limits(block_bytes=block * often)
    wanted = [(at, *(as_text(record.get(name)) for name in COLUMNS)) for at, record in enumerate(records, 1)]
    lines = "\n".join(json.dumps(record, ensure_ascii=tidy) for record in records)
    assert rows(parse(folder, lines.encode(), "a.ndjson", limits=limits)) == wanted
    array = json.dumps(records, ensure_ascii=tidy, indent=1 if tidy else None)
    batches = parse(folder, array.encode(), "a.json", limits=limits)
    assert rows(batches) == wanted
    again = [json.loads(batch.original(row).data) for batch in batches for row in batch.frame["_row"]]
    assert again == records


def test_one_object_and_objects_one_after_another_are_records_too(folder: Path) -> None:
    assert len(rows(parse(folder, b' {"id":1}\n', "a.json"))) == 1
    assert len(rows(parse(folder, b'{"id":1}\n{"id":\n2} {"id":3}', "a.JSON", limits=Limits(block_bytes=3)))) == 3
    assert parse(folder, b" [ ] ", "a.json") == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"  ", Reason.EMPTY),
        (b'[{"id":1},', Reason.TRUNCATED),
        (b'[{"id":1}', Reason.TRUNCATED),
        (b'[{"id":1},{"na', Reason.TRUNCATED),
        (b'[{"id":1},{"na":', Reason.TRUNCATED),
        (b'[{"id":1} {"id":2}]', Reason.MALFORMED),
        (b'[{"id":1},]', Reason.MALFORMED),
        (b'[,{"id":1}]', Reason.MALFORMED),
        (b'[{"id":1}] x', Reason.MALFORMED),
        (b"<xml/>", Reason.MALFORMED),
        (b"[" * 100_000, Reason.MALFORMED),
        (b'[{"id":1}, \xff]', Reason.MALFORMED),
        ('[{"id":1}]'.encode("utf-16"), Reason.UNDECODABLE),
        (b'[{"name":"' + b"x" * 5000 + b'"}]', Reason.TOO_LARGE),
    ],
)
@pytest.mark.parametrize("block", [1, 1000])
def test_a_document_that_is_no_array_of_objects_is_rejected(
    folder: Path, data: bytes, reason: Reason, block: int
) -> None:
    limits = Limits(block_bytes=block, max_record_bytes=2_000 if len(data) < 10_000 else 200_000)
    with pytest.raises(ArrivalRejected) as caught:
        parse(folder, data, "a.json", limits=limits)
    assert caught.value.reason == reason


def test_a_bad_element_of_an_array_hits_only_its_own_record(folder: Path) -> None:
    batches = parse(folder, b'[{"id":1}, 5, {"id":\nNaN}, {"id":2}]', "a.json")
    assert [row[0] for row in rows(batches)] == [1, 4]
    assert [letter.original for letter in dead(batches)] == [b"5", b'{"id":\nNaN}']


@pytest.mark.parametrize("block", [1, 3, 1000])
def test_bytes_of_an_array_that_are_not_utf_8_are_the_fault_of_their_element(folder: Path, block: int) -> None:
    bad = [b'{"name":"caf\xe9"}', b'{"name":"\xed\xa0\x80"}', b'{"tags":["\xf0\x9f"]}']
    data = b'[{"id":1},' + b",".join(bad) + b',{"id":5,"name":"\xf0\x9f\x98\x80"}]'
    batches = parse(folder, data, "a.json", limits=Limits(block_bytes=block))
    assert [row[:3] for row in rows(batches)] == [(1, "1", None), (5, "5", "😀")]
    assert [(letter.row, letter.reason, letter.original) for letter in dead(batches)] == [
        (row, Reason.ENCODING, data) for row, data in enumerate(bad, 2)
    ]
    assert together(Original(letter.original, letter.format) for letter in dead(batches)) == (
        b"[" + b",\n".join(bad) + b"]\n"
    )


def test_an_array_of_short_elements_is_parsed_some_at_a_time(folder: Path) -> None:
    """Two bytes of an element become a hundred times as many once they are read."""
    limits = Limits(memory_bytes=600_000)
    batches = parse(folder, b"[" + b",".join([b"{}"] * 5_000) + b"]", "a.json", limits=limits)
    assert max(batch.rows_in for batch in batches) <= limits.lines(len(COLUMNS)) < 5_000
    assert [row[0] for row in rows(batches)] == list(range(1, 5_001))


def test_elements_of_an_array_are_kept_to_the_byte_and_make_an_array_again(folder: Path) -> None:
    """A pretty-printed array has line ends of its own, and an element need not be an object."""
    elements = [b'{\r\n  "id": "x",\r\n\t"a": "\xc3\xa9"\n}', b"[1]", b'{"id" :\n\nNaN}']
    letters = dead(parse(folder, b"[\n" + b" ,\n".join(elements) + b"\n]\n", "a.json"))
    assert [letter.original for letter in letters] == elements
    again = together(Original(letter.original, letter.format) for letter in letters)
    assert letters[0].format == "json"
    assert [letter.original for letter in dead(parse(folder, again, "a.json"))] == elements


def test_a_number_cut_by_the_end_of_a_block_is_one_element(folder: Path) -> None:
    batches = parse(folder, b'[{"id":1},12]', "a.json", limits=Limits(block_bytes=1))
    assert [letter.original for letter in dead(batches)] == [b"12"]


def test_originals_of_lines_are_found_again(folder: Path) -> None:
    data = b"".join(b'{"id":%d}\n' % number for number in range(1, 500))
    batches = parse(folder, data, limits=Limits(block_bytes=100, chunk_rows=7))
    found = originals(folder / "spooled", "a.jsonl", pipeline(), Limits(block_bytes=333), {3, 400})
    assert found[3].data == b'{"id":3}\n'
    assert found[400] == next(b for b in batches if 400 in b.frame["_row"].to_list()).original(400)


def test_all_cells_are_text_with_their_origin(folder: Path) -> None:
    [batch] = parse(folder, b'{"id":1}\n')
    assert batch.frame.schema == {
        **dict.fromkeys(COLUMNS, pl.String()),
        "_arrival_id": pl.Int64(),
        "_row": pl.Int64(),
    }

"""CSV of all kinds, on real bytes."""

import codecs
import csv
import io
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import dataframely as dy
import pytest
from headgate.errors import ArrivalRejected
from headgate.model import DeadLetter, Reason
from headgate.pipeline import Csv, Folder, OnExtra, Pipeline, Table
from headgate.records.batch import Batch, Limits, Original
from headgate.records.csv_records import read_csv
from headgate.records.letters import letters_of
from headgate.records.originals import originals, together
from headgate.records.reading import read
from headgate.records.text import Text, line_end, text
from hypothesis import given
from hypothesis import strategies as st


class Item(dy.Schema):
    """Three columns."""

    id = dy.Int64(primary_key=True)
    name = dy.String(nullable=True)
    price = dy.Float64(nullable=True)


COLUMNS = ["id", "name", "price"]


def pipeline(*formats: Csv) -> Pipeline:
    return Pipeline(name="items", sources=(Folder("items"),), schema=Item, sink=Table("items"), formats=formats)


def parse(data: bytes, form: Csv | None = None, *, block: int = 4 << 20, record: int = 16 << 20) -> list[Batch]:
    blocks = (data[at : at + block] for at in range(0, len(data), block))
    form = form or Csv()
    return list(read_csv(text(blocks, form.encoding), form, COLUMNS, Limits(max_record_bytes=record), 7))


def rows(batches: Sequence[Batch]) -> list[tuple[object, ...]]:
    return [row for batch in batches for row in batch.frame.select("_row", *COLUMNS).rows()]


def dead(batches: Sequence[Batch]) -> list[DeadLetter]:
    return [letter for batch in batches for letter in letters_of(batch.dead)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_plain_lines_become_text_cells_whatever_ends_them(end: str, *, last: bool) -> None:
    data = end.join(["id,name,price", "1,a,0.10", "02,,1e3"]) + (end if last else "")
    assert rows(parse(data.encode())) == [(1, "1", "a", "0.10"), (2, "02", None, "1e3")]


def test_columns_may_stand_in_any_order_with_blanks_around_their_names_and_a_byte_order_mark() -> None:
    assert rows(parse(codecs.BOM_UTF8 + b" price ,id,name\n1,2,x\n")) == [(1, "2", "x", "1")]


def test_a_byte_order_mark_inside_the_file_is_a_part_of_its_cell() -> None:
    assert rows(parse("id,name,price\n\ufeff1,a,2\n".encode())) == [(1, "\ufeff1", "a", "2")]


def test_a_blank_line_belongs_to_no_record() -> None:
    batches = parse(b'id,name,price\n1,a,"2"\n\r\n\n2,b,3\n')
    assert [batches[0].original(row).data for row in (1, 2)] == [b'1,a,"2"\n', b"2,b,3\n"]


def test_declared_texts_mean_no_value_in_plain_and_in_quoted_blocks() -> None:
    form = Csv(nulls=("NA", "-"))
    assert rows(parse(b"id,name,price\n1,NA,-\n", form)) == [(1, "1", None, None)]
    assert rows(parse(b'id,name,price\n1,"NA",-\n2,"",3\n', form)) == [(1, "1", None, None), (2, "2", None, "3")]


def test_a_quoted_cell_may_hold_line_ends_delimiters_and_doubled_quotes() -> None:
    batches = parse(b'id,name,price\r\n1,"a,\r\nb ""c""",2\r\n2,d,3\r\n')
    assert rows(batches) == [(1, "1", 'a,\r\nb "c"', "2"), (2, "2", "d", "3")]
    assert batches[0].original(1).data == b'1,"a,\r\nb ""c""",2\r\n'
    assert batches[0].original(1).preamble == b"id,name,price\r\n"


@pytest.mark.parametrize("bad", [b"2,b\n", b'2,"b"\n', b"2,b,3,4\n", b'2,"b"x,3\n', b"2,a\rb,3\n"])
def test_a_malformed_line_hits_only_its_own_record(bad: bytes) -> None:
    batches = parse(b"id,name,price\n1,a,1\n" + bad + b"3,c,3\n")
    assert rows(batches) == [(1, "1", "a", "1"), (3, "3", "c", "3")]
    [letter] = dead(batches)
    assert (letter.arrival_id, letter.row, letter.reason, letter.original) == (7, 2, Reason.MALFORMED, bad)
    assert letter.preamble == b"id,name,price\n"


def test_a_short_line_and_a_long_one_do_not_make_up_for_each_other() -> None:
    """The count of delimiters alone would not tell."""
    batches = parse(b"id,name,price\n1,a\n2,b,3,4\n3,c,3\n")
    assert [letter.row for letter in dead(batches)] == [1, 2]
    assert rows(batches) == [(3, "3", "c", "3")]


@pytest.mark.parametrize("block", [5, 64, 4 << 20])
@pytest.mark.parametrize("record", [40, 16 << 20])
def test_an_open_quote_does_not_swallow_the_rest_of_the_file(block: int, record: int) -> None:
    lines = [b'1,"open,1\n', *(b"%d,x,1\n" % number for number in range(2, 50))]
    batches = parse(b"id,name,price\n" + b"".join(lines), block=block, record=record)
    [letter] = dead(batches)
    assert (letter.row, letter.reason, letter.original) == (1, Reason.MALFORMED, lines[0])
    assert [row[0] for row in rows(batches)] == list(range(2, 50))


def test_an_undecodable_line_becomes_a_dead_letter_with_its_bytes() -> None:
    batches = parse(b"id,name,price\n1,caf\xc3\xa9,1\n2,caf\xe9,2\n3,c,3\n")
    assert rows(batches) == [(1, "1", "café", "1"), (3, "3", "c", "3")]
    [letter] = dead(batches)
    assert (letter.row, letter.reason, letter.original) == (2, Reason.ENCODING, b"2,caf\xe9,2\n")
    assert letter.faults[0].value == r"2,caf\xe9,2\n"


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-be", "shift_jis", "utf-8-sig"])
@pytest.mark.parametrize("block", [3, 4 << 20])
def test_a_declared_encoding_is_read_and_its_bytes_are_kept(encoding: str, block: int) -> None:
    word = "表\u3042" if encoding == "shift_jis" else "café €"
    data = f'id,name,price\n1,{word},1\n2,"{word}",2,3\n'.encode(encoding)
    batches = parse(data, Csv(encoding=encoding), block=block)
    assert rows(batches) == [(1, "1", word, "1")]
    [letter] = dead(batches)
    kept = [next(batch for batch in batches if batch.frame.height).original(1)]
    assert together([*kept], line_end(encoding, kept[0].preamble)) + letter.original == data


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", Reason.EMPTY), (codecs.BOM_UTF8, Reason.EMPTY), (b"\n\r\n", Reason.EMPTY)]
)
def test_a_file_without_text_is_rejected_as_empty(data: bytes, reason: Reason) -> None:
    with pytest.raises(ArrivalRejected) as caught:
        parse(data)
    assert caught.value.reason == reason


def test_a_header_alone_is_no_records(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"id,name,price\n\n")
    assert list(read(file, "a.csv", pipeline(), Limits(), arrival_id=1)) == []


@pytest.mark.parametrize(
    "data",
    [
        "id,name,price\n1,a,2\n".encode("utf-16"),
        "id,name,price\n1,a,2\n".encode("utf-16-le"),
        "id,name,price\n".encode("utf-32"),
        b"PK\x03\x04 anything",
        b"\x1f\x8b\x08",
        b"id,n\xe4me,price\n1,2,3\n",
    ],
)
def test_what_is_plainly_not_text_in_the_encoding_is_rejected_whole(data: bytes) -> None:
    with pytest.raises(ArrivalRejected) as caught:
        parse(data)
    assert caught.value.reason == Reason.UNDECODABLE


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("id,name", "missing 'price'"),
        ("id,name,price,colour", "unexpected 'colour'"),
        ("id,name,price,id", "named twice 'id'"),
        ("id,name,cost", "missing 'price'; unexpected 'cost'"),
    ],
)
def test_columns_that_are_not_the_schemas_reject_the_file_and_are_named(header: str, words: str) -> None:
    with pytest.raises(ArrivalRejected, match=words) as caught:
        parse(f"{header}\n1,2,3\n".encode())
    assert caught.value.reason == Reason.COLUMNS


def test_a_header_that_each_dead_letter_would_copy_is_refused_if_it_is_long() -> None:
    with pytest.raises(
        ArrivalRejected, match="the header has 100,014 bytes for 3 columns, and at most 1,792"
    ) as caught:
        parse(b"id" + b" " * 100_000 + b",name,price\n" + b"x\n" * 600)
    assert caught.value.reason == Reason.TOO_LARGE
    assert rows(parse(b"id" + b" " * 1_000 + b",name,price\n1,a,2\n")) == [(1, "1", "a", "2")]


@pytest.mark.parametrize("body", [b"9,1,8,a,2\n", b'9,1,8,"a",2\n'])
def test_unexpected_columns_can_be_dropped(body: bytes) -> None:
    extra: OnExtra = "drop"
    assert rows(parse(b"more,id,more,name,price\n" + body, Csv(on_extra=extra))) == [(1, "1", "a", "2")]


def test_a_line_longer_than_a_record_is_rejected_before_it_is_held() -> None:
    endless = iter([b"id,name,price\n1,a,2\n", *([b"x" * 1000] * 1000)])
    with pytest.raises(ArrivalRejected, match="line 3") as caught:
        list(read_csv(text(endless, "utf-8"), Csv(), COLUMNS, Limits(max_record_bytes=5000), 1))
    assert caught.value.reason == Reason.TOO_LARGE
    assert sum(map(len, endless)) > 900_000


def test_formulas_and_sql_stay_as_they_are() -> None:
    data = b"id,name,price\n=1+1,'; drop table items;--,@x\n+1,\tcmd,-1\n"
    assert rows(parse(data)) == [(1, "=1+1", "'; drop table items;--", "@x"), (2, "+1", "\tcmd", "-1")]


def test_originals_are_found_again_by_row(tmp_path: Path) -> None:
    file = tmp_path / "spooled"
    lines = [b"%d,n%d,1\n" % (number, number) for number in range(1, 60)]
    lines[30] = b"broken\n"
    file.write_bytes(b"id,name,price\n" + b"".join(lines))
    limits = Limits(block_bytes=64, chunk_rows=3)
    found = originals(file, "A.CSV", pipeline(), limits, {1, 31, 32, 59})
    assert {row: original.data for row, original in found.items()} == {row: lines[row - 1] for row in (1, 31, 32, 59)}
    batches = list(read(file, "A.CSV", pipeline(), Limits(block_bytes=4000, chunk_rows=3), arrival_id=1))
    assert max(batch.frame.height for batch in batches) <= 3
    ends = [max([*batch.frame["_row"], *batch.dead["_row"]]) for batch in batches]
    assert ends == [sum(batch.rows_in for batch in batches[: at + 1]) for at in range(len(batches))]


CELLS = st.text(st.sampled_from('ab,;"\n\r é\tNA\x00'), max_size=6)


@given(
    table=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=12),
    minimal=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    block=st.integers(1, 80),
)
def test_whatever_the_csv_module_writes_is_read_back(
    table: list[tuple[str, str, str]], end: str, block: int, *, minimal: bool
) -> None:
    """Exactly the cells, wherever the blocks are cut; an empty cell and NA are null."""
    if minimal:  # it leaves a lone carriage return without the quotes it needs
        table = [(a.replace("\r", ""), b.replace("\r", ""), c.replace("\r", "")) for a, b, c in table]
    target = io.StringIO(newline="")
    writer = csv.writer(target, quoting=csv.QUOTE_MINIMAL if minimal else csv.QUOTE_ALL, lineterminator=end)
    writer.writerow(COLUMNS)
    writer.writerows(table)
    data = target.getvalue().encode()
    batches = parse(data, Csv(nulls=("NA",)), block=block)
    assert dead(batches) == []
    wanted = [(at, *(cell if cell not in {"", "NA"} else None for cell in row)) for at, row in enumerate(table, 1)]
    assert rows(batches) == wanted
    kept = [batch.original(row) for batch in batches for row in batch.frame["_row"]]
    assert together(kept) == data


@given(data=st.text(st.sampled_from('1a,"\n\r\x00é'), max_size=60), block=st.integers(1, 70))
def test_no_byte_of_any_text_is_lost_or_read_twice(data: str, block: int) -> None:
    """Good records and dead letters together hold every line that is not blank, in order, however blocks are cut."""
    body = data.encode()
    batches = parse(b"id,name,price\n" + body, block=block)
    found = [(letter.row, letter.original) for letter in dead(batches)]
    found += [(row, batch.original(row).data) for batch in batches for row in batch.frame["_row"]]
    found.sort()
    assert [row for row, _ in found] == list(range(1, len(found) + 1))
    joined = b"".join(original for _, original in found)
    lines = [line for line in io.BytesIO(body).readlines() if line.strip(b"\r\n")]
    assert [line for line in io.BytesIO(joined).readlines() if line.strip(b"\r\n")] == lines


@given(
    data=st.binary(max_size=60).map(lambda data: data.replace(b"x", b"\n")),
    block=st.integers(1, 70),
    back=st.sampled_from([None, "utf-16-le", "utf-32-be", "utf-7", "shift_jis", "iso2022_jp", "cp037"]),
    most=st.integers(1, 5),
)
def test_blocks_of_lines_are_all_of_the_bytes(data: bytes, block: int, back: str | None, most: int) -> None:
    if back is not None:  # half of the text is in the encoding, the other half is anything
        data = data[: len(data) // 2].decode("latin-1").encode(back, "ignore") + data[len(data) // 2 :]
    cut = (data[at : at + block] for at in range(0, len(data), block))
    parts = list(Text(cut, "utf-8", back).lines(Limits(), most))
    assert b"".join(part.data if part.raw is None else part.raw for part, _ in parts) == data
    for part, final in parts:
        assert part.data.endswith(b"\n") or final
        assert part.data.count(b"\n") <= most
        ends = [0, *accumulate(map(len, io.BytesIO(part.data).readlines()))]
        lines = [part.original(start, end) for start, end in pairwise(ends)]
        assert b"".join(lines) == part.original(0, len(part.data))


@pytest.mark.parametrize(
    ("encoding", "broken"),
    [
        ("utf-16-le", "\ud800".encode("utf-16-le", "surrogatepass")),
        ("utf-32-be", b"\x00\x11\x00\x00"),
        ("utf-7", b"+~"),
    ],
)
def test_a_line_that_is_not_text_in_a_wide_encoding_is_one_dead_letter(encoding: str, broken: bytes) -> None:
    bad = "2,".encode(encoding) + broken + ",\n".encode(encoding)
    data = "id,name,price\n1,a,\n".encode(encoding) + bad + "3,\xe9,".encode(encoding)
    batches = parse(data, Csv(encoding=encoding))
    assert [row[:3] for row in rows(batches)] == [(1, "1", "a"), (3, "3", "\xe9")]
    [letter] = dead(batches)
    assert (letter.row, letter.reason, letter.original) == (2, Reason.ENCODING, bad)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp037", "utf-7", "iso2022_jp"])
def test_the_last_record_gains_no_line_end(encoding: str) -> None:
    data = "id,name,price\nx,+a,\ny,b,,".encode(encoding)
    batches = parse(data, Csv(encoding=encoding))
    first = next(batch for batch in batches if batch.frame.height).original(1)
    originals = [first, Original(dead(batches)[0].original, "csv")]
    preamble = first.preamble
    assert preamble + b"".join(each.data for each in originals) == data
    again = together(originals, line_end(encoding, preamble))
    assert again == data + line_end(encoding, preamble)


@pytest.mark.timeout(20)
def test_quotes_that_never_close_are_read_in_linear_time() -> None:
    """Each of these lines opens a quote that is open at the end of the file."""
    data = b"id,name,price\n" + b'a","\n' * 20_000
    assert [letter.original for letter in dead(parse(data))] == [b'a","\n'] * 20_000


@pytest.mark.parametrize(
    ("line", "rule", "column"),
    [
        (b'1,"a" b,2\n', "text after a closing quote", "name"),
        (b'1,a,"2\n', "none closes it", "price"),
        (b'"1,a,2\n', "none closes it", "id"),
        (b"1,a\rb,2\n", "carriage return", "name"),
    ],
)
def test_what_is_no_record_is_told_in_words_with_its_column(line: bytes, rule: str, column: str) -> None:
    [letter] = dead(parse(b"id,name,price\n" + line))
    [fault] = letter.faults
    assert rule in fault.rule
    assert fault.column == column


def refusal(data: bytes, form: Csv | None = None) -> str:
    with pytest.raises(ArrivalRejected) as caught:
        parse(data, form)
    assert caught.value.reason == Reason.COLUMNS
    return caught.value.detail


def test_a_file_with_another_delimiter_is_told_what_to_declare() -> None:
    assert "Csv(delimiter=';')" in refusal(b"id;name;price\n1;a;2\n")
    assert r"Csv(delimiter='\t')" in refusal(b'"id"\t"name"\tmore\tprice\n')
    assert "Csv(delimiter=',')" in refusal(b"id,name,price\n", Csv(delimiter=";"))
    assert "missing" in refusal(b"id;name\n1;a\n")


def test_a_file_with_lines_that_end_in_cr_alone_is_told_so() -> None:
    assert "end lines with LF or CRLF" in refusal(b"id,name,price\r1,a,2\r")

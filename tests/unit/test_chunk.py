"""Chunks keep rows and dead letters to the byte between the stages."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from headgate.model import DeadLetter, Fault, Reason, Stage
from headgate.records.batch import number_rows
from headgate.records.chunk import SMALL, Chunk, Extent
from headgate.records.letters import letter_frame, letters_of


def letter(row: int) -> DeadLetter:
    faults = (Fault("a|dtype", "a", 'é\0"'), Fault("rule", None, None))
    return DeadLetter(7, row, Stage.PARSE, Reason.SCHEMA, faults, bytes(range(256)), "csv", b"a\r\n")


def chunk(folder: Path) -> Chunk:
    return Chunk(file=folder / "0", alone=True, extents=(Extent(7, 2, ended=True, records=2),))


def test_dead_letters_come_back_as_they_went(tmp_path: Path) -> None:
    made = chunk(tmp_path)
    made.write_letters(letter_frame([letter(1)]))
    made.add_letters(letter_frame([]))
    made.add_letters(letter_frame([letter(2)]))
    assert list(letters_of(made.read_letters())) == [letter(1), letter(2)]
    made.write_letters(letter_frame([]))
    assert list(letters_of(made.read_letters())) == []


@pytest.mark.parametrize(
    ("rows", "dead", "skipped", "right"),
    [
        ([1], [2], 0, True),
        ([2], [], 1, True),
        ([1], [], 0, False),
        ([1, 2], [2], 0, False),
        ([1, 1], [], 0, False),
        ([], [], 0, False),
    ],
)
def test_each_record_that_was_read_is_a_row_or_a_dead_letter_or_skipped_or_its_arrival_is_rejected(
    tmp_path: Path, rows: list[int], dead: list[int], skipped: int, *, right: bool
) -> None:
    made = replace(chunk(tmp_path), extents=(Extent(7, 2, ended=True, records=2, skipped=skipped),))
    frame = number_rows(pl.DataFrame({"a": rows}), 7, pl.Series(rows, dtype=pl.Int64))
    found = made.miscounted(frame, pl.DataFrame(), letter_frame(map(letter, dead)))
    assert [(number, error.reason) for number, error in found.items()] == ([] if right else [(7, Reason.MISCOUNTED)])


@pytest.mark.parametrize("small", [0, SMALL])
def test_rows_come_back_typed_and_can_be_replaced_by_richer_ones(
    tmp_path: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.records.chunk.SMALL", small)
    made = chunk(tmp_path)
    made.write_rows(number_rows(pl.DataFrame({"a": [1, None]}, schema={"a": pl.Int16}), 7, 1))
    richer = made.read_rows().with_columns(b=pl.lit("x"))
    made.write_rows(richer)
    assert made.read_rows().equals(richer)
    assert made.read_rows().schema["a"] == pl.Int16()
    assert [path.name for path in tmp_path.iterdir()] == ([] if small else ["0.rows"])


def test_chunks_that_are_not_alone_go_to_files_or_the_letters_of_a_large_file_would_fill_the_memory(
    tmp_path: Path,
) -> None:
    made = replace(chunk(tmp_path), alone=False)
    made.write_letters(letter_frame([letter(1)]))
    assert [path.name for path in tmp_path.iterdir()] == ["0.letters"]


def test_many_rows_of_nulls_go_to_a_file_because_they_have_no_size_and_take_memory(tmp_path: Path) -> None:
    made = chunk(tmp_path)
    made.write_rows(pl.select(pl.repeat(None, 100_000, dtype=pl.String).alias("a")))
    assert [path.name for path in tmp_path.iterdir()] == ["0.rows"]

"""Chunks keep rows and dead letters to the byte between the stages."""

from pathlib import Path

import polars as pl

from worker.model import DeadLetter, Fault, Reason, Stage
from worker.records.batch import number_rows
from worker.records.chunk import Chunk, Extent


def letter(row: int) -> DeadLetter:
    faults = (Fault("a|dtype", "a", 'é\0"'), Fault("rule", None, None))
    return DeadLetter(7, row, Stage.PARSE, Reason.SCHEMA, faults, bytes(range(256)), "csv", b"a\r\n")


def chunk(folder: Path) -> Chunk:
    return Chunk(rows=folder / "0.rows", letters=folder / "0.letters", extents=(Extent(7, 2, ended=True),))


def test_dead_letters_come_back_as_they_went(tmp_path: Path) -> None:
    made = chunk(tmp_path)
    made.write_letters([letter(1)])
    made.add_letters([])
    made.add_letters([letter(2)])
    assert made.read_letters() == [letter(1), letter(2)]
    made.write_letters([])
    assert made.read_letters() == []


def test_rows_come_back_typed_and_can_be_replaced_by_richer_ones(tmp_path: Path) -> None:
    made = chunk(tmp_path)
    made.write_rows(number_rows(pl.DataFrame({"a": [1, None]}, schema={"a": pl.Int16}), 7, 1))
    richer = made.read_rows().with_columns(b=pl.lit("x"))
    made.write_rows(richer)
    assert made.read_rows().equals(richer)
    assert made.read_rows().schema["a"] == pl.Int16()

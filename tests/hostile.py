"""Small files that ask for a large memory, and large ones that must not: how each is made, and who reads it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import new_class

import dataframely as dy
import polars as pl
from headgate import Folder, Pipeline, Table


class Item(dy.Schema):
    """Few columns, as most files have."""

    id = dy.Int64(primary_key=True)
    name = dy.String(nullable=True)


NAMES = [f"key_{number:03}" for number in range(1000)]
Wide = new_class(
    "Wide", (dy.Schema,), exec_body=lambda space: space.update({n: dy.String(nullable=True) for n in NAMES})
)

ITEMS = Pipeline(name="items", sources=(Folder("items"),), schema=Item, sink=Table("items", mode="upsert"))
WIDE = Pipeline(name="wide", sources=(Folder("wide"),), schema=Wide, sink=Table("wide"))
Numbers = new_class("Numbers", (dy.Schema,), exec_body=lambda space: space.update({n: dy.Int64() for n in NAMES[:200]}))
NUMBERS = Pipeline(name="numbers", sources=(Folder("numbers"),), schema=Numbers, sink=Table("numbers"))
PIPELINES = (ITEMS, WIDE, NUMBERS)


@dataclass(frozen=True)
class Case:
    """A file, and how it has to end."""

    write: Callable[[Path], object]
    name: str
    ends: tuple[str, str | None, int, int]  # state, reason, rows persisted, dead letters
    most_mb: int = 600  # peak of a process that works on it alone; in a run, Prefect takes 30 MB more
    pipeline: str = "items"
    long: bool = False  # too large for each run of the tests


def _lines(count: int, line: bytes, head: bytes = b"") -> Callable[[Path], object]:
    return lambda path: path.write_bytes(head + line * count)


def _records(megabytes: int, line: bytes, head: bytes = b"") -> Callable[[Path], object]:
    """Write records of 60 KB."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.write(head)
            for number in range(megabytes * 1000 // 60):
                file.write(line % (number, b"x" * 60_000))

    return write


def _many_keys(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(360):
            file.write(json.dumps(dict.fromkeys(NAMES, str(number))) + "\n")


def _equal_texts(path: Path) -> None:
    frame = pl.DataFrame({"id": range(2000), "name": pl.repeat("x" * 1_000_000, 2000, eager=True)})
    frame.write_parquet(path, compression="zstd", statistics=False)


def _one_text(path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415 - a run imports this module too, and is measured
    import pyarrow.parquet as pq  # noqa: PLC0415

    column = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["x" * 1_000_000]))
    pq.write_table(pa.table({"id": range(2000), "name": column}), path, compression="zstd", write_statistics=False)


CASES = {
    "bad lines of JSON, 0.6 MB": Case(_lines(300_000, b"x\n"), "a.jsonl", ("done", None, 0, 300_000), 330),
    "bad lines of JSON, 2 MB": Case(_lines(1_000_000, b"x\n"), "b.jsonl", ("done", None, 0, 1_000_000), 330, long=True),
    "bad lines of CSV, 0.6 MB": Case(
        _lines(300_000, b"x\n", b"id,name\n"), "a.csv", ("done", None, 0, 300_000), 330, long=True
    ),
    "lines that break each rule": Case(
        _lines(300_000, b"x,\xff\n", b"id,name\n"), "b.csv", ("done", None, 0, 300_000), 330, long=True
    ),
    "cells that break the schema": Case(
        _lines(300_000, b"x,\n", b"id,name\n"), "g.csv", ("done", None, 0, 300_000), 330, long=True
    ),
    "objects without keys": Case(
        _lines(100_000, b"{}\n"), "c.jsonl", ("done", None, 100_000, 0), 600, "wide", long=True
    ),
    "empty objects in one array, 3 MB": Case(
        lambda path: path.write_bytes(b"[" + b",".join([b"{}"] * 1_000_000) + b"]"),
        "f.json",
        ("done", None, 0, 1_000_000),
        300,
        long=True,
    ),
    "a header of 200,000 columns, 2 MB": Case(
        lambda path: path.write_bytes(b",".join(b"column_%d" % number for number in range(200_000)) + b"\n"),
        "f.csv",
        ("rejected", "columns", 0, 0),
        300,
    ),
    # 237 to 245 MB as a rule, 271 on a busy machine
    "quotes that never close": Case(_lines(60_000, b'a","\n', b"id,name\n"), "c.csv", ("done", None, 0, 60_000), 300),
    "one cell of 5 million line ends": Case(
        lambda path: path.write_bytes(b'id,name\n1,"' + b"\r\n" * 5_000_000 + b'"\n'),
        "d.csv",
        ("done", None, 1, 0),
        430,
    ),
    "JSON lines with 1,000 keys, 5 MB": Case(_many_keys, "d.jsonl", ("done", None, 360, 0), 400, "wide"),
    "JSON lines of 60 KB, 603 MB": Case(
        _records(603, b'{"id":%d,"name":"%s"}\n'), "e.jsonl", ("done", None, 10_050, 0), long=True
    ),
    "CSV of 60 KB a record, 603 MB": Case(
        _records(603, b"%d,%s\n", b"id,name\n"), "e.csv", ("done", None, 10_050, 0), long=True
    ),
    "Parquet, 2,000 equal texts of 1 MB": Case(_equal_texts, "a.parquet", ("rejected", "bomb", 0, 0)),
    "Parquet, a category of 2,000 equal texts of 1 MB": Case(_one_text, "b.parquet", ("rejected", "bomb", 0, 0)),
    "a header of 1 MB above bad lines": Case(
        _lines(3_000, b"x\n", b"id" + b" " * 1_000_000 + b",name\n"), "h.csv", ("rejected", "too-large", 0, 0), 300
    ),
    "cells of 200 columns that are no numbers, 2 MB": Case(
        _lines(5_000, b",".join([b"x"] * 200) + b"\n", b",".join(each.encode() for each in NAMES[:200]) + b"\n"),
        "i.csv",
        ("done", None, 0, 5_000),
        400,
        "numbers",
        long=True,
    ),
}

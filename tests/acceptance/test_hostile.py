"""Everything that people and programs should not drop, dropped at once beside one good file."""

import gzip
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Stand, wait_until

PIPELINES = """
import dataframely as dy
from headgate import Csv, Folder, Pipeline, Table

class Item(dy.Schema):
    id = dy.Int64(primary_key=True)
    name = dy.String(nullable=True)

PIPELINES = (Pipeline(name="{name}", sources=[Folder("in", patterns=["*.csv", "*.csv.gz", "*.json", "*.parquet"])],
                      schema=Item, sink=Table("items")),)
"""

HEADER = b"id,name\n"

# name -> (bytes, state, reason of a rejection, rows persisted, dead letters)
FILES: dict[str, tuple[bytes, str, str | None, int, int]] = {
    "good.csv": (HEADER + b"1,one\n2,two\n", "done", None, 2, 0),
    "binary.csv": (bytes(range(256)) * 40, "rejected", "undecodable", 0, 0),
    "utf-16.csv": ("id,name\n9,x\n".encode("utf-16"), "rejected", "undecodable", 0, 0),
    "wrong-columns.csv": (b"id,nom\n3,x\n", "rejected", "columns", 0, 0),
    "doubled-column.csv": (b"id,name,name\n3,x,y\n", "rejected", "columns", 0, 0),
    "empty.csv": (b"", "rejected", "empty", 0, 0),
    "mark-alone.csv": (b"\xef\xbb\xbf", "rejected", "empty", 0, 0),
    "header-only.csv": (HEADER, "done", None, 0, 0),
    "mark.csv": (b"\xef\xbb\xbf" + HEADER + b"10,ten\n", "done", None, 1, 0),
    "nul.csv": (HEADER + b"20,a\x00b\n21,c\n", "done", None, 1, 1),
    "mixed-encodings.csv": (HEADER + b"30,caf\xc3\xa9\n31,caf\xe9\n", "done", None, 1, 1),
    "ragged.csv": (HEADER + b"40\n41,x\n42,x,y\n", "done", None, 1, 2),
    "quotes.csv": (HEADER + b'50,"a ""b"" c\nd,e"\n51,"x\n', "done", None, 1, 1),
    "formula.csv": (HEADER + b'60,=1+1\n61,"@SUM(A1)\'; drop table items; --"\n', "done", None, 2, 0),
    "huge-number.csv": (HEADER + b"99999999999999999999,x\n70,y\n", "done", None, 1, 1),
    "bomb.csv.gz": (gzip.compress(HEADER + b"0" * 300_000_000, 9), "rejected", "too-large", 0, 0),
    "cut-short.csv.gz": (gzip.compress(HEADER + b"80,x\n" * 1000)[:-20], "rejected", "truncated", 0, 0),
    "not-gzip.csv.gz": (b"plain text\n", "rejected", "undecodable", 0, 0),
    "not.parquet": (b"PAR0 no", "rejected", "undecodable", 0, 0),
    "deep.json": (b"[" * 100_000, "rejected", None, 0, 0),
    "long-line.csv": (HEADER + b"90," + b"x" * 200_000_000 + b"\n", "rejected", "too-large", 0, 0),
}

Special = Callable[[Path, Path], object]

# What is no regular file of its own: name -> how it is made beside a file outside of the root, and how it ends.
SPECIALS: dict[str, tuple[Special, str, str | None]] = {
    "link.csv": (lambda path, outside: path.symlink_to(outside), "rejected", "unsafe"),
    "pipe.csv": (lambda path, _: os.mkfifo(path), "rejected", "not-a-file"),
    "socket.csv": (lambda path, _: socket.socket(socket.AF_UNIX).bind(str(path)), "rejected", "not-a-file"),
    "folder.csv": (lambda path, _: path.mkdir(), "rejected", "not-a-file"),
    "hard-link.csv": (lambda path, outside: path.hardlink_to(outside), "done", None),
}


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_each_hostile_file_ends_in_one_state_with_its_bytes_kept_and_disturbs_nothing(prefect_stand: Stand) -> None:
    stand = prefect_stand
    stand.declare(PIPELINES.replace("{name}", stand.pool))
    root = stand.inbox / "in"
    root.mkdir(parents=True)
    outside = stand.folder / "outside.csv"
    outside.write_bytes(HEADER + b"500,outside\n")
    for name, (content, *_) in FILES.items():
        (root / name).write_bytes(content)
    for name, (make, *_) in SPECIALS.items():
        make(root / name, outside)

    stand.run("apply")
    stand.start("listen")
    stand.start("work")
    wait_until(lambda: stand.all_ended(len(FILES) + len(SPECIALS)), within=300)

    found = {row["name"]: row for row in stand.arrivals()}
    assert set(found) == set(FILES) | set(SPECIALS)
    for name, (content, state, reason, rows, dead) in FILES.items():
        row = found[name]
        told = f"{name}: {row['state']} {row['reason']} {row['detail']}"
        assert (row["state"], row["rows_persisted"], row["rows_dead"]) == (state, rows, dead), told
        assert row["reason"] == reason or reason is None, told
        assert row["state"] == "done" or len(row["detail"]) > 20, told
        kept = Path(row["kept_at"]).read_bytes()
        assert hashlib.sha256(kept).digest() == hashlib.sha256(content).digest(), f"{name}: other bytes were kept"
    for name, (_, state, reason) in SPECIALS.items():
        assert (found[name]["state"], found[name]["reason"]) == (state, reason), found[name]["detail"]

    rows_there = {row["id"]: row["name"] for row in stand.sql("select id, name from items")}
    assert rows_there == {
        1: "one", 2: "two", 10: "ten", 21: "c", 30: "café", 41: "x", 50: 'a "b" c\nd,e', 60: "=1+1",
        61: "@SUM(A1)'; drop table items; --", 70: "y", 500: "outside",
    }  # fmt: skip
    # What stood outside is untouched, and what was written is told by the command line.
    assert outside.read_bytes() == HEADER + b"500,outside\n"
    shown = stand.run("arrivals", "show", str(found["bomb.csv.gz"]["arrival_id"])).stdout
    assert "too-large" in shown
    # A link is not followed on the way back either.
    refused = stand.run("dead-letters", "replay", "--arrival", str(found["link.csv"]["arrival_id"]), check=False)
    assert refused.returncode == 2
    assert "link.csv" in refused.stderr
    assert len(stand.arrivals()) == len(found)
    notes = sorted((stand.home / "rejected").rglob("*.why.txt"))
    assert len(notes) == sum(1 for row in found.values() if row["state"] == "rejected")

"""When a file may be taken in."""

import os
from pathlib import Path

import pytest
from headgate.listeners.files.readiness import (
    Sighting,
    Stamp,
    due,
    ignored,
    marked_by,
    marker_of,
    put_off,
    sight,
    wanted,
)
from headgate.pipeline import ENDINGS, Csv, Folder, Marker, Quiet

STAMP = Stamp(device=1, inode=2, mode=0o100644, size=3, mtime_ns=4, ctime_ns=5)
GROWN = Stamp(device=1, inode=2, mode=0o100644, size=4, mtime_ns=4, ctime_ns=5)


def test_a_file_is_due_after_it_stood_still_for_the_quiet_time() -> None:
    first = sight(None, STAMP, 10.0)
    again = sight(first, STAMP, 10.5)
    assert due(Quiet(2), again) == 12.0


def test_a_change_begins_the_quiet_time_anew() -> None:
    first = sight(None, STAMP, 10.0)
    assert due(Quiet(2), sight(first, GROWN, 11.0)) == 13.0


def test_a_writer_begins_the_quiet_time_anew() -> None:
    assert due(Quiet(2), put_off(Quiet(2), Sighting(STAMP, 10.0, 10.0), 12.0)) == 14.0


@pytest.mark.parametrize("rule", [Quiet(0), Marker()])
def test_a_file_with_a_writer_is_never_looked_at_without_a_pause(rule: Quiet | Marker) -> None:
    assert due(rule, put_off(rule, Sighting(STAMP, 10.0, 10.0), 12.0)) > 12.0


def test_a_file_that_has_stood_still_by_its_own_word_is_due_when_it_is_seen() -> None:
    sighting = sight(None, STAMP, 100.0, age=3600)
    assert due(Quiet(2), sighting) < 100.0
    assert sighting.told


def test_a_file_modified_in_the_future_waits_as_if_it_was_modified_now() -> None:
    sighting = sight(None, STAMP, 100.0, age=-3600)
    assert due(Quiet(2), sighting) == 102.0
    assert not sighting.told


def test_what_is_no_file_is_not_believed() -> None:
    folder = Stamp(1, 2, 0o040755, 0, 0, 0)
    assert not sight(None, folder, 100.0, age=3600).told


def test_a_marked_file_is_due_at_once() -> None:
    assert due(Marker(), sight(None, STAMP, 10.0)) == 10.0


@pytest.mark.parametrize(
    "name",
    [
        b".a.csv",
        b"a.csv~",
        b"~$a.csv",
        b"a.csv.tmp",
        b"a.csv.part",
        b"A.CSV.PARTIAL",
        b"a.crdownload",
        b".a.csv.swp",
        b"a.lock",
    ],
)
def test_hidden_temporary_and_lock_files_are_ignored_whatever_the_patterns(name: bytes) -> None:
    assert ignored(name, Quiet())
    assert not wanted(name, Folder("in", patterns=("*",)))


def test_markers_are_ignored_only_where_the_source_has_markers() -> None:
    assert not wanted(b"a.csv.done", Folder("in", patterns=("*",), ready=Marker(".done")))
    assert wanted(b"a.csv.done", Folder("in", patterns=("*",)))


def test_patterns_are_of_the_name_in_any_case_and_with_foreign_bytes() -> None:
    folder = Folder("in", patterns=("*.csv",))
    assert wanted(b"caf\xe9.csv", folder)
    assert wanted(b"A.CSV", folder)
    assert wanted(b"a.csv", Folder("in", patterns=("*.CSV",)))
    assert not wanted(b"a.csv.gz", folder)


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_ending_that_tells_a_format_is_taken_in_by_default(ending: str) -> None:
    assert wanted(b"a" + ending.encode(), Folder("in"))
    assert wanted(b"A" + ending.upper().encode(), Folder("in"))


def test_what_a_folder_says_how_to_read_is_taken_in_too() -> None:
    folder = Folder("in", readers={"*.TSV": Csv(delimiter="\t")})
    assert wanted(b"a.tsv", folder)
    assert wanted(b"a.tsv.gz", folder)
    assert wanted(b"a.csv", folder)
    assert not wanted(b"a.txt", folder)


def test_marker_and_file_name_each_other() -> None:
    assert marker_of(b"d/a.csv", Marker(".ok")) == b"d/a.csv.ok"
    assert marked_by(b"d/a.csv.ok", Marker(".ok")) == b"d/a.csv"
    assert marker_of(b"a.csv", Quiet()) is None
    assert marked_by(b"a.csv.ok", Quiet()) == b"a.csv.ok"


def test_what_happens_inside_a_folder_does_not_change_its_stamp(tmp_path: Path) -> None:
    before = Stamp.of(os.lstat(tmp_path))
    (tmp_path / "a").touch()
    assert Stamp.of(os.lstat(tmp_path)) == before


def test_a_writer_that_sets_the_modification_time_back_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"1")
    before = os.lstat(file)
    file.write_bytes(b"2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Stamp.of(os.lstat(file)) != Stamp.of(before)

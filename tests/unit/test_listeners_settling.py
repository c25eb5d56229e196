"""Where bytes come to rest. The ledger is never asked here; `settle`, which asks it, is tested in integration."""

import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dataframely as dy
import pytest
from headgate.ledger import Arrivals, Database
from headgate.ledger.arrivals import Unsettled
from headgate.listeners.files import Settler
from headgate.model import Places, State
from headgate.pipeline import Folder, Pipeline, Table

BYTES = b"id\n1\n"
PATH = b"deep/caf\xe9.csv"


class Row(dy.Schema):
    """One number a row."""

    id = dy.Int64()


DONE = Unsettled(
    arrival_id=7,
    pipeline="orders",
    source="archived",
    name="deep/caf\\xe9.csv",
    path=PATH,
    spool="orders/archived/token",
    state=State.DONE,
    reason=None,
    detail=None,
    finished_at=datetime(2026, 1, 2, tzinfo=UTC),
)
REJECTED = replace(DONE, state=State.REJECTED, reason="empty", detail="no bytes")


@pytest.fixture(params=["same file system", "other file system"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """Places on one file system, and with the spool on another than the rest."""
    if request.param == "same file system":
        yield Places(tmp_path / "spool", tmp_path / "archive", tmp_path / "rejected", tmp_path / "work")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        yield Places(Path(other) / "spool", tmp_path / "archive", tmp_path / "rejected", tmp_path / "work")


@pytest.fixture
def settler(places: Places) -> Settler:
    sources = (Folder("archived"), Folder("deleted", after="delete"), Folder("left", after="leave"))
    pipeline = Pipeline(name="orders", sources=sources, schema=Row, sink=Table("rows"))
    return Settler(places=places, ledger=Arrivals(Database("postgresql://127.0.0.1:1/none")), pipelines=[pipeline])


def spooled(places: Places, ended: Unsettled, content: bytes = BYTES) -> None:
    assert ended.spool is not None
    file = places.spool / ended.spool / os.fsdecode(ended.path)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)


def in_spool(places: Places) -> list[str]:
    return [path.name for path in places.spool.glob("*/*/*")]


def test_a_done_file_goes_to_the_archive_under_its_own_path(places: Places, settler: Settler) -> None:
    spooled(places, DONE)
    place = settler.put(DONE)
    assert place == places.archive / "orders" / "archived" / os.fsdecode(PATH)
    assert place.read_bytes() == BYTES
    assert in_spool(places) == []


def test_no_file_in_the_archive_is_ever_replaced(places: Places, settler: Settler) -> None:
    later = replace(DONE, arrival_id=8)
    spooled(places, DONE)
    first = settler.put(DONE)
    spooled(places, later, b"later")
    second = settler.put(later)
    assert first is not None
    assert second is not None
    assert first.read_bytes() == BYTES
    assert second.name == first.name + ".8"
    assert second.read_bytes() == b"later"


def test_a_file_that_is_called_like_another_with_its_number_is_not_replaced(places: Places, settler: Settler) -> None:
    """Of rotated logs, `app.log.3` is there before the third arrival is `app.log` again."""
    arrivals = [
        replace(DONE, arrival_id=number, path=path, spool=f"orders/archived/token{number}")
        for number, path in enumerate([b"app.log", b"app.log.3", b"app.log"], start=1)
    ]
    kept = []
    for ended in arrivals:
        spooled(places, ended, b"%d" % ended.arrival_id)
        kept.append(settler.put(ended))
    assert [place and place.read_bytes() for place in kept] == [b"1", b"2", b"3"]
    assert settler.put(arrivals[2]) == kept[2], "settling again finds it"


def test_the_longest_name_finds_room_for_its_number(places: Places, settler: Settler) -> None:
    names = [replace(DONE, arrival_id=number, path=b"x" * 255) for number in (1, 2)]
    for ended in names:
        spooled(places, ended)
        assert settler.put(ended)


@pytest.mark.parametrize("ended", [DONE, REJECTED])
def test_settling_twice_is_settling_once(places: Places, settler: Settler, ended: Unsettled) -> None:
    spooled(places, ended)
    assert settler.put(ended) == settler.put(ended) is not None


def test_settling_goes_on_after_a_kill_between_copy_and_removal(places: Places, settler: Settler) -> None:
    for _ in range(3):
        spooled(places, REJECTED)
        place = settler.put(REJECTED)
        assert place is not None
        assert place.read_bytes() == BYTES
    assert in_spool(places) == []


@pytest.mark.parametrize("source", ["deleted", "left"])
@pytest.mark.parametrize("state", [State.DONE, State.DUPLICATE])
def test_the_spool_keeps_nothing_where_no_archive_is_asked_for(
    places: Places, settler: Settler, source: str, state: State
) -> None:
    ended = replace(DONE, source=source, state=state)
    spooled(places, ended)
    assert settler.put(ended) is None
    assert in_spool(places) == []
    assert not places.archive.exists()


@pytest.mark.parametrize("source", ["archived", "deleted", "left"])
def test_a_rejected_file_is_always_kept_with_a_note(places: Places, settler: Settler, source: str) -> None:
    ended = replace(REJECTED, source=source)
    spooled(places, ended)
    place = settler.put(ended)
    assert place == places.rejected / "orders" / "7" / os.fsdecode(os.path.basename(PATH))
    assert place.read_bytes() == BYTES
    note = (places.rejected / "orders" / "7.why.txt").read_text()
    for told in ("deep/caf\\xe9.csv", "empty", "no bytes", "2026-01-02", "replay --arrival 7"):
        assert told in note


def test_a_source_that_is_not_declared_any_more_loses_nothing(places: Places, settler: Settler) -> None:
    ended = replace(DONE, source="gone")
    spooled(places, ended)
    assert settler.put(ended)


def test_a_rejected_link_is_never_followed(places: Places, settler: Settler, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    assert REJECTED.spool is not None
    link = places.spool / REJECTED.spool / os.fsdecode(PATH)
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)
    settler.put(REJECTED)
    assert secret.read_bytes() == b"secret"
    assert not any(path.is_file() and not path.is_symlink() for path in places.rejected.glob("orders/7/*"))
    assert in_spool(places) == []


def test_what_is_not_there_any_more_is_kept_nowhere(settler: Settler) -> None:
    assert settler.put(DONE) is None


def test_two_that_settle_the_same_arrival_at_once_lose_no_byte(places: Places, settler: Settler) -> None:
    """A run and the scan: one carries it, the other finds it carried."""
    content = os.urandom(1 << 20) * 24
    for number in range(4):
        ended = replace(REJECTED, arrival_id=100 + number, spool=f"orders/archived/token{number}")
        source = places.spool / str(ended.spool) / os.fsdecode(PATH)
        source.parent.mkdir(parents=True)
        source.write_bytes(content)
        start, found = threading.Barrier(3), list[Path | None]()

        def settle(ended: Unsettled = ended, start: threading.Barrier = start) -> None:
            start.wait(10)
            found.append(settler.put(ended))  # noqa: B023 - read after the threads have ended

        threads = [threading.Thread(target=settle) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        (place,) = {each for each in found if each is not None}
        assert len(found) == 3
        assert hashlib.sha256(place.read_bytes()).digest() == hashlib.sha256(content).digest()
        assert [path.name for path in place.parent.iterdir()] == [place.name], "no copy is left over"


def test_what_a_killed_carrier_left_is_removed_by_the_next(places: Places, settler: Settler) -> None:
    spooled(places, REJECTED)
    folder = places.rejected / "orders" / "7"
    folder.mkdir(parents=True)
    left = folder / f".7.{'0' * 32}.copy"
    left.write_bytes(b"half")
    place = settler.put(REJECTED)
    assert place is not None
    assert place.read_bytes() == BYTES
    if places.spool.stat().st_dev != places.rejected.stat().st_dev:
        assert not left.exists()

"""Replay: what was set aside goes again, once, with the bytes it came with."""

import os
import tracemalloc
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import Stand, wait_until
from headgate.app import App, open_app
from headgate.errors import NotFound
from headgate.ledger.dead_letters import Selection
from headgate.model import DeadLetter, FilePosition, NewArrival, Reason, Stage, State
from headgate.operations.replay import Replay, replay
from headgate.settings import Settings
from pydantic import SecretStr
from specimens import arrival

PIPELINES = """
import dataframely as dy
from headgate import Csv, Folder, Pipeline, Table

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)

ORDERS = Folder("orders", readers={"*.tsv": Csv(delimiter="\\t")})
PIPELINES = (Pipeline(name="orders", sources=(ORDERS,), schema=Order, sink=Table("orders")),)
"""


@pytest.fixture
def app(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    stand.declare(PIPELINES)
    monkeypatch.syspath_prepend(stand.folder)
    settings = Settings(
        home=stand.home,
        inbox=stand.inbox,
        pipelines=stand.environment["HEADGATE_PIPELINES"],
        database_url=SecretStr(stand.database_url),
    )
    with open_app(settings) as opened:
        opened.database.migrate()
        opened.homes.join()
        yield opened


def aside(app: App, arrival_id: int, *rows: int, preamble: bytes = b"id\n") -> None:
    letters = [
        DeadLetter(arrival_id, row, Stage.PARSE, Reason.SCHEMA, (), b"x%d\r\n" % row, "csv", preamble) for row in rows
    ]
    with app.database.transaction() as connection:
        app.dead_letters.set_aside(connection, letters, {arrival_id: 1})


def taken_in(app: App, arrival_id: int | None) -> bytes:
    """The bytes that a run would read for an arrival."""
    with app.database.transaction() as connection:
        row = connection.execute("select * from headgate.arrival where arrival_id = %s", (arrival_id,)).fetchone()
    assert row is not None
    content = Path(app.settings.places.spool, row["spool"], os.fsdecode(row["path"])).read_bytes()
    assert len(content) == row["size_bytes"]
    return content


def rejected(app: App, kept_at: Path | None, *, content: bytes | None = None, keep: bool = False) -> int:
    (opened,) = app.arrivals.open([arrival(name="bad.csv", reason=Reason.COLUMNS, content=content, keep=keep)])
    app.arrivals.settled({opened.arrival_id: kept_at})
    return opened.arrival_id


def test_records_of_one_arrival_go_again_together_under_their_header(app: App) -> None:
    (opened,) = app.arrivals.open([arrival(name="a.csv")])
    aside(app, opened.arrival_id, 7, 3)
    (sent,) = replay(app, Selection(arrival_id=opened.arrival_id))
    assert (sent.replay_of, sent.records, sent.name) == (opened.arrival_id, 2, "a.csv.replay.csv")
    assert taken_in(app, sent.arrival_id) == b"id\nx3\r\nx7\r\n"
    record, _ = app.arrivals.show(sent.arrival_id or 0)
    assert record.replay_of == opened.arrival_id
    assert {each.replayed_as for each in app.dead_letters.find(Selection(state="replayed"))} == {sent.arrival_id}


def test_replayed_again_nothing_goes_twice(app: App) -> None:
    (opened,) = app.arrivals.open([arrival(name="a.csv")])
    aside(app, opened.arrival_id, 1)
    assert len(replay(app, Selection(arrival_id=opened.arrival_id))) == 1
    assert replay(app, Selection(arrival_id=opened.arrival_id)) == []
    assert replay(app, Selection(arrival_id=opened.arrival_id, state=None)) == []
    assert len(app.arrivals.find()) == 2


def test_a_dry_run_says_what_would_go_and_sends_nothing(app: App) -> None:
    (opened,) = app.arrivals.open([arrival(name="a.csv")])
    aside(app, opened.arrival_id, 1)
    (letter,) = app.dead_letters.find(Selection())
    planned = Replay("orders", "orders", opened.arrival_id, "a.csv.replay.csv", 1, (letter.dead_letter_id,))
    assert replay(app, Selection(), dry_run=True) == [planned]
    assert [each.state for each in app.dead_letters.find(Selection())] == ["open"]
    assert len(app.arrivals.find()) == 1
    assert [path.name for path in app.settings.places.spool.iterdir()] == [".home"]


def test_arrivals_and_headers_are_kept_apart(app: App) -> None:
    """Rows under different headers cannot stand in one file."""
    one, two = (each.arrival_id for each in app.arrivals.open([arrival(), arrival()]))
    aside(app, one, 1)
    aside(app, one, 2, preamble=b"ID;\n")
    aside(app, two, 1)
    sent = replay(app, Selection(pipeline="orders"))
    assert sorted((each.replay_of, each.records) for each in sent) == [(one, 1), (one, 1), (two, 1)]


def test_a_rejected_arrival_goes_again_with_its_kept_file(app: App, tmp_path: Path) -> None:
    kept = tmp_path / "bad.csv"
    kept.write_bytes(b"id\n1\n")
    first = rejected(app, kept)
    (sent,) = replay(app, Selection(arrival_id=first))
    assert (sent.records, sent.name) == (0, "bad.csv")
    assert taken_in(app, sent.arrival_id) == b"id\n1\n"
    assert replay(app, Selection(arrival_id=first)) == []


def test_a_rejected_arrival_whose_name_is_not_utf_8_goes_again(app: App, tmp_path: Path) -> None:
    name = b"caf\xe9\\.csv"
    kept = tmp_path / os.fsdecode(name)
    kept.write_bytes(b"id\n1\n")
    position = FilePosition(name, 5, 0, b"")
    (opened,) = app.arrivals.open(
        [NewArrival("orders", "orders", b"identity", "shown", position, None, None, Reason.COLUMNS, "a sentence")]
    )
    app.arrivals.settled({opened.arrival_id: kept})
    (sent,) = replay(app, Selection(arrival_id=opened.arrival_id))
    assert taken_in(app, sent.arrival_id) == b"id\n1\n"


def test_records_of_a_file_that_its_folder_says_how_to_read_go_again_under_its_name(app: App) -> None:
    """Under another name they would be read in another way."""
    position = FilePosition(b"a/x.tsv.gz", 3, 0, b"")
    (opened,) = app.arrivals.open([NewArrival("orders", "orders", b"identity", "x.tsv", position, None, "x/y")])
    aside(app, opened.arrival_id, 1)
    (sent,) = replay(app, Selection(arrival_id=opened.arrival_id))
    with app.database.transaction() as connection:
        row = connection.execute(
            "select path from headgate.arrival where arrival_id = %s", (sent.arrival_id,)
        ).fetchone()
    assert row == {"path": b"x.tsv"}


@pytest.mark.parametrize("gone", [True, False])
def test_a_rejected_arrival_whose_file_is_gone_cannot_go_again(app: App, tmp_path: Path, gone: bool) -> None:  # noqa: FBT001 - pytest's
    first = rejected(app, tmp_path / "gone.csv" if gone else None)
    with pytest.raises(NotFound, match="cannot be read at" if gone else "Nothing is kept of arrival"):
        replay(app, Selection(arrival_id=first))
    assert [each.state for each in app.dead_letters.find(Selection())] == ["open"]


def test_what_has_no_bytes_does_not_hold_up_the_rest(app: App, tmp_path: Path) -> None:
    """A link that somebody put into the inbox must not end all replays of its pipeline."""
    link = tmp_path / "bad.csv"
    link.symlink_to("nowhere")
    first = rejected(app, link)
    (later,) = app.arrivals.open([arrival(name="later.csv")])
    aside(app, later.arrival_id, 1)
    planned = replay(app, Selection(pipeline="orders"), dry_run=True)
    sent = replay(app, Selection(pipeline="orders"))
    for found in (planned, sent):
        assert [(each.replay_of, bool(each.left_out)) for each in found] == [
            (first, True),
            (later.arrival_id, False),
        ]
    assert f"The file of arrival {first} (bad.csv) cannot be read at" in (sent[0].left_out or "")
    assert [each.arrival_id for each in app.dead_letters.find(Selection())] == [first]


@pytest.mark.parametrize("name", [b"n" * 251 + b".csv", b"\xff\xe9" * 120 + b".csv", b"a/b/" + b"n" * 251 + b".csv"])
def test_a_name_as_long_as_names_can_be_goes_again_again_and_again(app: App, name: bytes) -> None:
    """File systems end names at 255 bytes; a replay of a replay must not grow beyond."""
    position = FilePosition(name, 3, 0, b"")
    (opened,) = app.arrivals.open([NewArrival("orders", "orders", b"identity", "long.csv", position, None, "x/y")])
    arrival_id = opened.arrival_id
    for _ in range(3):
        aside(app, arrival_id, 1)
        (sent,) = replay(app, Selection(arrival_id=arrival_id))
        assert taken_in(app, sent.arrival_id) == b"id\nx1\r\n"
        arrival_id = sent.arrival_id or 0


def waiting(app: App) -> int:
    """How many wait for a lock of another."""
    asked = "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    with app.database.transaction() as connection:
        row = connection.execute(asked).fetchone()
    return 0 if row is None else int(row["n"])


def rows_of(app: App, sent: Iterable[Replay]) -> list[bytes]:
    """All records that were sent again."""
    return sorted(row for each in sent for row in taken_in(app, each.arrival_id).split()[1:])


def test_of_two_replays_at_once_that_overlap_each_record_goes_once(app: App) -> None:
    """Both have read what is open before either closes anything."""
    (opened,) = app.arrivals.open([arrival(name="a.csv")])
    aside(app, opened.arrival_id, 1, 2, 3)
    ids = sorted(each.dead_letter_id for each in app.dead_letters.find(Selection()))
    with ThreadPoolExecutor() as pool:
        with app.database.transaction() as connection:
            connection.execute("select from headgate.dead_letter where dead_letter_id = %s for update", (ids[1],))
            both = [pool.submit(replay, app, Selection(ids=chosen)) for chosen in ((ids[0], ids[1]), (ids[1], ids[2]))]
            wait_until(lambda: waiting(app) == 2)
        sent = [each for future in both for each in future.result()]
    assert rows_of(app, sent) == [b"x1", b"x2", b"x3"]
    assert [each.state for each in app.dead_letters.find(Selection(state=None))] == ["replayed"] * 3
    assert len([*app.settings.places.spool.glob("orders/.replay/*")]) == len(sent)


def test_what_is_discarded_while_it_is_replayed_does_not_go(app: App) -> None:
    (opened,) = app.arrivals.open([arrival(name="a.csv")])
    aside(app, opened.arrival_id, 1, 2)
    ids = sorted(each.dead_letter_id for each in app.dead_letters.find(Selection()))
    with ThreadPoolExecutor() as pool:
        with app.database.transaction() as connection:
            app.dead_letters.close(connection, ids[1:], "discarded", replayed_as=None)
            going = pool.submit(replay, app, Selection(ids=tuple(ids)))
            wait_until(lambda: waiting(app) == 1)
        sent = going.result()
    assert rows_of(app, sent) == [b"x1"]
    assert {each.state for each in app.dead_letters.find(Selection(state=None))} == {"replayed", "discarded"}


@pytest.mark.parametrize("keep", [False, True])
def test_bytes_that_went_again_and_are_dropped_again_are_a_duplicate(app: App, tmp_path: Path, keep: bool) -> None:  # noqa: FBT001 - pytest's
    """Whichever comes first; but not where equal bytes are arrivals of their own."""
    kept = tmp_path / "bad.csv"
    kept.write_bytes(b"id\n1\n")
    first, second = (rejected(app, kept, content=b"same", keep=keep) for _ in range(2))
    replay(app, Selection(arrival_id=first))
    app.arrivals.open([arrival(content=b"same", keep=keep)])
    replay(app, Selection(arrival_id=second))
    states = [each.state for each in reversed(app.arrivals.find())]
    again = [State.READY] * 3 if keep else [State.READY, State.DUPLICATE, State.DUPLICATE]
    assert states == [State.REJECTED, State.REJECTED, *again]


def test_a_large_file_goes_again_without_being_held_in_memory(app: App, tmp_path: Path) -> None:
    kept = tmp_path / "bad.csv"
    with kept.open("wb") as file:
        file.truncate(64 * 1024**2)
    first = rejected(app, kept)
    tracemalloc.start()
    try:
        (sent,) = replay(app, Selection(arrival_id=first))
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    finally:
        tracemalloc.stop()
    (found,) = app.arrivals.find(arrival_id=sent.arrival_id)
    assert found.size == 64 * 1024**2


def test_a_replay_that_fails_leaves_nothing_in_the_spool(app: App, tmp_path: Path) -> None:
    first = rejected(app, tmp_path / "gone.csv")
    with pytest.raises(NotFound):
        replay(app, Selection(arrival_id=first))
    assert [*app.settings.places.spool.glob("orders/.replay/*")] == []

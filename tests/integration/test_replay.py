"""Replay: what was set aside goes again, once, with the bytes it came with."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Stand
from pydantic import SecretStr
from specimens import arrival

from worker.app import App, open_app
from worker.errors import NotFound
from worker.ledger.dead_letters import Selection
from worker.model import DeadLetter, FilePosition, NewArrival, Reason, Stage
from worker.replay import Replay, replay
from worker.settings import Settings

PIPELINES = """
import dataframely as dy
from worker import Folder, Pipeline, Table

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)

PIPELINES = (Pipeline(name="orders", sources=(Folder("orders"),), schema=Order, sink=Table("orders")),)
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


def rejected(app: App, kept_at: Path | None) -> int:
    (opened,) = app.arrivals.open([arrival(name="bad.csv", reason=Reason.COLUMNS)])
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
    assert not app.settings.places.spool.exists()


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


@pytest.mark.parametrize("gone", [True, False])
def test_a_rejected_arrival_whose_file_is_gone_cannot_go_again(app: App, tmp_path: Path, gone: bool) -> None:  # noqa: FBT001 - pytest's
    first = rejected(app, tmp_path / "gone.csv" if gone else None)
    with pytest.raises(NotFound, match="cannot be read at" if gone else "Nothing is kept of arrival"):
        replay(app, Selection(arrival_id=first))
    assert [each.state for each in app.dead_letters.find(Selection())] == ["open"]


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

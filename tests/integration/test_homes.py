"""Whose bytes are whose: a file's arrival belongs to the home that took it in, and only its processes touch it."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from harness import HOME, Stand, home_in, is_waited_for, wait_until
from headgate.app import App, open_app
from headgate.errors import HomeUnavailable, Misuse
from headgate.flows.ending import put_back
from headgate.flows.parse import parse_portion
from headgate.flows.persist import persist_chunk
from headgate.flows.workbench import Workbench, cleared_after
from headgate.home import Mark
from headgate.ledger import Arrivals, Claims, Database, Homes, Rings
from headgate.ledger.queries import QUERIES
from headgate.listeners.files.spool import Spool
from headgate.model import FilePosition, NewArrival, Places, State
from headgate.records.chunk import SMALL
from headgate.settings import Settings
from headgate.sinks.postgres import PostgresSink
from specimens import arrival, pipeline

ORDERS = pipeline()
LEASE = timedelta(seconds=30)


def places_in(home: Path) -> Places:
    return Places(home / "spool", home / "archive", home / "rejected", home / "work")


@pytest.fixture
def other(database: Database, tmp_path: Path) -> Homes:
    """A second home of the same ledger."""
    made = Homes(database, home_in(tmp_path / "other"), lease=LEASE)
    made.join()
    return made


def stored(home: Path, ledger: Arrivals, count: int) -> list[int]:
    """Open files whose bytes are in the spool of a home."""
    new = [arrival() for _ in range(count)]
    for each in new:
        assert isinstance(each.position, FilePosition)
        assert each.spool is not None
        place = home / "spool" / each.spool / each.name
        place.parent.mkdir(parents=True)
        place.write_bytes(b"x" * each.position.size)
    return [opened.arrival_id for opened in ledger.open(new)]


def test_a_process_of_another_home_claims_nothing_of_it(
    ledger: Arrivals, claims: Claims, database: Database, other: Homes
) -> None:
    ledger.open([arrival() for _ in range(3)])
    stranger = Claims(database, lease=LEASE, homes=other)
    assert stranger.claim(ORDERS, holder="stranger").arrivals == ()
    assert stranger.peek(ORDERS, holder="stranger").arrivals == ()
    assert len(claims.claim(ORDERS, holder="run").arrivals) == 3


def test_a_process_in_a_folder_that_is_no_home_claims_nothing_and_says_so(
    ledger: Arrivals, database: Database, tmp_path: Path
) -> None:
    ledger.open([arrival()])
    nowhere = Homes(database, home_in(tmp_path / "wrong"), lease=LEASE)
    with pytest.raises(HomeUnavailable, match="is not a home"):
        Claims(database, lease=LEASE, homes=nowhere).claim(ORDERS, holder="stranger")
    assert [(each.state, each.attempts) for each in ledger.find()] == [(State.READY, 0)]
    assert not (tmp_path / "wrong").exists(), "looking makes no home"


def test_what_another_home_has_not_settled_is_not_settled_nor_listed_here(
    ledger: Arrivals, database: Database, other: Homes
) -> None:
    ledger.open([arrival(content=b"same"), arrival(content=b"same")])
    theirs = Arrivals(database, other)
    (duplicate,) = ledger.unsettled()
    assert theirs.unsettled() == []
    theirs.settled({duplicate.arrival_id: None})
    assert ledger.unsettled() == [duplicate]
    assert theirs.spooled([str(duplicate.spool)]) == set()
    assert ledger.spooled([str(duplicate.spool)]) == {duplicate.spool}


def test_nobody_is_given_up_by_a_process_of_another_home(
    ledger: Arrivals, claims: Claims, database: Database, other: Homes
) -> None:
    ledger.open([arrival()])
    once = pipeline(attempts=1)
    claims.claim(once, holder="killed")
    with database.transaction() as connection:
        connection.execute("update headgate.arrival set due_at = now()")
    Claims(database, lease=LEASE, homes=other).claim(once, holder="stranger")
    assert [each.state for each in ledger.find()] == [State.CLAIMED]
    claims.claim(once, holder="run")
    assert [each.state for each in ledger.find()] == [State.REJECTED]


def test_a_home_is_owed_rings_for_its_own_files_alone(ledger: Arrivals, rings: Rings, other: Homes) -> None:
    ledger.open([arrival(), arrival()])
    assert rings.outstanding({"orders": 100}, HOME)["orders"].claimable == 2
    assert rings.outstanding({"orders": 100}, other.check())["orders"].claimable == 0


def test_a_home_that_a_run_could_not_use_is_not_rung_for_again_at_once(
    ledger: Arrivals, rings: Rings, homes: Homes
) -> None:
    ledger.open([arrival()])
    ring_id = uuid4()
    rings.ring(ring_id, "orders", 0, direct=False, home=HOME)
    homes.report(ring_id, HomeUnavailable("not mounted"))
    found = rings.outstanding({"orders": 100}, HOME)["orders"]
    assert found.claimable == 0
    assert found.next_due_in is not None
    assert timedelta(seconds=15) < found.next_due_in <= timedelta(seconds=20)
    assert [home.trouble for home in homes.find()] == ["not mounted"]
    homes.beat()
    assert rings.outstanding({"orders": 100}, HOME)["orders"].claimable == 1
    assert [home.trouble for home in homes.find()] == [None]


def test_files_from_before_there_were_homes_are_adopted_by_the_home_that_has_their_bytes(
    ledger: Arrivals, claims: Claims, database: Database, other: Homes, tmp_path: Path
) -> None:
    ids = stored(tmp_path, ledger, 3)
    with database.transaction() as connection:
        connection.execute("update headgate.arrival set home = '00000000-0000-0000-0000-000000000000'")
    assert claims.claim(ORDERS, holder="run").arrivals == ()
    stranger = Arrivals(database, other)
    assert stranger.adopt(Spool(places=places_in(tmp_path / "other")).has) == 0
    shutil.rmtree(tmp_path / "spool" / "orders" / next((tmp_path / "spool" / "orders").iterdir()).name)
    assert ledger.adopt(Spool(places=places_in(tmp_path)).has) == 2
    assert len(claims.claim(ORDERS, holder="run").arrivals) == 2 == len(ids) - 1


# What may be in a home's place


def test_the_first_home_is_the_default_and_the_next_has_a_name_of_its_own(homes: Homes, other: Homes) -> None:
    assert homes.check() != other.check()
    first, second = homes.find()
    assert (first.name, first.alive) == ("default", True)
    assert second.name not in {"", "default"}
    assert first.home_id != second.home_id


def test_of_two_folders_that_become_homes_at_once_each_gets_a_name_of_its_own(
    database: Database, tmp_path: Path
) -> None:
    """The second waits for the first, and sees the name that the first took."""
    second = Homes(database, home_in(tmp_path / "second"), lease=LEASE)
    first = {"home": uuid4(), "name": "default", "host": "h", "path": "p", "folder": "f", "beat": 1, "lease": LEASE}
    with ThreadPoolExecutor() as threads:
        with database.transaction() as connection:
            connection.execute(QUERIES["home_lock"])
            joining = threads.submit(second.join)
            wait_until(lambda: is_waited_for(connection))
            connection.execute(QUERIES["home_make"], first)
        made = joining.result()
    assert made.name != "default"
    assert [home.name for home in second.find()] == ["default", made.name]


def test_a_name_that_the_ledger_gave_to_another_home_is_not_used(
    homes: Homes, database: Database, tmp_path: Path
) -> None:
    """The listener was killed after it wrote the folder's mark, and before the ledger had the home."""
    folder = home_in(tmp_path / "second")
    folder.write(Mark(uuid4(), homes.name(), 1))
    second = Homes(database, folder, lease=LEASE)
    with pytest.raises(HomeUnavailable, match="does not know"):
        second.name()
    assert second.join().name == second.name() == folder.name
    assert second.name() != homes.name() == "default"


def test_a_home_keeps_its_id_wherever_it_is_moved(homes: Homes, database: Database, tmp_path: Path) -> None:
    homes.leave()
    (tmp_path / "spool").rename(tmp_path / "elsewhere-spool")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere-spool").rename(tmp_path / "elsewhere" / "spool")
    moved = Homes(database, home_in(tmp_path / "elsewhere"), lease=LEASE)
    assert moved.join().home == HOME
    assert [home.path for home in moved.find()] == [str(tmp_path / "elsewhere")]


def test_a_copy_of_a_home_that_is_served_is_refused(homes: Homes, database: Database, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "spool", tmp_path / "copy" / "spool")
    copy = Homes(database, home_in(tmp_path / "copy"), lease=LEASE)
    with pytest.raises(HomeUnavailable, match="is a copy of the home 'default'"):
        copy.join()
    assert copy.check() == HOME, "until the next beat the two cannot be told apart"
    homes.beat()
    for attempt in (copy.join, copy.check, copy.beat):
        with pytest.raises(HomeUnavailable, match="old copy"):
            attempt()
    assert homes.check() == HOME


def test_of_two_copies_that_nobody_serves_the_first_that_is_served_is_the_home(
    homes: Homes, database: Database, tmp_path: Path
) -> None:
    homes.leave()
    shutil.copytree(tmp_path / "spool", tmp_path / "copy" / "spool")
    Homes(database, home_in(tmp_path / "copy"), lease=LEASE).join()
    for attempt in (homes.join, homes.check):
        with pytest.raises(HomeUnavailable, match="old copy"):
            attempt()


def test_an_empty_folder_in_the_place_of_a_home_is_not_made_one(homes: Homes, tmp_path: Path) -> None:
    (tmp_path / "spool" / ".home").unlink()
    for attempt, why in ((homes.join, "is not in"), (homes.check, "is not a home")):
        with pytest.raises(HomeUnavailable, match=why):
            attempt()
    assert len(homes.find()) == 1


def test_another_home_in_the_place_of_a_home_is_not_taken_for_it(homes: Homes, tmp_path: Path) -> None:
    home_in(tmp_path).write(Mark(uuid4(), "default", 7))
    with pytest.raises(HomeUnavailable, match="The home 'default' is not in"):
        homes.join()
    with pytest.raises(HomeUnavailable, match="does not know"):
        homes.check()


def test_a_damaged_or_unreadable_mark_is_said_in_one_line(homes: Homes, tmp_path: Path) -> None:
    (tmp_path / "spool" / ".home").write_bytes(b"{")
    with pytest.raises(HomeUnavailable, match="is damaged"):
        homes.check()
    (tmp_path / "spool" / ".home").unlink()
    (tmp_path / "spool" / ".home").mkdir()
    with pytest.raises(HomeUnavailable, match="cannot be read"):
        homes.check()


def test_a_home_is_known_again_to_a_ledger_that_was_emptied(homes: Homes, database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("delete from headgate.home")
    with pytest.raises(HomeUnavailable, match="does not know"):
        homes.check()
    assert homes.join().home == HOME
    assert homes.check() == HOME


def test_a_home_that_is_given_up_loses_what_it_had_on_its_way_and_its_place_is_free(
    homes: Homes, ledger: Arrivals, tmp_path: Path
) -> None:
    ledger.open([arrival(content=b"1"), arrival(content=b"1"), arrival()])
    with pytest.raises(Misuse, match="is served"):
        homes.give_up("default")
    homes.leave()
    (tmp_path / "spool" / ".home").unlink()
    assert homes.give_up("default") == 2
    assert sorted(each.state for each in ledger.find()) == ["duplicate", "rejected", "rejected"]
    made = homes.join()
    assert (made.name, made.home == HOME) == ("default", False)
    assert ledger.unsettled() == []


# Bytes


def test_a_known_arrival_says_whether_its_bytes_are_kept(ledger: Arrivals) -> None:
    one = arrival()
    (first,) = ledger.open([one])
    (again,) = ledger.open([one])
    assert (again.known, again.settled, again.lost) == (True, False, False)
    assert not ledger.found_again(first.arrival_id, "orders/1")


# The whole flow


PIPELINES = """
import dataframely as dy
from headgate import Folder, Pipeline, Table

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)

PIPELINES = (Pipeline(name="orders", sources=(Folder("orders"),), schema=Order, sink=Table("orders")),)
"""


@pytest.fixture
def app(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The processes of one home."""
    stand.declare(PIPELINES)
    monkeypatch.syspath_prepend(stand.folder)
    settings = Settings(
        home=stand.home,
        inbox=stand.inbox,
        pipelines=stand.environment["HEADGATE_PIPELINES"],
        database_url=stand.database_url,
    )
    with open_app(settings) as opened:
        opened.database.migrate()
        opened.homes.join()
        yield opened


def test_a_bytes_place_that_is_away_rejects_nothing_and_uses_no_attempt(app: App) -> None:
    new: list[NewArrival] = [arrival()]
    app.arrivals.open(new)
    (held,) = app.claims.claim(app.pipeline("orders"), holder="run").arrivals
    assert held.attempt == 1


@pytest.mark.parametrize(
    ("when", "small", "then"),
    [
        ("before it is read", SMALL, State.RETRY),
        ("before it is committed", 0, State.RETRY),  # from a file of the home
        ("before it is committed", SMALL, State.DONE),  # from memory
    ],
)
def test_a_home_that_vanishes_in_mid_run_costs_its_files_nothing_but_time(
    app: App, when: str, small: int, then: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a volume that is unmounted: each file waits with all its attempts, and is done once the home is back."""
    monkeypatch.setattr("headgate.records.chunk.SMALL", small)
    home, away = app.settings.home, app.settings.home.with_name("away")
    new = [arrival(name=f"{number}.csv", size=len(b"id\n0\n")) for number in range(3)]
    for number, each in enumerate(new):
        assert each.spool is not None
        place = home / "spool" / each.spool / each.name
        place.parent.mkdir(parents=True)
        place.write_bytes(b"id\n%d\n" % number)
    app.arrivals.open(new)

    def work(*, vanishes: bool) -> None:
        orders = app.pipeline("orders")
        claim = app.claims.claim(orders, holder="run")
        assert [each.attempt for each in claim.arrivals] == [1, 1, 1]
        bench = Workbench(app, orders, claim, app.settings.places.work / "run", PostgresSink(orders))
        with cleared_after(bench):
            try:
                if vanishes and when == "before it is read":
                    home.rename(away)
                chunks = parse_portion(bench, 0, claim.arrivals)
                if vanishes and when == "before it is committed":
                    home.rename(away)
                for chunk in chunks:
                    persist_chunk(bench, chunk)
            except OSError as error:
                put_back(bench, error)
            else:
                put_back(bench)

    work(vanishes=True)
    assert {each.state for each in app.arrivals.find()} == {then}
    shutil.rmtree(home, ignore_errors=True)  # a volume is mounted over what lies there
    away.rename(home)
    with app.database.transaction() as connection:
        connection.execute("update headgate.arrival set due_at = now()")
    if then is State.RETRY:
        work(vanishes=False)
    assert {(each.state, each.rows_persisted) for each in app.arrivals.find()} == {(State.DONE, 1)}


@pytest.mark.slow
def test_a_worker_takes_runs_of_no_queue_before_the_ledger_knows_its_home(prefect_stand: Stand) -> None:
    """Its folder's mark may have a name that the ledger gives to another home."""
    stand = prefect_stand
    stand.declare(PIPELINES)
    mine = home_in(stand.home)
    with Database(stand.database_url) as database:
        database.migrate()
        Homes(database, home_in(stand.folder / "first"), lease=LEASE).join()
        mine.write(Mark(uuid4(), "default", 1))
        stand.run("apply")
        stand.start("work")
        wait_until(lambda: "The ledger does not know the home" in stand.log_of("work"))
        made = Homes(database, mine, lease=LEASE).join()
    assert made.name != "default"
    wait_until(lambda: '"worker at work"' in stand.log_of("work"))
    assert f'"queue": "{made.name}"' in stand.log_of("work")
    assert '"queue": "default"' not in stand.log_of("work")

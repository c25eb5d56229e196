"""Rows that the table refuses: found, read again and set aside without holding anything that others wait for."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from harness import Stand
from headgate.app import App, open_app
from headgate.errors import Fenced
from headgate.flows.course import Course
from headgate.flows.ending import put_back
from headgate.flows.work import work
from headgate.flows.workbench import Workbench, cleared_after
from headgate.ledger import Claims
from headgate.ledger.dead_letters import Selection
from headgate.model import DeadLetter, FilePosition, NewArrival, Stage
from headgate.records.batch import Refusal
from headgate.settings import Settings
from headgate.sinks.postgres import PostgresSink
from pydantic import SecretStr

PIPELINES = """
import dataframely as dy
from headgate import Folder, Pipeline, Table

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)
    name = dy.String(nullable=True)

PIPELINES = (
    Pipeline(name="orders", sources=(Folder("orders"),), schema=Order, sink=Table("orders", mode="upsert")),
    Pipeline(name="lines", sources=(Folder("lines"),), schema=Order, sink=Table("orders", mode="append")),
)
"""
TABLE = """
create table public.orders (id bigint primary key, name text, _arrival_id bigint, _row bigint,
                            constraint wanted check (name <> 'bad'))
"""


@pytest.fixture
def app(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    stand.declare(PIPELINES)
    monkeypatch.syspath_prepend(stand.folder)
    given = Settings(
        home=stand.home,
        inbox=stand.inbox,
        pipelines=stand.environment["HEADGATE_PIPELINES"],
        database_url=SecretStr(stand.database_url),
    )
    with open_app(given) as opened:
        opened.database.migrate()
        opened.homes.join()
        with opened.database.transaction() as connection:
            connection.execute(TABLE.encode())
        yield opened


def arrive(app: App, content: bytes, pipeline: str = "orders") -> None:
    """Open the arrival of a file in the spool."""
    spool = f"{pipeline}/{pipeline}/{uuid4().hex}"
    place = app.settings.places.spool / spool / "a.csv"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    position = FilePosition(b"a.csv", len(content), 1, os.urandom(32))
    app.arrivals.open([NewArrival(pipeline, pipeline, uuid4().bytes, "a.csv", position, None, spool)])


def rows(count: int, *, bad: Callable[[int], bool]) -> bytes:
    """Make a file."""
    lines = (f"{number},{'bad' if bad(number) else 'good'}" for number in range(1, count + 1))
    return "\n".join(["id,name", *lines, ""]).encode()


@dataclass(slots=True)
class Watched(Workbench):
    """A workbench that does something while the originals of refused rows are read."""

    meanwhile: Callable[[], object] = lambda: None

    def set_aside(self, refusals: Sequence[Refusal], stage: Stage) -> list[DeadLetter]:
        """Look up the bytes."""
        self.meanwhile()
        return Workbench.set_aside(self, refusals, stage)


def run(
    app: App,
    name: str = "orders",
    *,
    meanwhile: Callable[[], object] = lambda: None,
    claims: Claims | None = None,
) -> None:
    """Do what a run does with one claim."""
    chosen, claims = app.pipeline(name), claims or app.claims
    claim = claims.claim(chosen, holder="run")
    folder = app.settings.places.work / uuid4().hex
    bench = Watched(app, chosen, claim, folder, PostgresSink(chosen), meanwhile=meanwhile)
    with claims.holding("run"), cleared_after(bench):
        asyncio.run(work(bench, Course()))
        put_back(bench)
        app.settler.settle(list(bench.arrivals))


def written(app: App) -> int:
    with app.database.transaction() as connection:
        (row,) = connection.execute("select count(*) as rows from public.orders").fetchall()
    return int(row["rows"])


@pytest.mark.parametrize(("pipeline", "lease"), [("orders", 3), ("lines", 30)])
def test_twenty_thousand_refused_rows_take_longer_than_the_lease_and_are_committed(
    app: App, pipeline: str, lease: int
) -> None:
    short = Claims(app.database, lease=timedelta(seconds=lease), homes=app.homes)
    arrive(app, rows(40_000, bad=lambda number: number % 2 == 0), pipeline)
    began = time.monotonic()
    run(app, pipeline, meanwhile=lambda: time.sleep(3.5 if pipeline == "orders" else 0), claims=short)
    assert time.monotonic() - began < 60, "one by one from the client, each row would take two savepoints' round trips"
    (record,) = app.arrivals.find()
    assert (record.state, record.rows_in, record.rows_persisted, record.rows_dead) == ("done", 40_000, 20_000, 20_000)
    assert written(app) == 20_000
    letters = app.dead_letters.find(Selection(limit=1))
    assert (letters[0].original, letters[0].preamble) == (b"40000,bad\n", b"id,name\n")
    assert letters[0].faults[0]["rule"] == 'wanted: new row for relation "orders" violates check constraint "wanted"'


def test_no_transaction_is_open_while_the_bytes_of_refused_rows_are_read_again(app: App) -> None:
    """Reading a big file again takes longer than PostgreSQL lets a transaction idle."""
    open_ones: list[object] = []

    def look() -> None:
        with app.database.transaction() as connection:
            open_ones.extend(
                connection.execute(
                    "select state, query from pg_stat_activity where datname = current_database()"
                    " and pid <> pg_backend_pid() and xact_start is not null"
                ).fetchall()
            )

    arrive(app, rows(100, bad=lambda number: number == 50))
    run(app, meanwhile=look)
    assert open_ones == []
    assert written(app) == 99


def test_a_claim_that_is_lost_while_refused_rows_are_sought_writes_nothing(app: App) -> None:
    def lose() -> None:
        with app.database.transaction() as connection:
            connection.execute("update headgate.arrival set due_at = now() - interval '1 s'")
        assert len(app.claims.claim(app.pipeline("orders"), holder="other").arrivals) == 1

    arrive(app, rows(100, bad=lambda number: number == 50))
    with pytest.raises(Fenced):
        run(app, meanwhile=lose)
    assert written(app) == 0
    assert app.dead_letters.find(Selection()) == []


def test_a_row_that_is_refused_only_once_the_others_were_sought_is_set_aside_too(app: App) -> None:
    """The table's rules change in between; the second commit is refused, and the search begins again."""
    rules = iter(["alter table public.orders add constraint more check (id <> 7)"])

    def change() -> None:
        with app.database.transaction() as connection:
            for rule in rules:
                connection.execute(rule.encode())

    arrive(app, rows(100, bad=lambda number: number == 50))
    run(app, meanwhile=change)
    assert sorted(letter.row_number or 0 for letter in app.dead_letters.find(Selection())) == [7, 50]
    assert written(app) == 98


def test_others_are_claimed_while_a_commit_takes_long(app: App) -> None:
    """What the commit holds is locked; whoever looks for spent attempts or due arrivals passes it by."""
    claims = Claims(app.database, lease=timedelta(milliseconds=200), homes=app.homes)
    arrive(app, rows(1, bad=lambda _: False))
    arrive(app, rows(2, bad=lambda _: False))
    (first,) = claims.claim(app.pipeline("orders"), holder="run", limit=1).arrivals
    taken: list[int] = []

    def take() -> None:
        taken.extend(each.arrival_id for each in claims.claim(app.pipeline("orders"), holder="other").arrivals)

    with app.database.transaction() as connection:
        claims.fence(connection, {first.arrival_id: first.epoch})
        connection.execute("select pg_sleep(0.3)")
        other = threading.Thread(target=take)
        other.start()
        other.join(20)
        assert len(taken) == 1
    assert first.arrival_id not in taken
    assert sorted(each.attempts for each in app.arrivals.find()) == [1, 1]

"""Attempts: whatever happens to an arrival and to those who work on it, it comes to an end."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from harness import Stand, is_waited_for, wait_until
from headgate.app import App, open_app
from headgate.errors import Fenced, KafkaUnavailable, NotFound
from headgate.flows.course import Course
from headgate.flows.ending import put_back
from headgate.flows.report import Page, Report
from headgate.flows.rhythm import Rhythm
from headgate.flows.stream import Asked, Stream
from headgate.flows.waiting import Waiting
from headgate.flows.work import work
from headgate.flows.workbench import Workbench, cleared_after
from headgate.ledger import Arrivals, Claims, Database, DeadLetters, Homes
from headgate.ledger.dead_letters import Selection
from headgate.model import ClaimedArrival, FilePosition, NewArrival, Stage, State
from headgate.settings import Settings
from headgate.sinks.postgres import PostgresSink
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from specimens import arrival, part, pipeline

PIPELINES = """
import dataframely as dy
from headgate import Folder, OnRule, Pipeline, Table

class Order(dy.Schema):
    id = dy.Int64(primary_key=True)

PIPELINES = (
    Pipeline(name="orders", sources=(Folder("orders"),), schema=Order, sink=Table("orders")),
    Pipeline(name="asked", sources=(Folder("asked"),), schema=Order, sink=Table("asked"), start=OnRule()),
)
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
        yield opened


def arrive(app: App, name: bytes, content: bytes | None, pipeline: str = "orders") -> None:
    """Open the arrival of a file in the spool; without content, its bytes are gone."""
    spool = f"{pipeline}/{pipeline}/{uuid4().hex}"
    place = app.settings.places.spool / spool / os.fsdecode(name)
    place.parent.mkdir(parents=True)
    if content is not None:
        place.write_bytes(content)
    shown = name.decode(errors="backslashreplace")
    position = FilePosition(name, len(content or b"x"), 1, b"")
    app.arrivals.open([NewArrival(pipeline, pipeline, uuid4().bytes, shown, position, None, spool)])


def run(app: App) -> None:
    """Do what a run does with one claim."""
    chosen = app.pipeline("orders")
    claim = app.claims.claim(chosen, holder="run")
    bench = Workbench(app, chosen, claim, app.settings.places.work / uuid4().hex, PostgresSink(chosen))
    with cleared_after(bench):
        asyncio.run(work(bench, Course()))
        put_back(bench)
        app.settler.settle(list(bench.arrivals))


def streaming(app: App, report: Report) -> tuple[Stream, Waiting]:
    """What a run does with all its claims."""
    rhythm = Rhythm(None)
    waiting = Waiting(app, "orders", rhythm)
    stream = Stream(
        app=app,
        pipeline=app.pipeline("orders"),
        holder="run",
        asked=Asked(only=None, limit=None, dry_run=False),
        report=report,
        page=Page(report),
        waiting=waiting,
        rhythm=rhythm,
    )
    return stream, waiting


def execute(stand: Stand, flow_run_id: str, pipeline: str = "orders", **env: str) -> int:
    """Execute a flow run in a process of its own, without a Prefect server; its exit code."""
    script = f"import asyncio; from headgate.flows.ingest import ingest; asyncio.run(ingest.fn({pipeline!r}))"
    env |= {"PREFECT__FLOW_RUN_ID": flow_run_id, "PREFECT_LOGGING_TO_API_ENABLED": "false"}
    return subprocess.run([sys.executable, "-c", script], env=stand.env(env), timeout=60, check=False).returncode


def test_a_run_that_comes_back_under_its_id_gives_no_attempt_of_its_dead_self_back(app: App, stand: Stand) -> None:
    """A worker and its run that are killed together, as by a limit of memory, come back so, again and again."""
    arrive(app, b"a.csv", b"id\n1\n")
    flow_run_id = str(uuid4())
    assert execute(stand, flow_run_id, HEADGATE_CRASHPOINT="run.after-claim") == -signal.SIGKILL
    assert execute(stand, flow_run_id) == 0
    (record,) = app.arrivals.find()
    assert (record.state, record.attempts) == (State.CLAIMED, 1)
    assert (record.claimed_by or "").startswith(flow_run_id)


def test_a_run_that_finds_no_room_for_its_files_puts_back_what_it_claimed(app: App) -> None:
    """Left claimed, it would wait for its lease to end, and be called a crash loop in the end."""
    arrive(app, b"a.csv", b"id\n1\n")
    app.settings.places.work.write_bytes(b"not a folder: nothing can be made in it, as if the disk were full")
    report = Report("orders", dry_run=False)

    async def claim_once() -> None:
        stream, waiting = streaming(app, report)
        with app.claims.holding("run", waiting.hear) as held:
            await stream.run(held)

    asyncio.run(claim_once())
    assert isinstance(report.error, NotADirectoryError)
    (record,) = app.arrivals.find()
    assert (record.state, record.attempts) == (State.RETRY, 1)


def test_a_run_that_comes_back_under_its_id_makes_its_start_once(app: App, stand: Stand) -> None:
    """What came meanwhile waits until a person or a rule asks again."""
    arrive(app, b"a.csv", b"id\n1\n", "asked")
    flow_run_id = str(uuid4())
    assert execute(stand, flow_run_id, "asked", HEADGATE_CRASHPOINT="run.after-claim") == -signal.SIGKILL
    arrive(app, b"b.csv", b"id\n2\n", "asked")
    assert execute(stand, flow_run_id, "asked") == 0
    assert app.arrivals.find()[0].state == State.PARKED


def test_a_run_that_is_cancelled_while_it_claims_gives_back_what_it_claims(app: App) -> None:
    """The claim waits in a thread, which nobody can cancel."""
    arrive(app, b"a.csv", b"id\n1\n")
    arrive(app, b"b.csv", b"id\n2\n")

    async def cancel() -> None:
        stream, waiting = streaming(app, Report("orders", dry_run=False))
        with app.claims.holding("run", waiting.hear) as held:
            with app.database.transaction() as connection:
                connection.execute("lock table headgate.arrival in share mode")
                running = asyncio.create_task(stream.run(held))
                await asyncio.to_thread(wait_until, lambda: is_waited_for(connection))
                for _ in range(2):  # as a Cancel, and then the end of its worker
                    running.cancel()
                    await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(cancel())
    assert [(each.state, each.attempts) for each in app.arrivals.find()] == [(State.READY, 0)] * 2


def test_lost_bytes_of_a_name_that_is_not_utf8_are_given_up(app: App) -> None:
    arrive(app, b"caf\xe9.csv", None)
    arrive(app, b"good.csv", b"id\n1\n")
    run(app)
    assert [(each.state, each.reason) for each in app.arrivals.find()] == [("done", None), ("rejected", "lost")]
    (letter,) = app.dead_letters.find(Selection())
    assert r"caf\xe9.csv" in str(letter.faults[0]["value"])


def test_parquet_of_a_name_that_is_not_utf8_comes_in(app: App, stand: Stand, tmp_path: Path) -> None:
    pl.DataFrame({"id": [1, 2]}).write_parquet(tmp_path / "x.parquet")
    arrive(app, b"caf\xe9.parquet", (tmp_path / "x.parquet").read_bytes())
    run(app)
    assert [(each.state, each.rows_persisted) for each in app.arrivals.find()] == [("done", 2)]
    assert [row["id"] for row in stand.sql("select id from orders order by id")] == [1, 2]


def test_an_arrival_of_which_more_was_committed_than_it_has_now_comes_to_its_end(app: App, stand: Stand) -> None:
    """How a file is read may have been declared anew between two attempts."""
    arrive(app, b"a.csv", b"id\n1\n2\n")
    stand.sql("update headgate.arrival set rows_committed = 10, rows_in = 10, rows_persisted = 10")
    run(app)
    (record,) = app.arrivals.find()
    assert (record.state, record.rows_in, record.rows_persisted) == (State.DONE, 10, 10)


def test_one_that_cannot_be_read_now_is_put_back_alone(app: App) -> None:
    arrive(app, b"a.csv", b"id\n1\n")
    arrive(app, b"b.csv", b"id\n2\n")
    with app.database.transaction() as connection:  # of a source that is not declared any more as what it was
        connection.execute(
            "update headgate.arrival set kind = 'range', cluster = '', topic = '', topic_id = '', partition = 0, "
            "first_offset = 0, end_offset = 1 where name = 'a.csv'"
        )
    run(app)
    assert {each.name: each.state for each in app.arrivals.find()} == {"a.csv": State.RETRY, "b.csv": State.DONE}


ENDED = (State.DONE, State.REJECTED, State.HELD)
STEPS = st.lists(
    st.tuples(st.sampled_from(("claim", "die", "interrupt", "postpone", "fail", "finish")), st.integers(0, 2))
    | st.tuples(st.sampled_from(("hold", "release", "allow", "replay")), st.integers(0, 2)),
    max_size=30,
)


class World:
    """A few arrivals, those who work on them, and a count of the claims that are to count."""

    def __init__(self, database: Database, homes: Homes) -> None:
        self.database, self.ledger = database, Arrivals(database, homes)
        self.claims = Claims(database, lease=timedelta(hours=1), homes=homes)
        self.name = f"p{uuid4().hex}"
        self.allowed = 3
        self.in_hand: list[ClaimedArrival] = []
        self.counted = dict.fromkeys((each.arrival_id for each in self.ledger.open(self._files(3))), 0)

    def _files(self, count: int) -> list[NewArrival]:
        return [arrival(pipeline=self.name) for _ in range(count)]

    def _due(self) -> None:
        with self.database.transaction() as connection:
            connection.execute(
                "update headgate.arrival set due_at = now() where pipeline = %s and state = 'retry'", (self.name,)
            )

    def do(self, step: str, number: int) -> None:
        """Take a step, with one of the arrivals in hand where it is about one."""
        self._due()
        if step in {"claim", "allow", "hold", "release", "replay"}:
            getattr(self, f"_{step}")(number)
        elif self.in_hand:
            with suppress(Fenced):
                getattr(self, f"_{step}")(self.in_hand.pop(number % len(self.in_hand)))

    def _claim(self, _: int) -> None:
        # Always under one name, as a run that comes back: a name alone must not speak for its dead self.
        allowed = pipeline(self.name, attempts=self.allowed, max_arrivals=2)
        for each in self.claims.claim(allowed, holder="run").arrivals:
            self.counted[each.arrival_id] += 1
            assert each.attempt == self.counted[each.arrival_id] <= self.allowed
            self.in_hand.append(each)

    def _die(self, held: ClaimedArrival) -> None:
        with self.database.transaction() as connection:
            connection.execute(
                "update headgate.arrival set due_at = now() where arrival_id = %s and lease_epoch = %s "
                "and state = 'claimed'",
                (held.arrival_id, held.epoch),
            )

    def _interrupt(self, held: ClaimedArrival) -> None:
        self.counted[held.arrival_id] -= self.claims.release([held])

    def _postpone(self, held: ClaimedArrival) -> None:
        self.claims.postpone(held, Stage.PARSE, KafkaUnavailable("down"), timedelta(0))
        self.counted[held.arrival_id] -= 1

    def _fail(self, held: ClaimedArrival) -> None:
        self.claims.retry(pipeline(self.name, attempts=self.allowed), held, Stage.PARSE, OSError("\udce9"))

    def _finish(self, held: ClaimedArrival) -> None:
        with self.database.transaction() as connection:
            self.claims.fence(connection, {held.arrival_id: held.epoch})
            self.claims.advance(connection, self.name, [part(held)], {})

    def _allow(self, number: int) -> None:
        self.allowed = 1 + number

    def _hold(self, number: int) -> None:
        with suppress(NotFound):
            self.ledger.hold(sorted(self.counted)[number])

    def _release(self, number: int) -> None:
        chosen = sorted(self.counted)[number]
        with suppress(NotFound):
            self.ledger.release(chosen)
            self.counted[chosen] = 0

    def _replay(self, number: int) -> None:
        chosen = sorted(self.counted)[number]
        letters = [each.dead_letter_id for each in DeadLetters(self.database).find(Selection(arrival_id=chosen))]
        if letters:
            opened = self.ledger.replay(replace(arrival(pipeline=self.name), replay_of=chosen), letters)
            assert opened is not None
            self.counted[opened.arrival_id] = 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happened_after_finitely_many_claims_each_arrival_has_ended_or_is_held(
    steps: list[tuple[str, int]], database: Database, homes: Homes
) -> None:
    """From then on all who claim die: no arrival outlives more of them than it has attempts."""
    world = World(database, homes)
    for step, number in steps:
        world.do(step, number)
    for _ in range(len(world.counted) * world.allowed + 1):
        while world.in_hand:
            world.do("die", 0)
        world.do("claim", 0)
    assert {each.state for each in world.ledger.find(pipeline=world.name)} <= set(ENDED)

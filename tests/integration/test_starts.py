"""Starts in the ledger: what is parked is claimed once it is time, all by one run, and never faster than a rate."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from harness import HOME, wait_until
from headgate.ledger import Arrivals, Claims, Database, Homes, Rings, Starts
from headgate.ledger.queries import QUERIES
from headgate.model import FilePosition, NewArrival, RangePosition, State
from headgate.pipeline import After, Batch, Every, OnArrival, OnRule, Pipeline, Rate, Topic, When
from headgate.pipeline.parked import Parked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from specimens import arrival, blocks_read, part
from specimens import pipeline as plain

Make = Callable[..., "Road"]


def declare(name: str = "orders", **more: Any) -> Pipeline:
    return replace(plain(name), **more)


class Road:
    """Pipelines, and the ledger as listeners, the announcer and runs of them see it."""

    def __init__(self, database: Database, homes: Homes, pipelines: Sequence[Pipeline]) -> None:
        self.pipelines = {each.name: each for each in pipelines}
        self.database = database
        self.arrivals = Arrivals(database, homes, pipelines)
        self.claims = Claims(database, lease=timedelta(seconds=30), homes=homes)
        self.starts = Starts(database)

    def come(self, pipeline: str = "orders", count: int = 1, *, size: int = 10) -> list[int]:
        """Have so many files come."""
        return [self.arrivals.open([arrival(pipeline=pipeline, size=size)])[0].arrival_id for _ in range(count)]

    def age(self, seconds: float) -> None:
        """Let time go by, for what waits and for what was started."""
        with self.database.transaction() as connection:
            by = {"by": timedelta(seconds=seconds)}
            connection.execute("update headgate.arrival set arrived_at = arrived_at - %(by)s", by)
            connection.execute("update headgate.arrival set finished_at = finished_at - %(by)s", by)
            connection.execute(
                "update headgate.start set started_at = started_at - %(by)s, due_at = due_at - %(by)s", by
            )

    def due(self, **more: Any) -> timedelta | None:
        """Make the starts that are due; how long until the next look."""
        return self.starts.make_due(list(self.pipelines.values()), **more)

    def claim(self, pipeline: str = "orders", **more: Any) -> list[int]:
        """What a run would get."""
        claim = self.claims.claim(self.pipelines[pipeline], holder=f"run {pipeline}", **more)
        return [each.arrival_id for each in claim.arrivals]

    def persist(self, pipeline: str, *, rows: int = 1) -> None:
        """Bring a file of a pipeline to its end."""
        self.come(pipeline)
        for held in self.claims.claim(self.pipelines[pipeline], holder="run").arrivals:
            with self.database.transaction() as connection:
                self.claims.fence(connection, {held.arrival_id: held.epoch})
                self.claims.advance(connection, pipeline, [part(held, rows=rows, dead=1 - min(rows, 1))], {})

    def states(self) -> dict[int, str]:
        """The state of each arrival."""
        return {each.arrival_id: each.state.value for each in self.arrivals.find(limit=10_000)}


@pytest.fixture
def road(database: Database, homes: Homes) -> Make:
    """Make the road of some pipelines."""
    return lambda *pipelines: Road(database, homes, pipelines)


def test_what_runs_on_arrival_is_never_parked(road: Make) -> None:
    made = road(declare())
    ids = made.come(count=2)
    assert made.due() is None
    assert made.claim() == ids


def test_a_quiet_period_closes_a_batch_and_one_run_gets_all_of_it(road: Make) -> None:
    made = road(declare(start=Batch(quiet="2s"), max_arrivals=3))
    ids = made.come(count=7)
    assert set(made.states().values()) == {"parked"}
    assert made.claim() == []
    left = made.due()
    assert left is not None
    assert timedelta(seconds=1) < left <= timedelta(seconds=2)
    made.age(2)
    made.due()
    late = made.come(count=2)
    made.age(2)
    made.due()  # a second batch, before the first was claimed
    start = made.claims.claim(made.pipelines["orders"], holder="run", limit=1)
    first = [each.arrival_id for each in start.arrivals]
    while more := made.claim(start=start.start_id):
        first += more
    assert first == ids
    assert made.claim() == late


def test_a_claim_never_holds_arrivals_of_two_starts(road: Make) -> None:
    made = road(declare(start=Batch(quiet="1s")))
    batches = []
    for _ in range(3):
        batches.append(made.come(count=2))
        made.age(1)
        made.due()
    assert [made.claim() for _ in range(4)] == [*batches, []]


def test_a_quiet_period_before_the_watch_began_closes_nothing(road: Make) -> None:
    made = road(declare(start=Batch(quiet="2s", at_most="10s")))
    made.come()
    made.age(5)
    began = made.starts.watch()
    left = made.due(watched_since=began)
    assert left is not None
    assert left > timedelta(seconds=1)
    assert made.claim() == []
    made.age(5)
    made.due(watched_since=began)
    assert len(made.claim()) == 1  # at_most is kept whoever watched


def test_numbers_and_bytes_close_a_batch(road: Make) -> None:
    made = road(declare("few", start=Batch(count=3)), declare("big", start=Batch(bytes="1KB")))
    few, big = made.come("few", 2), made.come("big", 2, size=400)
    made.due()
    assert (made.claim("few"), made.claim("big")) == ([], [])
    few += made.come("few", 2)
    big += made.come("big", size=400)
    made.due()
    assert (made.claim("few"), made.claim("big")) == (few, big)


def test_what_is_over_a_rate_is_parked_and_worked_off_in_order(road: Make) -> None:
    made = road(declare(rate=Rate(3, per="10s")))
    ids = made.come(count=8)
    left = made.due()
    assert left is not None
    assert timedelta(seconds=8) < left <= timedelta(seconds=10)
    assert made.claim() == ids[:3]
    assert made.due() is not None
    assert made.claim() == []
    made.age(10)
    made.due()
    assert made.claim() == ids[3:6]
    made.age(5)
    made.due()
    assert made.claim() == []
    made.age(5)
    made.due()
    assert made.claim() == ids[6:]
    assert [row["cost"] for row in rows(made, "select cost from headgate.start order by start_id")] == [3, 3, 2]


def rows(made: Road, query: str) -> list[dict[str, Any]]:
    with made.database.transaction() as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_rate_counts_batches_where_there_are_batches(road: Make) -> None:
    made = road(declare(start=Batch(quiet="1s"), rate=Rate(1, per="10s")))
    first = made.come(count=5)
    made.age(1)
    made.due()
    assert made.claim() == first
    second = made.come(count=5)
    made.age(1)
    left = made.due()
    assert left is not None
    assert timedelta(seconds=7) < left < timedelta(seconds=9)
    assert made.claim() == []
    made.age(9)
    made.due()
    assert made.claim() == second


def test_whoever_asks_at_once_nothing_starts_twice(road: Make) -> None:
    made = road(declare(rate=Rate(5, per="1h")))
    made.come(count=40)
    threads = [threading.Thread(target=made.due) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(made.states().values()).count("ready") == 5


def test_a_start_that_is_not_due_stays_undone_over_any_restart(road: Make) -> None:
    """The ledger alone knows: it was missed, and is made up for once."""
    made = road(declare(start=Every("1h")))
    ids = made.come(count=2)
    left = made.due()
    assert left is not None
    assert left <= timedelta(hours=1)
    assert made.claim() == []
    made.age(5 * 3600)  # nobody was there for five starts
    ids += made.come()
    made.due()
    assert made.claim() == ids
    assert len(rows(made, "select from headgate.start")) == 1
    made.due()
    assert len(rows(made, "select from headgate.start")) == 1


def test_a_schedule_leaves_its_start_to_prefect_for_a_while_and_then_makes_it(road: Make) -> None:
    made = road(declare(start=Every("1h")))
    made.come()
    made.age(3600)
    assert made.due(patience=timedelta(hours=2)) is not None
    assert made.claim() == []
    made.due()  # as the run that the schedule starts does
    assert len(made.claim()) == 1


def test_after_others_waits_until_each_has_persisted_something_since(road: Make) -> None:
    made = road(declare("customers"), declare("products"), declare("orders", start=After("customers", "products")))
    ids = made.come()
    made.persist("customers")
    made.persist("products", rows=0)  # dead letters alone are nothing
    assert made.due() is None
    made.persist("products")
    made.due()
    assert made.claim() == ids
    ids = made.come()
    made.persist("customers")
    assert made.due() is None
    assert made.claim() == []
    made.persist("products")
    made.due()
    assert made.claim() == ids


def test_after_others_also_starts_for_what_comes_later_than_they_did(road: Make) -> None:
    made = road(declare("customers"), declare("orders", start=After("customers")))
    made.persist("customers")
    ids = made.come()
    made.due()
    assert made.claim() == ids
    made.come()
    made.due()
    assert made.claim() == []


def test_within_goes_by_when_it_happened_and_not_by_when_the_announcer_looks(road: Make) -> None:
    made = road(
        declare("customers"), declare("products"), declare("orders", start=After("customers", "products", within="10s"))
    )
    ids = made.come()
    made.persist("customers")
    made.age(20)
    made.persist("products")
    made.due()
    assert made.claim() == []
    made.persist("customers")
    made.age(3600)
    made.persist("products")
    made.age(3600)  # the announcer was not there
    made.due()
    assert made.claim() == ids


def test_within_is_kept_though_they_persist_more_before_anything_waits(road: Make) -> None:
    made = road(
        declare("customers"), declare("products"), declare("orders", start=After("customers", "products", within="10s"))
    )
    for name in ("customers", "products"):
        made.persist(name)
    for name in ("customers", "products", "customers"):
        made.age(3600)
        made.persist(name)
    ids = made.come()
    made.due()
    assert made.claim() == ids


OTHERS = ("customers", "products", "stock")
PERSIST = """
    insert into headgate.arrival (identity, pipeline, source, kind, name, size_bytes, cluster, topic, topic_id,
                                  partition, first_offset, end_offset, state, rows_persisted, finished_at)
    select sha256(format('%%s %%s', pipeline, number)::bytea), pipeline, 't', 'range', 'n', 1, 'c', 't', 't', 0, number,
           number + 1, 'done', 1, %s + second * interval '1 second'
    from unnest(%s::text[], %s::int[]) with ordinality as done (pipeline, second, number)
"""


@given(
    others=st.lists(st.tuples(st.integers(0, 60), st.sampled_from(OTHERS)), max_size=15),
    within=st.sampled_from([None, "1s", "5s", "20s"]),
    started=st.none() | st.integers(0, 60),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_others_that_persist_in_any_order_make_the_same_start_due_as_all_that_they_did(
    database: Database, others: list[tuple[int, str]], within: str | None, started: int | None
) -> None:
    start, noon = After(*OTHERS, within=within), datetime(2026, 1, 1, 12, tzinfo=UTC)
    with database.transaction() as connection:
        connection.execute("truncate headgate.arrival, headgate.start cascade")
        connection.execute(PERSIST, (noon, [name for _, name in others], [second for second, _ in others]))
        if started is not None:
            by = ("orders", noon + timedelta(seconds=started))
            connection.execute(
                "insert into headgate.start (pipeline, due_at, cost, arrivals) values (%s, %s, 1, 1)", by
            )
        seconds = None if start.apart is None else start.apart.total_seconds()
        asked = {"pipeline": "orders", "after": list(OTHERS), "within": seconds}
        found = connection.execute(QUERIES["persisted_since_start"], asked).fetchall()
    everything = sorted(
        (noon + timedelta(seconds=second), name) for second, name in others if started is None or second > started
    )
    waiting = Parked(now=noon, count=1, size=1, oldest=noon, newest=noon)
    due = start.due_at(replace(waiting, persisted=tuple(everything)))
    assert start.due_at(replace(waiting, persisted=tuple((row["at"], row["pipeline"]) for row in found))) == due


@pytest.mark.parametrize("within", [None, 60])
def test_what_a_look_at_others_reads_does_not_grow_with_what_they_persisted(
    database: Database, within: int | None
) -> None:
    """One of them persisted something once, and another 20,000 times, but never near it."""
    others, seconds = ["products"] + ["customers"] * 20_000, [0, *range(1000, 21_000)]
    asked = {"pipeline": "orders", "after": ["customers", "products"], "within": within}
    with database.transaction() as connection:
        connection.execute("alter table headgate.arrival disable trigger arrival_transition")
        connection.execute(PERSIST, (datetime(2026, 1, 1, tzinfo=UTC), others, seconds))
        connection.execute("analyze headgate.arrival")
        assert blocks_read(connection, "persisted_since_start", asked) < 40


def test_a_rule_or_a_person_starts_what_waits(road: Make) -> None:
    made = road(declare(start=OnRule()), declare("slow", start=OnRule(), rate=Rate(1, per="10s")))
    ids = made.come(count=2)
    assert made.due() is None
    made.starts.ask(made.pipelines["orders"], by=uuid4().hex)
    assert made.claim() == ids
    made.starts.ask(made.pipelines["orders"], by=uuid4().hex)  # nothing waits: nothing is kept for later
    late = made.come()
    assert made.due() is None
    assert made.claim() == []
    made.arrivals.release(late[0])  # a person lets one go
    assert made.claim() == late

    slow = made.pipelines["slow"]
    first = made.come("slow", 2)
    made.starts.ask(slow, by=uuid4().hex)
    second = made.come("slow", 2)
    made.starts.ask(slow, by=uuid4().hex)  # over the rate: it is made as soon as the rate allows
    made.starts.ask(slow, by=uuid4().hex)
    assert (made.claim("slow"), made.claim("slow")) == (first, [])
    made.age(10)
    made.due()
    assert made.claim("slow") == second


def test_a_person_who_asks_for_few_gets_few_and_the_others_wait_on(road: Make) -> None:
    made = road(declare(start=Every("6h")))
    ids = made.come(count=3)
    shown = made.claims.peek(made.pipelines["orders"], holder="dry run")
    assert [each.arrival_id for each in shown.arrivals] == ids
    made.starts.ask(made.pipelines["orders"], by="run", most=2)
    assert made.claim() == ids[:2]
    assert made.states()[ids[2]] == "parked"


def test_a_person_who_asks_for_few_uses_no_more_of_the_rate(road: Make) -> None:
    made = road(declare(rate=Rate(6, per="10s")))
    ids = made.come(count=7)
    made.starts.ask(made.pipelines["orders"], by="run", most=1)
    assert made.claim() == ids[:1]
    made.due()
    assert made.claim() == ids[1:6]
    assert [row["cost"] for row in rows(made, "select cost from headgate.start order by start_id")] == [1, 5]


def test_a_run_that_is_executed_again_asks_for_no_second_start(road: Make) -> None:
    made = road(declare(start=OnRule()), declare("slow", start=OnRule(), rate=Rate(1, per="10s")))
    first = made.come(count=2)
    made.starts.ask(made.pipelines["orders"], by="run")
    late = made.come()
    made.starts.ask(made.pipelines["orders"], by="run")
    assert (made.claim(), made.claim()) == (first, [])
    made.starts.ask(made.pipelines["orders"], by="another run")
    assert made.claim() == late
    made.starts.ask(made.pipelines["orders"], by="early")  # nothing waits: a person may try this run again
    later = made.come()
    made.starts.ask(made.pipelines["orders"], by="early")
    assert made.claim() == later

    slow = made.pipelines["slow"]
    made.come("slow")
    made.starts.ask(slow, by="first")
    waiting = made.come("slow")
    made.starts.ask(slow, by="second")  # over the rate: it is kept for later
    made.age(10)
    made.due()
    (last,) = made.come("slow")
    made.age(10)
    made.starts.ask(slow, by="second")
    assert made.states()[waiting[0]] == "ready"
    assert made.states()[last] == "parked"


def test_one_arrival_can_be_had_at_once_and_the_others_wait_on(road: Make) -> None:
    made = road(declare(start=Every("6h"), rate=Rate(1, per="1d")))
    ids = made.come(count=3)
    made.starts.let_go(made.pipelines["orders"], ids[1])
    assert made.claim(only=ids[1]) == [ids[1]]
    assert made.claim() == []


def test_what_is_parked_can_be_held_and_what_was_parked_before_a_change_goes_on(road: Make) -> None:
    made = road(declare(start=OnRule()))
    held, other = made.come(count=2)
    made.arrivals.hold(held)
    changed = road(declare(start=OnArrival()))
    changed.due()
    assert changed.claim() == [other]
    assert changed.states()[held] == "held"


def test_what_does_not_meet_the_condition_is_skipped_with_the_reason(road: Make) -> None:
    made = road(declare(when=When(name="*.csv", larger_than=5), start=OnRule()))
    bytes_ = b"the same bytes"
    skipped = [
        made.arrivals.open([arrival(name="notes.txt", content=bytes_)])[0],
        made.arrivals.open([arrival(name="a.csv", size=5)])[0],
    ]
    wanted = made.arrivals.open([arrival(name="orders.csv", content=bytes_)])[0]
    assert [each.state for each in (*skipped, wanted)] == [State.SKIPPED, State.SKIPPED, State.PARKED]
    records = {each.arrival_id: each for each in made.arrivals.find()}
    assert [(records[each.arrival_id].reason, records[each.arrival_id].detail) for each in skipped] == [
        ("condition", "its name is not '*.csv'"),
        ("condition", "it has 5 bytes, and not more than 5"),
    ]
    assert records[wanted.arrival_id].detail == "waits: it runs when a rule or a person starts it"
    assert {each.arrival_id for each in made.arrivals.unsettled()} == {each.arrival_id for each in skipped}
    made.arrivals.settled({each.arrival_id: Path("/archive") for each in skipped})
    assert made.arrivals.forget(timedelta(0), pipelines=list(made.pipelines.values())) == 2


def test_ranges_of_a_topic_that_does_not_meet_the_condition_are_skipped_and_hold_back_nobody(road: Make) -> None:
    topics = (Topic("orders", ordered=True), Topic("noise", ordered=True))
    made = road(declare(sources=topics, when=When(topic="orders")))
    states = {topic.topic: made.arrivals.open([range_of(topic)])[0].state for topic in topics}
    assert states == {"orders": State.READY, "noise": State.SKIPPED}
    assert len(made.claim()) == 1


def range_of(topic: Topic) -> NewArrival:
    position = RangePosition("cluster", topic.topic, "id", 0, 0, 10, 1000)
    made = arrival(name=f"{topic.topic}[0] 0-9")
    assert isinstance(made.position, FilePosition)
    return replace(made, source=topic.name, position=position, content_key=None, spool=None, ordered=topic.ordered)


def test_what_is_sent_again_meets_all_conditions_and_waits_for_no_start(road: Make) -> None:
    made = road(declare(when=When(name="*.json"), start=OnRule()))
    first = made.arrivals.open([arrival(name="a.csv")])[0]
    again = made.arrivals.open([replace(arrival(name="a.csv"), replay_of=first.arrival_id)])[0]
    assert (first.state, again.state) == (State.SKIPPED, State.READY)


def test_old_starts_are_forgotten_but_for_the_last(road: Make) -> None:
    made = road(declare(start=Batch(count=1)))
    for _ in range(3):
        made.come()
        made.due()
    made.age(100)
    made.arrivals.forget(timedelta(seconds=50), pipelines=[])
    assert len(rows(made, "select from headgate.start")) == 1


def test_a_quiet_period_ends_in_real_time_too(road: Make) -> None:
    made = road(declare(start=Batch(quiet="300ms")))
    ids = made.come(count=3)
    assert wait_until(lambda: made.due() is None and made.claim(), within=20) == ids


def test_while_a_run_lives_no_other_run_gets_anything_of_its_start(road: Make, rings: Rings) -> None:
    """Also between two claims, and also if both come at once; when it has died, another goes on."""
    made = road(declare(start=Batch(quiet="1s"), max_arrivals=2))
    ids = made.come(count=5)
    made.age(1)
    made.due()
    orders = made.pipelines["orders"]
    for holder in ("one", "two"):
        rings.answer(uuid4(), "orders", holder, HOME)
    first = made.claims.claim(orders, holder="one")
    assert [each.arrival_id for each in first.arrivals] == ids[:2]
    made.claims.release(first.arrivals)
    assert made.claims.claim(orders, holder="two").arrivals == ()
    second = made.claims.claim(orders, holder="one", start=first.start_id)
    assert made.claims.claim(orders, holder="two").arrivals == ()
    rings.leave("one")
    rest = [*made.claims.claim(orders, holder="two").arrivals, *made.claims.claim(orders, holder="two").arrivals]
    assert {each.arrival_id for each in (*second.arrivals, *rest)} == set(ids)

"""When a pipeline runs: what is declared, and what a decision makes of what the ledger says."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import dataframely as dy
import pytest
from headgate.errors import BadPipeline
from headgate.pipeline import After, Batch, Cron, Every, Folder, OnArrival, OnRule, Pipeline, Rate, Table, When
from headgate.pipeline.durations import duration, size, words
from headgate.pipeline.pacing import Decision, decide
from headgate.pipeline.parked import Parked
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.schedules import CronSchedule

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Order(dy.Schema):
    """One column."""

    id = dy.Int64(primary_key=True)


def declare(**more: Any) -> Pipeline:
    """Declare a pipeline of one folder."""
    return Pipeline(name="orders", sources=(Folder("orders"),), schema=Order, sink=Table("orders"), **more)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def waiting(
    *, oldest: float = 0, newest: float | None = None, now: float = 0, count: int = 1, size: int = 10
) -> Parked:
    """What waits; times in seconds from noon."""
    last = oldest if newest is None else newest
    return Parked(
        now=NOON + seconds(now), count=count, size=size, oldest=NOON + seconds(oldest), newest=NOON + seconds(last)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", 90), ("2m30s", 150), ("6h", 21600), ("1d", 86400), ("1.5h", 5400), ("250ms", 0.25), ("1d 6h", 108000)],
)
def test_durations_are_read_as_people_write_them(text: str, expected: float) -> None:
    assert duration("Every", text) == duration("Every", seconds(expected)) == seconds(expected)


@pytest.mark.parametrize("text", ["", "6", "h", "-1s", "6 hours", "30s2m", "1s1s", "0s", "99999999d", "1e9d", 5, None])
def test_what_is_not_a_duration_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadPipeline, match=r"\AX: write a duration .*\Z"):
        duration("X", text)


def test_durations_are_written_for_people() -> None:
    assert [words(seconds(each)) for each in (21600, 150, 0.5, 90061, 0)] == [
        "6 hours",
        "2 minutes 30 seconds",
        "0.5 seconds",
        "1 day 1 hour 1 minute 1 second",
        "0 seconds",
    ]


def test_sizes_are_read_as_people_write_them() -> None:
    assert [size("X", each) for each in (10, "1KB", "1.5MiB", "0B")] == [10, 1000, 1572864, 0]
    for nonsense in ("", "x", "-1", -1, "1 parsec", True, None):
        with pytest.raises(BadPipeline, match=r"\AX: write a size .*\Z"):
            size("X", nonsense)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Every("often"), "write a duration"),
        (lambda: Every("10ms"), "from 1 second to"),
        (lambda: Cron("0 0 30 2 *"), "never comes"),
        (lambda: Cron("0 0 31 4,6,9,11 *"), "never comes"),
        (lambda: Cron("0 6 * *"), "five fields"),
        (lambda: Cron("0 0 6 * * 1"), "five fields"),
        (lambda: Cron("61 6 * * *"), "bad minute"),
        (lambda: Cron("@daily"), "five fields"),
        (lambda: Cron("0 6 * * 5L"), "Prefect's schedules"),
        (lambda: Cron("0 0 lw * *"), "Prefect's schedules"),
        (lambda: Cron(""), "five fields"),
        (lambda: Cron(6), "five fields"),  # type: ignore[arg-type]
        (lambda: Cron("0 6 * * *", timezone="Europe/Bielefeld"), "no such time zone"),
        (lambda: Cron("0 6 * * *", timezone="../../etc/passwd"), "no such time zone"),
        (lambda: Cron("0 6 * * *", timezone=""), "no such time zone"),
        (lambda: Batch(count=0), "count=1 or more"),
        (lambda: Batch(count="5"), "count=1 or more"),  # type: ignore[arg-type]
        (lambda: Batch(bytes="much"), "write a size"),
        (lambda: Batch(quiet="2h", at_most="1h"), "at_most"),
        (After, "names of pipelines"),
        (lambda: After("a", "a"), "twice"),
        (lambda: After("a", within="soon"), "write a duration"),
        (lambda: Rate(0), "1 or more"),
        (lambda: Rate(6, per="fortnight"), "write a duration"),
        (When, "what has to hold"),
        (lambda: When(name=()), "write a glob"),
        (lambda: When(header="type"), "a glob for each name"),  # type: ignore[arg-type]
        (lambda: When(larger_than="2KB", smaller_than="1KB"), "nothing has such a size"),
        (lambda: declare(start="Every('6h')"), "is not a start"),
        (lambda: declare(rate=6), "is not a rate"),
        (lambda: declare(when="*.csv"), "is not a condition"),
        (lambda: declare(start=Every("6h"), parallelism=2), "leave out parallelism"),
        (lambda: declare(start=After("orders")), "names the pipeline itself"),
        (lambda: declare(when=When(header={"type": "order"})), "it has no Topic"),
    ],
)
def test_a_wrong_declaration_is_refused_in_one_line(wrong: Callable[[], object], says: str) -> None:
    with pytest.raises(BadPipeline, match=says) as refused:
        wrong()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("expression", ["0 6 * * 1-5", "0 6 * * wed,SUN", "0 0 L * *", "0 0 1 JUL *"])
def test_what_prefects_schedules_take_is_taken(expression: str) -> None:
    assert CronSchedule(cron=Cron(expression).expression).cron == expression


def test_a_batch_is_closed_by_the_first_of_its_bounds() -> None:
    full = Batch(count=3, bytes="1KB", quiet="2s", at_most="1m")
    assert full.due_at(waiting(oldest=0, newest=5, count=2)) == NOON + seconds(7)
    assert full.due_at(waiting(oldest=0, newest=5, count=3)) == NOON + seconds(5)
    assert full.due_at(waiting(oldest=0, newest=5, count=2, size=1000)) == NOON + seconds(5)
    assert full.due_at(waiting(oldest=0, newest=59, count=2)) == NOON + seconds(60)


def test_a_quiet_period_counts_only_while_somebody_takes_in_what_comes() -> None:
    """A listener that was killed comes back: what came meanwhile is not taken in yet."""
    back = replace(waiting(oldest=0, newest=1), watched_since=NOON + seconds(9))
    assert Batch(quiet="2s").due_at(back) == NOON + seconds(11)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50).map(sorted), st.integers(1, 10), st.integers(10, 60))
def test_under_a_steady_stream_no_arrival_waits_longer_than_at_most(
    came: list[float], quiet: int, at_most: int
) -> None:
    """Played through: all that came goes with each start, in order, and between two batches something held."""
    start = Batch(quiet=seconds(quiet), at_most=seconds(at_most))
    left, now = list(came), 0.0
    while left:
        there = [each for each in left if each <= now]
        if not there:
            now = left[0]
            continue
        decision = decide(start, None, waiting(oldest=there[0], newest=there[-1], now=now, count=len(there)))
        if decision.due_at is None:
            assert decision.look_at is not None
            later = [each for each in left if each > now]
            now = min([*later[:1], (decision.look_at - NOON).total_seconds()])
            continue
        assert now - there[0] <= at_most + 1e-3
        assert now - there[-1] >= quiet - 1e-3 or now - there[0] >= at_most - 1e-3
        left = left[len(there) :]


@given(st.timedeltas(timedelta(0), timedelta(days=365)), st.timedeltas(seconds(1), timedelta(days=3)))
def test_fixed_steps_are_the_same_for_whoever_counts_them(later: timedelta, step: timedelta) -> None:
    moment = NOON + later
    there = replace(waiting(), oldest=moment)
    due = Every(step).due_at(there)
    assert due is not None
    assert moment < due <= moment + step
    assert Every(step).due_at(replace(there, oldest=due - timedelta(microseconds=1))) == due
    assert Every(step).due_at(replace(there, oldest=due)) == due + step


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "came", "due"),
    [
        # Clocks are set forward on 2026-03-29 at 2:00, and back on 2026-10-25 at 3:00.
        ("0 6 * * *", "2026-03-28T12:00+01:00", "2026-03-29T06:00+02:00"),
        ("0 6 * * *", "2026-10-24T12:00+02:00", "2026-10-25T06:00+01:00"),
        ("30 2 * * *", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),  # it is skipped: made up for at once
        ("30 2 * * *", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"),
        ("30 2 * * *", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00"),  # it comes twice: the first time counts
        ("30 2 * * *", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"),
        ("0 * * * *", "2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"),  # each hour that goes by
        ("0 * * * *", "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"),
        ("0 6 * * 1-5", "2026-11-27T06:00+01:00", "2026-11-30T06:00+01:00"),  # from Friday to Monday
        ("0 0 29 2 *", "2026-01-01T00:00+01:00", "2028-02-29T00:00+01:00"),
    ],
)
def test_cron_goes_by_the_clock_on_the_wall(cron: str, came: str, due: str) -> None:
    there = replace(waiting(), oldest=berlin(came))
    assert Cron(cron, timezone="Europe/Berlin").due_at(there) == berlin(due)


@pytest.mark.parametrize(
    ("cron", "zone", "came", "due"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15", "2026-10-26T01:30"),
        ("30 1 * * *", "America/New_York", "2026-11-01T06:15", "2026-11-02T06:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:15", "2026-10-25T00:30"),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T00:45", "2026-10-25T01:30"),
    ],
)
def test_cron_never_goes_back_in_an_hour_that_comes_twice(cron: str, zone: str, came: str, due: str) -> None:
    there = replace(waiting(), oldest=datetime.fromisoformat(f"{came}Z"))
    assert Cron(cron, timezone=zone).due_at(there) == datetime.fromisoformat(f"{due}Z")


@given(
    st.sampled_from(["2026-03-27T00:00+01:00", "2026-10-23T00:00+02:00"]),
    st.timedeltas(timedelta(0), timedelta(days=5)),
)
def test_a_daily_start_comes_once_each_day_over_a_change_of_clocks(before: str, later: timedelta) -> None:
    start = Cron("30 2 * * *", timezone="Europe/Berlin")
    times = [berlin(before) + later]
    for _ in range(4):
        due = start.due_at(replace(waiting(), oldest=times[-1]))
        assert due is not None
        times.append(due)
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert all(timedelta(hours=22) < gap < timedelta(hours=26) for gap in gaps)


def test_a_missed_start_is_made_up_for_once_with_all_that_came_since() -> None:
    """However many steps went by: what came before the last of them is due, at the first of them."""
    decision = decide(Every("1h"), None, waiting(oldest=60, newest=9000, now=10000, count=7))
    assert (decision.take, decision.cost, decision.due_at) == (None, 1, NOON + timedelta(hours=1))
    assert decide(Every("1h"), None, waiting(oldest=7260, now=10000)) == Decision(look_at=NOON + timedelta(hours=3))


def test_the_start_of_a_schedule_is_left_to_prefect_for_a_while() -> None:
    there = waiting(oldest=60, now=3605)
    assert decide(Every("1h"), None, there).due_at == NOON + timedelta(hours=1)
    late = decide(Every("1h"), None, there, patience=seconds(10))
    assert late == Decision(look_at=NOON + seconds(3610))
    made = decide(Every("1h"), None, replace(there, now=NOON + seconds(3610)), patience=seconds(10))
    assert made.due_at == NOON + timedelta(hours=1)  # when it was due, and not when it was made
    assert decide(OnArrival(), None, there, patience=seconds(10)).due_at is not None


def after(*persisted: tuple[float, str]) -> Parked:
    return replace(waiting(now=1000), persisted=tuple((NOON + seconds(at), name) for at, name in persisted))


def test_after_others_is_when_the_last_of_them_has_persisted_something() -> None:
    start = After("customers", "orders")
    assert start.due_at(after((1, "customers"), (5, "customers"))) is None
    assert start.due_at(after((1, "customers"), (7, "orders"), (9, "customers"))) == NOON + seconds(7)


def test_what_is_within_goes_by_when_it_happened_and_not_by_when_it_is_seen() -> None:
    """Seen long afterwards, when the latest of each are far apart again."""
    start = After("customers", "orders", within="5s")
    assert start.due_at(after((1, "customers"), (7, "orders"))) is None
    assert start.due_at(after((1, "customers"), (7, "orders"), (11, "customers"), (90, "customers"))) == NOON + seconds(
        11
    )


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("abc")), max_size=12, unique_by=lambda each: each[0]))
def test_within_means_that_one_of_each_lies_within_that_time(happened: list[tuple[int, str]]) -> None:
    """Held against every choice of one event of each."""
    events = sorted(happened)
    choices = [
        max(one, two, three)
        for one, a in events
        for two, b in events
        for three, c in events
        if (a, b, c) == ("a", "b", "c") and max(one, two, three) - min(one, two, three) <= 10
    ]
    due = After("a", "b", "c", within="10s").due_at(after(*events))
    assert due == (NOON + seconds(min(choices)) if choices else None)


def test_only_a_rule_or_a_person_starts_what_runs_on_rules() -> None:
    assert decide(OnRule(), None, waiting(now=10**7)) == Decision()
    asked = replace(waiting(now=20), asked_at=NOON + seconds(10))
    assert decide(OnRule(), None, asked).due_at == NOON + seconds(10)


def test_a_start_that_is_asked_for_does_not_wait_for_the_declared_one() -> None:
    for start in (Every("6h"), Batch(quiet="1h"), After("others"), Cron("0 6 * * *")):
        assert decide(start, None, replace(waiting(now=2), asked_at=NOON + seconds(1))).take is None


@given(
    st.lists(st.floats(0, 30), min_size=1, max_size=40).map(sorted),
    st.integers(1, 5),
    st.integers(1, 10),
    st.booleans(),
)
def test_a_rate_is_never_exceeded_and_works_off_what_is_over_in_order(
    came: list[float],
    most: int,
    per: int,
    batches: bool,  # noqa: FBT001 - drawn
) -> None:
    """Played through: in any period there are at most so many starts."""
    start = Batch(quiet="0.5s", at_most="1s") if batches else OnArrival()
    rate = Rate(most, per=seconds(per))
    left, now, made = list(enumerate(came)), 0.0, list[tuple[float, int]]()
    order: list[int] = []
    for _ in range(1000):
        there = [(number, at) for number, at in left if at <= now]
        if not there:
            if not left:
                break
            now = left[0][1]
            continue
        recent = tuple((NOON + seconds(at), cost) for at, cost in made if at > now - per)
        times = [at for _, at in there]
        facts = replace(waiting(oldest=times[0], newest=times[-1], now=now, count=len(there)), recent=recent)
        decision = decide(start, rate, facts)
        if decision.due_at is None:
            assert decision.look_at is not None
            assert decision.look_at > facts.now
            later = [at for _, at in left if at > now]
            now = min([*later[:1], (decision.look_at - NOON).total_seconds()])
            continue
        taken = there if decision.take is None else there[: decision.take]
        order += [number for number, _ in taken]
        made.append((now, decision.cost))
        left = [each for each in left if each not in taken]
    assert order == list(range(len(came)))
    for begin, _ in made:
        assert sum(cost for at, cost in made if begin <= at < begin + per - 1e-3) <= most


def test_conditions_say_why_a_file_does_not_meet_them() -> None:
    when = When(name=("*.csv", "!draft-*"), larger_than="1KB")
    assert when.refuses_file("Orders.CSV", 1001) is None
    assert when.refuses_file("orders.txt", 1001) == "its name is not '*.csv' or other than 'draft-*'"
    assert when.refuses_file("draft-1.csv", 5000) is not None
    assert when.refuses_file("a.csv", 1000) == "it has 1000 bytes, and not more than 1KB"


def test_a_header_that_is_missing_meets_what_only_excludes() -> None:
    assert When(header={"type": "order*"}).takes_header("type", b"order-2")
    assert not When(header={"type": "order*"}).takes_header("type", None)
    assert When(header={"type": "!test"}).takes_header("type", None)
    assert not When(header={"type": "!test"}).takes_header("type", b"test")
    assert not When(header={"type": "\N{SNOWMAN}"}).takes_header("type", b"\xff")


def test_every_start_is_told_in_words() -> None:
    told = {
        OnArrival(): "as soon as something arrives",
        Batch(count=500, quiet="2s", at_most="1m"): (
            "once for all that came, when 500 arrivals wait or nothing came for 2 seconds "
            "or the first has waited for 1 minute"
        ),
        Every("6h"): "every 6 hours",
        Cron("0 6 * * 1-5", timezone="Europe/Berlin"): "by the schedule 0 6 * * 1-5 (Europe/Berlin)",
        After("a", "b", within="1h"): "when a and b have persisted something within 1 hour since its last start",
        OnRule(): "when a rule or a person starts it",
    }
    for start, text in told.items():
        declared = declare(start=start, rate=Rate(6))
        assert declared.runs == f"{text}; at most 6 in any minute"

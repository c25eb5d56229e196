"""Batches, rates, schedules and pipelines after others, while listener, Prefect server and worker are killed.

One stand has them all at once: what is due is decided in the ledger, so each process may die at any moment.
"""

import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise

import pytest
from harness import Services, wait_until
from headgate.model import flow_run_of
from psycopg.rows import DictRow
from road import LEASE, Road, open_road
from test_chaos_services import kill

pytestmark = pytest.mark.kills_services

QUIET, AT_MOST = 2.0, 5.0  # seconds
MOST, PER = 5, 4.0  # starts in so many seconds
PIPELINES = f"""
    pipeline('batch', start=Batch(quiet='{QUIET:g}s', at_most='5m')),
    pipeline('steady', start=Batch(quiet='{QUIET:g}s', at_most='{AT_MOST:g}s')),
    pipeline('limited', rate=Rate({MOST}, per='{PER:g}s'), parallelism=2),
    pipeline('every', start=Every('15s')),
    pipeline('after', start=After('steady', 'limited')),
    pipeline('rules', start=OnRule())
"""
# The first multiple of 15 s after the oldest parked arrival, as the declaration says it.
NEXT_START = """
    select to_timestamp((floor(extract(epoch from min(arrived_at)) / 15) + 1) * 15) as due
    from headgate.arrival where pipeline = 'every' and state = 'parked'
"""


@pytest.fixture(scope="module")
def working(expendable: Services) -> Iterator[Road]:
    """A stand with everything at work on services that may be killed; the supervisor starts those again."""
    with open_road(expendable) as road:
        road.declare(PIPELINES)
        road.stand.environment |= {LEASE: "5", "HEADGATE_EVENTS_ANSWER_SECONDS": "4"}
        road.stand.run("apply")
        road.stand.start("listen")
        road.stand.start("work")
        wait_until(lambda: '"worker at work"' in road.stand.log_of("work"))
        yield road


def starts(road: Road, pipeline: str) -> Sequence[DictRow]:
    """The starts of a pipeline, in order, each with the times at which what it let go had come."""
    return road.stand.sql(
        "select s.*, min(a.arrived_at) as oldest, max(a.arrived_at) as newest"
        " from headgate.start as s left join headgate.arrival as a using (pipeline, start_id)"
        " where s.pipeline = %s group by s.start_id order by s.start_id",
        pipeline,
    )


def runs_of(road: Road, pipeline: str) -> set[str]:
    """The flow runs that ended the arrivals of a pipeline."""
    return {flow_run_of(row["claimed_by"]) for row in road.stand.arrivals() if row["pipeline"] == pipeline}


def ended(road: Road, pipeline: str, count: int) -> bool:
    """Whether so many arrivals of a pipeline have come to their end."""
    found = [row for row in road.stand.arrivals() if row["pipeline"] == pipeline]
    return len(found) == count and all(row["state"] == "done" for row in found)


def test_500_files_in_3_s_are_one_batch_and_one_run_whoever_is_killed(working: Road) -> None:
    """The listener, which is also the announcer, dies among them, and is back only after the quiet time."""
    road, stand = working, working.stand
    listener, worker = at_work(road, "listen"), at_work(road, "work")
    began = time.monotonic()
    for number in range(500):
        road.drop("batch", rows=2)
        if number == 250:
            listener.kill()
        time.sleep(max(0.0, began + number * 3 / 500 - time.monotonic()))
    time.sleep(QUIET)
    stand.start("listen")
    wait_until(lambda: starts(road, "batch"), within=120)
    kill(stand.services.pid("Prefect server"))  # its only ring may die with it
    wait_until(lambda: "claimed" in road.states("batch"), within=120, every=0.01)
    worker.kill()
    stand.start("work")
    wait_until(lambda: ended(road, "batch", 500), within=120)
    assert [row["arrivals"] for row in starts(road, "batch")] == [500]
    assert len(runs_of(road, "batch")) == 1


def test_at_most_and_rates_are_kept_whoever_is_killed(working: Road) -> None:
    """And what comes after others starts after them, and what runs on rules waits for one."""
    road, stand = working, working.stand
    road.drop("after", files=2, rows=2)
    road.drop("rules", files=2, rows=2)
    road.drop("limited", files=4 * MOST, rows=2)
    files, began = 0, time.monotonic()
    while time.monotonic() < began + 4 * AT_MOST:
        road.drop("steady", rows=2)  # more often than the quiet time
        files += 1
        if files == 25:
            at_work(road, "listen").kill()
            stand.start("listen")
        elif files == 50:
            at_work(road, "work").kill()
            stand.start("work")
        elif files == 75:
            kill(stand.services.pid("Prefect server"))
        time.sleep(0.2)
    counts = {"steady": files, "limited": 4 * MOST, "after": 2}
    wait_until(lambda: all(ended(road, name, count) for name, count in counts.items()), within=120)
    _no_arrival_waited_longer_than_declared(starts(road, "steady"))
    _no_more_starts_than_the_rate_allows(road)
    assert [row["arrivals"] for row in starts(road, "after")] == [2]

    assert road.states("rules") == {"parked"}
    deployment = stand.api("GET", "/deployments/name/ingest/rules").json()["id"]
    stand.api("POST", f"/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    wait_until(lambda: ended(road, "rules", 2), within=120)


def test_a_start_that_nobody_was_there_for_is_made_up_for_once(working: Road) -> None:
    road, stand = working, working.stand
    at_work(road, "work").kill()
    road.drop("every", files=2, rows=2)
    wait_until(lambda: len([row for row in stand.arrivals() if row["pipeline"] == "every"]) == 2, every=0.01)
    at_work(road, "listen").kill()
    (due,) = [row["due"] for row in stand.sql(NEXT_START)]
    wait_until(lambda: stand.sql("select clock_timestamp() > %s as over", due)[0]["over"])
    assert road.states("every") == {"parked"}
    stand.start("listen")
    stand.start("work")
    wait_until(lambda: ended(road, "every", 2), within=120)
    wait_until(road.all_ended, within=60)
    road.check()
    assert [(row["due_at"], row["arrivals"]) for row in starts(road, "every")] == [(due, 2)]


def at_work(road: Road, command: str) -> subprocess.Popen[bytes]:
    """The process of a command that was started last."""
    return next(each for each in reversed(road.stand.processes) if command in each.args)  # type: ignore[operator]


def _no_arrival_waited_longer_than_declared(made: Sequence[DictRow]) -> None:
    assert len(made) >= 3
    for row in made:
        assert row["due_at"] - row["oldest"] <= timedelta(seconds=AT_MOST)
        assert row["due_at"] <= row["started_at"]
    soonest = min(row["started_at"] - row["oldest"] for row in made)
    assert soonest < timedelta(seconds=AT_MOST + 5)  # while the announcer lived; it looks every 5 s at least


def _no_more_starts_than_the_rate_allows(road: Road) -> None:
    made = [(row["started_at"], row["cost"]) for row in starts(road, "limited")]
    assert sum(cost for _, cost in made) == 4 * MOST
    for begin, _ in made:
        within = [cost for at, cost in made if begin <= at < begin + timedelta(seconds=PER)]
        assert sum(within) <= MOST
    of_arrivals = [row["start_id"] for row in road.stand.arrivals() if row["pipeline"] == "limited"]
    assert all(earlier <= later for earlier, later in pairwise(of_arrivals)), "started in the order they came in"

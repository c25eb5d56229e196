"""Runs are killed, or stopped for longer than their lease: each row is in its table once all the same.

The runs are the real flow in processes of its own, started without a worker, whose start alone takes seconds.
"""

import os
import signal

from harness import wait_until
from road import LONG, SHORT, Road, ended

pytest_plugins = ["chaos_fixtures"]

BEFORE_THE_COMMIT = (
    "run.after-claim",
    "parse.after-portion",
    "persist.before-transaction",
    "persist.in-transaction",
    "persist.before-commit",
)
AFTER_THE_COMMIT = "persist.after-commit"
MODES = {"append": False, "upsert": True}


def written(road: Road, pipeline: str) -> list[dict[str, object]]:
    """The rows of a pipeline's table, each with the transaction that wrote it."""
    return road.stand.sql(f"select xmin::text, * from {pipeline.replace('-', '_')} order by _arrival_id, _row")


def test_a_run_that_is_killed_anywhere_neither_loses_nor_repeats_a_row(road: Road) -> None:
    points = {
        f"{mode}-{point.replace('.', '-')}": point for mode in MODES for point in (*BEFORE_THE_COMMIT, AFTER_THE_COMMIT)
    }
    road.declare(", ".join(f"pipeline({name!r}, keyed={name.startswith('upsert')})" for name in points))
    for name in points:
        road.drop(name, files=3)
    road.take_in()
    for name, point in points.items():
        code = road.run(name, env={**SHORT, "HEADGATE_CRASHPOINT": point})
        assert code == -signal.SIGKILL, f"the run was to die at {point}, and ended with {code}"
        assert road.states(name) == ({"done"} if point == AFTER_THE_COMMIT else {"claimed"})
    wait_until(lambda: all(road.leases_over(name) for name, point in points.items() if point != AFTER_THE_COMMIT))
    assert road.run(*points) == 0
    road.sweep()
    road.check()
    attempts = {row["pipeline"]: row["attempts"] for row in road.stand.arrivals()}
    assert attempts == {name: 1 if point == AFTER_THE_COMMIT else 2 for name, point in points.items()}


def test_a_big_file_killed_between_two_commits_goes_on_where_it_was(road: Road) -> None:
    """Rows that an attempt has committed are not written again: they keep the transaction that wrote them."""
    road.declare("pipeline('big-append'), pipeline('big-upsert', keyed=True)")
    road.stand.environment["HEADGATE_RECORDS_CHUNK_ROWS"] = "5000"
    names = ("big-append", "big-upsert")
    for name in names:
        road.drop(name, rows=60_000, bad_every=1000)
    road.take_in()
    before = {}
    for name in names:
        assert road.run(name, env={**SHORT, "HEADGATE_CRASHPOINT": AFTER_THE_COMMIT}) == -signal.SIGKILL
        before[name] = written(road, name)
        (committed,) = [row["rows_committed"] for row in road.stand.arrivals() if row["pipeline"] == name]
        assert 0 < committed <= 5000
        assert len(before[name]) == committed - committed // 1000  # each thousandth is bad
    wait_until(lambda: all(road.leases_over(name) for name in names))
    assert road.run(*names) == 0
    road.check()
    for name in names:
        assert written(road, name)[: len(before[name])] == before[name]


def test_a_run_stopped_past_its_lease_writes_nothing_once_another_has_taken_over(road: Road) -> None:
    names = ("fenced-append", "fenced-upsert")
    road.declare(", ".join(f"pipeline({name!r}, keyed={name.endswith('upsert')}, enrich=(gate,))" for name in names))
    for name in names:
        road.drop(name, files=3)
    road.take_in()
    for name in names:
        road.close_gate()
        first = road.start("ingest", name, env=SHORT)
        pid = road.wait_at_gate()
        os.kill(pid, signal.SIGSTOP)
        road.open_gate(pid)
        wait_until(lambda name=name: road.leases_over(name))  # type: ignore[misc]
        assert road.run(name) == 0
        assert road.states(name) == {"done"}
        before = written(road, name)
        os.kill(pid, signal.SIGCONT)
        assert ended(first) == 0
        assert written(road, name) == before
    road.check()
    assert {row["lease_epoch"] for row in road.stand.arrivals()} == {2}


def test_a_run_stopped_past_its_lease_writes_nothing_while_the_other_is_still_at_work(road: Road) -> None:
    """Not the end of the second claim fences the first, but its beginning."""
    road.declare("pipeline('both', enrich=(gate,))")
    road.drop("both", files=3)
    road.take_in()
    road.close_gate()
    first = road.start("ingest", "both", env=SHORT)
    stopped = road.wait_at_gate()
    os.kill(stopped, signal.SIGSTOP)
    road.open_gate(stopped)
    wait_until(lambda: road.leases_over("both"))
    road.close_gate()
    second = road.start("ingest", "both", env=LONG)
    waiting = road.wait_at_gate()
    os.kill(stopped, signal.SIGCONT)
    assert ended(first) == 0
    assert road.states("both") == {"claimed"}
    assert road.stand.sql("select to_regclass('both') as there") == [{"there": None}]
    road.open_gate(waiting)
    assert ended(second) == 0
    road.check()


def test_a_run_stopped_past_its_lease_that_nobody_took_over_leaves_what_it_held_to_the_next(road: Road) -> None:
    """It was an attempt: what hangs each time must not hang for ever."""
    road.declare("pipeline('alone', enrich=(gate,))")
    road.drop("alone", files=3)
    road.take_in()
    road.close_gate()
    first = road.start("ingest", "alone", env=SHORT)
    pid = road.wait_at_gate()
    os.kill(pid, signal.SIGSTOP)
    road.open_gate(pid)
    wait_until(lambda: road.leases_over("alone"))
    os.kill(pid, signal.SIGCONT)
    assert ended(first) == 0
    assert road.states("alone") == {"claimed"}
    assert road.leases_over("alone")
    assert road.stand.sql("select to_regclass('alone') as there") == [{"there": None}]
    assert road.run("alone") == 0
    road.check()


def test_a_file_that_kills_its_process_is_given_up_alone(road: Road) -> None:
    """However few attempts are allowed: what was claimed with it gets an attempt without it."""
    road.declare("pipeline('deadly', enrich=(deadly,), retry=Retry(attempts=2))")
    road.drop("deadly", files=2)
    road.drop("deadly", poison=True)
    road.drop("deadly", files=2)
    road.take_in()
    deaths = 0
    while road.states("deadly") & {"ready", "claimed"}:
        deaths += road.run("deadly", env=SHORT) == -signal.SIGKILL
        assert deaths <= 2
        wait_until(lambda: "claimed" not in road.states("deadly") or road.leases_over("deadly"))
    assert deaths == 2
    road.sweep()
    road.check(rejected={"deadly-0003.csv": "crash-loop"})


def test_what_a_killed_run_leaves_is_gone_after_the_next_sweep_and_a_live_one_keeps_its_own(road: Road) -> None:
    """Its ring, which counted as open, and its folder."""
    road.declare("pipeline('left'), pipeline('kept', enrich=(gate,))")
    road.drop("left")
    road.drop("kept")
    road.take_in()
    assert road.run("left", env={**SHORT, "HEADGATE_CRASHPOINT": "persist.before-commit"}) == -signal.SIGKILL
    road.close_gate()
    kept = road.start("ingest", "kept", env=SHORT)
    pid = road.wait_at_gate()
    work = road.stand.home / "work"
    assert len(list(work.iterdir())) == 2

    def is_closed() -> bool:
        """Whether the sweep has closed the ring of the dead run."""
        assert ended(road.start("sweep", env=SHORT)) == 0
        rings = road.stand.sql("select pipeline from headgate.ring where answered_at is not null and left_at is null")
        return [row["pipeline"] for row in rings] == ["kept"]

    wait_until(is_closed)
    assert len(list(work.iterdir())) == 1
    road.open_gate(pid)
    assert ended(kept) == 0
    wait_until(lambda: road.leases_over("left"))
    assert road.run("left") == 0
    road.check()

"""Runs are killed, or stopped for longer than their lease: each row is in its table once all the same.

The runs are processes of the real flow, started without a worker, whose start alone takes seconds.
"""

import signal

import pytest
from harness import wait_until
from road import LONG, SHORT, Road

AFTER_WHICH_NOTHING_IS_LEFT = "persist.after-commit"
POINTS = (
    "run.after-claim",
    "parse.after-portion",
    "persist.before-transaction",
    "persist.in-transaction",
    "persist.before-commit",
    AFTER_WHICH_NOTHING_IS_LEFT,
)


def killed_at(road: Road, point: str, *pipelines: str) -> None:
    code = road.run(*pipelines, env={**SHORT, "HEADGATE_CRASHPOINT": point})
    assert code == -signal.SIGKILL, f"the run was to die at {point}, and ended with {code}"


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_run_that_is_killed_anywhere_neither_loses_nor_repeats_a_row(road: Road, mode: str) -> None:
    names = {point: f"at-{point.replace('.', '-')}" for point in POINTS}
    road.declare(", ".join(f"pipeline({name!r}, keyed={mode == 'upsert'})" for name in names.values()))
    for name in names.values():
        road.drop(name, files=3)
    road.take_in()
    running = {
        point: road.start_run(name, env={**SHORT, "HEADGATE_CRASHPOINT": point}) for point, name in names.items()
    }
    for point, process in running.items():
        assert process.wait(120) == -signal.SIGKILL, f"the run was to die at {point}"
        if point == AFTER_WHICH_NOTHING_IS_LEFT:
            assert road.states(names[point]) == {"done"}
        else:
            wait_until(lambda point=point: road.leases_over(names[point]))  # type: ignore[misc]
    assert road.run(*names.values()) == 0
    road.stand.run("sweep")  # settles what ended in a run that died before it could
    assert road.all_ended()
    road.check()
    tries = {row["pipeline"]: row["attempts"] for row in road.stand.arrivals()}
    assert tries == {name: 1 if point == AFTER_WHICH_NOTHING_IS_LEFT else 2 for point, name in names.items()}


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
        killed_at(road, "persist.after-commit", name)
        table = name.replace("-", "_")
        before[name] = road.stand.sql(f"select _row, xmin::text from {table} order by _row")
        assert 0 < len(before[name]) < 60_000
        assert [row["rows_committed"] for row in road.stand.arrivals() if row["pipeline"] == name] == [5000]
        wait_until(lambda name=name: road.leases_over(name))  # type: ignore[misc]
    assert road.run(*names) == 0
    road.check()
    for name in names:
        table, count = name.replace("-", "_"), len(before[name])
        after = road.stand.sql(f"select _row, xmin::text from {table} order by _row limit {count}")
        assert after == before[name]


def test_a_run_stopped_past_its_lease_writes_nothing_once_another_has_taken_over(road: Road) -> None:
    road.declare("pipeline('fenced', enrich=(gate,)), pipeline('fenced-upsert', keyed=True, enrich=(gate,))")
    for name in ("fenced", "fenced-upsert"):
        road.drop(name, files=3)
    road.take_in()
    for name in ("fenced", "fenced-upsert"):
        road.close_gate()
        first = road.start_run(name, env=SHORT)
        road.wait_at_gate().suspend()
        road.open_gate()
        wait_until(lambda name=name: road.leases_over(name))  # type: ignore[misc]
        assert road.run(name) == 0
        assert road.states(name) == {"done"}
        written = road.stand.sql(f"select xmin::text, * from {name.replace('-', '_')} order by _arrival_id, _row")
        first.send_signal(signal.SIGCONT)
        assert first.wait(60) == 0
        assert (
            road.stand.sql(f"select xmin::text, * from {name.replace('-', '_')} order by _arrival_id, _row") == written
        )
    road.check()
    assert {row["lease_epoch"] for row in road.stand.arrivals()} == {2}


def test_a_run_stopped_past_its_lease_writes_nothing_while_the_other_is_still_at_work(road: Road) -> None:
    """Not the end of the second claim fences the first, but its beginning."""
    road.declare("pipeline('both', enrich=(gate,))")
    road.drop("both", files=3)
    road.take_in()
    road.close_gate()
    first = road.start_run("both", env=SHORT)
    road.wait_at_gate().suspend()
    road.open_gate()
    wait_until(lambda: road.leases_over("both"))
    road.close_gate()
    second = road.start_run("both", env=LONG)
    road.wait_at_gate()
    first.send_signal(signal.SIGCONT)
    assert first.wait(60) == 0
    assert road.states("both") == {"claimed"}
    assert road.stand.sql("select to_regclass('both') as there") == [{"there": None}]
    road.open_gate()
    assert second.wait(60) == 0
    road.check()


def test_a_run_stopped_past_its_lease_that_nobody_took_over_writes_nothing_and_a_later_one_does(road: Road) -> None:
    road.declare("pipeline('alone', enrich=(gate,))")
    road.drop("alone", files=3)
    road.take_in()
    road.close_gate()
    first = road.start_run("alone", env=SHORT)
    road.wait_at_gate().suspend()
    road.open_gate()
    wait_until(lambda: road.leases_over("alone"))
    first.send_signal(signal.SIGCONT)
    assert first.wait(60) == 0
    if road.states("alone") != {"done"}:
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
    road.stand.run("sweep")
    road.check(rejected={"deadly-0003.csv": "crash-loop"})

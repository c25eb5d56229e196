"""Runs that wait for an arrival, or whose session is lost, are killed: each row is in its table once all the same."""

import os
import signal
import time

from harness import wait_until
from road import LONG, Road, ended

pytest_plugins = ["chaos_fixtures"]

# A stream, however slow this machine is: a run stays for the next arrival for as long as a minute.
STEADY = {**LONG, "HEADGATE_WORKER_WAIT_SECONDS": "60"}
NO_LEASE = 30.0  # seconds; half of the long lease: what goes on sooner did not wait for it


def begin_a_stream(road: Road, pipeline: str) -> None:
    """Have an arrival worked on, so that the next one is not the first."""
    road.drop(pipeline)
    road.take_in()
    assert road.run(pipeline, env=STEADY) == 0


def holders(road: Road) -> list[dict[str, object]]:
    return road.stand.sql("select * from headgate.holder")


def test_a_run_that_is_killed_while_it_waits_for_the_next_arrival_leaves_it_to_another(road: Road) -> None:
    road.declare("pipeline('steady')")
    begin_a_stream(road, "steady")
    road.drop("steady")
    road.take_in()
    assert road.run("steady", env={**STEADY, "HEADGATE_CRASHPOINT": "run.waits"}) == -signal.SIGKILL
    assert road.states("steady") == {"done"}
    assert len(holders(road)) == 1
    road.drop("steady", files=3)
    road.take_in()
    assert road.run("steady") == 0
    road.sweep()
    road.check()
    assert {row["attempts"] for row in road.stand.arrivals()} == {1}
    wait_until(lambda: road.run("steady") == 0 and not holders(road))


def test_a_run_that_waits_works_on_what_comes_and_ends_when_it_is_to_drain(road: Road) -> None:
    road.declare("pipeline('steady')")
    begin_a_stream(road, "steady")
    road.drop("steady")
    road.take_in()
    run = road.start("ingest", "steady", env=STEADY)
    listener = road.start("listen")
    for count in range(3, 6):
        wait_until(road.all_ended)
        road.drop("steady")
        wait_until(lambda count=count: len(road.stand.arrivals()) == count)  # type: ignore[misc]
    wait_until(road.all_ended)
    by = road.stand.sql("select distinct claimed_by from headgate.arrival where arrival_id > 1")
    assert len(by) == 1, "one run was to have them all"
    began = time.monotonic()
    (road.stand.home / "draining").touch()
    assert ended(run) == 0
    assert time.monotonic() - began < NO_LEASE
    listener.terminate()
    listener.join(30)
    road.check()


def test_a_run_that_is_killed_right_after_its_session_was_lost_is_noticed_all_the_same(road: Road) -> None:
    road.declare("pipeline('cut', enrich=(gate,))")
    road.drop("cut", files=3)
    road.take_in()
    road.close_gate()
    first = road.start("ingest", "cut", env={**LONG, "HEADGATE_CRASHPOINT": "hold.session-lost"})
    road.wait_at_gate()
    wait_until(lambda: holders(road))
    road.stand.sql(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = "
        "(select oid from pg_database where datname = current_database())"
    )
    assert ended(first) == -signal.SIGKILL
    began = time.monotonic()
    wait_until(lambda: road.run("cut") == 0 and road.states("cut") == {"done"})
    assert time.monotonic() - began < NO_LEASE
    road.check()
    assert {row["attempts"] for row in road.stand.arrivals()} == {2}


def test_a_run_whose_session_is_cut_keeps_its_claim_and_commits_it(road: Road) -> None:
    road.declare("pipeline('kept', enrich=(gate,))")
    road.drop("kept", files=3)
    road.take_in()
    road.close_gate()
    run = road.start("ingest", "kept", env=LONG)
    pid = road.wait_at_gate()
    wait_until(lambda: holders(road))
    for _ in range(3):
        before = holders(road)
        road.stand.sql(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = "
            "(select oid from pg_database where datname = current_database())"
        )
        wait_until(lambda before=before: holders(road)[0]["taken_at"] != before[0]["taken_at"])  # type: ignore[misc]
    road.open_gate(pid)
    assert ended(run) == 0
    road.check()
    assert {row["attempts"] for row in road.stand.arrivals()} == {1}


def test_a_run_that_hangs_keeps_its_lock_and_loses_its_claim_with_its_lease(road: Road) -> None:
    """The lock tells of the dead alone: what hangs is fenced as ever."""
    road.declare("pipeline('hangs', enrich=(gate,))")
    road.drop("hangs")
    road.take_in()
    road.close_gate()
    first = road.start("ingest", "hangs", env={**LONG, "HEADGATE_LEDGER_LEASE_SECONDS": "4"})
    pid = road.wait_at_gate()
    wait_until(lambda: holders(road))
    os.kill(pid, signal.SIGSTOP)
    road.open_gate(pid)
    wait_until(lambda: road.leases_over("hangs"))
    assert road.run("hangs") == 0
    assert road.states("hangs") == {"done"}
    os.kill(pid, signal.SIGCONT)
    assert ended(first) == 0
    road.check()

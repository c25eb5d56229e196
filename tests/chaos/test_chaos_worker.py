"""Runs under the warm worker, started by the automation, are killed, lose their worker, and are stopped."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from harness import Services, wait_until
from road import LEASE, LONG, SHORT, Road, ended, open_road

# Workers are started as users start them: one that was forked from another fork server would share that one.
pytest_plugins = ["chaos_fixtures"]


pytestmark = pytest.mark.xdist_group("worker")  # they share what takes seconds to start


@pytest.fixture(scope="module")
def worked(services: Services, warmed: None) -> Iterator[Road]:  # noqa: ARG001 - it has to be there
    """A stand whose listener and announcer are at work; each test brings a worker."""
    with open_road(services) as road:
        road.declare(
            "pipeline('dies'), pipeline('orphaned', enrich=(gate,)), pipeline('stopped', enrich=(gate,), keyed=True)"
        )
        assert ended(road.start("apply")) == 0
        road.start("listen")
        wait_until(lambda: road.stand.sql("select to_regclass('headgate.ring') as there")[0]["there"])
        yield road


def test_a_run_of_the_worker_that_is_killed_is_followed_by_another(worked: Road) -> None:
    worker = worked.stand.start("work", env={**SHORT, "HEADGATE_CRASHPOINT": "persist.before-commit"})
    worked.drop("dies", files=3)
    wait_until(lambda: worked.leases_over("dies"))
    worker.kill()
    worker = worked.stand.start("work", env=LONG)
    wait_until(worked.all_ended)
    worked.check()
    worker.terminate()
    assert worker.wait(90) == 0


def test_a_run_whose_worker_is_killed_ends_with_it_and_its_arrivals_are_taken_over(worked: Road) -> None:
    """Nobody could cancel it, and the next worker puts it back: it must not go on beside that."""
    worker = worked.stand.start("work", env=SHORT)
    worked.close_gate()
    worked.drop("orphaned", files=3)
    pid = worked.wait_at_gate()
    worker.kill()
    assert worker.wait(90) == -signal.SIGKILL
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    worker = worked.stand.start("work", env=LONG)
    wait_until(worked.all_ended)
    worked.check()
    worker.terminate()
    assert worker.wait(90) == 0


def test_a_run_of_the_worker_stopped_past_its_lease_is_taken_over_and_writes_nothing(worked: Road) -> None:
    worker = worked.stand.start("work", env={LEASE: "4"})
    worked.close_gate()
    worked.drop("stopped", files=3)
    pid = worked.wait_at_gate()
    os.kill(pid, signal.SIGSTOP)
    worked.open_gate(pid)
    wait_until(worked.all_ended)
    before = worked.stand.sql("select xmin::text, * from stopped order by _arrival_id, _row")
    os.kill(pid, signal.SIGCONT)
    worker.terminate()  # it waits for the run that was stopped
    assert worker.wait(90) == 0
    assert worked.stand.sql("select xmin::text, * from stopped order by _arrival_id, _row") == before
    worked.check()

"""Runs under Prefect's own worker, started by the automation, are killed, orphaned and stopped."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from harness import Services, wait_until
from road import LEASE, LONG, SHORT, Road, ended, open_road

pytest_plugins = ["chaos_fixtures"]


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
    worker = worked.start("work", env={**SHORT, "HEADGATE_CRASHPOINT": "persist.before-commit"})
    worked.drop("dies", files=3)
    wait_until(lambda: worked.leases_over("dies"))
    worker.kill()
    worker = worked.start("work", env=LONG)
    wait_until(worked.all_ended)
    worked.check()
    worker.terminate()
    assert ended(worker) == 0


def test_a_run_whose_worker_is_killed_keeps_its_claim_and_finishes(worked: Road) -> None:
    worker = worked.start("work", env=LONG)
    worked.close_gate()
    worked.drop("orphaned", files=3)
    pid = worked.wait_at_gate()
    worker.kill()
    assert ended(worker) == -signal.SIGKILL
    assert psutil.pid_exists(pid)
    worked.open_gate(pid)
    wait_until(worked.all_ended)
    worked.check()
    assert [row["lease_epoch"] for row in worked.stand.arrivals() if row["pipeline"] == "orphaned"] == [1, 1, 1]


def test_a_run_of_the_worker_stopped_past_its_lease_is_taken_over_and_writes_nothing(worked: Road) -> None:
    worker = worked.start("work", env={LEASE: "4"})
    worked.close_gate()
    worked.drop("stopped", files=3)
    pid = worked.wait_at_gate()
    os.kill(pid, signal.SIGSTOP)
    worked.open_gate(pid)
    wait_until(worked.all_ended)
    before = worked.stand.sql("select xmin::text, * from stopped order by _arrival_id, _row")
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not psutil.pid_exists(pid))
    assert worked.stand.sql("select xmin::text, * from stopped order by _arrival_id, _row") == before
    worked.check()
    worker.terminate()
    assert ended(worker) == 0

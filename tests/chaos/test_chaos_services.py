"""The Prefect server and PostgreSQL are killed while files are dropped and runs work: a delay, and never a loss."""

import contextlib
import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from harness import Services, wait_until
from road import LEASE, Road, open_road

pytestmark = pytest.mark.kills_services


@pytest.fixture
def own(expendable: Services) -> Services:
    """Services to be killed; their supervisor starts them again."""
    return expendable


@pytest.fixture
def working(own: Services) -> Iterator[Road]:
    """A stand with everything at work, for a pipeline called "items"."""
    with open_road(own) as road:
        road.declare("pipeline('items')")
        road.stand.environment |= {LEASE: "5", "HEADGATE_EVENTS_ANSWER_SECONDS": "4"}
        road.stand.run("apply")
        road.stand.start("listen")
        road.stand.start("work")
        wait_until(lambda: '"worker at work"' in road.stand.log_of("work"))
        yield road


def kill(pid: int) -> None:
    """Kill a process and all below it at once, as a machine that loses power would."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for each in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            os.kill(each.pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=20)


def test_what_the_prefect_server_forgot_when_it_was_killed_is_rung_again(working: Road, own: Services) -> None:
    """One ring dies with the server that has just taken it, and files taken in while it is away wait in the ledger."""
    server = own.prefect()
    working.drop("items", files=3)
    wait_until(lambda: working.stand.sql("select * from headgate.ring"), every=0.002)
    kill(own.pid("Prefect server"))
    working.drop("items", files=3)
    wait_until(lambda: len(working.stand.arrivals()) == 6)
    assert not server.ready(), "the files were to be taken in while the server is away"
    wait_until(server.ready, within=120)
    wait_until(working.all_ended, within=120)
    working.check()


def test_postgresql_killed_while_runs_wait_for_the_next_arrival(working: Road, own: Services) -> None:
    """All sessions end at once, and with them all locks; the runs live, take them again, and nothing is taken twice."""
    for _ in range(4):
        working.drop("items")
        wait_until(working.all_ended, within=120)
    kill(own.pid("PostgreSQL"))
    working.drop("items", files=3)
    wait_until(own.postgres.ready, within=120)
    wait_until(working.all_ended, within=120)
    working.check()


def test_postgresql_killed_with_all_its_backends_under_load(working: Road, own: Services) -> None:
    working.drop("items", files=10, rows=500)
    wait_until(lambda: working.states("items") & {"claimed", "done"}, every=0.005)
    for _ in range(2):
        kill(own.pid("PostgreSQL"))
        working.drop("items", files=10, rows=500)
        wait_until(own.postgres.ready, within=120)
    wait_until(working.all_ended, within=180)
    working.check()

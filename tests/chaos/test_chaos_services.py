"""The Prefect server and PostgreSQL are killed while files are dropped and runs work: a delay, and never a loss."""

import contextlib
import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from harness import Services, open_folder, wait_until
from road import LEASE, Road, open_road


@pytest.fixture(scope="module")
def own() -> Iterator[Services]:
    """Services of their own, to be killed; their supervisor starts them again."""
    with open_folder("headgate-killed-") as folder:
        running = Services(folder / "home")
        running.prefect()
        yield running
        running.close()


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


def test_postgresql_killed_with_all_its_backends_under_load(working: Road, own: Services) -> None:
    working.drop("items", files=10, rows=500)
    wait_until(lambda: working.states("items") & {"claimed", "done"}, every=0.005)
    for _ in range(2):
        kill(own.pid("PostgreSQL"))
        working.drop("items", files=10, rows=500)
        wait_until(own.postgres.ready, within=120)
    wait_until(working.all_ended, within=180)
    working.check()

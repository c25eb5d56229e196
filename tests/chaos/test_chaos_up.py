"""Each process of a whole `headgate up` is killed while files are dropped: each row comes once all the same."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import psutil
import psycopg
import pytest
from harness import wait_until
from road import Road

pytest_plugins = ["chaos_fixtures"]

ITS_OWN = {"HEADGATE_DATABASE_URL", "PREFECT_API_URL"}  # what `up` is not given, it brings
# By what their titles or command lines begin with, or have in them. The first ends nobody, and is missed by the second.
KILLED = {
    "fork server": "worker up",
    "listener": "headgate listen",
    "a process of runs": "headgate run",
    "worker": "headgate work",
    "Prefect server": "Prefect server",
    "PostgreSQL": "/postgres -D",
}


@contextmanager
def up(road: Road) -> Iterator[int]:
    """Run `headgate up` with all of its own; its process id."""
    stand = road.stand
    env = {name: value for name, value in stand.env().items() if name not in ITS_OWN}
    with (stand.folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "up"], env=env, cwd=stand.folder, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: b"Ctrl-C ends" in (stand.folder / "up.log").read_bytes(), within=120)
        stand.database_url = json.loads((stand.home / "endpoints.json").read_text(encoding="utf-8"))["database_url"]
        yield process.pid
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(180) == 0, (stand.folder / "up.log").read_text(encoding="utf-8")
        assert not processes(road, "")


def processes(road: Road, mark: str, *, but: Sequence[int] = ()) -> list[int]:
    """The processes that run in the folder of the road, and have this in their command lines."""
    found = []
    for process in psutil.process_iter():
        try:
            inside = process.pid not in but and process.cwd().startswith(str(road.stand.folder))
            if inside and mark in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def all_ended(road: Road) -> bool:
    """Whether all that was dropped has come to its end; a PostgreSQL that is being started says nothing."""
    with suppress(psycopg.OperationalError):
        return road.all_ended()
    return False


@pytest.mark.timeout(600)
def test_whatever_is_killed_of_a_running_up_each_row_comes_once(road: Road) -> None:
    road.declare('pipeline("everything")')
    with up(road) as pid:
        for name, mark in KILLED.items():
            road.drop("everything", files=5)
            victim = wait_until(partial(processes, road, mark, but=[pid]), within=120)[0]
            psutil.Process(victim).kill()
            road.drop("everything", files=5)
            if name != "fork server":  # another is made when a process is started again
                wait_until(partial(processes, road, mark, but=[victim]), within=120)
        wait_until(partial(all_ended, road), within=240)
        road.check()

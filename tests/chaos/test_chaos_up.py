"""Each process of a whole `headgate up` is killed while files are dropped: each row comes once all the same."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from harness import wait_until
from road import Road

pytest_plugins = ["chaos_fixtures"]

ITS_OWN = {"HEADGATE_DATABASE_URL", "PREFECT_API_URL"}  # what `up` is not given, it brings
# By what their titles or command lines begin with, or have in them. The first ends nobody, and is missed by the second.
KILLED = {
    "fork server": "headgate fork server",
    "listener": "headgate listen",
    "a process of runs": "headgate run",
    "worker": "headgate work",
    "Prefect server": "Prefect server",
    "PostgreSQL": "/postgres -D",
}


@contextmanager
def up(road: Road) -> Iterator[int]:
    """Run `headgate up` with all of its own, in a home that one has been run in; its process id."""
    stand = road.stand
    stand.services.copy_used_home(stand.home)
    env = {name: value for name, value in stand.env().items() if name not in ITS_OWN}
    with (stand.folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "headgate", "up"], env=env, cwd=stand.folder, stdout=log, stderr=log
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


def api(road: Road, method: str, path: str, body: object = None) -> Any:
    """Ask the Prefect server of the `up` that runs."""
    url = json.loads((road.stand.home / "endpoints.json").read_text(encoding="utf-8"))["api_url"]
    response = httpx.request(method, f"{url}{path}", json=body, timeout=30)
    response.raise_for_status()
    return response.json() if response.content else None


def deployment(road: Road, name: str) -> str:
    """The id of a deployment; none if there is none."""
    with suppress(httpx.HTTPStatusError):
        return str(api(road, "GET", f"/deployments/name/{name}")["id"])
    return ""


def delete_deployments(road: Road) -> None:
    """The pipeline's and the sweep's."""
    for name in ("ingest/everything", "sweep/sweep"):
        api(road, "DELETE", f"/deployments/{deployment(road, name)}")


def delete_automations(road: Road) -> None:
    """All of them."""
    for automation in api(road, "POST", "/automations/filter", {}):
        api(road, "DELETE", f"/automations/{automation['id']}")


def delete_pool(road: Road) -> None:
    """The work pool; the worker makes it again, and no deployment is in it then."""
    api(road, "DELETE", f"/work_pools/{road.stand.pool}")


def empty_database(road: Road) -> None:
    """All that Prefect knows."""
    url = road.stand.database_url.rpartition("/")[0] + "/prefect"
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        tables = ", ".join(f'"{name}"' for (name,) in rows if name != "alembic_version")
        connection.execute(f"truncate {tables}".encode())


@pytest.mark.timeout(600)
def test_what_is_deleted_on_the_prefect_server_is_made_again_and_rows_come(road: Road) -> None:
    """Without a person."""
    road.declare('pipeline("everything")')
    with up(road):
        road.drop("everything")
        wait_until(partial(all_ended, road))
        for delete in (delete_deployments, delete_automations, delete_pool, empty_database):
            delete(road)
            road.drop("everything")
            wait_until(partial(all_ended, road), within=60)
            wait_until(partial(deployment, road, "sweep/sweep"))
        road.check()


@pytest.mark.timeout(600)
def test_a_run_that_a_killed_worker_had_taken_and_not_begun_is_begun_soon(road: Road) -> None:
    """The processes of the worker are gone, so that the run waits for one when the worker is killed."""
    road.declare('pipeline("everything")')
    with up(road):
        road.drop("everything")
        wait_until(partial(all_ended, road))
        (worker,) = [
            each for each in map(psutil.Process, processes(road, "headgate work")) if each.pid == os.getpgid(each.pid)
        ]
        for each in worker.children(recursive=True):
            each.kill()
        road.drop("everything")
        pending = {"flow_runs": {"state": {"type": {"any_": ["PENDING"]}}}}
        wait_until(lambda: api(road, "POST", "/flow_runs/count", pending), every=0.01)
        worker.kill()
        wait_until(partial(all_ended, road), within=30)
        road.check()


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

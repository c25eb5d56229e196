"""The life of a warm worker: it drains, it is killed, it renews its processes, it works beside others."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psutil
import pytest
from harness import Stand, wait_until
from headgate.execution.reclaim import claim, reclaim
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.states import Pending
from warm_stand import WarmStand

DEAD = 2**22 + 1  # no process has this id: Linux gives none above 2**22


@pytest.fixture
def warm(prefect_stand: Stand) -> Iterator[WarmStand]:
    """A pool without a worker."""
    yield WarmStand(prefect_stand)
    for process in prefect_stand.processes:  # its runs' processes end with it: see the test of that
        process.kill()


def ended(worker: "subprocess.Popen[bytes]", within: float = 60) -> int:
    """Wait for a worker's end; its exit code."""
    return worker.wait(within)


def test_asked_to_stop_it_ends_what_is_short_and_hands_back_what_is_long(warm: WarmStand) -> None:
    worker = warm.start("--limit", "3", env={"HEADGATE_WORKER_GRACE_SECONDS": "3"})
    short = warm.run(warm.deploy("a_sleeps"), seconds=1.5)
    longs = [warm.run(warm.deploy(flow), seconds=9) for flow in ("sleeps", "a_sleeps")]
    for run in (short, *longs):
        warm.wait(run, "Running")
    worker.send_signal(signal.SIGTERM)
    late = warm.run(warm.deploy("a_sleeps"))
    assert ended(worker) == 0
    assert warm.state(short)["name"] == "Completed"
    assert [warm.state(run)["name"] for run in longs] == ["AwaitingRetry"] * 2
    assert warm.state(late)["name"] == "Scheduled"

    warm.start("--limit", "3")
    for run in (*longs, late):
        assert warm.wait(run)["name"] == "Completed"
        assert "Crashed" not in warm.history(run)


def test_a_killed_worker_takes_its_processes_along_and_the_next_one_takes_up_its_runs(warm: WarmStand) -> None:
    worker = warm.start("--limit", "2")
    run, cancelled = (warm.run(warm.deploy("a_sleeps"), seconds=4, trail=str(warm.trail)) for _ in range(2))
    processes = [warm.process(each) for each in (run, cancelled)]
    wait_until(lambda: warm.lines() == ["begun"] * 2)
    worker.kill()
    worker.wait(10)
    wait_until(lambda: not any(psutil.pid_exists(pid) and alive(pid) for pid in processes))
    warm.cancel(cancelled)
    warm.start("--limit", "2")
    assert warm.wait(cancelled)["name"] == "Cancelled"
    assert warm.wait(run)["name"] == "Completed"
    assert warm.lines() == ["begun", "begun", "begun", "done"]


async def test_a_run_that_was_taken_and_never_begun_is_put_back(
    warm: WarmStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was killed before it could say where the run is; a worker that is about to say so is left in peace."""
    run = warm.run(warm.deploy("a_sleeps"), seconds=0, trail=str(warm.trail))
    warm.set_state(run, "PENDING", "Pending")
    async with PrefectClient(warm.stand.services.prefect().api_url) as client:
        assert await reclaim(client, warm.pool) == 0
        monkeypatch.setattr("headgate.execution.reclaim.LONGEST_START", timedelta(0))
        assert await reclaim(client, warm.pool, in_hand={UUID(run)}) == 0
        assert await reclaim(client, warm.pool, at_rest=timedelta(hours=1)) == 0
        assert await reclaim(client, warm.pool) == 1
    warm.start("--limit", "1")
    assert warm.wait(run)["name"] == "Completed"
    assert warm.lines() == ["begun", "done"]


async def test_a_run_whose_worker_was_killed_before_it_had_a_process_is_put_back_at_once(warm: WarmStand) -> None:
    """Its state says who took it; one that a live worker has taken is left alone."""
    run = warm.run(warm.deploy("a_sleeps"), seconds=0, trail=str(warm.trail))
    async with PrefectClient(warm.stand.services.prefect().api_url) as client:
        for pid, taken in ((os.getpid(), 0), (DEAD, 1)):
            state: State[None] = Pending(message=claim(pid))
            await client.set_flow_run_state(UUID(run), state, force=True)
            assert await reclaim(client, warm.pool) == taken
    warm.start("--limit", "1")
    assert warm.wait(run)["name"] == "Completed"


def test_subflows_of_a_run_whose_worker_was_killed_are_crashed(warm: WarmStand) -> None:
    worker = warm.start("--limit", "1")
    run = warm.run(warm.deploy("a_parent"), seconds=3)
    children = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}}

    def states() -> list[str]:
        found = warm.stand.api("POST", "/flow_runs/filter", children).json()
        return sorted(each["state"]["name"] for each in found)

    wait_until(lambda: states() == ["Running"])
    worker.kill()
    worker.wait(10)
    warm.start("--limit", "1")
    assert warm.wait(run)["name"] == "Completed"
    assert states() == ["Completed", "Crashed"]


async def test_a_run_of_a_deployment_outlives_the_run_that_asked_for_it(warm: WarmStand) -> None:
    """`run_deployment` makes it a child of a task, and yet it is executed elsewhere."""
    deployment = warm.deploy("a_sleeps")
    parent = warm.run(deployment, seconds=0, trail=str(warm.trail))
    warm.set_state(parent, "COMPLETED", "Completed")
    flow = warm.api("GET", f"/flow_runs/{parent}")["flow_id"]
    running = {"type": "RUNNING", "name": "Running"}
    children = []
    for number, (path, body) in enumerate(
        ((f"/deployments/{deployment}/create_flow_run", {}), ("/flow_runs/", {"flow_id": flow}))
    ):
        asked = warm.api("POST", "/task_runs/", flow_run_id=parent, task_key="asks", dynamic_key=str(number))["id"]
        children.append(warm.api("POST", path, **body, parent_task_run_id=asked, state=running)["id"])
        warm.set_state(children[-1], "RUNNING", "Running")
    async with PrefectClient(warm.stand.services.prefect().api_url) as client:
        assert await reclaim(client, warm.pool) == 0
    assert [warm.api("GET", f"/flow_runs/{child}")["state"]["name"] for child in children] == ["Running", "Crashed"]


def test_runs_go_on_though_the_fork_server_is_killed_or_stopped(warm: WarmStand) -> None:
    worker = warm.start("--limit", "1")
    deployment = warm.deploy("a_sleeps")

    def completes() -> bool:
        """Whether a run completes; one that is given to a process in the moment of its end is Crashed."""
        return bool(warm.wait(warm.run(deployment, trail=str(warm.trail)))["name"] == "Completed")

    for number in (signal.SIGKILL, signal.SIGSTOP):
        wait_until(completes)
        server = psutil.Process(warm.pids()[-1]).parent()
        assert server is not None
        server.send_signal(number)
        os.kill(warm.pids()[-1], signal.SIGKILL)
    wait_until(completes)
    worker.terminate()
    assert ended(worker) == 0


def test_without_prefects_internals_it_says_so_and_works_the_public_way(warm: WarmStand) -> None:
    warm.start("--limit", "1", env={"PREFECT_WORKER_QUERY_SECONDS": "1", "HEADGATE_PREFECT_INTERNALS": "false"})
    run = warm.run(warm.deploy("a_sleeps"), seconds=0, trail=str(warm.trail))
    assert warm.wait(run)["name"] == "Completed"
    assert warm.lines() == ["begun", "done"]
    (log,) = warm.stand.folder.glob("worker-*.log")
    assert "does without an internal of Prefect" in log.read_text()
    assert not re.search(r"/\d+@", warm.api("GET", f"/flow_runs/{run}")["infrastructure_pid"]), "a warm process"


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_two_workers_on_a_pool_execute_each_run_once(warm: WarmStand) -> None:
    for _ in range(2):
        warm.start("--limit", "1")
    deployment = warm.deploy("a_sleeps")
    for run in [warm.run(deployment, seconds=0.3, trail=str(warm.trail)) for _ in range(10)]:
        assert warm.wait(run)["name"] == "Completed"
    assert sorted(warm.lines()) == ["begun"] * 10 + ["done"] * 10
    assert len(set(warm.pids())) == 2
    assert len(warm.api("POST", f"/work_pools/{warm.pool}/workers/filter")) == 2


def test_a_process_is_replaced_after_a_cancel_and_after_so_many_runs(warm: WarmStand) -> None:
    warm.start("--limit", "1", env={"HEADGATE_WORKER_PROCESS_RUNS": "3"})
    deployment = warm.deploy("steps")  # it has no hooks: those are run in the processes too

    def pids(*counts: int) -> list[int]:
        warm.trail.unlink(missing_ok=True)
        for count in counts:
            run = warm.run(deployment, count=count, trail=str(warm.trail))
            if count:
                wait_until(lambda: warm.lines()[-1:] == ["begun"])
                warm.cancel(run)
            warm.wait(run)
        return [int(line.split()[1]) for line in warm.trail.read_text().splitlines() if line.startswith("begun")]

    first, second = pids(300, 0)
    assert first != second
    third, fourth, fifth = pids(0, 0, 0)
    assert second == third == fourth != fifth


def test_a_process_that_holds_too_much_is_replaced(warm: WarmStand) -> None:
    warm.start("--limit", "1", env={"HEADGATE_WORKER_PROCESS_MEMORY_MB": "400"})
    for megabytes in (1, 1, 600, 1):
        assert (
            warm.wait(warm.run(warm.deploy("eats"), megabytes=megabytes, trail=str(warm.trail)))["name"] == "Completed"
        )
    first, second, third, fourth = warm.pids()
    assert first == second == third != fourth


def test_of_processes_at_rest_the_one_that_ran_last_stays_and_others_that_ran_are_replaced(warm: WarmStand) -> None:
    warm.start("--limit", "3", env={"HEADGATE_WORKER_PROCESS_REST_SECONDS": "1"})
    deployment = warm.deploy("a_sleeps")
    runs = [warm.run(deployment, seconds=seconds, trail=str(warm.trail)) for seconds in (4, 1)]
    for run in runs:
        assert warm.wait(run)["name"] == "Completed"
    pids = set(warm.pids())
    assert len(pids) == 2
    wait_until(lambda: sum(alive(pid) for pid in pids) == 1)
    warm.wait(warm.run(deployment, seconds=0, trail=str(warm.trail)))
    assert set(warm.pids()) == pids


def test_a_saved_module_is_what_the_next_run_executes(warm: WarmStand) -> None:
    warm.start("--limit", "2")
    module = Path(warm.stand.folder, "edited.py")
    source = (
        "from prefect import flow\nfrom warm_flows import leave\n\n@flow\ndef edited(trail):\n    leave(trail, '{}')\n"
    )
    module.write_text(source.format("one"))
    deployment = warm.deploy("edited", entrypoint="edited.edited")
    for word in ("one", "two", "six", "ten"):  # of one length: size and second do not tell them apart
        module.write_text(source.format(word))
        assert warm.wait(warm.run(deployment, trail=str(warm.trail)))["name"] == "Completed"
    assert warm.lines() == ["one", "two", "six", "ten"]


@pytest.mark.kills_services
def test_runs_begin_and_are_cancelled_though_the_server_was_away(warm: WarmStand) -> None:
    """A server that is killed and comes back: the worker neither ends nor stops hearing."""
    services = warm.stand.services
    worker = warm.start("--limit", "2")
    deployment = warm.deploy("a_sleeps")
    run = warm.run(deployment, seconds=60)
    warm.wait(run, "Running")
    os.kill(services.pid("Prefect server"), signal.SIGKILL)
    wait_until(lambda: services.prefect().ready(), within=120, every=0.5)
    time.sleep(1)  # whatever still happens to the connections of before
    assert worker.poll() is None
    warm.cancel(run)
    assert warm.wait(run)["name"] == "Cancelled"
    assert warm.wait(warm.run(deployment))["name"] == "Completed"

"""The warm worker on a real server: what Prefect's own process worker gives, it gives too."""

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest
from harness import Services, Stand, open_folder, wait_until
from warm_stand import WarmStand

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("warm worker")]  # they share what takes seconds to start


@pytest.fixture(scope="module")
def shared(services: Services) -> Iterator[WarmStand]:
    """A pool with one worker, which takes two runs at a time."""
    services.prefect()
    with open_folder("headgate-warm-") as folder:
        stand = Stand(services, folder, "")
        made = WarmStand(stand)
        made.start("--limit", "2")
        yield made
        stand.close()


@pytest.fixture
def warm(shared: WarmStand) -> Iterator[WarmStand]:
    """The same, with a fresh trail."""
    shared.trail.unlink(missing_ok=True)
    yield shared
    shared.trail.unlink(missing_ok=True)


def test_runs_complete_in_processes_that_are_used_again(warm: WarmStand) -> None:
    for flow in ("a_sleeps", "sleeps"):
        deployment = warm.deploy(flow)
        for _ in range(3):
            assert warm.wait(warm.run(deployment, trail=str(warm.trail)))["type"] == "COMPLETED"
    assert warm.lines() == ["begun", "done"] * 6
    assert len(set(warm.pids())) <= 2


def test_a_worker_is_woken_by_a_run_that_is_made(prefect_stand: Stand) -> None:
    """By itself, this one looks again after ten minutes."""
    warm = WarmStand(prefect_stand)
    warm.start(env={"HEADGATE_WORKER_QUERY_SECONDS": "600"})
    deployment = warm.deploy("a_sleeps")
    for _ in range(3):
        warm.wait(warm.run(deployment))


@pytest.mark.parametrize("flow", ["a_sleeps", "sleeps", "a_blocks"])
def test_cancel_ends_a_run_runs_its_hook_and_leaves_it_cancelled(warm: WarmStand, flow: str) -> None:
    run = warm.run(warm.deploy(flow), seconds=60, trail=str(warm.trail))
    wait_until(lambda: warm.lines() == ["begun"])
    warm.cancel(run)
    assert warm.wait(run)["name"] == "Cancelled"
    assert warm.lines() == ["begun", f"cancelled:{flow.replace('_', '-')}:Cancelling"]
    assert "Crashed" not in warm.history(run)


@pytest.mark.parametrize("flow", ["a_sleeps", "sleeps"])
def test_a_run_cancelled_while_it_begins_is_cancelled(warm: WarmStand, flow: str) -> None:
    deployment = warm.deploy(flow)
    warm.wait(warm.run(deployment))
    for wait in (0.0, 0.02, 0.05):
        run = warm.run(deployment, seconds=60)
        wait_until(lambda run=run: warm.state(run)["name"] != "Scheduled", every=0.002)  # type: ignore[misc]
        time.sleep(wait)  # the moment to hit is within this
        warm.cancel(run)
        assert warm.wait(run)["name"] == "Cancelled"


def test_a_killed_process_leaves_its_run_crashed_and_runs_the_hook(warm: WarmStand) -> None:
    for flow in ("a_sleeps", "sleeps"):
        run = warm.run(warm.deploy(flow), seconds=60, trail=str(warm.trail))
        wait_until(lambda: warm.lines()[-1:] == ["begun"])
        os.kill(warm.process(run), signal.SIGKILL)
        assert warm.wait(run)["name"] == "Crashed"
        wait_until(lambda flow=flow: warm.lines()[-1] == f"crashed:{flow.replace('_', '-')}:Crashed")  # type: ignore[misc]
    assert warm.wait(warm.run(warm.deploy("sleeps")))["name"] == "Completed"


def test_a_failed_flow_is_failed_and_its_process_goes_on(warm: WarmStand) -> None:
    for _ in range(3):
        assert warm.wait(warm.run(warm.deploy("fails")))["name"] == "Failed"


def test_a_flow_that_is_not_there_crashes_with_the_reason_in_its_log(warm: WarmStand) -> None:
    run = warm.run(warm.deploy("not_there"))
    assert warm.wait(run)["name"] == "Crashed"

    def told() -> bool:
        return any("MissingFlowError" in each["message"] for each in logs_of(warm, run))

    wait_until(told)


@pytest.mark.parametrize("flow", ["takes_too_long", "a_takes_too_long"])
def test_a_flow_over_its_time_is_ended(warm: WarmStand, flow: str) -> None:
    assert warm.wait(warm.run(warm.deploy(flow)))["name"] == "TimedOut"


def test_a_failed_flow_is_retried_as_it_says(warm: WarmStand) -> None:
    run = warm.run(warm.deploy("fails_once"), trail=str(warm.trail))
    assert warm.wait(run)["name"] == "Completed"
    assert warm.lines() == ["begun", "begun"]
    assert "AwaitingRetry" in warm.history(run)


def test_subflows_are_on_the_server_as_prefects_own_engine_tells_it(warm: WarmStand) -> None:
    """They are told of in fewer requests, some of them later; what a flow itself asks for is up to date."""
    run = warm.run(warm.deploy("nests"), trail=str(warm.trail))
    assert warm.wait(run)["name"] == "Completed"
    assert warm.api("GET", f"/flow_runs/{run}")["name"] == f"nests for {warm.trail}"
    assert sorted(warm.lines()) == ["fails", "fails", "first", "refused", "refused", "second", "seen:Completed:first"]
    children = warm.api("POST", "/flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [run]}})
    found = {child["name"]: child for child in children}
    assert set(found) == {"nested first", "nested second", "nested fails"}
    for name, child in found.items():
        assert (child["state_name"], child["parameters"]["word"]) == ("Completed", name.split()[1])
        assert child["run_count"] == (2 if name == "nested fails" else 1)
        assert child["start_time"] <= child["end_time"]
        steps = warm.history(child["id"])
        assert steps == (
            ["Running", "AwaitingRetry", "Running", "Completed"] if "fails" in name else ["Running", "Completed"]
        )


def test_a_paused_flow_goes_on_when_it_is_resumed(warm: WarmStand) -> None:
    run = warm.run(warm.deploy("pauses"), trail=str(warm.trail))
    warm.wait(run, "Paused")
    warm.api("POST", f"/flow_runs/{run}/resume")
    assert warm.wait(run)["name"] == "Completed"
    assert warm.lines() == ["begun", "done"]


def test_a_flow_that_suspends_itself_gives_its_process_back_until_it_is_resumed(warm: WarmStand) -> None:
    run = warm.run(warm.deploy("suspends"), trail=str(warm.trail))
    warm.wait(run, "Suspended")
    warm.api("POST", f"/flow_runs/{run}/resume")
    assert warm.wait(run)["name"] == "Completed"
    assert warm.lines() == ["begun", "begun", "done"]


def test_suspend_from_outside_stops_a_flow_at_its_next_step(warm: WarmStand) -> None:
    run = warm.run(warm.deploy("steps"), count=200, trail=str(warm.trail))
    wait_until(lambda: warm.lines() == ["begun"])
    warm.set_state(run, "PAUSED", "Suspended")
    # Its process is free again: two runs at once complete, long before 200 steps are done.
    short = [warm.run(warm.deploy("a_sleeps"), seconds=1) for _ in range(2)]
    for each in short:
        assert warm.wait(each, within=12)["name"] == "Completed"
    assert warm.state(run)["name"] == "Suspended"
    assert warm.lines() == ["begun"]


def logs_of(warm: WarmStand, run: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = warm.api("POST", "/logs/filter", logs={"flow_run_id": {"any_": [run]}})
    return found


def test_logs_and_events_reach_the_server(warm: WarmStand) -> None:
    run = warm.run(warm.deploy("logs"), trail=str(warm.trail))
    assert warm.wait(run)["name"] == "Completed"
    wait_until(lambda: {"from the flow", "from the task"} <= {each["message"] for each in logs_of(warm, run)})
    resource = f"warm.{warm.pids()[0]}"
    wanted = {"event": {"name": ["warm.happened"]}, "resource": {"id": [resource]}}
    wait_until(lambda: warm.api("POST", "/events/filter", filter=wanted)["events"])
    beats = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "any_resource": {"id": [f"prefect.flow-run.{run}"]}}
    wait_until(lambda: warm.api("POST", "/events/filter", filter=beats)["events"])


def test_a_deployment_takes_no_more_runs_than_it_allows(warm: WarmStand) -> None:
    deployment = warm.deploy("steps", concurrency_limit=1)
    first, second = (warm.run(deployment, count=10, trail=str(warm.trail)) for _ in range(2))
    warm.wait(first)
    warm.wait(second)
    assert warm.lines() == ["begun", "done"] * 2


def test_a_pool_and_a_queue_take_no_more_runs_than_they_allow(warm: WarmStand) -> None:
    deployment = warm.deploy("a_sleeps")
    for path in (f"/work_pools/{warm.pool}", f"/work_pools/{warm.pool}/queues/default"):
        warm.api("PATCH", path, concurrency_limit=1)
        warm.trail.unlink(missing_ok=True)
        for run in [warm.run(deployment, seconds=0.3, trail=str(warm.trail)) for _ in range(3)]:
            assert warm.wait(run)["name"] == "Completed"
        assert warm.lines() == ["begun", "done"] * 3
        warm.api("PATCH", path, concurrency_limit=None)


def test_a_schedule_is_kept(warm: WarmStand) -> None:
    """The server tells nobody of runs that it schedules: the worker has to look."""
    deployment = warm.deploy(
        "a_sleeps", parameters={"trail": str(warm.trail)}, schedules=[{"schedule": {"interval": 2}, "active": True}]
    )
    wait_until(lambda: warm.lines().count("done") >= 3, within=120)
    warm.api("PATCH", f"/deployments/{deployment}", paused=True)


def test_a_deployment_with_a_command_of_its_own_gets_a_process_of_its_own(warm: WarmStand) -> None:
    deployment = warm.deploy("sleeps", job_variables={"command": f"{sys.executable} -m prefect.engine"})
    before = warm.run(warm.deploy("sleeps"), trail=str(warm.trail))
    warm.wait(before)
    assert warm.wait(warm.run(deployment, trail=str(warm.trail)))["name"] == "Completed"
    warmed, _, own, _ = warm.pids()
    assert own != warmed


def test_the_worker_is_on_the_pools_page_and_its_type_is_known(warm: WarmStand) -> None:
    (worker,) = warm.api("POST", f"/work_pools/{warm.pool}/workers/filter")
    assert worker["status"] == "ONLINE"
    assert warm.api("GET", f"/work_pools/{warm.pool}")["type"] == "headgate"

"""`make bench-latency`: from event to run, from drop to rows, beside stock `flow.serve` and a stock process worker."""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from bench import Bench, at_rest, burst, drops, measured
from harness import wait_until

HERE = Path(__file__).parent
TIMES = 20  # events one at a time
AT_ONCE = 60  # events
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Server:
    """The benchmark's Prefect server, as a user of its API sees it."""

    def __init__(self, bench: Bench) -> None:
        self._client = httpx.Client(base_url=bench.api_url, timeout=120)
        self.env = {**os.environ, "PREFECT_API_URL": bench.api_url, "PREFECT_HOME": str(bench.folder / "stock")}

    def ask(self, method: str, where: str, /, **body: object) -> Any:
        """Send a request; its answer."""
        response = self._client.request(method, where, json=body or None)
        response.raise_for_status()
        return response.json() if response.content else None

    def deploy(self, flow: str, pool: str, **more: object) -> str:
        """Deploy a flow of `bench_flows` to a work pool; the deployment's id."""
        flow_id = self.ask("POST", "/flows/", name=flow)["id"]
        body = {"name": f"{flow}-{pool}", "flow_id": flow_id, "work_pool_name": pool, **more}
        return str(self.ask("POST", "/deployments/", **body)["id"])

    def fire(self, deployment: str) -> str:
        """Have an event run a deployment; the event's name."""
        event = f"bench.{uuid4().hex}"
        trigger = {"type": "event", "posture": "Reactive", "expect": [event], "threshold": 1, "within": 0}
        action = {"type": "run-deployment", "source": "selected", "deployment_id": deployment, "parameters": {}}
        self.ask("POST", "/automations/", name=event, trigger=trigger, actions=[action])
        return event

    def emit(self, event: str, times: int = 1) -> datetime:
        """Emit events; when the first was."""
        began = datetime.now(UTC)
        bodies = [
            {
                "id": str(uuid4()),
                "event": event,
                "occurred": datetime.now(UTC).isoformat(),
                "resource": {"prefect.resource.id": "bench"},
                "payload": {},
            }
            for _ in range(times)
        ]
        self._client.post("/events", json=bodies).raise_for_status()
        return began

    def runs(self, deployment: str, since: datetime) -> list[dict[str, Any]]:
        """The runs of a deployment that were made since then."""
        found: list[dict[str, Any]] = self.ask(
            "POST",
            "/flow_runs/filter",
            flow_runs={"deployment_id": {"any_": [deployment]}, "expected_start_time": {"after_": since.isoformat()}},
        )
        return found

    def over(self, deployment: str, since: datetime, count: int, every: float = 0.05) -> list[dict[str, Any]]:
        """Wait until so many runs have come to their end."""

        def ended() -> list[dict[str, Any]]:
            runs = [run for run in self.runs(deployment, since) if run["state_type"] in FINAL]
            return runs if len(runs) >= count else []

        return wait_until(ended, within=600, every=every)


def from_event_to_running(server: Server, deployment: str, *, times: int, prefix: str) -> dict[str, float]:
    """An event -> its run is Running, one at a time, by the server's own times; the first is not counted."""
    event = server.fire(deployment)
    time.sleep(6)  # the server has the automation everywhere
    taken = []
    for _ in range(times + 1):
        began = server.emit(event)
        (run,) = server.over(deployment, began, 1)
        taken.append((datetime.fromisoformat(run["start_time"]) - began).total_seconds())
        time.sleep(0.5)
    return {f"{prefix}event_running_p50_s": statistics.median(taken[1:])}


def runs_at_once(server: Server, deployment: str, *, prefix: str) -> dict[str, float]:
    """Many events at once -> all their runs are over: runs a second."""
    event = server.fire(deployment)
    time.sleep(6)
    began = server.emit(event, AT_ONCE)
    runs = server.over(deployment, began, AT_ONCE, every=0.25)
    last = max(datetime.fromisoformat(run["end_time"]) for run in runs)
    return {f"{prefix}runs_per_s": AT_ONCE / (last - began).total_seconds()}


def cancelled(server: Server, deployment: str) -> dict[str, float]:
    """Cancel a run that is at work -> it is Cancelled."""
    taken = []
    for _ in range(10):
        run = server.ask("POST", f"/deployments/{deployment}/create_flow_run", parameters={"seconds": 60})["id"]
        wait_until(lambda run=run: server.ask("GET", f"/flow_runs/{run}")["state_name"] == "Running")  # type: ignore[misc]
        began = time.monotonic()
        server.ask("POST", f"/flow_runs/{run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
        wait_until(lambda run=run: server.ask("GET", f"/flow_runs/{run}")["state_type"] in FINAL, every=0.01)  # type: ignore[misc]
        taken.append(time.monotonic() - began)
    return {"cancel_p50_s": statistics.median(taken), "cancel_max_s": max(taken)}


@contextmanager
def beside(server: Server, *command: str) -> Iterator[None]:
    """Run a stock process of Prefect beside ours."""
    process = subprocess.Popen(
        [sys.executable, *command], env=server.env, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def stock_serve(server: Server) -> dict[str, float]:
    """The same by `flow.serve`."""
    with beside(server, "bench_flows.py"):
        find = partial(server.ask, "POST", "/deployments/filter", deployments={"name": {"any_": ["served"]}})
        (served,) = wait_until(find)
        wait_until(lambda: find()[0]["status"] == "READY")
        figures = from_event_to_running(server, served["id"], times=5, prefix="stock_")
        return figures | runs_at_once(server, served["id"], prefix="stock_")


def stock_worker(server: Server) -> dict[str, float]:
    """The same by a process worker."""
    server.ask("POST", "/work_pools/", name="stock", type="process")
    deployment = server.deploy("nothing", "stock", entrypoint="bench_flows.py:nothing", path=str(HERE))
    with beside(server, "-m", "prefect", "worker", "start", "--pool", "stock", "--type", "process"):
        wait_until(lambda: server.ask("POST", "/work_pools/stock/workers/filter"))
        return from_event_to_running(server, deployment, times=5, prefix="process_worker_")


def main() -> None:
    """Measure all, in one run, on one server."""

    def measures(bench: Bench) -> Iterator[Callable[[Bench], dict[str, float]]]:
        server = Server(bench)
        yield partial(drops, count=50)
        nothing = server.deploy("nothing", "headgate", entrypoint="bench_flows.nothing")
        yield lambda _: from_event_to_running(server, nothing, times=TIMES, prefix="")
        yield lambda _: runs_at_once(server, nothing, prefix="")
        yield lambda _: cancelled(server, server.deploy("sleeps", "headgate", entrypoint="bench_flows.sleeps"))
        yield at_rest
        yield partial(burst, count=1000)
        yield lambda _: stock_serve(server)
        yield lambda _: stock_worker(server)

    measured("Latency", measures)


if __name__ == "__main__":
    main()

"""A work pool of the test's own on the shared server, and warm workers on it."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from harness import Stand, wait_until
from headgate.execution.worker import HeadgateWorker
from prefect.workers.base import BaseWorker

FLOWS = Path(__file__).parent
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class WarmStand:
    """A work pool, and what can be done with it."""

    def __init__(self, stand: Stand, **pool: object) -> None:
        self.stand = stand
        self.pool = stand.pool
        template = BaseWorker.get_default_base_job_template.__func__(HeadgateWorker)  # type: ignore[attr-defined]
        self.api("POST", "/work_pools/", name=self.pool, type="headgate", base_job_template=template, **pool)

    def api(self, method: str, path: str, **body: object) -> Any:
        """Ask the server."""
        response = self.stand.api(method, path, body or None)
        return response.json() if response.content else None

    def start(self, *options: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
        """Start a worker, and wait until it is up."""
        log = self.stand.folder / f"worker-{uuid4().hex[:6]}.log"
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", self.pool, "--type", "headgate"]
        environment = self.stand.env(env)
        environment["PYTHONPATH"] = os.pathsep.join([str(FLOWS), environment["PYTHONPATH"]])
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--prefetch-seconds", "1", *options],
                env=environment,
                cwd=self.stand.folder,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.stand.processes.append(process)
        wait_until(lambda: b"started!" in log.read_bytes() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        return process

    def deploy(self, flow: str, **more: object) -> str:
        """Deploy a flow of warm_flows; the deployment's id."""
        flow_id = self.api("POST", "/flows/", name=flow.replace("_", "-"))["id"]
        body: dict[str, object] = {
            "name": uuid4().hex,  # one of its own: the server would keep what an earlier test gave one of this name
            "flow_id": flow_id,
            "work_pool_name": self.pool,
            "entrypoint": f"warm_flows.{flow}",
            **more,
        }
        return str(self.api("POST", "/deployments/", **body)["id"])

    def run(self, deployment: str, **parameters: object) -> str:
        """Make a run; its id."""
        return str(self.api("POST", f"/deployments/{deployment}/create_flow_run", parameters=parameters)["id"])

    def state(self, run: str) -> dict[str, Any]:
        """The state of a run."""
        found: dict[str, Any] = self.api("GET", f"/flow_runs/{run}")["state"]
        return found

    def wait(self, run: str, *names: str, within: float = 60) -> dict[str, Any]:
        """Wait until the state of a run has one of these names, or any final one; the state."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update(self.state(run))
            return found["name"] in names if names else found["type"] in FINAL

        wait_until(reached, within=within, every=0.02)
        return found

    def history(self, run: str) -> list[str]:
        """The names of the states that a run had."""
        response = httpx.get(
            f"{self.stand.services.prefect().api_url}/flow_run_states/", params={"flow_run_id": run}, timeout=30
        )
        return [each["name"] for each in sorted(response.json(), key=lambda each: str(each["timestamp"]))]

    def set_state(self, run: str, kind: str, name: str) -> None:
        """Do what a button of the UI does."""
        self.api("POST", f"/flow_runs/{run}/set_state", state={"type": kind, "name": name})

    def cancel(self, run: str) -> None:
        """The button Cancel."""
        self.set_state(run, "CANCELLING", "Cancelling")

    def process(self, run: str) -> int:
        """The id of the process that a run is executed in."""
        place = wait_until(lambda: self.api("GET", f"/flow_runs/{run}")["infrastructure_pid"])
        found = re.search(r"/(\d+)@", place)
        assert found is not None, place
        return int(found[1])

    @property
    def trail(self) -> Path:
        """Where the flows leave their lines."""
        return self.stand.folder / "trail"

    def lines(self) -> list[str]:
        """What they left, without the process ids."""
        text = self.trail.read_text(encoding="ascii") if self.trail.exists() else ""
        return [line.partition(" ")[0] for line in text.splitlines()]

    def pids(self) -> list[int]:
        """The ids of the processes that left something."""
        return [int(line.split()[1]) for line in self.trail.read_text(encoding="ascii").splitlines()]

"""`headgate up`, as a newcomer runs it: everything of its own, in an empty folder."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from harness import REPOSITORY, open_folder, wait_until

PORTS = ("postgres.port", "prefect.port", "kafka.port")


class Up:
    """One `headgate up` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".headgate"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        """Run it in the background."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HEADGATE_", "PREFECT_"))}
        env |= {"HOME": str(self.folder), "NO_COLOR": "1", "PYTHONPATH": str(REPOSITORY)}
        with (self.folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headgate", "up", *options],
                env=env,
                cwd=self.folder,
                stdout=output,
                stderr=output,
            )
        return self.process

    def output(self) -> str:
        """Wait for its end; what it printed."""
        assert self.process is not None
        self.process.wait(240)
        return (self.folder / "output").read_text(encoding="utf-8")

    @property
    def endpoints(self) -> dict[str, str]:
        """What it left for other commands."""
        found: dict[str, str] = json.loads((self.home / "endpoints.json").read_text(encoding="utf-8"))
        return found

    def processes(self) -> list[psutil.Process]:
        """All that run in this folder's name, ours or PostgreSQL's."""
        mine = []
        for process in psutil.process_iter():
            try:
                ours = str(self.folder) in " ".join(process.cmdline()) or str(self.folder) in process.cwd()
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    mine.append(process)
            except psutil.Error:
                continue
        return mine


@pytest.fixture
def up() -> Iterator[Up]:
    with open_folder("headgate-up-") as folder:
        made = Up(folder)
        yield made
        if made.process is not None and made.process.poll() is None:
            made.process.kill()
            made.process.wait(30)
            wait_until(lambda: not made.processes(), within=120)


@pytest.mark.timeout(600)
def test_the_demo_persists_the_samples_and_ends_with_0(up: Up) -> None:
    process = up.start("--demo", "--exit-when-idle")
    output = up.output()
    assert process.returncode == 0, output
    assert output.startswith("Starting"), "a library complained"
    assert "Warning" not in output
    assert "\nTable flights: 2,693 rows in PostgreSQL" in output
    # 718 of the files, and 72 of the messages, published while it ran.
    assert "Table weather: 790 rows in PostgreSQL" in output
    assert "runs dispatched without an automation: 0" in output
    assert re.search(r"Prefect UI: +http://127\.0\.0\.1:\d+", output)
    assert not up.processes(), "a process was left behind"
    assert sorted(path.name for path in (up.folder / "inbox").rglob("*") if path.is_file()) == []

    # Data survives, the ports stay, and the same files again are duplicates: no rows, and nothing rejected. The same
    # messages published again are other messages.
    ports = [(up.home / name).read_text(encoding="ascii") for name in PORTS]
    again = up.start("--demo", "--exit-when-idle")
    # The flow that a rule starts after flights were persisted had ended before the first demo did.
    assert wait_until(lambda: delays(up), within=120) == (9, 2693)
    output = up.output()
    assert again.returncode == 0, output
    assert "Table flights: 2,693 rows in PostgreSQL" in output
    assert [(up.home / name).read_text(encoding="ascii") for name in PORTS] == ports
    assert "Table weather: 862 rows in PostgreSQL" in output


def delays(up: Up) -> tuple[int, ...] | None:
    """Days and airports of the table of delays, and the flights in it; None while its database is not up."""
    try:
        with psycopg.connect(up.endpoints["database_url"]) as connection:
            return connection.execute("select count(*), sum(flights)::int from delays").fetchone()
    except (FileNotFoundError, psycopg.OperationalError):
        return None


def test_pipelines_that_are_not_there_are_told_in_one_line(up: Up) -> None:
    process = up.start("--app", "automations.nope:PIPELINES")
    *_, last = up.output().splitlines()
    assert process.returncode == 2
    assert last.startswith("headgate: HEADGATE_PIPELINES=automations.nope:PIPELINES: there is no module")
    assert not up.processes(), "a process was left behind"


@pytest.mark.timeout(400)
def test_ctrl_c_drains_no_run_is_crashed_and_no_process_stays(up: Up) -> None:
    """SIGINT while runs are in hand, of files and of messages: they finish first, and what they need stays up."""
    process = up.start("--demo")
    wait_until((up.home / "endpoints.json").exists, within=120)
    endpoints = up.endpoints

    def ranges_were_cut() -> bool:
        """Whether messages have arrived."""
        try:
            with psycopg.connect(endpoints["database_url"]) as connection:
                return connection.execute("select from headgate.arrival where kind = 'range'").rowcount > 0
        except psycopg.errors.UndefinedTable:
            return False

    def running() -> list[str]:
        """Runs that are under way, by the server."""
        body = {"flow_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}}
        found = httpx.post(f"{endpoints['api_url']}/flow_runs/filter", json=body, timeout=30).json()
        return [run["id"] for run in found]

    wait_until(ranges_were_cut, within=120, every=0.01)
    ids = wait_until(running, within=120, every=0.01)
    process.send_signal(signal.SIGINT)
    output = up.output()
    assert "Stopped." in output
    assert not up.processes(), "a process was left behind"

    # What Prefect's database says of those runs, once it is up again.
    up.start()
    wait_until((up.home / "endpoints.json").exists, within=120)
    for run in ids:
        found = httpx.get(f"{up.endpoints['api_url']}/flow_runs/{run}", timeout=30).json()
        assert found["state"]["type"] == "COMPLETED", found["state"]

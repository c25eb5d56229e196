"""`headgate up` is disturbed while it starts, and left without anybody who ends its children."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest
from broker import Broker
from harness import Stand, wait_until

READY = "Ctrl-C ends"
DECLARED = "from automations.pipelines import PIPELINES as ALL\nPIPELINES = ALL[:1]\n"


class Up:
    """`headgate up`s of one home, each with all of its own."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.started: list[subprocess.Popen[bytes]] = []
        stand.declare(DECLARED)

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        """Start one."""
        own = {"HEADGATE_DATABASE_URL", "PREFECT_API_URL"}
        env = {name: value for name, value in self.stand.env().items() if name not in own}
        command = [sys.executable, "-m", "headgate", "up", *options]
        with self.log.open("wb") as log:
            process = subprocess.Popen(command, env=env, cwd=self.stand.folder, stdout=log, stderr=log)
        self.started.append(process)
        return process

    @property
    def log(self) -> Path:
        """What the one that was started last prints."""
        return self.stand.folder / "up.log"

    def wait(self) -> None:
        """Wait until everything is up."""
        wait_until(lambda: READY in self.log.read_text() or self.started[-1].poll() is not None, within=150)
        assert self.started[-1].poll() is None, self.log.read_text()

    def find(self, mark: str) -> list[psutil.Process]:
        """The processes of this home that have this in their command lines."""
        found = []
        ours = {process.pid for process in self.started}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                inside = process.cwd().startswith(str(self.stand.folder))
                if process.pid not in ours and inside and mark in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def children(self) -> list[psutil.Process]:
        """What the record says that runs."""
        with suppress(FileNotFoundError):
            record = json.loads((self.stand.home / "up.children").read_text())
            return [psutil.Process(group) for group, *_ in record["children"] if psutil.pid_exists(group)]
        return []

    def kill_with_warden(self) -> None:
        """Kill the one that runs and its warden, both before either can do anything."""
        up = self.started[-1]
        (warden,) = [each for each in psutil.Process(up.pid).children() if "warden.py" in " ".join(each.cmdline())]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in (up.pid, warden.pid):
                os.kill(pid, number)
        up.wait(30)

    def close(self) -> None:
        """End what a test left."""
        for process in self.started:
            process.kill()
            process.wait(30)
        for each in self.find(""):
            with suppress(psutil.Error):
                each.kill()


@pytest.fixture
def first_up(stand: Stand) -> Iterator[Up]:
    """Ups in an empty folder."""
    made = Up(stand)
    yield made
    made.close()


@pytest.fixture
def up(first_up: Up) -> Up:
    """Ups in a home that one has been run in."""
    first_up.stand.services.copy_used_home(first_up.stand.home)
    return first_up


@pytest.mark.timeout(400)
def test_each_process_that_is_killed_while_up_starts_is_started_again(first_up: Up) -> None:
    """Each is killed as soon as it is there, and the fork server while the Prefect server is forked."""
    up = first_up
    process = up.start()
    server = wait_until(lambda: up.find("headgate fork server"), within=60, every=0.005)[0]
    for mark in ("/postgres -D", "Prefect server", "headgate apply", "headgate listen", "headgate work"):
        wait_until(lambda mark=mark: up.find(mark), within=120, every=0.005)[0].kill()  # type: ignore[misc]
        if mark == "Prefect server":
            with suppress(psutil.NoSuchProcess):
                server.kill()
    up.wait()
    wait_until(lambda: up.find("headgate listen") and up.find("headgate work"), within=60)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0, up.log.read_text()
    assert not up.find("")


@pytest.mark.timeout(300)
def test_ctrl_c_ends_a_start_that_would_wait_without_end(up: Up) -> None:
    """The Prefect server is stopped while it starts."""
    process = up.start()
    wait_until(lambda: up.find("Prefect server"), within=60, every=0.01)[0].suspend()
    wait_until(lambda: up.find("/postgres -D"), within=60)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, up.log.read_text()
    assert not up.find("")


@pytest.mark.timeout(300)
def test_ctrl_c_is_done_in_time_though_the_fork_server_is_stopped(up: Up) -> None:
    process = up.start()
    server = wait_until(lambda: up.find("headgate fork server"), within=60)[0]
    up.wait()
    wait_until(lambda: up.find("headgate run"), within=60)
    server.suspend()
    up.find("headgate listen")[0].kill()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, up.log.read_text()
    assert not up.find("")


@pytest.mark.timeout(300)
def test_children_end_by_themselves_when_up_and_its_warden_were_killed(up: Up) -> None:
    up.start()
    up.wait()
    wait_until(lambda: up.find("headgate run"), within=60)
    left = up.children()
    assert len(left) == 4
    up.kill_with_warden()
    assert psutil.wait_procs(left, timeout=90)[1] == []
    wait_until(lambda: not up.find(""))
    assert not (up.stand.home / "up.children").exists()


@pytest.mark.timeout(300)
def test_a_new_up_ends_what_a_killed_one_left_and_nothing_runs_twice(up: Up) -> None:
    """Even what cannot notice it: the others are stopped, PostgreSQL is no program of ours."""
    up.start()
    up.wait()
    left = up.children()
    for each in left:
        if "postgres" not in each.name():
            each.suspend()
    up.kill_with_warden()
    process = up.start()
    up.wait()
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in left)
    for mark in ("Prefect server", "headgate listen", "headgate work", "/postgres -D"):
        wait_until(lambda mark=mark: len(up.find(mark)) == 1)  # type: ignore[misc]
    url = json.loads((up.stand.home / "endpoints.json").read_text())["api_url"]
    assert httpx.get(f"{url}/health", timeout=30).is_success
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0, up.log.read_text()


@pytest.mark.timeout(400)
def test_a_broker_that_is_killed_while_it_starts_is_started_again(up: Up, kafka: Broker) -> None:
    """Its jars are there already: fetching them is tried elsewhere."""
    kafka.lend_jars(up.stand.home)
    process = up.start("--kafka")
    first = wait_until(lambda: up.find("kafka.Kafka"), within=120, every=0.01)[0]
    first.kill()
    second = wait_until(lambda: [each for each in up.find("kafka.Kafka") if each != first], within=60)[0]
    up.wait()
    port = int((up.stand.home / "kafka.port").read_text())
    wait_until(lambda: any(each.laddr.port == port for each in second.net_connections() if each.laddr), within=120)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 0, up.log.read_text()
    assert not up.find("")

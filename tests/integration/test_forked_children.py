"""Children that are forked from what has its imports already: as if they had been executed, but for the time it takes.

A process that has threads must not fork, and the one that runs these tests has; so another one supervises.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import wait_until

pytestmark = pytest.mark.slow

SUPERVISING = """
import asyncio, os, signal, sys
from pathlib import Path
from headgate.forking import fork_server
from headgate.embedded.child import Child
from headgate.embedded.supervisor import Supervisor
folder, forks, *arguments = sys.argv[1:]
folder = Path(folder)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background ignores it
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    def tell(*what):
        with open(folder / "restarts", "a") as restarts: print(*what, file=restarts)
    async with Supervisor(on_restart=tell, forks=fork_server.is_started()) as supervisor:
        await supervisor.start(Child(
            name="a child", argv=(sys.executable, "-m", "shown", *arguments), log=folder / "log", shares=True, grace=5,
            env={"PATH": os.environ["PATH"], "SHOWN": "yes", "LC_CTYPE": "C.UTF-8"}, cwd=folder / "inside",
            ready=(folder / "shown").exists,
        ))
        (folder / "up").touch()
        await stop.wait()
if forks == "forks":
    fork_server.start(("decimal",))
    (folder / "server").write_text(str(fork_server.pid()))
asyncio.run(main())
fork_server.stop()
"""
SHOWN = """
import json, os, signal, sys, time
from pathlib import Path
print("said")
print("complained", file=sys.stderr)
shown = {
    "pid": os.getpid(), "group": os.getpgid(0), "session": os.getsid(0), "folder": os.getcwd(), "arguments": sys.argv,
    "path": sys.path[0], "environment": dict(os.environ), "name": __name__, "has_decimal": "decimal" in sys.modules,
    "handlers": [str(signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)],
    "input": sys.stdin.read(),
}
part = Path("..", "part")
part.write_text(json.dumps(shown))
part.rename(Path("..", "shown"))
match sys.argv[1:]:
    case ["fails"]: sys.exit(3)
    case ["crashes"]: raise ZeroDivisionError
time.sleep(600)
"""


class Supervising:
    """A program that supervises one child."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "inside").mkdir()
        (folder / "inside" / "shown.py").write_text(SHOWN, encoding="utf-8")

    def start(self, forks: str, *arguments: str) -> dict[str, Any]:
        """Start it, and wait for its child; what that says of itself."""
        self.begin(forks, *arguments)
        return self.wait()

    def begin(self, forks: str, *arguments: str) -> None:
        """Start it."""
        command = [sys.executable, "-c", SUPERVISING, str(self.folder), forks, *arguments]
        self.process = subprocess.Popen(command, start_new_session=True)

    def wait(self) -> dict[str, Any]:
        """Wait for its child; what that says of itself."""
        wait_until(lambda: (self.folder / "up").exists() or self.process.poll() is not None)
        assert self.process.poll() is None
        return self.shown()

    def shown(self) -> dict[str, Any]:
        """What the child last said of itself."""
        found: dict[str, Any] = json.loads((self.folder / "shown").read_text(encoding="utf-8"))
        return found

    def restarts(self) -> list[str]:
        """What was told of restarts."""
        file = self.folder / "restarts"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def processes(self) -> list[psutil.Process]:
        """The program, and all that came of it."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def stop(self) -> None:
        """Have it stop its child and end."""
        self.process.terminate()
        assert self.process.wait(30) == 0


@pytest.fixture
def supervising(tmp_path: Path) -> Iterator[Supervising]:
    made = Supervising(tmp_path)
    yield made
    if made.process.poll() is None:
        made.stop()


def test_a_fork_is_what_the_program_would_be(supervising: Supervising, tmp_path: Path) -> None:
    forked = supervising.start("forks", "one", "two")
    cmdline = psutil.Process(forked["pid"]).cmdline()
    supervising.stop()
    for name in ("up", "shown"):
        (tmp_path / name).unlink()
    executed = supervising.start("no forks", "one", "two")
    for each in (forked, executed):
        assert each.pop("pid") == each.pop("group") == each.pop("session")
    assert forked.pop("has_decimal")
    assert not executed.pop("has_decimal")
    assert forked == executed
    assert cmdline[0] == "a child"
    assert {"complained", "said"} == set((tmp_path / "log").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(("how", "code", "last_word"), [("fails", 3, "said"), ("crashes", 1, "ZeroDivisionError")])
def test_how_a_fork_ended_is_told_and_it_is_started_again(
    supervising: Supervising, tmp_path: Path, how: str, code: int, last_word: str
) -> None:
    first = supervising.start("forks", how)
    wait_until(lambda: supervising.shown()["pid"] != first["pid"])
    assert supervising.restarts()[0] == f"a child {code} 0.1"
    assert last_word in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_fork_that_is_killed_is_started_again(supervising: Supervising) -> None:
    first = supervising.start("forks")
    os.kill(first["pid"], signal.SIGKILL)
    wait_until(lambda: supervising.shown()["pid"] != first["pid"])
    assert supervising.restarts() == ["a child -9 0.1"]


def test_forks_outlive_the_process_they_were_forked_from_and_are_kept_running_without_it(
    supervising: Supervising, tmp_path: Path
) -> None:
    first = supervising.start("forks")
    os.kill(int((tmp_path / "server").read_text(encoding="ascii")), signal.SIGKILL)
    wait_until(lambda: psutil.Process(first["pid"]).ppid() != int((tmp_path / "server").read_text(encoding="ascii")))
    assert supervising.restarts() == []
    os.kill(first["pid"], signal.SIGKILL)
    wait_until(lambda: supervising.shown()["pid"] != first["pid"])
    assert supervising.shown()["has_decimal"]  # another server has taken its place


def test_nothing_stays(supervising: Supervising) -> None:
    supervising.start("forks")
    processes = supervising.processes()
    supervising.stop()
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_nothing_stays_when_the_supervisor_is_killed(supervising: Supervising) -> None:
    supervising.start("forks")
    processes = supervising.processes()
    supervising.process.kill()
    supervising.process.wait(30)
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_a_child_that_dies_while_the_fork_server_is_stopped_is_started_again(
    supervising: Supervising, tmp_path: Path
) -> None:
    """The server can tell no exit code, and forks nothing: another takes its place."""
    first = supervising.start("forks")
    server = int((tmp_path / "server").read_text(encoding="ascii"))
    os.kill(server, signal.SIGSTOP)
    os.kill(first["pid"], signal.SIGKILL)
    wait_until(lambda: supervising.shown()["pid"] != first["pid"], within=30)
    assert supervising.restarts() == ["a child 255 0.1"]
    assert not psutil.pid_exists(server)


def test_a_stopped_fork_server_holds_up_no_end(supervising: Supervising, tmp_path: Path) -> None:
    supervising.start("forks")
    processes = supervising.processes()
    os.kill(int((tmp_path / "server").read_text(encoding="ascii")), signal.SIGSTOP)
    supervising.stop()
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_a_fork_server_that_is_killed_while_it_forks_delays_the_start(supervising: Supervising, tmp_path: Path) -> None:
    """And what it has forked, and nobody knows of, ends."""
    supervising.begin("forks")
    file = tmp_path / "server"
    wait_until(lambda: file.exists() and file.read_text(encoding="ascii"), every=0.001)
    os.kill(int(file.read_text(encoding="ascii")), signal.SIGKILL)
    supervising.wait()
    (child,) = (each for each in psutil.process_iter() if each.pid != os.getpid() and is_in(each, tmp_path / "inside"))
    assert child.pid == supervising.shown()["pid"]


def is_in(process: psutil.Process, folder: Path) -> bool:
    """Whether a process stands in a folder."""
    with suppress(psutil.Error):
        return process.cwd() == str(folder)
    return False

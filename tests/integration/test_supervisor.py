"""The supervisor, with small real programs as its children."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from headgate.embedded import child as child_module
from headgate.embedded import supervisor as supervisor_module
from headgate.embedded import warden
from headgate.embedded.child import Child
from headgate.embedded.supervisor import Supervisor
from headgate.errors import HeadgateError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOREVER = "import time\nwhile True: time.sleep(1)"
# Says where it is, and has a child of its own; both would go on for ever.
WITH_GRANDCHILD = f"""
import os, subprocess, sys, pathlib
grandchild = subprocess.Popen([sys.executable, "-c", {FOREVER!r}])
part = pathlib.Path(sys.argv[1] + ".part")
part.write_text(f"{{os.getpid()}} {{grandchild.pid}}")
part.rename(sys.argv[1])
grandchild.wait()
"""
STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
)
TELLS_ITS_END = """
import signal, sys, time
def end(*_):
    with open(sys.argv[2], "a") as ends: print(sys.argv[1], file=ends)
    sys.exit()
signal.signal(signal.SIGTERM, end)
open(sys.argv[1], "w").close()
time.sleep(600)
"""
# A program that supervises, to be killed: it starts one child and then waits.
SUPERVISING = f"""
import asyncio, os, sys
from pathlib import Path
from headgate.embedded.child import Child
from headgate.embedded.supervisor import Supervisor
folder = Path(sys.argv[1])
async def main():
    async with Supervisor(record=folder / "record") as supervisor:
        await supervisor.start(Child(
            name="a child", argv=(sys.executable, "-c", {WITH_GRANDCHILD!r}, str(folder / "pids")),
            log=folder / "child.log", env=dict(os.environ), ready=(folder / "pids").exists, grace=1,
        ))
        await asyncio.sleep(600)
asyncio.run(main())
"""

SUPERVISING_THREE = """
import asyncio, os, sys
from pathlib import Path
from headgate.embedded.child import Child
from headgate.embedded.supervisor import Supervisor
folder, script = Path(sys.argv[1]), sys.argv[2]
async def main():
    async with Supervisor() as supervisor:
        for name, tier in (("first", 0), ("second", 2), ("third", 0)):
            mark = folder / name
            argv = (sys.executable, "-c", script, str(mark), str(folder / "ends"))
            log = folder / "log"
            await supervisor.start(Child(name=name, argv=argv, log=log, env={}, ready=mark.exists, tier=tier))
        await asyncio.sleep(600)
asyncio.run(main())
"""


def child(folder: Path, script: str, *arguments: str, name: str = "a child", **more: object) -> Child:
    argv = (sys.executable, "-c", script, *arguments)
    return Child(name=name, argv=argv, log=folder / f"{name}.log", env=dict(os.environ), **more)  # type: ignore[arg-type]


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def warden_of(pid: int) -> int:
    """The warden of a supervising program; 0 if it has none."""
    for each in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # it has just ended, or its parent has not asked yet how
            if any("warden.py" in part for part in each.cmdline()):
                return each.pid
    return 0


def wait_until(holds: Callable[[], bool], *, within: float = 15) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


async def wait_until_async(holds: Callable[[], bool], *, within: float = 15) -> None:
    await asyncio.to_thread(wait_until, holds, within=within)


async def start_some(supervisor: Supervisor, folder: Path, tiers: tuple[int, ...]) -> None:
    """Start three that write their names to `ends` when they are stopped."""
    for name, tier in zip(("first", "second", "third"), tiers, strict=True):
        mark = folder / name
        arguments = (str(mark), str(folder / "ends"))
        await supervisor.start(child(folder, TELLS_ITS_END, *arguments, name=name, ready=mark.exists, tier=tier))


async def test_start_waits_until_the_child_is_ready(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"import pathlib, time; time.sleep(0.3); pathlib.Path({str(mark)!r}).touch(); time.sleep(600)"
    async with Supervisor() as supervisor:
        await supervisor.start(child(tmp_path, script, ready=mark.exists))
        assert mark.exists()


async def test_a_child_that_says_it_never_will_be_ready_is_named_with_its_last_words(tmp_path: Path) -> None:
    script = "print('old'); print('no such thing as a fjord'); raise SystemExit(3)"
    (tmp_path / "a child.log").write_text("words of an earlier start\n")
    async with Supervisor() as supervisor:
        with pytest.raises(HeadgateError, match="a child ended with exit code 3") as caught:
            await supervisor.start(child(tmp_path, script, ready=lambda: False, permanent=frozenset({3})))
        assert supervisor.status() == []
    assert "no such thing as a fjord" in str(caught.value)
    assert "earlier start" not in str(caught.value)


async def test_a_child_that_ends_before_it_is_ready_is_started_again(tmp_path: Path) -> None:
    """And why is told, with the last line of its log."""
    told: list[tuple[str, str]] = []
    mark, ready = tmp_path / "mark", tmp_path / "ready"
    script = f"""
import pathlib, time
mark = pathlib.Path({str(mark)!r})
if not mark.exists():
    mark.touch()
    print("no memory for fjords")
    raise SystemExit(1)
pathlib.Path({str(ready)!r}).touch()
time.sleep(600)
"""
    async with Supervisor(on_trouble=lambda *what: told.append(what)) as supervisor:
        await supervisor.start(child(tmp_path, script, ready=ready.exists))
        (status,) = supervisor.status()
        assert runs(status.pid)
        assert status.restarts == 1
    assert told == [("a child", "a child ended with exit code 1: no memory for fjords")]


async def test_a_child_that_is_killed_while_it_starts_is_started_again(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"import pathlib, time; time.sleep(0.5); pathlib.Path({str(mark)!r}).touch(); time.sleep(600)"
    async with Supervisor() as supervisor:
        starting = asyncio.create_task(supervisor.start(child(tmp_path, script, ready=mark.exists)))
        killed: list[int] = []
        for _ in range(2):
            await wait_until_async(lambda: any(one.pid not in killed for one in supervisor.status()))
            killed.append(supervisor.status()[0].pid)
            os.kill(killed[-1], signal.SIGKILL)
        await starting
        assert supervisor.status()[0].restarts == 2


async def test_a_child_whose_log_cannot_be_written_for_a_while_is_started_again_after_that(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    async with Supervisor() as supervisor:
        await supervisor.start(child(logs, FOREVER))
        first = supervisor.status()[0].pid
        logs.rename(tmp_path / "moved")
        logs.write_text("not a folder")
        os.kill(first, signal.SIGKILL)
        await wait_until_async(lambda: not runs(first))
        await asyncio.sleep(supervisor_module.FIRST_PAUSE * 4)  # it is tried meanwhile, and fails
        logs.unlink()
        await wait_until_async(lambda: supervisor.status()[0].pid != first and runs(supervisor.status()[0].pid))


async def test_a_child_that_is_slow_and_works_is_waited_for(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    mark = tmp_path / "mark"
    script = f"""
import pathlib, time
end = time.monotonic() + 1.5
while time.monotonic() < end: pass
pathlib.Path({str(mark)!r}).touch()
time.sleep(600)
"""
    async with Supervisor(on_trouble=lambda *what: told.append(what)) as supervisor:
        await supervisor.start(child(tmp_path, script, ready=mark.exists, ready_within=0.5))
        assert supervisor.status()[0].restarts == 0
    assert told
    assert all("it works, and is not ready after 0.5 seconds" in line for _, line in told)


async def test_a_child_that_hangs_while_it_starts_is_killed_and_started_again(tmp_path: Path) -> None:
    mark, ready = tmp_path / "mark", tmp_path / "ready"
    script = f"""
import os, pathlib, signal, time
mark = pathlib.Path({str(mark)!r})
if not mark.exists():
    mark.touch()
    os.kill(os.getpid(), signal.SIGSTOP)
pathlib.Path({str(ready)!r}).touch()
time.sleep(600)
"""
    async with Supervisor() as supervisor:
        await supervisor.start(child(tmp_path, script, ready=ready.exists, ready_within=1))
        assert supervisor.status()[0].restarts == 1


async def test_a_start_that_goes_on_can_be_given_up(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with Supervisor() as supervisor:
        never = child(tmp_path, WITH_GRANDCHILD, str(pids), ready=lambda: False, grace=1)
        starting = asyncio.create_task(supervisor.start(never))
        await wait_until_async(pids.exists)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert supervisor.status() == []
    assert not any(runs(int(pid)) for pid in pids.read_text().split())


async def test_a_child_that_is_run_to_its_end_is_run_again_if_it_dies_on_the_way(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"""
import os, pathlib, signal
mark = pathlib.Path({str(mark)!r})
print("said", flush=True)
if not mark.exists():
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    async with Supervisor() as supervisor:
        assert await supervisor.run(child(tmp_path, script)) == (0, "said")
        refuses = child(tmp_path, "print('never'); raise SystemExit(2)", permanent=frozenset({2}))
        assert await supervisor.run(refuses) == (2, "never")


async def test_a_program_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    absent = Child(name="nothing", argv=("/no/such/program",), log=tmp_path / "log", env={})
    async with Supervisor() as supervisor:
        with pytest.raises(HeadgateError, match=r"nothing cannot be started: .*/no/such/program"):
            await supervisor.start(absent)


async def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    restarts: list[tuple[str, int, float]] = []
    async with Supervisor(on_restart=lambda *what: restarts.append(what)) as supervisor:
        await supervisor.start(child(tmp_path, FOREVER))
        (before,) = supervisor.status()
        os.kill(before.pid, signal.SIGKILL)
        await wait_until_async(lambda: supervisor.status()[0].pid != before.pid)
        (after,) = supervisor.status()
        assert after.restarts == 1
        assert after.since > before.since
        assert runs(after.pid)
    assert restarts == [("a child", -signal.SIGKILL, 0.1)]
    assert not runs(after.pid)


async def test_the_pause_grows_while_a_child_keeps_dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor_module, "LONGEST_PAUSE", 0.05)
    pauses: list[float] = []
    async with Supervisor(on_restart=lambda _name, _code, pause: pauses.append(pause)) as supervisor:
        await supervisor.start(child(tmp_path, "pass"))
        await wait_until_async(lambda: len(pauses) >= 5)
    assert pauses[:5] == [0.01, 0.02, 0.04, 0.05, 0.05]


@pytest.mark.parametrize(
    ("tiers", "order"),
    [((0, 0, 0), ["third", "second", "first"]), ((0, 2, 0), ["second", "third", "first"])],
)
async def test_children_stop_in_reverse_order_but_what_others_need_last(
    tmp_path: Path, tiers: tuple[int, ...], order: list[str]
) -> None:
    """What takes long to start, as a broker, may be there after those who use it."""
    ends = tmp_path / "ends"
    async with Supervisor() as supervisor:
        await start_some(supervisor, tmp_path, tiers)
    assert [Path(line).name for line in ends.read_text().splitlines()] == order


async def test_a_child_that_ignores_the_stop_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    log = tmp_path / "a child.log"
    async with Supervisor() as supervisor:
        await supervisor.start(child(tmp_path, STUBBORN, grace=0.3, ready=lambda: "up" in log.read_text()))
        (status,) = supervisor.status()
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not runs(status.pid)


async def test_a_child_that_was_stopped_by_a_signal_ends_as_others_do(tmp_path: Path) -> None:
    mark, ends = tmp_path / "mark", tmp_path / "ends"
    async with Supervisor() as supervisor:
        await supervisor.start(child(tmp_path, TELLS_ITS_END, str(mark), str(ends), ready=mark.exists))
        os.kill(supervisor.status()[0].pid, signal.SIGSTOP)
    assert ends.exists()


async def test_stop_ends_grandchildren_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with Supervisor() as supervisor:
        await supervisor.start(child(tmp_path, WITH_GRANDCHILD, str(pids), ready=pids.exists, grace=0.5))
        both = [int(pid) for pid in pids.read_text().split()]
        assert all(runs(pid) for pid in both)
    assert not any(runs(pid) for pid in both)


async def test_what_a_dead_child_leaves_behind_is_killed_after_its_grace(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with Supervisor() as supervisor:
        await supervisor.start(child(tmp_path, WITH_GRANDCHILD, str(pids), ready=pids.exists, grace=0.5))
        parent, grandchild = (int(pid) for pid in pids.read_text().split())
        os.kill(parent, signal.SIGKILL)
        await wait_until_async(lambda: not runs(grandchild))


def test_when_the_supervisor_is_killed_what_others_need_ends_last(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    argv = [sys.executable, "-c", SUPERVISING_THREE, str(tmp_path), TELLS_ITS_END]
    with subprocess.Popen(argv, cwd=ROOT, start_new_session=True) as supervising:
        try:
            wait_until((tmp_path / "third").exists)
        finally:
            os.killpg(supervising.pid, signal.SIGKILL)
    wait_until(lambda: ends.exists() and len(ends.read_text().splitlines()) == 3)
    assert [Path(line).name for line in ends.read_text().splitlines()] == ["second", "third", "first"]


def test_a_killed_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SUPERVISING, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, start_new_session=True) as supervising:
        try:
            wait_until((tmp_path / "pids").exists)
            both = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
            assert all(runs(pid) for pid in both)
        finally:
            os.killpg(supervising.pid, signal.SIGKILL)  # as a terminal that is closed the hard way
    wait_until(lambda: not any(runs(pid) for pid in both))


async def test_children_are_out_of_reach_of_the_terminal(tmp_path: Path) -> None:
    async with Supervisor() as supervisor:
        await supervisor.start(child(tmp_path, FOREVER))
        (status,) = supervisor.status()
        assert os.getsid(status.pid) == status.pid != os.getsid(0)


async def test_an_overlong_log_is_set_aside_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "LOG_LIMIT", 10)
    log = tmp_path / "a child.log"
    log.write_text("more than ten characters")
    async with Supervisor() as supervisor:
        await supervisor.start(
            child(tmp_path, "print('new', flush=True)\n" + FOREVER, ready=lambda: log.read_text() != "")
        )
    assert log.read_text() == "new\n"
    assert (tmp_path / "a child.log.1").read_text() == "more than ten characters"


async def test_a_log_that_gets_overlong_is_set_aside_while_its_child_writes_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "LOG_LIMIT", 10)
    log, seen = tmp_path / "a child.log", tmp_path / "set-aside"
    program = f"""
import pathlib, time
print("more than ten characters", flush=True)
while not pathlib.Path({str(seen)!r}).exists():
    time.sleep(0.01)
print("new", flush=True)
"""
    lines: list[str] = []
    async with Supervisor(on_line=lambda _, line: lines.append(line)) as supervisor:
        await supervisor.start(child(tmp_path, program + FOREVER))
        await wait_until_async(lambda: log.exists() and (tmp_path / "a child.log.1").exists() and log.read_text() == "")
        seen.touch()
        await wait_until_async(lambda: "new" in lines)
    assert (log.read_text(), lines) == ("new\n", ["more than ten characters", "new"])
    assert (tmp_path / "a child.log.1").read_text() == "more than ten characters\n"


async def test_of_a_long_log_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "WORDS_LIMIT", 12)
    one = child(tmp_path, FOREVER)
    one.log.write_text("first\nsecond\nthird\n")
    assert (one.last_words(0), one.words(14), one.words(10_000)) == (["econd", "third"], "hird", "econd\nthird")


async def test_lines_can_be_watched_as_they_come(tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    (tmp_path / "a child.log").write_text("old\n")
    async with Supervisor(on_line=lambda *line: lines.append(line)) as supervisor:
        await supervisor.start(child(tmp_path, "print('one'); print('two', flush=True)\n" + FOREVER))
        await wait_until_async(lambda: len(lines) == 2)
    assert lines == [("a child", "one"), ("a child", "two")]


def test_a_warden_that_was_killed_is_replaced_and_does_its_work(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", SUPERVISING, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, start_new_session=True) as supervising:
        try:
            wait_until((tmp_path / "pids").exists)
            both = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
            first = warden_of(supervising.pid)
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: warden_of(supervising.pid) not in {0, first})
            time.sleep(0.2)  # until it was told
        finally:
            os.killpg(supervising.pid, signal.SIGKILL)
    wait_until(lambda: not any(runs(pid) for pid in both))


def test_what_was_left_when_supervisor_and_warden_were_killed_is_ended_by_the_record(tmp_path: Path) -> None:
    """And nobody else, though process ids are used again."""
    argv = [sys.executable, "-c", SUPERVISING, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, start_new_session=True) as supervising:
        wait_until((tmp_path / "pids").exists)
        both = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        os.kill(warden_of(supervising.pid), signal.SIGKILL)
        os.killpg(supervising.pid, signal.SIGKILL)
    record = tmp_path / "record"
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger:
        try:
            left = json.loads(record.read_text())
            _, _, *how = left["children"][0]
            left["children"].append([stranger.pid, 1, *how])
            record.write_text(json.dumps(left))
            assert all(runs(pid) for pid in both)
            assert warden.end_left(record) == 1
            assert not any(runs(pid) for pid in both)
            assert runs(stranger.pid)
            assert not record.exists()
            assert warden.end_left(record) == 0
        finally:
            stranger.kill()

"""What of the warm worker needs no server: where a run is, and how it ends."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from harness import wait_until
from headgate.execution.executed_run import ExecutedRun
from headgate.execution.reclaim import Place


def test_a_place_is_read_as_it_was_written() -> None:
    here = Place.of(os.getpid())
    assert Place.parse(str(here)) == here
    assert not here.is_gone()


@pytest.mark.parametrize("text", [None, "", "4711", "host/4711", "host/x@y", "/1@2"])
def test_what_another_worker_wrote_is_no_place_of_ours(text: str | None) -> None:
    assert Place.parse(text) is None


def test_a_process_that_ended_is_gone_and_a_later_one_of_its_id_is_not_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        place = Place.of(process.pid)
        assert not place.is_gone()
        assert Place(place.host, place.pid, place.started - 1).is_gone()
        assert not Place("elsewhere", place.pid, place.started - 1).is_gone()
        process.kill()
        wait_until(place.is_gone, within=10)  # a zombie is gone too


async def test_a_run_that_is_handed_back_ends_without_an_error() -> None:
    """An exit code other than 0 would have Prefect make it Crashed, and nobody would execute it again."""
    executed = ExecutedRun(pid=os.getpid(), ask=lambda: None)
    executed.handed_back = True
    executed.finish(-signal.SIGKILL)
    assert executed.returncode == 0


async def test_a_run_that_does_not_hear_is_signalled_and_then_killed() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); input()"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", deaf, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    await process.stdout.readline()
    asked: list[bool] = []
    executed = ExecutedRun(pid=process.pid, ask=lambda: asked.append(True))

    async def watch() -> None:
        executed.finish(await process.wait())

    await asyncio.gather(watch(), executed.end(0.1))
    assert (executed.returncode, asked) == (-signal.SIGKILL, [True])

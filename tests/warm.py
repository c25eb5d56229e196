"""Processes of ours without the seconds that Python takes to import Prefect: forked from a server that has done it.

Nothing of Headgate is imported before the fork, so a process has its own environment, crash point included.
"""

import asyncio
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

HERE = Path(__file__).parent
PRELOAD = ["prefect.main", "prefect.flow_engine", "prefect.task_engine", "prefect.client.orchestration", "dataframely"]
_CONTEXT = multiprocessing.get_context("forkserver")


def warm_up() -> None:
    """Start the server that processes are forked from."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("HEADGATE_", "PREFECT_")):
            del os.environ[name]
    try:
        _CONTEXT.set_forkserver_preload(PRELOAD)
        forkserver.ensure_running()
    finally:
        os.environ.update(before)


def start(command: tuple[str, ...], *, env: Mapping[str, str], folder: Path) -> ForkServerProcess:
    """Start a process: ("ingest", pipeline, ...) or ("sweep",) for a flow as by hand, else a command of ours.

    Its output goes to `<folder>/<command>.log`.
    """
    main = _flow if command[0] in {"ingest", "sweep"} else _command
    log = folder / f"{command[0]}.log"
    process = _CONTEXT.Process(
        target=_become, args=(partial(main, command), dict(env), folder, (log, log)), daemon=True
    )
    process.start()
    return process


def run(command: tuple[str, ...], *, env: Mapping[str, str], folder: Path, within: float) -> "CompletedProcess[str]":
    """Run one of our commands to its end; what it printed, and its exit code.

    Raises:
        TimeoutExpired: it takes longer than `within` seconds; it is killed.

    """
    warm_up()
    with tempfile.TemporaryDirectory(prefix="headgate-run-") as outputs:
        out, err = Path(outputs, "out"), Path(outputs, "err")
        process = _CONTEXT.Process(target=_become, args=(partial(_command, command), dict(env), folder, (out, err)))
        process.start()
        process.join(within)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutExpired(command, within, out.read_bytes(), err.read_bytes())
        return CompletedProcess(command, process.exitcode, out.read_text("utf-8"), err.read_text("utf-8"))


def _become(run: Callable[[], None], env: Mapping[str, str], folder: Path, outputs: tuple[Path, Path]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    # As `python -m` has it: the tests' own modules are not to be found.
    others = [part for part in sys.path if not Path(part).is_relative_to(HERE)]
    sys.path[:] = [str(folder), *env.get("PYTHONPATH", "").split(os.pathsep), *others]
    for file, descriptor in zip(outputs, (1, 2), strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), descriptor)
    from headgate.forking.fork_server import read_settings_again  # noqa: PLC0415 - not before the fork

    read_settings_again()
    run()


def _command(command: tuple[str, ...]) -> None:
    from headgate.cli import main  # noqa: PLC0415 - not before the fork

    sys.argv = ["headgate", *command]
    main()


def _flow(command: tuple[str, ...]) -> None:
    kind, *pipelines = command
    asyncio.run(_ingest(pipelines) if kind == "ingest" else _sweep())


async def _ingest(pipelines: list[str]) -> None:
    from headgate.flows.ingest import ingest  # noqa: PLC0415 - not before the fork

    for name in pipelines:
        await ingest(name)


async def _sweep() -> None:
    from headgate.flows.sweep import sweep  # noqa: PLC0415 - not before the fork

    await sweep()

"""Processes of ours without the seconds that Python takes to import Prefect: forked from a server that has done it.

Nothing of Headgate is imported before the fork, so a process has its own environment, crash point included.
"""

import asyncio
import multiprocessing
import os
import sys
from collections.abc import Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

PRELOAD = ["prefect.main", "prefect.flow_engine", "prefect.task_engine", "prefect.client.orchestration", "dataframely"]
_CONTEXT = multiprocessing.get_context("forkserver")


def warm_up(api_url: str, home: Path) -> None:
    """Start the server that processes are forked from; Prefect reads its own settings at import, so here."""
    before = dict(os.environ)
    os.environ |= {"PREFECT_API_URL": api_url, "PREFECT_HOME": str(home)}
    try:
        _CONTEXT.set_forkserver_preload(PRELOAD)
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


def start(command: tuple[str, ...], *, env: Mapping[str, str], folder: Path) -> ForkServerProcess:
    """Start a process: ("ingest", pipeline, ...) or ("sweep",) for a flow as by hand, else a command of ours."""
    process = _CONTEXT.Process(target=_become, args=(command, dict(env), folder), daemon=True)
    process.start()
    return process


def _become(command: tuple[str, ...], env: Mapping[str, str], folder: Path) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    log = os.open(folder / f"{command[0]}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    match command:
        case ("ingest", *pipelines):
            asyncio.run(_ingest(pipelines))
        case ("sweep",):
            asyncio.run(_sweep())
        case _:
            from worker.cli import main  # noqa: PLC0415 - not before the fork

            sys.argv = ["headgate", *command]
            main()


async def _ingest(pipelines: list[str]) -> None:
    from worker.flows.ingest import ingest  # noqa: PLC0415 - not before the fork

    for name in pipelines:
        await ingest(name)


async def _sweep() -> None:
    from worker.flows.sweep import sweep  # noqa: PLC0415 - not before the fork

    await sweep()

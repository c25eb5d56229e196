"""`headgate work`: a Prefect worker that executes our runs and drains when asked to stop."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import structlog

from headgate.app import open_app, publisher
from headgate.embedded import orphan
from headgate.errors import HomeUnavailable, LedgerUnavailable
from headgate.forking import fork_server
from headgate.home import Home
from headgate.ledger import Database, Homes, Processes
from headgate.ledger.database import let_in
from headgate.processes.heartbeat import beating, member
from headgate.pulse import Pulse
from headgate.settings import Settings

HOME_AGAIN = 0.5  # seconds between two looks for the home

log = structlog.get_logger()


def work(settings: Settings) -> bool:
    """Execute runs until SIGTERM or SIGINT, then drain; return whether all runs ended.

    Raises:
        BadSettings: no database or no Prefect server is configured.
        BadPipeline: the pipelines cannot be loaded.
        WrongDatabase: the database denies us access, or lacks what we need.
        PrefectUnavailable: the server does not answer at the start; later it is waited for.
        PrefectDenied: the server denies us access.

    """
    let_in(settings.require_database())
    _set_environment(settings)
    with publisher(settings) as server:
        server.check()
    from headgate.execution.worker import prepare  # noqa: PLC0415 - Prefect reads the environment at import

    prepare()
    orphan.watch()
    with open_app(settings) as app:
        try:
            app.database.migrate()
        except LedgerUnavailable as error:
            log.warning(str(error), action="work")
    return asyncio.run(_until_stopped(settings))


async def _home(database: Database, homes: Homes, stop: asyncio.Event) -> str | None:
    """Wait until the ledger knows the home; return its name, the queue of its runs, or None if asked to stop before."""
    told = ""
    while not stop.is_set():
        try:
            await asyncio.to_thread(database.migrate)  # the database may have been unavailable before
            return await asyncio.to_thread(homes.name)
        except (HomeUnavailable, LedgerUnavailable) as error:
            if str(error) != told:
                log.warning("no runs are taken before the home is there", action="work", error=str(error))
            told = str(error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), HOME_AGAIN)
    return None


def _set_environment(settings: Settings) -> None:
    # Runs inherit our environment, and start in their own folder.
    os.environ.update(settings.environment())
    # The runs' command says `python`: it must be this interpreter.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    fork_server.read_settings_again()


async def _until_stopped(settings: Settings) -> bool:
    from headgate.execution.worker import work as execute  # noqa: PLC0415 - Prefect reads the environment at import

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # A separate, short connection: each one that stays open costs PostgreSQL 10 MB.
    with Database(settings.require_database(), size=1, idle=1) as database:
        homes = Homes(database, Home(settings.places), lease=settings.ledger.lease)
        queue = await _home(database, homes, stop)
        if queue is None:
            return True
        with beating(Processes(database), {member(settings, "worker"): Pulse()}):
            return await execute(settings, stop, queue)

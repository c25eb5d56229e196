"""`headgate work`: a Prefect worker that executes our runs, and drains when asked to stop."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import structlog

from worker import fork_server
from worker.app import open_app, publisher
from worker.errors import LedgerUnavailable
from worker.settings import Settings

log = structlog.get_logger()


def work(settings: Settings) -> bool:
    """Execute runs until SIGTERM or SIGINT, then drain; whether all runs came to their end.

    Raises:
        BadSettings: there is no database or no Prefect server to go to.
        BadPipeline: the pipelines cannot be loaded.
        PrefectUnavailable: the server does not answer at the start; later it is waited for.

    """
    _set_environment(settings)
    with publisher(settings) as server:
        server.check()
    from worker.execution.worker import prepare  # noqa: PLC0415 - Prefect reads the environment at import

    prepare()
    with open_app(settings) as app:
        try:
            app.database.migrate()
        except LedgerUnavailable as error:
            log.warning(str(error), action="work")
    return asyncio.run(_until_stopped(settings))


def _set_environment(settings: Settings) -> None:
    # Runs inherit our environment, and start in a folder of their own.
    os.environ.update(settings.environment())
    # The runs' command says `python`: it is to be this one.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
    fork_server.read_settings_again()


async def _until_stopped(settings: Settings) -> bool:
    from worker.execution.worker import work as execute  # noqa: PLC0415 - Prefect reads the environment at import

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await execute(settings, stop)

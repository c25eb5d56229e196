"""`headgate apply` and `headgate sweep`: done once, in this process."""

import asyncio
import os

from worker import fork_server
from worker.app import Change, load_apply, open_app
from worker.pipeline import load_pipelines
from worker.settings import Settings


def apply(settings: Settings, *, dry_run: bool) -> list[Change]:
    """Make the Prefect server match the code.

    Raises:
        BadSettings: there is no Prefect server to go to.
        BadPipeline: the pipelines cannot be loaded.
        PrefectUnavailable: the server does not answer.

    """
    _point_prefect_to(settings)
    return asyncio.run(load_apply(settings)(settings, load_pipelines(settings.pipelines), dry_run=dry_run))


def sweep(settings: Settings) -> list[dict[str, object]]:
    """Sweep once; what was put right, as a table.

    Raises:
        BadSettings: there is no database or no Prefect server to go to.
        LedgerUnavailable: the database does not answer.

    """
    _point_prefect_to(settings)
    from worker.flows.sweep import sweep_once  # noqa: PLC0415 - imports Prefect, which looks for its server then

    with open_app(settings) as app:
        app.database.migrate()
        return asyncio.run(sweep_once(app)).rows()


def _point_prefect_to(settings: Settings) -> None:
    """Prefect's client reads its server from the environment, and reads it when it is imported."""
    os.environ["PREFECT_API_URL"] = settings.require_api()
    fork_server.read_settings_again()

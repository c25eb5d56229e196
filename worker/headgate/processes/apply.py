"""`headgate apply` and `headgate sweep`: each runs once, in this process."""

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from headgate.app import open_app, publisher
from headgate.errors import HeadgateError
from headgate.forking import fork_server
from headgate.home import Home
from headgate.ledger import Database, Homes
from headgate.pipeline import load_pipelines
from headgate.pipeline.loading import module_path
from headgate.settings import Settings

if TYPE_CHECKING:
    from headgate.reconcile.apply import Outcome


def apply(settings: Settings, *, dry_run: bool, prune: bool = False, unattended: bool = False) -> "Outcome":
    """Make the Prefect server match the code, for each home.

    Args:
        settings: hold the server's address and the modules of pipelines and rules.
        dry_run: only report what would change.
        prune: remove objects of ours that are no longer in the code.
        unattended: skip the rules if they cannot work, and report that.

    Raises:
        BadSettings: no Prefect server is configured.
        BadPipeline: the pipelines cannot be loaded.
        BadRule: an automation in code cannot work, and `unattended` is off.
        PrefectUnavailable: the server does not answer.
        PrefectDenied: the server denies us access.
        PrefectRefused: the server refuses an object.

    """
    _point_prefect_to(settings)
    pipelines = load_pipelines(settings.pipelines)
    from headgate.reconcile.apply import apply as reconcile  # noqa: PLC0415 - imports Prefect, which looks for its server then
    from headgate.reconcile.declared import Declared, load_rules  # noqa: PLC0415 - the same
    from headgate.reconcile.keep import keep  # noqa: PLC0415 - the same

    if unattended:
        return asyncio.run(keep(settings, pipelines, _homes(settings)))
    declared = Declared.of(settings, pipelines, load_rules(settings), _homes(settings))
    return asyncio.run(reconcile(settings, declared, dry_run=dry_run, prune=prune))


def adopt(settings: Settings, name: str, *, write: bool) -> str:
    """Write an automation of the server as Python; return the text to print.

    Args:
        settings: hold the server's address and the module of the rules.
        name: the automation's name or id.
        write: write it to the module of the rules.

    Raises:
        BadSettings: no Prefect server is configured.
        BadRule: it is in the code already, or the module cannot be extended.
        NotFound: no automation of the server has that name, or several do.
        PrefectUnavailable: the server does not answer.

    """
    _point_prefect_to(settings)
    from headgate.reconcile import adopt as adopting  # noqa: PLC0415 - imports Prefect, which looks for its server then

    adopted = asyncio.run(adopting.adopt(settings, name))
    if not write:
        return adopted.module
    path = module_path(settings.rules, "HEADGATE_RULES")
    adopting.append(path, adopted)
    return f"{path}: {name!r} was added to RULES. Look at it, then run `headgate automations plan`.\n"


def _homes(settings: Settings) -> list[str]:
    """Return the names of this home (the first home's name if it is not one yet) and of the others in the ledger."""
    here = Home(settings.places)
    names = [here.name]
    if settings.database_url is not None:
        with suppress(HeadgateError), Database(settings.require_database(), size=1) as database:
            names += [home.name for home in Homes(database, here, lease=settings.ledger.lease).find()]
    return list(dict.fromkeys(names))


def sweep(settings: Settings) -> list[dict[str, object]]:
    """Sweep once; return a table of what was put right.

    Raises:
        BadSettings: no database or no Prefect server is configured.
        LedgerUnavailable: the database does not answer.

    """
    _point_prefect_to(settings)
    from headgate.flows.sweep import sweep_once  # noqa: PLC0415 - imports Prefect, which looks for its server then

    with open_app(settings) as app:
        app.database.migrate()
        return asyncio.run(sweep_once(app)).rows()


def send_notices(settings: Settings) -> int:
    """Deliver the notices of alerts that are due; return how many there were.

    Raises:
        BadSettings: no database or no Prefect server is configured.
        LedgerUnavailable: the database does not answer.

    """
    _point_prefect_to(settings)
    from headgate.flows.notices import send_owed  # noqa: PLC0415 - imports Prefect, which looks for its server then

    with open_app(settings) as app:
        app.database.migrate()
        return asyncio.run(send_owed(app))


def _point_prefect_to(settings: Settings) -> None:
    """Set the server in the environment, which Prefect's client reads when it is imported."""
    with publisher(settings) as server:
        server.check()  # reports in one line what Prefect's client would report in a traceback
    os.environ.update({name: value for name, value in settings.environment().items() if name.startswith("PREFECT_")})
    fork_server.read_settings_again()

"""The sweep: a scheduled run that finds what was left open and puts it right, visible in the UI."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import structlog
from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from headgate.app import App, open_announcer, open_app
from headgate.errors import BadPipeline, HomeUnavailable, Misuse, PrefectUnavailable
from headgate.execution.reclaim import AT_REST, reclaim
from headgate.flows.leftovers import clear
from headgate.flows.notices import send_owed
from headgate.flows.pipeline_pages import show_pipelines
from headgate.flows.workbench import configure_logging
from headgate.home import Home
from headgate.operations.dead_letter_copies import send_copies
from headgate.operations.swallowed import sentence, swallowed
from headgate.operations.watch import look
from headgate.reconcile.change import Change, told
from headgate.reconcile.keep import keep
from headgate.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep put right."""

    settled: int  # ended arrivals whose bytes were settled only now
    copied: int  # dead letters whose copy was published only now
    drift: list[Change]  # differences found on the Prefect server
    forgotten: int  # arrivals past their retention
    leftovers: int  # folders of runs and replays that died

    def rows(self) -> list[dict[str, object]]:
        """Return the rows of the table that shows it."""
        return [
            {"what": "ended arrivals settled", "count": self.settled},
            {"what": "copies of dead letters published", "count": self.copied},
            {"what": "arrivals past retention forgotten", "count": self.forgotten},
            {"what": "folders of dead runs and replays removed", "count": self.leftovers},
            *({"what": line, "count": 1} for change in self.drift for line in told(change)),
        ]


@flow(name="sweep", persist_result=False)
async def sweep() -> State[None]:
    """Find what was left open and put it right: unsettled bytes, the outbox, drift of our automations, retention."""
    settings = Settings.load()
    configure_logging(settings)
    with open_app(settings) as app:
        swept = await sweep_once(app)
        await show_pipelines(app)
    async with get_client() as client:
        await reclaim(client, settings.worker.pool, in_hand=_mine(), at_rest=AT_REST)
    await acreate_table_artifact(table=swept.rows(), key="sweep", description="What the sweep found and put right.")
    return Completed(message=f"Put {sum(int(str(row['count'])) for row in swept.rows())} things right.")


def _mine() -> set[UUID]:
    return {UUID(str(flow_run.id))} if flow_run.id else set()


async def sweep_once(app: App) -> Swept:
    """Sweep once; `headgate sweep` calls this too.

    Expired leases need no repair: the next claim takes their arrivals, and the announcer rings for them. If no
    announcer runs, the sweep rings instead.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    settled = await asyncio.to_thread(app.settler.settle)
    try:
        await asyncio.to_thread(app.homes.check)
    except HomeUnavailable as error:
        log.warning(str(error), action="sweep")
    copied = await asyncio.to_thread(send_copies, app)
    drift: list[Change] = []
    try:
        drift = await _reconcile(app)
        with open_announcer(app) as announcer:
            await asyncio.to_thread(announcer.announce_if_alone)
    except (PrefectUnavailable, HomeUnavailable) as error:
        log.warning(str(error), action="sweep")
    except Misuse as error:
        # The server refuses something: the sweep goes on with the rest, and reports it again next time.
        log.error(str(error), action="sweep")  # noqa: TRY400 - the text says it all
    await _watch(app)
    forgotten = await asyncio.to_thread(app.arrivals.forget, app.settings.ledger.retention, pipelines=app.pipelines)
    swept = Swept(settled, copied, drift, forgotten, await asyncio.to_thread(clear, app))
    log.info("swept", action="sweep", settled=settled, drift=len(drift), forgotten=forgotten)
    return swept


async def _reconcile(app: App) -> list[Change]:
    """Repair what differs on the Prefect server from the code; return what differed."""
    home = Home(app.settings.places).name
    outcome = await keep(app.settings, app.pipelines, [home])
    for change in outcome.pending:
        log.warning("put right on the Prefect server", action="sweep", changed="; ".join(told(change)))
    return list(outcome.pending)


async def _watch(app: App) -> None:
    """Do the work of the listener's watch, in case no listener runs, and forget old requests and alerts."""
    try:
        await asyncio.to_thread(look, app)
    except BadPipeline as error:  # from the installation's alerts, which nothing else here needs
        log.warning(str(error), action="sweep")
    await send_owed(app)
    if gone := await asyncio.to_thread(swallowed, app.settings):
        log.warning(sentence(gone), action="sweep")
    await asyncio.to_thread(app.requests.forget)
    await asyncio.to_thread(app.alerts.forget)

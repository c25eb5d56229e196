"""The sweep: finds what was left open and puts it right. A scheduled run that people see in the UI."""

import asyncio
import shutil
import time
from dataclasses import dataclass
from datetime import timedelta

import structlog
from prefect import flow
from prefect.artifacts import acreate_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from worker.app import App, Change, load_apply, open_announcer, open_app
from worker.copies import send_copies
from worker.errors import PrefectUnavailable
from worker.flows.workbench import configure_logging
from worker.replay import PLACE
from worker.settings import Settings

# A run's folder is touched at each claim, a replay's for a moment; what stood still for so long is nobody's any more.
LEFT_AFTER = timedelta(days=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep put right."""

    settled: int  # ended arrivals whose bytes came to rest only now
    copied: int  # dead letters whose copy came to its topic only now
    drift: list[Change]  # what differed on the Prefect server
    forgotten: int  # arrivals past their retention
    leftovers: int  # folders of runs and replays that died

    def rows(self) -> list[dict[str, object]]:
        """As a table."""
        return [
            {"what": "ended arrivals settled", "count": self.settled},
            {"what": "copies of dead letters published", "count": self.copied},
            {"what": "arrivals past retention forgotten", "count": self.forgotten},
            {"what": "folders of dead runs and replays removed", "count": self.leftovers},
            *({"what": f"{change.kind} {change.name} {change.action}", "count": 1} for change in self.drift),
        ]


@flow(name="sweep", persist_result=False)
async def sweep() -> State[None]:
    """Find what was left open and put it right: bytes, outbox, drift of our automations, retention."""
    settings = Settings.load()
    configure_logging(settings)
    with open_app(settings) as app:
        swept = await sweep_once(app)
    await acreate_table_artifact(table=swept.rows(), key="sweep", description="What the sweep found and put right.")
    return Completed(message=f"Put {sum(int(str(row['count'])) for row in swept.rows())} things right.")


async def sweep_once(app: App) -> Swept:
    """Sweep once; also behind `headgate sweep`.

    Expired leases need no repair of their own: the next claim takes them, and the announcer rings for them. If no
    announcer runs, the rings that are owed are rung here.

    Raises:
        LedgerUnavailable: the database does not answer.

    """
    settled = await asyncio.to_thread(app.settler.settle)
    copied = await asyncio.to_thread(send_copies, app)
    drift: list[Change] = []
    try:
        changes = await load_apply(app.settings)(app.settings, app.pipelines, dry_run=False)
        drift = [change for change in changes if change.action != "unchanged"]
        with open_announcer(app) as announcer:
            await asyncio.to_thread(announcer.announce_if_alone)
    except PrefectUnavailable as error:
        log.warning(str(error), action="sweep")
    forgotten = await asyncio.to_thread(app.arrivals.forget, app.settings.ledger.retention, pipelines=app.pipelines)
    swept = Swept(settled, copied, drift, forgotten, await asyncio.to_thread(_clear, app))
    log.info("swept", action="sweep", settled=settled, drift=len(drift), forgotten=forgotten)
    return swept


def _clear(app: App) -> int:
    """Remove the folders of runs that died, and of replays that died before the ledger knew them."""
    places = app.settings.places
    replays = {f"{path.parent.parent.name}/{PLACE}/{path.name}": path for path in places.spool.glob(f"*/{PLACE}/*")}
    known = app.arrivals.spooled(list(replays))
    nobodys = [path for place, path in replays.items() if place not in known]
    oldest = time.time() - LEFT_AFTER.total_seconds()
    left = [path for path in (*places.work.glob("*"), *nobodys) if path.stat().st_mtime < oldest]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return len(left)

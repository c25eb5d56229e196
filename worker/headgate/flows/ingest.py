"""The ingest flow: claim what is ready, parse, enrich and persist it, and go on while more arrives."""

import asyncio
from contextlib import suppress
from uuid import UUID, uuid4

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from structlog.contextvars import bound_contextvars

from headgate.app import App, open_app
from headgate.errors import HomeUnavailable, LedgerUnavailable
from headgate.flows.parameters import Ring, Whole
from headgate.flows.report import Page, Report
from headgate.flows.rhythm import Rhythm
from headgate.flows.starting import is_scheduled, start
from headgate.flows.stream import Asked, Stream
from headgate.flows.trouble import final_state
from headgate.flows.waiting import Waiting
from headgate.flows.workbench import configure_logging
from headgate.model import flow_run_of, holder_of
from headgate.settings import Settings


@flow(name="ingest", flow_run_name="{pipeline}", persist_result=False)
async def ingest(
    pipeline: str,
    ring: Ring = None,
    arrival_id: Whole = None,
    limit: Whole = None,
    dry_run: bool = False,  # noqa: FBT001, FBT002 - a field of the UI's form
) -> State[None]:
    """Write the records of a pipeline's arrivals to its table.

    Args:
        pipeline: the pipeline's name.
        ring: the ring of the doorbell that this run answers. Leave it empty for a run by hand or by a rule: the run
            starts the pipeline now, whatever its declaration waits for.
        arrival_id: work on this arrival only.
        limit: work on at most this many arrivals.
        dry_run: read, check, enrich and report, but write nothing and leave the arrivals as they are.

    """
    settings = Settings.load()
    configure_logging(settings)
    # Unique to this execution: after its process was killed, the same flow run is executed again under the same id.
    holder = holder_of(str(flow_run.id or uuid4()))
    with open_app(settings) as app, bound_contextvars(pipeline=pipeline):
        chosen = app.pipeline(pipeline)
        rung, ring = ring is not None, ring or uuid4()
        rhythm = Rhythm(app.rings.answer(ring, pipeline, holder, _home(app)))
        waiting = Waiting(app, pipeline, rhythm)
        report = Report(pipeline, dry_run=dry_run)
        page = Page(report)
        asked = Asked(only=arrival_id, limit=limit, dry_run=dry_run)
        stream = Stream(
            app=app,
            pipeline=chosen,
            holder=holder,
            asked=asked,
            report=report,
            page=page,
            waiting=waiting,
            rhythm=rhythm,
        )
        with app.claims.holding(holder, waiting.hear) as held:
            try:
                if not (rung or dry_run):
                    run = flow_run_of(holder)
                    await asyncio.to_thread(start, app, chosen, asked, by=run, scheduled=is_scheduled())
                await stream.run(held)
            except HomeUnavailable as error:
                app.homes.report(ring, error)
                raise
            except BaseException:
                await stream.abort()
                raise
            finally:
                held.retire()
                # If the ledger is unavailable now, the run's free lock shows later that the run is over.
                with suppress(LedgerUnavailable):
                    app.rings.leave(holder, rhythm.last)
                with suppress(OSError):  # there is no folder, or a claim's folder is left in it: the sweep removes it
                    (settings.places.work / holder).rmdir()
        await stream.end()
    if not report.claims:
        return Completed(name="Nothing to do", message="Nothing was ready: an earlier run had claimed it.")
    await page.close()
    if report.fenced:
        return Completed(name="Fenced", message="The claim went to another run; this one wrote nothing under it.")
    if report.error is not None:
        raise report.error
    return final_state(chosen, report)


def _home(app: App) -> UUID | None:
    """Return the id of this process's home, or None if the home cannot be used: then only ranges are worked on."""
    try:
        return app.homes.check()
    except HomeUnavailable:
        return None

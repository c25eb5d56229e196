"""The one flow that ingests: claim what is ready, parse, enrich and persist it, claim again until nothing is left."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from worker.app import App, open_app
from worker.copies import send_copies
from worker.crashpoint import crashpoint
from worker.errors import Fenced, KafkaUnavailable, LedgerUnavailable
from worker.flows.enrich import enrich_claim
from worker.flows.head_start import head_start
from worker.flows.parse import parse_claim
from worker.flows.persist import persist_claim
from worker.flows.report import Report, publish
from worker.flows.workbench import Workbench, configure_logging, laid_out
from worker.model import ClaimedArrival, Stage
from worker.pipeline import Pipeline
from worker.settings import Settings
from worker.sinks.postgres import PostgresSink

# A run that goes on claiming for longer makes room: its page in the UI should not grow without end.
LONGEST_RUN = timedelta(minutes=10)
# Between two looks for a broker that is away. A run that looks holds a place of the worker for 10 s.
BROKER_AGAIN_AFTER = timedelta(seconds=20)

log = structlog.get_logger()


@flow(name="ingest", flow_run_name="{pipeline}", persist_result=False)
async def ingest(
    pipeline: str,
    ring: UUID | None = None,
    arrival_id: int | None = None,
    limit: int | None = None,
    dry_run: bool = False,  # noqa: FBT001, FBT002 - a field of the UI's form
) -> State[None]:
    """Bring what arrived for a pipeline to its table.

    Args:
        pipeline: its name.
        ring: the ring of the doorbell that this run answers; leave it empty for a run by hand.
        arrival_id: work on this arrival alone.
        limit: work on so many arrivals at the most.
        dry_run: read, check and enrich, and report, but write nothing and leave the arrivals as they are.

    """
    settings = Settings.load()
    configure_logging(settings)
    holder = str(flow_run.id or uuid4())
    with open_app(settings) as app, structlog.contextvars.bound_contextvars(pipeline=pipeline):
        chosen = app.pipeline(pipeline)
        app.rings.answer(ring or uuid4(), pipeline, holder)
        try:
            with app.claims.renewing(holder):
                report = await _work(app, chosen, holder, only=arrival_id, limit=limit, dry_run=dry_run)
        finally:
            # If the ledger is away now, the run is known to be gone when it is not renewed any more.
            with suppress(LedgerUnavailable):
                app.claims.release(holder)
                app.rings.leave(holder)
    if not report.arrivals:
        return Completed(name="Nothing to do", message="Nothing was ready: an earlier run had claimed it.")
    await publish(report)
    if report.fenced:
        return Completed(name="Fenced", message="The claim went to another run; this one wrote nothing under it.")
    if report.error is not None:
        raise report.error
    return Completed(message=report.sentence())


async def _work(  # noqa: PLR0913 - the flow's parameters, passed on
    app: App, pipeline: Pipeline, holder: str, *, only: int | None, limit: int | None, dry_run: bool
) -> Report:
    """Claim and work until nothing is left, or until something went wrong that a later run will do better."""
    report = Report(pipeline.name, dry_run=dry_run)
    take = app.claims.peek if dry_run else app.claims.claim
    sink = PostgresSink(pipeline)
    begun = time.monotonic()
    left = limit
    while left is None or left > 0:
        claim = await asyncio.to_thread(take, pipeline, holder=holder, only=only, limit=left)
        if not claim.arrivals:
            break
        log.info("claimed", action="claim", arrivals=len(claim.arrivals), size=claim.size, dry_run=dry_run)
        crashpoint("run.after-claim")
        folder = app.settings.places.work / holder / str(report.claims)
        with laid_out(Workbench(app, pipeline, claim, folder, sink, dry_run=dry_run)) as bench:
            await _through_the_stages(bench, report)
        if report.totals.dead and not dry_run:
            with suppress(LedgerUnavailable):  # the sweep does it then
                await asyncio.to_thread(send_copies, app)
        if left is not None:
            left -= len(claim.arrivals)
        too_long = time.monotonic() - begun > LONGEST_RUN.total_seconds()
        if only is not None or dry_run or report.over or too_long or app.settings.draining.exists():
            break
    return report


async def _through_the_stages(bench: Workbench, report: Report) -> None:
    """Run the three subflows on a claim, and see to it that each of its arrivals is accounted for."""
    claim, pipeline = bench.claim, bench.pipeline
    try:
        stages: dict[Stage, Coroutine[None, None, object]] = {
            Stage.PARSE: parse_claim(pipeline.name, len(claim.arrivals), claim.size),
            Stage.ENRICH: enrich_claim(pipeline.name),
        }
        if not bench.dry_run:
            stages[Stage.PERSIST] = persist_claim(pipeline.name, pipeline.sink.name)
        # All begin at once, and each waits for the one before: Prefect is told of all three in the time of one.
        ahead = asyncio.create_task(head_start(bench))
        try:
            subflows = (bench.see_through(stage, subflow) for stage, subflow in stages.items())
            _raise_the_first(await asyncio.gather(*subflows, return_exceptions=True))
        finally:
            await asyncio.wait([ahead])  # nothing may still be at work on the claim when it is put back
        if not bench.dry_run:
            await asyncio.to_thread(_end, bench)
    except Fenced as error:
        log.warning(str(error), action="fence")
        report.fenced = True
    except Exception as error:  # noqa: BLE001 - whatever it was: the arrivals get their next attempt, and the run fails
        report.error = error
        if not bench.dry_run:
            await asyncio.to_thread(_put_back, bench, error)
    report.add(bench)


def _raise_the_first(outcomes: list[object]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


def _end(bench: Workbench) -> None:
    """Give up what cannot be read, and bring the bytes of all that ended to rest."""
    for arrival_id, error in bench.rejected.items():
        bench.app.claims.reject(bench.arrivals[arrival_id], Stage.PARSE, error)
    bench.app.settler.settle(list(bench.arrivals))


def _again(bench: Workbench, arrival: ClaimedArrival, error: Exception) -> timedelta | None:
    """Put an arrival back; when it comes due, or None if it was given up."""
    if not isinstance(error, KafkaUnavailable):
        return bench.app.claims.retry(bench.pipeline, arrival, bench.stage, error)
    # Files that were claimed beside ranges are due at once: the next claim holds them alone.
    delay = timedelta(0) if arrival.range is None else BROKER_AGAIN_AFTER
    bench.app.claims.postpone(arrival, bench.stage, error, delay)
    return delay


def _put_back(bench: Workbench, error: Exception) -> None:
    """Give the arrivals that are still ours their next attempt, or give them up if it was the last."""
    for arrival in bench.claim.arrivals:
        # Those that a chunk before the error has ended, or that another run has taken, are not ours to put back.
        with suppress(Fenced):
            if arrival.arrival_id in bench.rejected:
                bench.app.claims.reject(arrival, Stage.PARSE, bench.rejected[arrival.arrival_id])
                continue
            delay = _again(bench, arrival, error)
            log.warning(
                "attempt failed",
                action="retry",
                arrival_id=arrival.arrival_id,
                attempt=arrival.attempt,
                again_in_seconds=None if delay is None else round(delay.total_seconds(), 1),
            )
    bench.app.settler.settle(list(bench.arrivals))

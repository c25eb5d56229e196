"""Trouble, reported where people look for it: in the run's log, and in the state that the run ends in."""

import structlog
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from headgate.flows.report import Report
from headgate.flows.workbench import Counts, Workbench
from headgate.pipeline import Pipeline
from headgate.words import count

WITH_REJECTS = "Completed with rejects"
MOST_LINES = 20  # per claim; the ledger has the rest

log = structlog.get_logger()


def warn(bench: Workbench) -> None:
    """Log a line for each rejected arrival of a claim, and for the others one per reason why records were set aside."""
    lines = []
    for arrival in bench.claim.arrivals:
        error = bench.rejected.get(arrival.arrival_id)
        if error is not None:
            lines.append(f"{arrival.name} is rejected ({error.reason}): {error.detail}")
            continue
        counts = bench.counts.get(arrival.arrival_id, Counts())
        for reason, number in sorted(counts.dead.items()):
            lines.append(f"{arrival.name}: {count(number, 'record')} set aside ({reason}); {counts.first[reason]}")
    for line in lines[:MOST_LINES]:
        log.warning(line, action="report")
    if len(lines) > MOST_LINES:
        log.warning("there are more like these; the table of this run has them", more=len(lines) - MOST_LINES)


def final_state(pipeline: Pipeline, report: Report) -> State[None]:
    """Return the state of a run that did its work: Completed, or Failed if `fail_on=` says so for bad records or files.

    Otherwise, bad records or files make it "Completed with rejects".
    """
    dead = bool(report.totals.dead)
    if not (report.rejected or dead):
        return Completed(message=report.sentence())
    if pipeline.fail_on == "dead-letters" or (pipeline.fail_on == "rejected" and report.rejected):
        return Failed(message=f"{report.sentence()} The pipeline declares fail_on={pipeline.fail_on!r}.")
    return Completed(name=WITH_REJECTS, message=report.sentence())

"""Trouble, told where people look for it: lines in a run's log, and the state that the run ends in."""

import structlog
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from headgate.flows.report import Report
from headgate.flows.workbench import Counts, Workbench
from headgate.pipeline import Pipeline
from headgate.words import count

WITH_REJECTS = "Completed with rejects"
MOST_LINES = 20  # of one claim; the ledger has the rest

log = structlog.get_logger()


def warn(bench: Workbench) -> None:
    """Write a line for each arrival of a claim that was rejected, and for each reason to set records of it aside."""
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
    """Return the state of a run that did its work: Completed, or as `fail_on=` says if some of it was bad."""
    dead = bool(report.totals.dead)
    if not (report.rejected or dead):
        return Completed(message=report.sentence())
    if pipeline.fail_on == "dead-letters" or (pipeline.fail_on == "rejected" and report.rejected):
        return Failed(message=f"{report.sentence()} The pipeline declares fail_on={pipeline.fail_on!r}.")
    return Completed(name=WITH_REJECTS, message=report.sentence())

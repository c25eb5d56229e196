"""Parse: the files and ranges of a claim into validated chunks, a portion a task."""

import asyncio
import os
from collections.abc import Sequence
from functools import partial

import structlog
from prefect import flow

from worker.crashpoint import crashpoint
from worker.flows.tasks import stage_task
from worker.flows.workbench import Workbench, workbench
from worker.model import ClaimedArrival, Stage
from worker.records.parsing import parse

PORTION = 8 * 1024 * 1024  # bytes; below this a portion of its own costs more than it saves

log = structlog.get_logger()


@flow(name="parse", flow_run_name="parse {pipeline}", persist_result=False, validate_parameters=False)
async def parse_claim(pipeline: str, arrivals: int, size: int) -> None:
    """Read and validate what was claimed.

    Args:
        pipeline: its name.
        arrivals: how many there are.
        size: bytes of all.

    """
    bench = workbench()
    with bench.at(Stage.PARSE):
        portions = split(bench.claim.arrivals, portions_of(size))
        await asyncio.gather(*(parse_portion(number, len(portion)) for number, portion in enumerate(portions)))
    for arrival_id, error in bench.rejected.items():
        log.error(
            "arrival cannot be read", action="parse", pipeline=pipeline, arrival_id=arrival_id, reason=error.reason
        )
    log.info(
        "parsed",
        action="parse",
        pipeline=pipeline,
        arrivals=arrivals,
        chunks=len(bench.chunks),
        rejected=len(bench.rejected),
    )


@stage_task("parse portion")
async def parse_portion(number: int, arrivals: int) -> None:  # noqa: ARG001 - for the UI
    """Read and validate some of the arrivals.

    Args:
        number: of the portion, from 0.
        arrivals: how many there are in it.

    """
    bench = workbench()
    await bench.do(Stage.PARSE, number, partial(read_portion, bench, number))


def read_portion(bench: Workbench, number: int) -> None:
    """Make chunks of a portion; the chunks of an arrival stand in its order."""
    portion = split(bench.claim.arrivals, portions_of(bench.claim.size))[number]
    folder = bench.folder / str(number)
    folder.mkdir(exist_ok=True)
    parsed = parse([bench.readable(arrival) for arrival in portion], bench.pipeline, bench.app.limits, folder)
    bench.rejected |= parsed.rejected
    bench.chunks += parsed.chunks
    bench.reach(Stage.PARSE)
    crashpoint("parse.after-portion")


def portions_of(size: int) -> int:
    """How many portions a claim of so many bytes is cut into."""
    return min(os.cpu_count() or 1, 1 + size // PORTION)


def split(arrivals: Sequence[ClaimedArrival], portions: int) -> list[tuple[ClaimedArrival, ...]]:
    """Cut arrivals into portions of about the same number of bytes, in order; none is empty."""
    share = sum(arrival.size for arrival in arrivals) / portions
    cut: list[tuple[ClaimedArrival, ...]] = []
    taken, weight = [], 0
    for arrival in arrivals:
        taken.append(arrival)
        weight += arrival.size
        if weight >= share:
            cut.append(tuple(taken))
            taken, weight = [], 0
    return [*cut, tuple(taken)] if taken else cut

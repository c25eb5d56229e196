"""Enrich: what the pipeline adds to each record, a chunk a task. Skipped, visibly, where there is nothing to add."""

import asyncio
import os
from functools import partial
from pathlib import Path

import polars as pl
import structlog
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from worker.flows.tasks import stage_task
from worker.flows.workbench import Workbench, workbench
from worker.model import Stage
from worker.pipeline import Lookup
from worker.records.enrichment import enrich, load_reference
from worker.sinks.reference import read_reference

REFERENCES = -1  # the unit of work before the first chunk

log = structlog.get_logger()


@flow(name="enrich", flow_run_name="enrich {pipeline}", persist_result=False, validate_parameters=False)
async def enrich_claim(pipeline: str) -> State[None]:
    """Add columns to what is parsed.

    Args:
        pipeline: its name.

    """
    bench = workbench()
    with bench.at(Stage.ENRICH):
        if not bench.pipeline.enrich:
            await bench.after(Stage.PARSE, Stage.ENRICH)
            return Completed(name="Skipped", message=f"Pipeline {pipeline} declares no enrichers.")
        await load_references()  # while parse is at work
        if not await bench.after(Stage.PARSE, Stage.ENRICH):
            return Completed(name="Skipped", message="Parse has failed.")
        chunks = len(bench.chunks)
        at_once = os.cpu_count() or 1  # more would only hold more chunks in memory
        for first in range(0, chunks, at_once):
            await asyncio.gather(*(enrich_chunk(number) for number in range(first, min(first + at_once, chunks))))
    return Completed(message=f"{len(bench.pipeline.enrich)} enrichers added their columns to {chunks} chunks.")


@stage_task("load references")
async def load_references() -> None:
    """Read what the look-ups look up in."""
    bench = workbench()
    await bench.do(Stage.ENRICH, REFERENCES, partial(read_references, bench))


def read_references(bench: Workbench) -> None:
    """Read what the look-ups of a claim look up in."""
    found: dict[str | Path, pl.DataFrame] = {}
    for step in bench.pipeline.enrich:
        if not isinstance(step, Lookup):
            continue
        if isinstance(step.reference, Path):
            found[step.reference] = load_reference(step.reference)
        else:
            with bench.app.database.transaction() as connection:
                found[step.reference] = read_reference(connection, step.reference)
    bench.references = found


@stage_task("enrich chunk")
async def enrich_chunk(number: int) -> None:
    """Add columns to one chunk.

    Args:
        number: of the chunk, from 0.

    """
    bench = workbench()
    rows, refused = await bench.do(Stage.ENRICH, number, partial(make_richer, bench, number))
    log.info("enriched", action="enrich", pipeline=bench.pipeline.name, chunk=number, rows=rows, refused=refused)


def make_richer(bench: Workbench, number: int) -> tuple[int, int]:
    """Add columns to one chunk: how many rows are left, and how many were refused."""
    chunk = bench.chunks[number]
    richer, refusals = enrich(chunk.read_rows(), bench.pipeline.enrich, bench.references)
    letters = bench.set_aside(refusals, Stage.ENRICH)
    chunk.write_rows(richer)
    chunk.add_letters(letters)
    bench.reach(Stage.ENRICH)
    return richer.height, len(letters)

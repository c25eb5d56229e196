"""The stages of a claim as shown in the Prefect UI: three subflows, and a task for each unit of work.

They do no work themselves: each waits for the outcome of the work (`headgate.flows.course`), and ends in the same way.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any

import structlog
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateDetails
from prefect.runtime import flow_run
from prefect.states import Completed

from headgate.flows.course import Course, Step
from headgate.flows.workbench import Workbench

Begin = Callable[..., Coroutine[Any, Any, object]]  # a subflow with its parameters

_SHOWN: ContextVar[Course] = ContextVar("shown")
_BEGUN: ContextVar[asyncio.Future[str]] = ContextVar("begun")  # gets the id of the subflow as soon as it runs

log = structlog.get_logger()


async def show(bench: Workbench, course: Course) -> None:
    """Show the work on a claim. If Prefect cannot be reached, the work and the run go on."""
    _SHOWN.set(course)
    claim, name = bench.claim, bench.pipeline.name
    stages: list[tuple[Step, Begin]] = [
        ("parse", partial(parse_claim, name, len(claim.arrivals), claim.size)),
        ("enrich", partial(enrich_claim, name)),
    ]
    if not bench.dry_run:
        stages.append(("persist", partial(persist_claim, name, bench.pipeline.sink.name)))
    shown: list[asyncio.Task[object]] = []
    try:
        await _begin(stages, course, shown)
        for outcome in await asyncio.gather(*shown, return_exceptions=True):
            if isinstance(outcome, Exception) and not course.failed_with(outcome):
                log.warning("a stage is not shown", action="show", error=repr(outcome))
    finally:
        for each in shown:
            each.cancel()


async def _begin(stages: Sequence[tuple[Step, Begin]], course: Course, shown: list[asyncio.Task[object]]) -> None:
    """Begin each subflow when its step begins, and record in Prefect that it follows the previous subflow.

    No subflow waits until Prefect knows that the previous one has ended: that would delay the end of the run.
    """
    after: list[State[str]] = []
    for step, begin in stages:
        await course.units(step)
        begun = asyncio.get_running_loop().create_future()
        _BEGUN.set(begun)
        shown.append(asyncio.create_task(begin(wait_for=after)))
        await asyncio.wait([shown[-1], begun], return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            # Prefect's graph draws an edge to the run with this id, whether it is a task run or a flow run.
            after = [Completed(data=step, state_details=StateDetails(task_run_id=begun.result()))]


@flow(name="parse", flow_run_name="parse {pipeline}", persist_result=False, validate_parameters=False)
async def parse_claim(pipeline: str, arrivals: int, size: int) -> State[None]:  # noqa: ARG001 - for the UI
    """Read and validate the claimed arrivals.

    Args:
        pipeline: the pipeline's name.
        arrivals: how many there are.
        size: bytes of all of them.

    """
    _say_begun()
    portions = await _SHOWN.get().units("parse")
    await asyncio.gather(*(parse_portion(number) for number in range(portions)))
    return Completed(message=f"{arrivals} arrivals are read in {portions} portions.")


@flow(name="enrich", flow_run_name="enrich {pipeline}", persist_result=False, validate_parameters=False)
async def enrich_claim(pipeline: str) -> State[None]:  # noqa: ARG001 - for the UI
    """Add columns to the parsed records.

    Args:
        pipeline: the pipeline's name.

    """
    _say_begun()
    course = _SHOWN.get()
    if await course.units("references"):
        await load_references()
    chunks = await course.units("enrich")
    if why := course.skipped("enrich"):
        return Completed(name="Skipped", message=why)
    await asyncio.gather(*(enrich_chunk(number) for number in range(chunks)))
    return Completed(message=f"{chunks} chunks have their columns.")


@flow(name="persist", flow_run_name="persist {pipeline}", persist_result=False, validate_parameters=False)
async def persist_claim(pipeline: str, table: str) -> State[None]:  # noqa: ARG001 - for the UI
    """Commit the parsed and enriched records, chunk by chunk.

    Args:
        pipeline: the pipeline's name.
        table: the table that the rows are written to.

    """
    _say_begun()
    course = _SHOWN.get()
    chunks = await course.units("persist")
    if why := course.skipped("persist"):
        return Completed(name="Skipped", message=why)
    for number in range(chunks):
        await persist_chunk(number)
    return Completed(message=f"{chunks} chunks are committed to {table}.")


def _say_begun() -> None:
    begun = _BEGUN.get()
    if not begun.done():
        begun.set_result(str(flow_run.id))


@task(name="parse portion", cache_policy=NO_CACHE, persist_result=False)
async def parse_portion(number: int) -> None:
    """Read and validate some of the arrivals.

    Args:
        number: the portion's number, from 0.

    """
    await _SHOWN.get().outcome("parse", number)


@task(name="load references", cache_policy=NO_CACHE, persist_result=False)
async def load_references() -> None:
    """Read the references of the look-ups."""
    await _SHOWN.get().outcome("references", 0)


@task(name="enrich chunk", cache_policy=NO_CACHE, persist_result=False)
async def enrich_chunk(number: int) -> None:
    """Add columns to one chunk.

    Args:
        number: the chunk's number, from 0.

    """
    await _SHOWN.get().outcome("enrich", number)


@task(name="persist chunk", cache_policy=NO_CACHE, persist_result=False)
async def persist_chunk(number: int) -> None:
    """Commit one chunk.

    Args:
        number: the chunk's number, from 0.

    """
    await _SHOWN.get().outcome("persist", number)

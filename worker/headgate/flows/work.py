"""The work on one claim: parse, enrich and persist, one after the other, each over all chunks."""

import asyncio
from functools import partial
from itertools import chain

from headgate.flows.bad_files import reject_bad_files
from headgate.flows.course import Course
from headgate.flows.enrich import enrich_chunk, load_references
from headgate.flows.parse import parse_portion, portions_of, split
from headgate.flows.persist import persist_chunk
from headgate.flows.workbench import Workbench
from headgate.model import Stage


async def work(bench: Workbench, course: Course) -> None:
    """Bring a claim through the stages.

    Raises:
        Exception: the error that a stage failed with; by then, no thread works on the claim any more.

    """
    try:
        await _read(bench, course)
        await _enrich(bench, course)
        await asyncio.to_thread(reject_bad_files, bench)
        await _persist(bench, course)
    finally:
        course.end()


async def _read(bench: Workbench, course: Course) -> None:
    """Parse the claimed arrivals, and meanwhile read the references of the look-ups."""
    bench.stage = Stage.PARSE
    portions = split(bench.claim.arrivals, portions_of(bench.claim.size, bench.app.limits.at_once))
    parsing = [partial(parse_portion, bench, number, portion) for number, portion in enumerate(portions)]
    loading = [partial(load_references, bench)] if bench.pipeline.enrich else []
    parsed, loaded = await asyncio.gather(
        course.do("parse", parsing, at_once=len(parsing) or 1),
        course.do("references", loading),
        return_exceptions=True,
    )
    if isinstance(parsed, BaseException):
        raise parsed
    if isinstance(loaded, BaseException):
        bench.stage = Stage.ENRICH
        raise loaded
    bench.chunks = list(chain(*parsed))
    bench.references = dict(chain(*(found.items() for found in loaded)))


async def _enrich(bench: Workbench, course: Course) -> None:
    bench.stage = Stage.ENRICH
    if not bench.pipeline.enrich:
        course.skip("enrich", f"Pipeline {bench.pipeline.name} declares no enrichers.")
        return
    enriching = [partial(enrich_chunk, bench, chunk) for chunk in bench.chunks]
    bench.chunks = await course.do("enrich", enriching, at_once=bench.app.limits.at_once)


async def _persist(bench: Workbench, course: Course) -> None:
    """Commit chunk by chunk, so that an arrival's rows are committed in order."""
    bench.stage = Stage.PERSIST
    if bench.dry_run:
        course.skip("persist", "A dry run writes nothing.")
        return
    await course.do("persist", [partial(persist_chunk, bench, chunk) for chunk in bench.chunks])

"""Persist: rows, dead letters and states of a chunk in one transaction, under the epoch of the claim."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import polars as pl
import structlog
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from worker.crashpoint import crashpoint
from worker.flows.tasks import stage_task
from worker.flows.workbench import Workbench, workbench
from worker.ledger.claims import Part
from worker.model import DeadLetter, Stage
from worker.records.batch import ARRIVAL, ROW
from worker.records.chunk import Chunk

log = structlog.get_logger()


@flow(name="persist", flow_run_name="persist {pipeline}", persist_result=False, validate_parameters=False)
async def persist_claim(pipeline: str, table: str) -> State[None]:  # noqa: ARG001 - for the UI
    """Commit what is parsed and enriched, chunk by chunk.

    Args:
        pipeline: its name.
        table: where the rows come to rest.

    """
    bench = workbench()
    with bench.at(Stage.PERSIST):
        if not await bench.after(Stage.ENRICH, Stage.PERSIST):
            return Completed(name="Skipped", message="A stage before has failed.")
        for number in range(len(bench.chunks)):  # one after the other: an arrival's rows are committed in their order
            await persist_chunk(number, table)
    return Completed(message=f"{len(bench.chunks)} chunks are committed to {table}.")


@stage_task("persist chunk")
async def persist_chunk(number: int, table: str) -> None:
    """Commit one chunk.

    Args:
        number: of the chunk, from 0.
        table: where the rows come to rest.

    """
    bench = workbench()
    parts = await bench.do(Stage.PERSIST, number, partial(commit_chunk, bench, number))
    rows, dead = sum(part.rows_persisted for part in parts), sum(part.rows_dead for part in parts)
    log.info("persisted", action="persist", table=table, chunk=number, rows=rows, dead_letters=dead)


def commit_chunk(bench: Workbench, number: int) -> Sequence[Part]:
    """Commit one chunk: what each arrival has of it."""
    chunk = bench.chunks[number]
    epochs = {
        extent.arrival_id: bench.arrivals[extent.arrival_id].epoch
        for extent in chunk.extents
        if extent.arrival_id not in bench.rejected
    }
    if not epochs:
        return ()
    frame, deletes, letters = chunk.read_rows(), chunk.read_deletes(), chunk.read_letters()
    sink = bench.sink
    crashpoint("persist.before-transaction")
    with bench.app.database.transaction() as connection:
        # Asked first and locked: until the commit nobody else can take these arrivals, and a try whose commit was in
        # doubt finds here that its rows are there.
        committed = bench.app.claims.fence(connection, epochs)
        frame, letters = _not_yet(frame, letters, committed)
        deletes = _rows_not_yet(deletes, committed)
        sink.prepare(connection, frame)
        refusals = sink.write(connection, frame) + sink.delete(connection, deletes)
        crashpoint("persist.in-transaction")
        letters += bench.set_aside(refusals, Stage.PERSIST)
        bench.app.dead_letters.set_aside(
            connection,
            letters,
            {arrival_id: bench.arrivals[arrival_id].attempt for arrival_id in epochs},
            bench.copies(),
        )
        parts = _parts(chunk, epochs, committed, frame, deletes, letters)
        reasons = Counter(letter.reason.value for letter in letters)
        bench.app.claims.advance(
            connection,
            bench.pipeline.name,
            parts,
            reasons,
            since_parsed=bench.since(Stage.PARSE),
            since_enriched=bench.since(Stage.ENRICH),
        )
        crashpoint("persist.before-commit")
    crashpoint("persist.after-commit")
    for part in parts:
        counts = bench.count(part.arrival_id)
        counts.rows_in += part.rows_in
        counts.rows_persisted += part.rows_persisted
        counts.rows_skipped += part.rows_skipped
    for letter in letters:
        dead = bench.count(letter.arrival_id).dead
        dead[letter.reason] = dead.get(letter.reason, 0) + 1
    return parts


def _not_yet(
    frame: pl.DataFrame, letters: list[DeadLetter], committed: dict[int, int]
) -> tuple[pl.DataFrame, list[DeadLetter]]:
    """Leave out the rows of rejected arrivals, and those that earlier attempts have committed."""
    return _rows_not_yet(frame, committed), [
        letter for letter in letters if letter.arrival_id in committed and letter.row > committed[letter.arrival_id]
    ]


def _rows_not_yet(frame: pl.DataFrame, committed: dict[int, int]) -> pl.DataFrame:
    if frame.is_empty():
        return frame
    known = pl.col(ARRIVAL).is_in(list(committed))
    if any(committed.values()):
        through = pl.col(ARRIVAL).replace_strict(committed, default=0, return_dtype=pl.Int64)
        return frame.filter(known & (pl.col(ROW) > through))
    return frame.filter(known)


def _parts(  # noqa: PLR0913, PLR0917 - all that a transaction holds
    chunk: Chunk,
    epochs: dict[int, int],
    committed: dict[int, int],
    frame: pl.DataFrame,
    deletes: pl.DataFrame,
    letters: list[DeadLetter],
) -> list[Part]:
    """Count what this transaction holds of each arrival; those that were committed to here before are left out."""
    good: dict[int, int] = dict(frame.group_by(ARRIVAL).len().iter_rows())
    deleting = Counter(deletes[ARRIVAL].to_list() if deletes.height else [])
    dead = Counter(letter.arrival_id for letter in letters)
    refused = Counter(letter.arrival_id for letter in letters if letter.stage is Stage.PERSIST)
    parts = []
    for extent in chunk.extents:
        if extent.arrival_id not in epochs or committed[extent.arrival_id] > extent.last_row:
            continue
        # A refused row is in the frame and among the dead letters.
        persisted = good.get(extent.arrival_id, 0) + deleting[extent.arrival_id] - refused[extent.arrival_id]
        skipped = extent.skipped if committed[extent.arrival_id] < extent.last_row else 0
        parts.append(
            Part(
                arrival_id=extent.arrival_id,
                epoch=epochs[extent.arrival_id],
                rows_committed=extent.last_row,
                rows_in=persisted + dead[extent.arrival_id] + skipped,
                rows_persisted=persisted,
                rows_dead=dead[extent.arrival_id],
                rows_skipped=skipped,
                ended=extent.ended,
            )
        )
    return parts

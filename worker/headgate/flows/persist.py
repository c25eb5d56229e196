"""Persist: commit a chunk's rows, dead letters and states in one transaction, under the epoch of the claim."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
import structlog

from headgate.crashpoint import crashpoint
from headgate.errors import RecordsRefused
from headgate.flows.workbench import Workbench
from headgate.ledger.claims import TO_ITS_END, Part
from headgate.model import DeadLetter, Stage
from headgate.records.batch import ARRIVAL, ROW, Refusal
from headgate.records.chunk import Chunk
from headgate.records.letters import letter_frame, letters_of, sum_up

SIFTINGS = 3  # how often to look for refused rows in one chunk: what the table refuses may change meanwhile

log = structlog.get_logger()


@dataclass(slots=True)
class Uncommitted:
    """The part of a chunk that is still to be committed."""

    frame: pl.DataFrame
    deletes: pl.DataFrame
    letters: pl.DataFrame

    def leave_out(self, committed: Mapping[int, int]) -> None:
        """Drop the rows of arrivals that are not in `committed`, and of the others those already committed."""
        self.frame, self.deletes, self.letters = (
            _not_yet(each, committed) for each in (self.frame, self.deletes, self.letters)
        )

    def set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Replace rows by the dead letters made of them."""
        gone = letter_frame(letters)
        self.letters = pl.concat([self.letters, gone])
        self.frame, self.deletes = (
            each if each.is_empty() else each.join(gone, on=(ARRIVAL, ROW), how="anti", maintain_order="left")
            for each in (self.frame, self.deletes)
        )


def persist_chunk(bench: Workbench, chunk: Chunk) -> Chunk:
    """Commit a chunk: rows, dead letters and states."""
    held = Uncommitted(chunk.read_rows(), chunk.read_deletes(), chunk.read_letters())
    bench.rejected |= chunk.miscounted(held.frame, held.deletes, held.letters)
    epochs = {
        extent.arrival_id: bench.arrivals[extent.arrival_id].epoch
        for extent in chunk.extents
        if extent.arrival_id not in bench.left_out
    }
    if not epochs:
        return chunk
    crashpoint("persist.before-transaction")
    for _ in range(SIFTINGS):
        try:
            parts = _commit(bench, chunk, epochs, held)
        except RecordsRefused:
            # No lock is held while we look for the refused rows and read their bytes again: both may take long.
            held.set_aside(bench.set_aside(_sift(bench, held), Stage.PERSIST))
        else:
            break
    else:
        parts = _commit(bench, chunk, epochs, held)
    crashpoint("persist.after-commit")
    for part in parts:
        counts = bench.count(part.arrival_id)
        counts.rows_in += part.rows_in
        counts.rows_persisted += part.rows_persisted
        counts.rows_skipped += part.rows_skipped
    for group in sum_up(held.letters):
        bench.count(group.arrival_id).set_aside(group, bench.pipeline.schema)
    log.info(
        "persisted",
        action="persist",
        table=bench.pipeline.sink.name,
        rows=sum(part.rows_persisted for part in parts),
        dead_letters=sum(part.rows_dead for part in parts),
    )
    return chunk


def _commit(bench: Workbench, chunk: Chunk, epochs: dict[int, int], held: Uncommitted) -> list[Part]:
    """Commit rows, dead letters and states, all or nothing.

    Raises:
        RecordsRefused: the table refuses some of the rows.

    """
    sink = bench.sink
    with bench.app.database.transaction() as connection:
        # First, because this locks the arrivals: no other run can take them until the commit. It also returns the rows
        # committed so far, so a retry after a commit in doubt does not write them again.
        committed = bench.app.claims.fence(connection, epochs)
        held.leave_out(committed)
        sink.prepare(connection, held.frame)
        sink.add(connection, held.frame)
        sink.remove(connection, held.deletes)
        crashpoint("persist.in-transaction")
        bench.app.dead_letters.set_aside(
            connection,
            letters_of(held.letters),
            {arrival_id: bench.arrivals[arrival_id].attempt for arrival_id in epochs},
            bench.copies(),
        )
        parts = _parts(chunk, epochs, committed, held)
        bench.app.claims.advance(
            connection,
            bench.pipeline.name,
            parts,
            Counter(held.letters["reason"].to_list()),
            since_parsed=bench.since(Stage.PARSE),
            since_enriched=bench.since(Stage.ENRICH),
            skipping=bench.pipeline.skipping,
        )
        crashpoint("persist.before-commit")
    return parts


def _sift(bench: Workbench, held: Uncommitted) -> list[Refusal]:
    """Find the rows that the table refuses, in a transaction that is rolled back.

    This needs no fence, because it writes nothing, so leases can be renewed meanwhile. If the claim is lost, the
    following commit is fenced.
    """
    sink = bench.sink
    with bench.app.database.transaction() as connection, connection.transaction(force_rollback=True):
        sink.prepare(connection, held.frame)
        return sink.write(connection, held.frame) + sink.delete(connection, held.deletes)


def _not_yet(frame: pl.DataFrame, committed: Mapping[int, int]) -> pl.DataFrame:
    """Leave out the rows of arrivals that are not in `committed`, and those that earlier attempts have committed."""
    if frame.is_empty():
        return frame
    known = pl.col(ARRIVAL).is_in(list(committed))
    if any(committed.values()):
        through = pl.col(ARRIVAL).replace_strict(committed, default=0, return_dtype=pl.Int64)
        return frame.filter(known & (pl.col(ROW) > through))
    return frame.filter(known)


def _parts(chunk: Chunk, epochs: dict[int, int], committed: dict[int, int], held: Uncommitted) -> list[Part]:
    """Count what this transaction commits of each arrival; leave out arrivals already committed this far."""
    good: dict[int, int] = dict(held.frame.group_by(ARRIVAL).len().iter_rows())
    deleting = Counter(held.deletes[ARRIVAL].to_list() if held.deletes.height else [])
    dead = Counter(held.letters[ARRIVAL].to_list())
    parts = []
    for extent in chunk.extents:
        if extent.arrival_id not in epochs:
            continue
        before = committed[extent.arrival_id]
        # If the pipeline now reads the arrival differently, earlier attempts may have committed more rows than it has
        # now. Its end must still be recorded, or it would be claimed for ever.
        if before == TO_ITS_END or (before > extent.last_row and not extent.ended):
            continue
        persisted = good.get(extent.arrival_id, 0) + deleting[extent.arrival_id]
        skipped = extent.skipped if before < extent.last_row else 0
        parts.append(
            Part(
                arrival_id=extent.arrival_id,
                epoch=epochs[extent.arrival_id],
                rows_committed=max(before, extent.last_row),
                rows_in=persisted + dead[extent.arrival_id] + skipped,
                rows_persisted=persisted,
                rows_dead=dead[extent.arrival_id],
                rows_skipped=skipped,
                ended=extent.ended,
            )
        )
    return parts

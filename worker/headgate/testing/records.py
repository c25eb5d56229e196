"""Take a file through the stages of its pipeline, with the code that runs use, in this process."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import polars as pl

from headgate.errors import ArrivalRejected, BadFixture
from headgate.ledger import Database
from headgate.model import DeadLetter, Stage
from headgate.pipeline import Lookup
from headgate.records.batch import ARRIVAL, ROW, Refusal
from headgate.records.enrichment import enrich, load_reference
from headgate.records.letters import letter_frame, letters_of, sum_up
from headgate.records.parsing import Spooled, parse
from headgate.records.too_many_bad import too_many_bad
from headgate.sinks.postgres import PostgresSink
from headgate.sinks.reference import read_reference


@dataclass(slots=True)
class Worked:
    """What the stages produce from an arrival."""

    frame: pl.DataFrame
    deletes: pl.DataFrame
    dead_letters: tuple[DeadLetter, ...]
    skipped: int
    rejected: ArrivalRejected | None


def work(spooled: Spooled, folder: Path, tables: Mapping[str, pl.DataFrame], database: Database | None) -> Worked:
    """Parse, enrich and, if there is a database, write the records of an arrival; the writes are rolled back.

    Args:
        spooled: the file.
        folder: for chunks.
        tables: frames by name, for look-ups that name a table.
        database: has other such tables, and the pipeline's own; rows that the latter refuses become dead letters.

    Raises:
        BadFixture: a look-up needs a table that is not given.
        Transient: the arrival cannot be read now.

    """
    pipeline = spooled.pipeline
    parsed = parse({spooled.arrival_id: lambda: spooled}, pipeline, spooled.limits, folder)
    for error in parsed.unread.values():
        raise error
    rejected = parsed.rejected.get(spooled.arrival_id)
    frames, deletes, letters, skipped = [], [], [], 0
    with ExitStack() as stack:
        connection = stack.enter_context(database.transaction()) if database else None
        references: dict[str | Path, pl.DataFrame] = {}
        for step in pipeline.enrich:
            if not isinstance(step, Lookup):
                continue
            if isinstance(step.reference, Path):
                references[step.reference] = load_reference(step.reference)
            elif step.reference in tables:
                references[step.reference] = tables[step.reference]
            elif connection is not None:
                references[step.reference] = read_reference(connection, step.reference)
            else:
                raise BadFixture(
                    f"Pipeline {pipeline.name} looks up in the table {step.reference}: give it by "
                    f"gate.tables[{step.reference!r}] = a frame, or gate.connect(a database)."
                )
        for chunk in [] if rejected else parsed.chunks:
            richer, refused = enrich(chunk.read_rows(), pipeline.enrich, references)
            letters += [*letters_of(chunk.read_letters()), *_letters(spooled, refused, Stage.ENRICH)]
            gone = chunk.read_deletes()
            if connection is not None:
                with connection.transaction(force_rollback=True):
                    sink = PostgresSink(pipeline)
                    sink.prepare(connection, richer)
                    refused = (*sink.write(connection, richer), *sink.delete(connection, gone))
                letters += _letters(spooled, refused, Stage.PERSIST)
                richer, gone = _without(richer, refused), _without(gone, refused)
            frames.append(richer)
            deletes.append(gone)
            skipped += sum(extent.skipped for extent in chunk.extents)
    read = sum(extent.records for chunk in parsed.chunks for extent in chunk.extents)
    bad = sum_up(letter_frame(letter for letter in letters if letter.stage is not Stage.PERSIST))
    if rejected is None and (mostly_bad := too_many_bad(pipeline, read, bad)):
        return Worked(pl.DataFrame(), pl.DataFrame(), (), 0, mostly_bad)
    return Worked(
        frame=pl.concat(frames) if frames else pl.DataFrame(),
        deletes=pl.concat([each for each in deletes if each.height]) if any(map(len, deletes)) else pl.DataFrame(),
        dead_letters=tuple(sorted(letters, key=lambda letter: letter.row or 0)),
        skipped=skipped,
        rejected=rejected,
    )


def _letters(spooled: Spooled, refusals: Sequence[Refusal], stage: Stage) -> list[DeadLetter]:
    if not refusals:
        return []
    originals = spooled.originals({each.row for each in refusals})
    ordered = sorted(refusals, key=attrgetter("row"))
    return [next(same).dead_letter(stage, originals[row]) for row, same in groupby(ordered, key=attrgetter("row"))]


def _without(frame: pl.DataFrame, refusals: Sequence[Refusal]) -> pl.DataFrame:
    if frame.is_empty() or not refusals:
        return frame
    gone = pl.DataFrame(
        [(each.arrival_id, each.row) for each in refusals], schema={ARRIVAL: pl.Int64, ROW: pl.Int64}, orient="row"
    )
    return frame.join(gone, on=(ARRIVAL, ROW), how="anti", maintain_order="left")

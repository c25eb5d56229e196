"""A portion of a claim into chunks: files read one by one, their records stacked, validated once a chunk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from worker.errors import ArrivalRejected
from worker.model import Reason, Stage
from worker.pipeline import Pipeline
from worker.records.batch import ARRIVAL, ROW, Batch, Limits, Original
from worker.records.chunk import Chunk, Extent
from worker.records.contract import validate
from worker.records.reading import read


@dataclass(frozen=True, slots=True)
class Spooled:
    """A file to parse."""

    arrival_id: int
    path: Path  # where its bytes are
    name: str  # its ending tells the format
    size: int  # bytes, when it was taken in


@dataclass(slots=True)
class Parsed:
    """What became of a portion."""

    chunks: list[Chunk] = field(default_factory=list)
    rejected: dict[int, ArrivalRejected] = field(default_factory=dict)  # by arrival


def parse(files: Sequence[Spooled], pipeline: Pipeline, limits: Limits, folder: Path) -> Parsed:
    """Parse files into chunks below a folder; memory holds one chunk.

    A file that cannot become records is rejected alone. Rows of it that stand in a chunk already must not be
    committed: whoever commits leaves out the rows of rejected arrivals.

    Args:
        files: in the order of their arrivals.
        pipeline: gives schema and formats.
        limits: what is too much.
        folder: empty, for the chunks' files.

    """
    parsed = Parsed()
    gathering = _Gathering(pipeline, folder, parsed)
    for file in files:
        last_row = 0
        try:
            _check_there(file)
            for batch in read(file.path, file.name, pipeline, limits, arrival_id=file.arrival_id):
                if gathering.records and gathering.records + batch.rows_in > limits.chunk_rows:
                    gathering.write()
                last_row += batch.rows_in
                gathering.add(file.arrival_id, batch, last_row)
        except ArrivalRejected as error:
            gathering.drop(file.arrival_id)
            parsed.rejected[file.arrival_id] = error
        else:
            gathering.end(file.arrival_id, last_row)
    gathering.write()
    return parsed


def _check_there(file: Spooled) -> None:
    if not file.path.is_file() or file.path.stat().st_size != file.size:
        detail = f"the bytes taken in of {file.name} are no longer in the spool as they were; drop the file again."
        raise ArrivalRejected(Reason.LOST, detail)


class _Gathering:
    """The batches of the chunk at hand."""

    def __init__(self, pipeline: Pipeline, folder: Path, parsed: Parsed) -> None:
        self._pipeline = pipeline
        self._folder = folder
        self._parsed = parsed
        self._batches: dict[int, list[Batch]] = {}
        self._extents: dict[int, Extent] = {}
        self.records = 0

    def add(self, arrival_id: int, batch: Batch, last_row: int) -> None:
        self._batches.setdefault(arrival_id, []).append(batch)
        self._extents[arrival_id] = Extent(arrival_id, last_row, ended=False)
        self.records += batch.rows_in

    def drop(self, arrival_id: int) -> None:
        self.records -= sum(batch.rows_in for batch in self._batches.pop(arrival_id, []))
        self._extents.pop(arrival_id, None)

    def end(self, arrival_id: int, last_row: int) -> None:
        self._extents[arrival_id] = Extent(arrival_id, last_row, ended=True)

    def write(self) -> None:
        if not self._extents:
            return
        number = len(self._parsed.chunks)
        chunk = Chunk(
            self._folder / f"{number}.rows", self._folder / f"{number}.letters", tuple(self._extents.values())
        )
        batches = [batch for each in self._batches.values() for batch in each]
        letters = [letter for batch in batches for letter in batch.dead]
        frame = pl.concat([batch.frame for batch in batches]) if batches else self._empty()
        good, refusals = validate(frame, self._pipeline.schema)
        letters += [
            refusal.dead_letter(Stage.PARSE, self._original(refusal.arrival_id, refusal.row)) for refusal in refusals
        ]
        chunk.write_rows(good)
        chunk.write_letters(letters)
        self._parsed.chunks.append(chunk)
        self._batches, self._extents, self.records = {}, {}, 0

    def _original(self, arrival_id: int, row: int) -> Original:
        batches = (batch for batch in self._batches[arrival_id] if batch.frame.height)
        return next(batch for batch in batches if batch.frame[ROW][0] <= row <= batch.frame[ROW][-1]).original(row)

    def _empty(self) -> pl.DataFrame:
        columns = dict.fromkeys(self._pipeline.schema.column_names(), pl.String)
        return pl.DataFrame(schema={**columns, ARRIVAL: pl.Int64, ROW: pl.Int64})

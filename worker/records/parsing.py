"""A portion of a claim into chunks: arrivals read one by one, their records stacked, validated once a chunk."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl

from worker.errors import ArrivalRejected
from worker.model import Reason, Stage
from worker.pipeline import Pipeline
from worker.records.batch import ARRIVAL, ROW, Batch, Limits, Original
from worker.records.binary_values import Schemas
from worker.records.chunk import Chunk, Extent
from worker.records.contract import validate, validate_keys
from worker.records.originals import originals
from worker.records.reading import read


class Readable(Protocol):
    """What an arrival gives to read: a spooled file, or a range of messages."""

    @property
    def arrival_id(self) -> int:
        """Whose records these are."""

    @property
    def after(self) -> int:
        """Rows up to this one are not given again."""

    def batches(self) -> Iterator[Batch]:
        """Read it.

        Raises:
            ArrivalRejected: as a whole, or from here on, it cannot become records.
            Transient: it cannot be read now.

        """

    def originals(self, rows: AbstractSet[int]) -> dict[int, Original]:
        """Give the bytes of records that failed after they were read.

        Raises:
            ArrivalRejected: they are not there any more.

        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """A file to parse."""

    arrival_id: int
    path: Path  # where its bytes are
    name: str  # its ending tells the format
    size: int  # bytes, when it was taken in
    source: str  # what it came in by: says how messages that are sent again are read
    pipeline: Pipeline
    limits: Limits
    schemas: Schemas | None = None  # asks the schema registry, for such messages
    after: int = 0  # a file is read from its beginning: where a row begins is known only by reading

    def batches(self) -> Iterator[Batch]:
        """Read the file."""
        if not self.path.is_file() or self.path.stat().st_size != self.size:
            detail = f"the bytes taken in of {self.name} are no longer in the spool as they were; drop the file again."
            raise ArrivalRejected(Reason.LOST, detail)
        return read(
            self.path,
            self.name,
            self.pipeline,
            self.limits,
            arrival_id=self.arrival_id,
            source=self.source,
            schemas=self.schemas,
        )

    def originals(self, rows: AbstractSet[int]) -> dict[int, Original]:
        """Read the file again for the bytes of some of its records."""
        return originals(
            self.path, self.name, self.pipeline, self.limits, rows, source=self.source, schemas=self.schemas
        )


@dataclass(slots=True)
class Parsed:
    """What became of a portion."""

    chunks: list[Chunk] = field(default_factory=list)
    rejected: dict[int, ArrivalRejected] = field(default_factory=dict)  # by arrival


def parse(arrivals: Sequence[Readable], pipeline: Pipeline, limits: Limits, folder: Path) -> Parsed:
    """Parse arrivals into chunks below a folder; memory holds one chunk.

    One that cannot become records is rejected alone. Rows of it that stand in a chunk already must not be
    committed: whoever commits leaves out the rows of rejected arrivals.

    Args:
        arrivals: in their order.
        pipeline: gives the schema.
        limits: what is too much.
        folder: empty, for the chunks' files.

    """
    parsed = Parsed()
    gathering = _Gathering(pipeline, folder, parsed)
    for arrival in arrivals:
        last_row = arrival.after
        try:
            for batch in arrival.batches():
                if gathering.records and gathering.records + batch.rows_in > limits.chunk_rows:
                    gathering.write()
                last_row = max(last_row, batch.last_row)
                gathering.add(arrival.arrival_id, batch, last_row)
        except ArrivalRejected as error:
            gathering.drop(arrival.arrival_id)
            parsed.rejected[arrival.arrival_id] = error
        else:
            gathering.end(arrival.arrival_id, last_row)
    gathering.write()
    return parsed


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
        self._extents[arrival_id] = Extent(arrival_id, last_row, ended=False, skipped=self._skipped(arrival_id))
        self.records += batch.rows_in

    def drop(self, arrival_id: int) -> None:
        self.records -= sum(batch.rows_in for batch in self._batches.pop(arrival_id, []))
        self._extents.pop(arrival_id, None)

    def end(self, arrival_id: int, last_row: int) -> None:
        self._extents[arrival_id] = Extent(arrival_id, last_row, ended=True, skipped=self._skipped(arrival_id))

    def _skipped(self, arrival_id: int) -> int:
        return sum(len(batch.skipped) for batch in self._batches.get(arrival_id, []))

    def write(self) -> None:
        if not self._extents:
            return
        number = len(self._parsed.chunks)
        deletes = [each.deletes for batches in self._batches.values() for each in batches if each.deletes is not None]
        chunk = Chunk(
            rows=self._folder / f"{number}.rows",
            letters=self._folder / f"{number}.letters",
            deletes=self._folder / f"{number}.deletes" if deletes else None,
            extents=tuple(self._extents.values()),
        )
        batches = [batch for each in self._batches.values() for batch in each]
        letters = [letter for batch in batches for letter in batch.dead]
        frame = pl.concat([batch.frame for batch in batches]) if batches else self._empty()
        good, refusals = validate(frame, self._pipeline.schema)
        letters += [
            refusal.dead_letter(Stage.PARSE, self._original(refusal.arrival_id, refusal.row)) for refusal in refusals
        ]
        if deletes:
            keys, refusals = validate_keys(pl.concat(deletes), self._pipeline.schema)
            letters += [
                refusal.dead_letter(Stage.PARSE, self._original(refusal.arrival_id, refusal.row))
                for refusal in refusals
            ]
            chunk.write_deletes(keys)
        chunk.write_rows(good)
        chunk.write_letters(letters)
        self._parsed.chunks.append(chunk)
        self._batches, self._extents, self.records = {}, {}, 0

    def _original(self, arrival_id: int, row: int) -> Original:
        return next(batch for batch in self._batches[arrival_id] if row <= batch.last_row).original(row)

    def _empty(self) -> pl.DataFrame:
        columns = dict.fromkeys(self._pipeline.schema.column_names(), pl.String)
        return pl.DataFrame(schema={**columns, ARRIVAL: pl.Int64, ROW: pl.Int64})

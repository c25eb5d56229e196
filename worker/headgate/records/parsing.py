"""A portion of a claim into chunks: arrivals are read one by one, their records gathered, and validated per chunk."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import polars as pl
from polars.exceptions import PanicException

from headgate.errors import ArrivalRejected, Miscounted, NotTried
from headgate.model import DeadLetter, Reason, Stage
from headgate.pipeline import Pipeline
from headgate.records.batch import ARRIVAL, ROW, Batch, Limits, Original, Refusal
from headgate.records.binary_values import Schemas
from headgate.records.chunk import Chunk, Extent
from headgate.records.contract import validate, validate_keys
from headgate.records.letters import NO_LETTERS, letter_frame
from headgate.records.originals import originals
from headgate.records.reading import read

PATIENCE = 30.0  # seconds; for each range, it takes 10 s to find that a broker is down


class Readable(Protocol):
    """The readable content of an arrival: a spooled file, or a range of messages."""

    @property
    def arrival_id(self) -> int:
        """The arrival that the records belong to."""

    @property
    def after(self) -> int:
        """Rows up to this one are left out."""

    def batches(self) -> Iterator[Batch]:
        """Read the content.

        Raises:
            ArrivalRejected: the arrival as a whole, or from here on, cannot become records.
            Transient: it cannot be read now.

        """

    def originals(self, rows: AbstractSet[int]) -> dict[int, Original]:
        """Return the bytes of records that failed after they were read.

        Raises:
            ArrivalRejected: the bytes no longer exist.

        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """A file to parse."""

    arrival_id: int
    path: Path  # where its bytes are
    name: str  # its ending tells the format
    size: int  # bytes, when it was taken in
    source: str  # the source it came from, which says how to read messages that are sent again
    pipeline: Pipeline
    limits: Limits
    schemas: Schemas | None = None  # asks the schema registry, for such messages
    after: int = 0  # always 0: a file is read from its beginning, because only reading shows where a row begins

    def batches(self) -> Iterator[Batch]:
        """Read the file."""
        if not self.path.is_file() or self.path.stat().st_size != self.size:
            # The name is shown to people, and may not be UTF-8.
            shown = os.fsencode(self.name).decode(errors="backslashreplace")
            detail = f"the bytes taken in of {shown} are no longer in the spool as they were; drop the file again."
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
    """The result of parsing a portion."""

    chunks: list[Chunk] = field(default_factory=list)
    rejected: dict[int, ArrivalRejected] = field(default_factory=dict)  # by arrival
    unread: dict[int, Exception] = field(default_factory=dict)  # by arrival: why it could not be read now


def parse(
    arrivals: Mapping[int, Callable[[], Readable]],
    pipeline: Pipeline,
    limits: Limits,
    folder: Path,
    *,
    patience: float = PATIENCE,
) -> Parsed:
    """Parse arrivals into chunks below a folder; memory holds one chunk.

    Only an arrival that cannot become records is rejected, and only one that cannot be read now is left for later. Rows
    of either that are in a chunk already must not be committed: whoever commits leaves them out.

    Args:
        arrivals: by number, in their order; each is opened when its turn comes.
        pipeline: gives the schema.
        limits: the limits on what is read.
        folder: an empty folder for the chunks' files.
        patience: seconds to spend on arrivals that cannot be read; after that, the remaining ones are not tried.

    """
    parsed = Parsed()
    gathering = _Gathering(pipeline, limits, folder, parsed)
    wasted = 0.0
    for arrival_id, opened in arrivals.items():
        if wasted > patience:
            parsed.unread[arrival_id] = NotTried(f"{wasted:.0f} s went by over others that cannot be read.")
            continue
        began = time.monotonic()
        try:
            with _reading():
                arrival = opened()
                batches = arrival.batches()
            last_row = arrival.after
            while (batch := _next(batches)) is not None:
                last_row = max(last_row, batch.last_row)
                gathering.add(arrival_id, batch, last_row)
        except ArrivalRejected as error:
            gathering.drop(arrival_id)
            parsed.rejected[arrival_id] = error
        except _Unread as error:
            gathering.drop(arrival_id)
            parsed.unread[arrival_id] = error.cause
            wasted += time.monotonic() - began
        else:
            gathering.end(arrival_id, last_row)
    gathering.write(last=True)
    return parsed


class _Unread(Exception):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextmanager
def _reading() -> Iterator[None]:
    """Mark errors from reading an arrival, which concern only that arrival, apart from errors of the whole claim."""
    try:
        yield
    except ArrivalRejected:
        raise
    except PanicException as error:  # no Exception
        raise _Unread(RuntimeError(f"polars panicked: {error}")) from error
    except Exception as error:
        raise _Unread(error) from error


def _next(batches: Iterator[Batch]) -> Batch | None:
    with _reading():
        return next(batches, None)


@dataclass(slots=True)
class _Share:
    """The part of an arrival in the current chunk."""

    batches: list[Batch] = field(default_factory=list)  # with records or deletions; without their dead letters
    letters: list[pl.DataFrame] = field(default_factory=list)
    skipped: int = 0
    records: int = 0
    size: int = 0  # bytes
    last_row: int = 0
    ended: bool = False


class _Gathering:
    """The current chunk, before it is written."""

    def __init__(self, pipeline: Pipeline, limits: Limits, folder: Path, parsed: Parsed) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._folder = folder
        self._parsed = parsed
        self._shares: dict[int, _Share] = {}
        columns = pipeline.schema.columns().items()
        self._binary = [name for name, column in columns if column.dtype == pl.Binary]

    def add(self, arrival_id: int, batch: Batch, last_row: int) -> None:
        """Add a batch; first write what is gathered, if both together are too large for a chunk."""
        records, size = batch.rows_in, batch.size
        held = self._shares.values()
        if held and (
            sum(share.records for share in held) + records > self._limits.chunk_rows
            or sum(share.size for share in held) + size > self._limits.chunk_bytes
        ):
            self.write()
        share = self._shares.setdefault(arrival_id, _Share())
        if batch.frame.height or batch.deletes is not None:
            # Binary columns are bytes if the format has binary, and text otherwise.
            frame = batch.frame.with_columns(pl.col(name).cast(pl.Binary) for name in self._binary)
            share.batches.append(replace(batch, frame=frame, dead=NO_LETTERS))
        if batch.dead.height:
            share.letters.append(batch.dead)
        share.skipped += len(batch.skipped)
        share.records += records
        share.size += size
        share.last_row = last_row

    def drop(self, arrival_id: int) -> None:
        """Drop what is gathered of an arrival."""
        self._shares.pop(arrival_id, None)

    def end(self, arrival_id: int, last_row: int) -> None:
        """Note that an arrival has no more rows."""
        share = self._shares.setdefault(arrival_id, _Share())
        share.last_row, share.ended = last_row, True

    def write(self, *, last: bool = False) -> None:
        """Validate what is gathered, and write it as a chunk; after the last one, nothing more comes."""
        if not self._shares:
            return
        number = len(self._parsed.chunks)
        batches = [batch for share in self._shares.values() for batch in share.batches]
        deletes = [batch.deletes for batch in batches if batch.deletes is not None]
        chunk = Chunk(
            file=self._folder / str(number),
            alone=last and number == 0,
            extents=tuple(
                Extent(arrival_id, share.last_row, ended=share.ended, records=share.records, skipped=share.skipped)
                for arrival_id, share in self._shares.items()
            ),
        )
        letters = [frame for share in self._shares.values() for frame in share.letters]
        frame = pl.concat([batch.frame for batch in batches]) if batches else self._empty()
        try:
            good, refusals = validate(frame, self._pipeline.schema)
        except Miscounted as error:
            self._reject(error)
            return
        letters.append(letter_frame(map(self._letter, refusals)))
        if deletes:
            keys, refusals = validate_keys(pl.concat(deletes), self._pipeline.schema)
            letters.append(letter_frame(map(self._letter, refusals)))
            chunk.write_deletes(keys)
        chunk.write_rows(good)
        chunk.write_letters(pl.concat(letters))
        self._parsed.chunks.append(chunk)
        self._shares = {}

    def _reject(self, error: Miscounted) -> None:
        """Reject the arrival whose rows appeared or disappeared; validate arrivals one by one to find it."""
        shares, self._shares = self._shares, {}
        if len(shares) == 1:
            self._parsed.rejected |= {
                arrival_id: ArrivalRejected(Reason.MISCOUNTED, str(error)) for arrival_id in shares
            }
            return
        for arrival_id, share in shares.items():
            self._shares = {arrival_id: share}
            self.write()

    def _letter(self, refusal: Refusal) -> DeadLetter:
        return refusal.dead_letter(Stage.PARSE, self._original(refusal.arrival_id, refusal.row))

    def _original(self, arrival_id: int, row: int) -> Original:
        return next(batch for batch in self._shares[arrival_id].batches if row <= batch.last_row).original(row)

    def _empty(self) -> pl.DataFrame:
        columns = dict.fromkeys(self._pipeline.schema.column_names(), pl.String)
        return pl.DataFrame(
            schema={**columns, **dict.fromkeys(self._binary, pl.Binary), ARRIVAL: pl.Int64, ROW: pl.Int64}
        )

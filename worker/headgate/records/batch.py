"""The results of reading: batches of text records, with what is needed to set a record aside later."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from headgate.model import DeadLetter, Envelope, Fault, Reason, Stage

ARRIVAL = "_arrival_id"  # Int64: the arrival that a record came in
CELL_BYTES = 16  # memory for one cell in a frame of text, if it is short or null
MOST_LINES = 50_000  # parsed at a time: each may become several Python objects

ROW = "_row"  # Int64: the record's number in its arrival, counted from 1, including bad records


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits on what is read."""

    max_record_bytes: int = 16 * 1024**2  # the longest record
    max_expanded_bytes: int = 64 * 1024**3  # the largest file after expansion
    max_expansion: int = 200  # how many times its own size a compressed file may expand to
    chunk_rows: int = 100_000  # the most readable records in a batch
    memory_bytes: int = 512 * 1024**2  # what a run may hold in memory of what it reads
    at_once: int = 1  # how many chunks a run works on at the same time
    block_bytes: int = 4 * 1024**2  # parsed at a time; larger blocks are no faster

    @property
    def chunk_bytes(self) -> int:
        """The most bytes of a chunk, including its originals: a stage holds several copies of a chunk."""
        return self.memory_bytes // (6 * self.at_once)

    def lines(self, columns: int) -> int:
        """Return how many lines to parse at a time: even the shortest line becomes a record with this many columns."""
        return max(1, min(self.chunk_rows, MOST_LINES, self.chunk_bytes // (CELL_BYTES * (columns + 2))))


@dataclass(frozen=True, slots=True)
class Original:
    """A record in its original form."""

    data: bytes  # the exact bytes, with the line end if it had one
    format: str  # how `data` is written: "csv", "json" (an element of an array), "jsonl", "parquet" or "messages"
    preamble: bytes = b""  # what has to precede `data` to read it again: a CSV header line
    envelope: Envelope | None = None  # for a message


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record is set aside."""

    arrival_id: int
    row: int  # number of the record in its arrival, counted from 1
    reason: Reason
    faults: tuple[Fault, ...]

    def dead_letter(self, stage: Stage, original: Original) -> DeadLetter:
        """Return the dead letter for this record, with its original bytes."""
        return DeadLetter(
            arrival_id=self.arrival_id,
            row=self.row,
            stage=stage,
            reason=self.reason,
            faults=self.faults,
            original=original.data,
            format=original.format,
            preamble=original.preamble,
            envelope=original.envelope,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one arrival.

    Args:
        frame: the readable ones: the schema's columns, all String, then `_arrival_id` and `_row`, both Int64.
        dead: the unreadable ones, by row, in the form of `headgate.records.letters`.
        original: returns the bytes of any record of this batch, by its row.
        skipped: rows of messages that are not records, according to the topic's policy.
        deletes: the keys of rows to delete: key columns, all String, then `_arrival_id` and `_row`.
        held: bytes that stay in memory for `original`.

    """

    frame: pl.DataFrame
    dead: pl.DataFrame
    original: Callable[[int], Original]
    skipped: tuple[int, ...] = ()
    deletes: pl.DataFrame | None = None
    held: int = 0

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        frames = [frame for frame in (self.frame, self.dead, self.deletes) if frame is not None]
        # A column of nulls takes no memory until it is written.
        return self.held + sum(
            max(int(frame.estimated_size()), CELL_BYTES * frame.height * frame.width) for frame in frames
        )

    @property
    def rows_in(self) -> int:
        """How many records were read: good, bad, skipped, and deletions."""
        deletes = 0 if self.deletes is None else self.deletes.height
        return self.frame.height + self.dead.height + len(self.skipped) + deletes

    @property
    def last_row(self) -> int:
        """The highest row in it, or 0 if it is empty. Rows of messages have gaps, so this is not a count."""
        frames = (self.frame, self.dead) if self.deletes is None else (self.frame, self.dead, self.deletes)
        rows = [frame[ROW][-1] for frame in frames if frame.height]
        return max([*rows, *self.skipped[-1:]], default=0)

    def portions(self, rows: int) -> Iterator["Batch"]:
        """Cut the batch into smaller ones of at most `rows` readable records each.

        Dead letters keep their place in the row order, so all rows up to the end of a portion are in it or before it.
        """
        left = self.dead
        for start in range(0, max(self.frame.height, 1), rows):
            frame = self.frame.slice(start, rows)
            rest = self.frame.height > start + rows
            here = left.filter(pl.col(ROW) < self.frame.item(start + rows, ROW)) if rest else left
            left = left[here.height :]
            yield Batch(frame, here, self.original, held=self.held * frame.height // max(self.frame.height, 1))


def cut(text: object) -> str:
    """Return an offending value as text: at most 200 characters, and none that PostgreSQL cannot store."""
    return str(text)[:200].encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")[:200]


def number_rows(frame: pl.DataFrame, arrival_id: int, rows: pl.Series | int) -> pl.DataFrame:
    """Add the origin columns.

    Args:
        frame: records.
        arrival_id: the arrival they came in.
        rows: the number of each record, or the number of the first if none is missing.

    """
    numbers = pl.int_range(rows, rows + frame.height, dtype=pl.Int64) if isinstance(rows, int) else rows.cast(pl.Int64)
    return frame.with_columns_seq(pl.lit(arrival_id, dtype=pl.Int64).alias(ARRIVAL), numbers.alias(ROW))

"""What reading gives: batches of text records, and what is needed to set a record aside later."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from worker.model import DeadLetter, Envelope, Fault, Reason, Stage

ARRIVAL = "_arrival_id"  # Int64: the arrival a record came in
ROW = "_row"  # Int64: the record's number in its arrival, from 1, bad records counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is too much to read."""

    max_record_bytes: int = 16 * 1024**2  # the longest record
    max_expanded_bytes: int = 64 * 1024**3  # the largest file once expanded
    max_expansion: int = 200  # how many times its size a compressed file may expand
    chunk_rows: int = 100_000  # the most readable records in a batch
    block_bytes: int = 4 * 1024**2  # parsed at a time; larger blocks are no faster


@dataclass(frozen=True, slots=True)
class Original:
    """A record as it came."""

    data: bytes  # to the byte, with its line end if it had one
    format: str  # how `data` is written: "csv", "jsonl" or "messages"
    preamble: bytes = b""  # what must stand before `data` to read it again: a CSV header line
    envelope: Envelope | None = None  # of a message


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record goes no further."""

    arrival_id: int
    row: int  # number of the record in its arrival, counted from 1
    reason: Reason
    faults: tuple[Fault, ...]

    def dead_letter(self, stage: Stage, original: Original) -> DeadLetter:
        """Set the record aside with its original bytes."""
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
    """Some records of one arrival that stand next to each other.

    Args:
        frame: the readable ones: the schema's columns, all String, then `_arrival_id` and `_row`, both Int64.
        dead: the unreadable ones, by row.
        original: gives the bytes of any record of this batch, by its row.
        skipped: rows of messages that are no records, as the topic's policy says.
        deletes: the keys of rows to be deleted: key columns, all String, then `_arrival_id` and `_row`.

    """

    frame: pl.DataFrame
    dead: tuple[DeadLetter, ...]
    original: Callable[[int], Original]
    skipped: tuple[int, ...] = ()
    deletes: pl.DataFrame | None = None

    @property
    def rows_in(self) -> int:
        """How many records were read: good, bad, skipped or deleting."""
        deletes = 0 if self.deletes is None else self.deletes.height
        return self.frame.height + len(self.dead) + len(self.skipped) + deletes

    @property
    def last_row(self) -> int:
        """The highest row in it; 0 if it is empty. Rows of messages have gaps, so this is no count."""
        frames = (self.frame,) if self.deletes is None else (self.frame, self.deletes)
        rows = [frame[ROW][-1] for frame in frames if frame.height]
        rows += [self.dead[-1].row] if self.dead else []
        return max([*rows, *self.skipped[-1:]], default=0)

    def portions(self, rows: int) -> Iterator["Batch"]:
        """Cut the batch into smaller ones of at most `rows` readable records each.

        A dead letter goes where its row belongs, so the rows up to the end of a portion are all in it or before it.
        """
        left = self.dead
        for start in range(0, max(self.frame.height, 1), rows):
            frame = self.frame.slice(start, rows)
            rest = self.frame.height > start + rows
            here = tuple(letter for letter in left if not rest or letter.row < self.frame.item(start + rows, ROW))
            left = left[len(here) :]
            yield Batch(frame, here, self.original)


def cut(text: object) -> str:
    """Show an offending value: at most 200 characters, and none that PostgreSQL cannot store in text."""
    return str(text)[:200].encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")[:200]


def number_rows(frame: pl.DataFrame, arrival_id: int, rows: pl.Series | int) -> pl.DataFrame:
    """Add the origin columns.

    Args:
        frame: records.
        arrival_id: the arrival they came in.
        rows: the number of each, or the number of the first where none is missing.

    """
    numbers = pl.int_range(rows, rows + frame.height, dtype=pl.Int64) if isinstance(rows, int) else rows.cast(pl.Int64)
    return frame.with_columns(pl.lit(arrival_id, dtype=pl.Int64).alias(ARRIVAL), numbers.alias(ROW))

"""Chunks: records of a claim that are committed together, kept in files between the stages of a run.

Stages pass files instead of values, so that a stage holds one chunk in memory and not the whole claim, and so that
Prefect never sees a row.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headgate.errors import ArrivalRejected
from headgate.model import Reason
from headgate.records.batch import ARRIVAL, ROW


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a chunk reaches in one arrival."""

    arrival_id: int
    last_row: int  # the arrival's rows up to this one are in this chunk or in earlier ones
    ended: bool  # the arrival has no more rows
    records: int  # how many of the arrival's records were read into this chunk
    skipped: int = 0  # of these, messages that are not records, according to their topic's policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Records committed together: typed rows in one file, dead letters in another."""

    rows: Path  # Arrow IPC
    letters: Path  # Arrow IPC, one row a dead letter
    deletes: Path | None = None  # Arrow IPC, the keys of rows to delete; None if there are none
    extents: tuple[Extent, ...]

    def read_rows(self) -> pl.DataFrame:
        """Read the typed rows, with the origin columns."""
        return pl.read_ipc(self.rows)

    def write_rows(self, frame: pl.DataFrame) -> None:
        """Write rows, replacing those that were there."""
        frame.write_ipc(self.rows)

    def read_deletes(self) -> pl.DataFrame:
        """Read the keys of rows to delete, typed, with the origin columns."""
        return pl.DataFrame() if self.deletes is None else pl.read_ipc(self.deletes)

    def write_deletes(self, frame: pl.DataFrame) -> None:
        """Write the keys of rows to delete."""
        if self.deletes is not None:
            frame.write_ipc(self.deletes)

    def read_letters(self) -> pl.DataFrame:
        """Read the dead letters so far, in the form of `headgate.records.letters`."""
        return pl.read_ipc(self.letters)

    def write_letters(self, letters: pl.DataFrame) -> None:
        """Write dead letters, replacing those that were there."""
        letters.write_ipc(self.letters)

    def add_letters(self, letters: pl.DataFrame) -> None:
        """Add dead letters to those that are there."""
        if letters.height:
            self.write_letters(pl.concat([self.read_letters(), letters]))

    def miscounted(
        self, rows: pl.DataFrame, deletes: pl.DataFrame, letters: pl.DataFrame
    ) -> dict[int, ArrivalRejected]:
        """Find the arrivals for which the chunk does not hold each record read exactly once.

        Args:
            rows: the chunk's rows as they are now.
            deletes: the chunk's keys of rows to delete.
            letters: the chunk's dead letters.

        Returns:
            Why each of these arrivals must not be committed; empty, unless Headgate has a bug.

        """
        frames = [frame.select(ARRIVAL, ROW) for frame in (rows, deletes, letters) if frame.height]
        counts: dict[int, tuple[int, int]] = {}
        if frames:
            by_arrival = pl.concat(frames).group_by(ARRIVAL).agg(pl.len(), pl.col(ROW).n_unique().alias("different"))
            counts = {arrival_id: (here, different) for arrival_id, here, different in by_arrival.iter_rows()}
        found = {}
        for extent in self.extents:
            here, different = counts.get(extent.arrival_id, (0, 0))
            if not here == different == extent.records - extent.skipped:
                found[extent.arrival_id] = ArrivalRejected(
                    Reason.MISCOUNTED,
                    f"{extent.records} records were read for a chunk, but {here} rows and dead letters of {different} "
                    f"records and {extent.skipped} skipped ones came of them; nothing of it is committed. "
                    "Please report this with the file.",
                )
        return found

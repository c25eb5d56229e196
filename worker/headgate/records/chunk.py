"""Chunks: records of a claim that are committed together, kept in files between the stages of a run.

Files, so that a stage holds one chunk in memory and not the whole claim. If a portion of a claim is one chunk, what is
small stays in memory: for a file of 100 rows, files would be a third of the work on it.
"""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from headgate.errors import ArrivalRejected
from headgate.model import Reason
from headgate.records.batch import ARRIVAL, CELL_BYTES, ROW

SMALL = 1024**2  # bytes; a smaller frame of a chunk that is alone stays in memory


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
    """Records committed together: typed rows, keys of rows to delete, and dead letters."""

    file: Path  # where large frames go, each with an ending of its own, as Arrow IPC
    extents: tuple[Extent, ...]
    alone: bool = False  # whether its portion of the claim has no other chunk
    _frames: dict[str, pl.DataFrame | Path] = field(default_factory=dict)

    def read_rows(self) -> pl.DataFrame:
        """Read the typed rows, with the origin columns."""
        return self._read("rows")

    def write_rows(self, frame: pl.DataFrame) -> None:
        """Write rows, replacing those that were there."""
        self._write("rows", frame)

    def read_deletes(self) -> pl.DataFrame:
        """Read the keys of rows to delete, typed, with the origin columns; an empty frame if there are none."""
        return self._read("deletes") if "deletes" in self._frames else pl.DataFrame()

    def write_deletes(self, frame: pl.DataFrame) -> None:
        """Write the keys of rows to delete."""
        self._write("deletes", frame)

    def read_letters(self) -> pl.DataFrame:
        """Read the dead letters so far, in the form of `headgate.records.letters`."""
        return self._read("letters")

    def write_letters(self, letters: pl.DataFrame) -> None:
        """Write dead letters, replacing those that were there."""
        self._write("letters", letters)

    def _read(self, name: str) -> pl.DataFrame:
        place = self._frames[name]
        return pl.read_ipc(place) if isinstance(place, Path) else place

    def _write(self, name: str, frame: pl.DataFrame) -> None:
        place: pl.DataFrame | Path = frame
        # A column of nulls has no size, and takes memory all the same once it is written.
        size = max(frame.estimated_size(), CELL_BYTES * frame.height * frame.width)
        if not self.alone or size > SMALL:
            place = self.file.with_suffix(f".{name}")
            frame.write_ipc(place)
        self._frames[name] = place

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

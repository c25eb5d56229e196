"""Chunks: records of a claim that are committed together, kept in files between the stages of a run.

Files, and not values handed over, because a stage then holds one chunk in memory and not the whole claim, and because
Prefect never gets to see a row.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
import polars as pl

from worker.model import DeadLetter, Envelope, Fault, Reason, Stage


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a chunk goes in one arrival."""

    arrival_id: int
    last_row: int  # the arrival's rows up to this one are in this chunk or in earlier ones
    ended: bool  # the arrival has no more rows
    skipped: int = 0  # messages in this chunk that are no records, as their topic's policy says


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Records committed together: typed rows in one file, dead letters in another."""

    rows: Path  # Arrow IPC
    letters: Path  # Arrow IPC, one row a dead letter
    deletes: Path | None = None  # Arrow IPC, the keys of rows to be deleted; None: there are none
    extents: tuple[Extent, ...]

    def read_rows(self) -> pl.DataFrame:
        """The typed rows, with the origin columns."""
        return pl.read_ipc(self.rows)

    def write_rows(self, frame: pl.DataFrame) -> None:
        """Put these rows in place of those that were there."""
        frame.write_ipc(self.rows)

    def read_deletes(self) -> pl.DataFrame:
        """The keys to be deleted, typed, with the origin columns."""
        return pl.DataFrame() if self.deletes is None else pl.read_ipc(self.deletes)

    def write_deletes(self, frame: pl.DataFrame) -> None:
        """Put these keys there."""
        if self.deletes is not None:
            frame.write_ipc(self.deletes)

    def read_letters(self) -> list[DeadLetter]:
        """The dead letters so far."""
        return [_letter(row) for row in pl.read_ipc(self.letters).iter_rows(named=True)]

    def write_letters(self, letters: Iterable[DeadLetter]) -> None:
        """Put these dead letters in place of those that were there."""
        pl.DataFrame([_row(letter) for letter in letters], schema=_LETTER).write_ipc(self.letters)

    def add_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Add dead letters to those that are there."""
        if letters:
            self.write_letters([*self.read_letters(), *letters])


_LETTER = {
    "arrival_id": pl.Int64,
    "row": pl.Int64,
    "stage": pl.String,
    "reason": pl.String,
    "faults": pl.Binary,
    "original": pl.Binary,
    "format": pl.String,
    "preamble": pl.Binary,
    "envelope": pl.Binary,
}


def _row(letter: DeadLetter) -> dict[str, object]:
    return {
        "arrival_id": letter.arrival_id,
        "row": letter.row,
        "stage": letter.stage.value,
        "reason": letter.reason.value,
        "faults": orjson.dumps([(fault.rule, fault.column, fault.value) for fault in letter.faults]),
        "original": letter.original,
        "format": letter.format,
        "preamble": letter.preamble,
        "envelope": None if letter.envelope is None else orjson.dumps(letter.envelope.facts()),
    }


def _letter(row: dict[str, object]) -> DeadLetter:
    faults, original, preamble, envelope = row["faults"], row["original"], row["preamble"], row["envelope"]
    if not (isinstance(faults, bytes) and isinstance(original, bytes) and isinstance(preamble, bytes)):
        raise TypeError("a file of dead letters has other columns than it was written with")
    return DeadLetter(
        arrival_id=int(str(row["arrival_id"])),
        row=int(str(row["row"])),
        stage=Stage(str(row["stage"])),
        reason=Reason(str(row["reason"])),
        faults=tuple(Fault(*fault) for fault in orjson.loads(faults)),
        original=original,
        format=str(row["format"]),
        preamble=preamble,
        envelope=Envelope.of(orjson.loads(envelope)) if isinstance(envelope, bytes) else None,
    )

"""Dead letters as frames: as Python objects, a chunk's dead letters would take ten times as much memory."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice

import orjson
import polars as pl

from headgate.imports import dy
from headgate.model import DeadLetter, Envelope, Fault, Reason, Stage
from headgate.records.batch import ARRIVAL, ROW
from headgate.records.saying import say

SCHEMA = {
    ARRIVAL: pl.Int64,
    ROW: pl.Int64,
    "stage": pl.String,
    "reason": pl.String,
    "faults": pl.Binary,
    "original": pl.Binary,
    "format": pl.String,
    "preamble": pl.Binary,
    "envelope": pl.Binary,
}
NO_LETTERS = pl.DataFrame(schema=SCHEMA)
AT_A_TIME = 1_000  # letters that exist as objects at the same time; for 5,000, polars takes ten times as much memory


@dataclass(frozen=True, slots=True)
class Group:
    """The dead letters of one arrival that have one reason."""

    arrival_id: int
    reason: str
    count: int
    row: int  # of the first
    faults: tuple[Fault, ...]  # of the first

    def say(self, schema: type[dy.Schema]) -> str:
        """Return what is wrong with the first: "record 7: distance: 'six' is not an integer"."""
        broken = "; ".join(say(asdict(fault), schema) for fault in self.faults)
        return f"record {self.row:,}: {broken or self.reason}"


def sum_up(frame: pl.DataFrame) -> list[Group]:
    """Group dead letters by arrival and reason, in the order of their first rows."""
    ordered = frame.select(ARRIVAL, ROW, "reason", "faults").sort(ARRIVAL, ROW)
    groups = ordered.group_by(ARRIVAL, "reason", maintain_order=True)
    found = groups.agg(pl.len(), pl.col(ROW).first(), pl.col("faults").first())
    return [
        Group(arrival_id, reason, count, row, tuple(Fault(*fault) for fault in orjson.loads(faults)))
        for arrival_id, reason, count, row, faults in found.iter_rows()
    ]


def letter_frame(letters: Iterable[DeadLetter]) -> pl.DataFrame:
    """Put dead letters into a frame, one row each."""
    rows = map(_row, letters)
    frames = [NO_LETTERS]
    while part := list(islice(rows, AT_A_TIME)):
        frames.append(pl.DataFrame(part, schema=SCHEMA, orient="row"))
    return pl.concat(frames) if len(frames) > 1 else NO_LETTERS


def letters_of(frame: pl.DataFrame) -> Iterator[DeadLetter]:
    """Yield the dead letters of a frame, one by one."""
    for part in frame.iter_slices(AT_A_TIME):
        yield from map(_letter, part.iter_rows(named=True))


def _row(letter: DeadLetter) -> tuple[object, ...]:
    return (
        letter.arrival_id,
        letter.row,
        letter.stage.value,
        letter.reason.value,
        orjson.dumps([(fault.rule, fault.column, fault.value) for fault in letter.faults]),
        letter.original,
        letter.format,
        letter.preamble,
        None if letter.envelope is None else orjson.dumps(letter.envelope.facts()),
    )


def _letter(row: dict[str, object]) -> DeadLetter:
    faults, original, preamble, envelope = row["faults"], row["original"], row["preamble"], row["envelope"]
    if not (isinstance(faults, bytes) and isinstance(original, bytes) and isinstance(preamble, bytes)):
        raise TypeError("a frame of dead letters has other columns than it was made with")
    return DeadLetter(
        arrival_id=int(str(row[ARRIVAL])),
        row=int(str(row[ROW])),
        stage=Stage(str(row["stage"])),
        reason=Reason(str(row["reason"])),
        faults=tuple(Fault(*fault) for fault in orjson.loads(faults)),
        original=original,
        format=str(row["format"]),
        preamble=preamble,
        envelope=Envelope.of(orjson.loads(envelope)) if isinstance(envelope, bytes) else None,
    )

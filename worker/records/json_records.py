"""JSON lines into text records: many lines of one shape at once by polars, any other line by itself.

A number is kept as the text it was written with, so no digit is lost before the schema says what it is. The JSON reader
of polars is not used: it makes floats of numbers with a point, and a NUL of a lone surrogate.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from worker.model import DeadLetter, Reason, Stage
from worker.records.batch import ROW, Batch, Limits, Original, Refusal, number_rows
from worker.records.json_line import BrokenLine, LineReader
from worker.records.text import Text, whole_lines

SHAPES = 8  # sequences of keys that are read at once in a block; lines of further ones go one by one
WORTHWHILE = 300  # lines; fewer are read sooner one by one than a pattern is compiled
# A value with nothing in it to unescape.
VALUE = r'"[^"\\\x00-\x1f]*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null'
BLANK = r"[ \t]*"


@dataclass(frozen=True, slots=True)
class LineParser:
    """Makes batches of lines, one record each."""

    reader: LineReader
    nulls: Sequence[str]
    arrival_id: int

    def parse(self, lines: Sequence[bytes], first: int) -> Batch:
        """Parse lines; the first is the record with the number `first`."""
        left = pl.DataFrame(
            {ROW: range(first, first + len(lines)), "line": [_decoded(line) for line in lines]},
            schema={ROW: pl.Int64, "line": pl.String},
        )
        frames: list[pl.DataFrame] = []
        single: list[int] = []
        for _ in range(SHAPES if left.height >= WORTHWHILE else 0):
            if left.is_empty():
                break
            row = left.item(0, ROW)
            keys = self._keys(lines[row - first])
            if keys:
                cells = left["line"].str.extract_groups(_shape(keys)).struct.unnest().with_columns(left[ROW])
                hit = cells["1"].is_not_null()
                frames.append(self._frame(cells.filter(hit), keys))
            else:
                hit = pl.repeat(value=False, n=left.height, eager=True)
            if not hit[0]:
                single.append(row)
            left = left.slice(1).filter(~hit.slice(1))
        one_by_one, dead = self._one_by_one(lines, first, sorted([*single, *left[ROW]]))
        frame = pl.concat([*frames, one_by_one]).sort(ROW)
        if self.nulls:
            frame = frame.with_columns(
                pl.when(~pl.col(name).is_in(self.nulls)).then(pl.col(name)).alias(name) for name in self.reader.columns
            )
        numbered = number_rows(frame.select(self.reader.columns), self.arrival_id, frame[ROW])
        return Batch(numbered, dead, lambda row: Original(lines[row - first], "jsonl"))

    def _keys(self, line: bytes) -> list[str]:
        try:
            return list(self.reader.members(line))
        except BrokenLine:
            return []

    def _frame(self, cells: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """Turn captured values into cells: no quotes, `null` is null, absent is null."""
        places = {key: str(at) for at, key in enumerate(keys, start=1)}
        columns = [
            pl.when(pl.col(places[name]) != "null").then(pl.col(places[name]).str.strip_chars('"')).alias(name)
            if name in places
            else pl.lit(None, dtype=pl.String).alias(name)
            for name in self.reader.columns
        ]
        return cells.select(*columns, ROW)

    def _one_by_one(
        self, lines: Sequence[bytes], first: int, rows: Iterable[int]
    ) -> tuple[pl.DataFrame, tuple[DeadLetter, ...]]:
        good: list[tuple[str | int | None, ...]] = []
        dead: list[DeadLetter] = []
        for row in rows:
            line = lines[row - first]
            try:
                good.append((*map(self.reader.cells(line).get, self.reader.columns), row))
            except BrokenLine as broken:
                reason = Reason.ENCODING if broken.fault.rule == "encoding" else Reason.MALFORMED
                refusal = Refusal(self.arrival_id, row, reason, (broken.fault,))
                dead.append(refusal.dead_letter(Stage.PARSE, Original(line, "jsonl")))
        schema = {**dict.fromkeys(self.reader.columns, pl.String), ROW: pl.Int64}
        return pl.DataFrame(good, schema=schema, orient="row"), tuple(dead)


def read_json_lines(text: Text, parser: LineParser, limits: Limits) -> Iterator[Batch]:
    """Read one JSON object a line. Blank lines are no records and have no number. A missing key is a null.

    Raises:
        ArrivalRejected: a line is too long.

    """
    row = 1
    for block, _ in whole_lines(text.blocks, limits):
        batch = parser.parse([line for line in io.BytesIO(block).readlines() if not line.isspace()], row)
        row += batch.rows_in
        yield batch


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _shape(keys: Sequence[str]) -> str:
    """Write the pattern of a line that has these keys in this order, scalar values, and no backslash."""
    names = [re.escape(json.dumps(key, ensure_ascii=False)) for key in keys]
    members = f"{BLANK},{BLANK}".join(f"{name}{BLANK}:{BLANK}({VALUE})" for name in names)
    return rf"^{BLANK}\{{{BLANK}{members}{BLANK}\}}{BLANK}\r?\n?$"

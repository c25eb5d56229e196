"""JSON lines into text records: many lines of one shape at once by polars, any other line by itself.

A number is kept as the text it was written with, so no digit is lost before the schema says what it is. The JSON reader
of polars is not used: it makes floats of numbers with a point, and a NUL of a lone surrogate.
"""

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from worker.model import DeadLetter, Reason, Stage
from worker.records.batch import Batch, Limits, Original, Refusal, number_rows
from worker.records.json_line import BrokenLine, LineReader
from worker.records.text import Text, whole_lines

PLACE = "_place"  # where a line stands among those that are parsed, from 0
SHAPES = 8  # sequences of keys that are read at once in a block; lines of further ones go one by one
WORTHWHILE = 300  # lines; fewer are read sooner one by one than a pattern is compiled
# A value with nothing in it to unescape.
VALUE = r'"[^"\\\x00-\x1f]*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null'
BLANK = r"[ \t\r\n]*"  # messages may be written over several lines


@dataclass(frozen=True, slots=True)
class LineParser:
    """Makes batches of lines, one record each."""

    reader: LineReader
    nulls: Sequence[str]
    arrival_id: int

    def parse(self, lines: Sequence[bytes], first: int) -> Batch:
        """Parse lines; the first is the record with the number `first`."""
        texts = pl.Series([_decoded(line) for line in lines], dtype=pl.String)
        return self.parse_texts(texts, pl.int_range(first, first + len(lines), eager=True), lines.__getitem__)

    def parse_texts(self, texts: pl.Series, rows: pl.Series, line: Callable[[int], bytes]) -> Batch:
        """Parse lines that are text already.

        Args:
            texts: String; null where the bytes are not UTF-8.
            rows: the number of each record, rising.
            line: gives the bytes of a line by its place, from 0.

        """
        left = pl.DataFrame({PLACE: pl.int_range(len(texts), eager=True), "line": texts})
        frames: list[pl.DataFrame] = []
        single: list[int] = []
        for _ in range(SHAPES if left.height >= WORTHWHILE else 0):
            if left.is_empty():
                break
            place = left.item(0, PLACE)
            keys = self._keys(line(place))
            if keys:
                cells = left["line"].str.extract_groups(_shape(keys)).struct.unnest().with_columns(left[PLACE])
                hit = cells["1"].is_not_null()
                frames.append(self._frame(cells.filter(hit), keys))
            else:
                hit = pl.repeat(value=False, n=left.height, eager=True)
            if not hit[0]:
                single.append(place)
            left = left.slice(1).filter(~hit.slice(1))
        one_by_one, dead = self._one_by_one(line, rows, sorted([*single, *left[PLACE]]))
        frame = pl.concat([*frames, one_by_one]).sort(PLACE)
        if self.nulls:
            frame = frame.with_columns(
                pl.when(~pl.col(name).is_in(self.nulls)).then(pl.col(name)).alias(name) for name in self.reader.columns
            )
        frame = frame.select(*self.reader.columns, PLACE)  # with the place: without any column it would have no height
        numbered = number_rows(frame, self.arrival_id, rows.gather(frame[PLACE])).drop(PLACE)
        return Batch(numbered, dead, lambda row: Original(line(_place(rows, row)), "jsonl"))

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
        return cells.select(*columns, PLACE)

    def _one_by_one(
        self, line: Callable[[int], bytes], rows: pl.Series, places: Iterable[int]
    ) -> tuple[pl.DataFrame, tuple[DeadLetter, ...]]:
        good: list[tuple[str | int | None, ...]] = []
        dead: list[DeadLetter] = []
        for place in places:
            data = line(place)
            try:
                good.append((*map(self.reader.cells(data).get, self.reader.columns), place))
            except BrokenLine as broken:
                reason = Reason.ENCODING if broken.fault.rule == "encoding" else Reason.MALFORMED
                refusal = Refusal(self.arrival_id, rows[place], reason, (broken.fault,))
                dead.append(refusal.dead_letter(Stage.PARSE, Original(data, "jsonl")))
        schema = {**dict.fromkeys(self.reader.columns, pl.String), PLACE: pl.Int64}
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


def _place(rows: pl.Series, row: int) -> int:
    return int(rows.search_sorted(row))


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _shape(keys: Sequence[str]) -> str:
    """Write the pattern of a line that has these keys in this order, scalar values, and no backslash."""
    names = [re.escape(json.dumps(key, ensure_ascii=False)) for key in keys]
    members = f"{BLANK},{BLANK}".join(f"{name}{BLANK}:{BLANK}({VALUE})" for name in names)
    return rf"^{BLANK}\{{{BLANK}{members}{BLANK}\}}{BLANK}$"

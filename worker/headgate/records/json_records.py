"""JSON lines into text records: many lines of one shape at once with polars, any other line by itself.

A number is kept as the text it was written with, so no digit is lost before the schema says what type it is. The JSON
reader of polars is not used: it turns numbers with a point into floats, and a lone surrogate into a NUL.
"""

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from headgate.model import DeadLetter, Reason, Stage
from headgate.records.batch import Batch, Limits, Original, Refusal, number_rows
from headgate.records.json_line import BrokenLine, LineReader
from headgate.records.letters import letter_frame
from headgate.records.text import Text

PLACE = "_place"  # a line's position among those that are parsed, from 0
OBJECT_BYTES = 41  # memory that a Python bytes object takes besides its content
SHAPES = 8  # key sequences that are read in bulk in a block; lines with other sequences are read one by one
LONGEST_PATTERN = 10_000  # characters of the keys in a line's pattern; longer ones are refused by the regex engine
MOST_KEYS = 64  # with more keys, a line's pattern costs more than it saves: it grows faster than the number of keys
WORTHWHILE = 300  # lines; reading fewer one by one is faster than compiling a pattern
# A value with nothing in it to unescape.
VALUE = r'"[^"\\\x00-\x1f]*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null'
BLANK = r"[ \t\r\n]*"  # messages may span several lines


@dataclass(frozen=True, slots=True)
class LineParser:
    """A parser of lines, one record each, into batches."""

    reader: LineReader
    nulls: Sequence[str]
    arrival_id: int
    format: str = "jsonl"  # the format of originals

    def parse(self, lines: Sequence[bytes], first: int) -> Batch:
        """Parse lines; the first line is record number `first`."""
        texts = pl.Series([_decoded(line) for line in lines], dtype=pl.String)
        batch = self.parse_texts(texts, pl.int_range(first, first + len(lines), eager=True), lines.__getitem__)
        return replace(batch, held=sum(map(len, lines)) + OBJECT_BYTES * len(lines))

    def parse_texts(self, texts: pl.Series, rows: pl.Series, line: Callable[[int], bytes]) -> Batch:
        """Parse lines that are text already.

        Args:
            texts: String; null where the bytes are not UTF-8.
            rows: the number of each record, rising.
            line: returns the bytes of a line by its position, from 0.

        """
        left = pl.DataFrame({PLACE: pl.int_range(len(texts), eager=True), "line": texts})
        frames: list[pl.DataFrame] = []
        single: list[int] = []
        for _ in range(SHAPES if left.height >= WORTHWHILE else 0):
            if left.is_empty():
                break
            place = left.item(0, PLACE)
            keys = self._keys(line(place))
            if 0 < len(keys) <= MOST_KEYS and sum(map(len, keys)) <= LONGEST_PATTERN:
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
        frame = frame.select(*self.reader.columns, PLACE)  # with PLACE: a frame without columns would have no height
        numbered = number_rows(frame, self.arrival_id, rows.gather(frame[PLACE])).drop(PLACE)
        return Batch(numbered, dead, lambda row: Original(line(_place(rows, row)), self.format))

    def _keys(self, line: bytes) -> list[str]:
        try:
            return list(self.reader.members(line))
        except BrokenLine:
            return []

    def _frame(self, cells: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
        """Turn captured values into cells: without quotes; `null` and absent values are null."""
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
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Read lines one by one; return the good ones, and dead letters for the others."""
        good: list[tuple[str | int | None, ...]] = []

        def sifted() -> Iterator[DeadLetter]:
            for place in places:
                data = line(place)
                try:
                    good.append((*map(self.reader.cells(data).get, self.reader.columns), place))
                except BrokenLine as broken:
                    reason = Reason.ENCODING if broken.fault.rule == "encoding" else Reason.MALFORMED
                    refusal = Refusal(self.arrival_id, rows[place], reason, (broken.fault,))
                    yield refusal.dead_letter(Stage.PARSE, Original(data, self.format))

        dead = letter_frame(sifted())
        schema = {**dict.fromkeys(self.reader.columns, pl.String), PLACE: pl.Int64}
        return pl.DataFrame(good, schema=schema, orient="row"), dead


def read_json_lines(text: Text, parser: LineParser, limits: Limits) -> Iterator[Batch]:
    """Read one JSON object per line. Blank lines are not records and have no number. A missing key is null.

    Raises:
        ArrivalRejected: a line is too long.

    """
    row = 1
    for block, _ in text.lines(limits, limits.lines(len(parser.reader.columns))):
        batch = parser.parse([line for line in io.BytesIO(block.data).readlines() if not line.isspace()], row)
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
    """Return the pattern of a line that has these keys in this order, scalar values, and no backslash."""
    names = [re.escape(json.dumps(key, ensure_ascii=False)) for key in keys]
    members = f"{BLANK},{BLANK}".join(f"{name}{BLANK}:{BLANK}({VALUE})" for name in names)
    return rf"^{BLANK}\{{{BLANK}{members}{BLANK}\}}{BLANK}$"

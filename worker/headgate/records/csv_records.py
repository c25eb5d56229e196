"""CSV into text records: whole blocks with polars where they are plain, otherwise record by record."""

import codecs
import csv
import io
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice

import polars as pl

from headgate.errors import ArrivalRejected
from headgate.model import DeadLetter, Fault, Reason, Stage
from headgate.pipeline import Csv
from headgate.records.batch import Batch, Limits, Original, Refusal, cut, number_rows
from headgate.records.columns import check_columns
from headgate.records.csv_reader import UNFINISHED, Record, Records
from headgate.records.letters import NO_LETTERS, letter_frame
from headgate.records.text import Block, Text
from headgate.words import count

DELIMITERS = (",", ";", "\t", "|")  # the usual ones, to suggest when the declared one is wrong
EXPLAINED = {  # by the csv module's message
    "expected after": 'text after a closing quote; write quotes inside a quoted cell twice ("")',
    UNFINISHED: 'a quote opens a cell and none closes it; write quotes inside a quoted cell twice ("")',
    "new-line character": "a carriage return (CR) without a line feed; end lines with LF or CRLF, and quote CR",
    "field limit": "a cell longer than HEADGATE_RECORDS_MAX_RECORD_BYTES",
}
MOST_COLUMNS = 10_000  # passed to polars, which makes a column of each; with more, only the wanted ones are kept
# The longest header: so many bytes, and so many for each column. A name in PostgreSQL has at most 63 characters.
SHORT_HEADER, LONG_NAME = 1_024, 256
CELLS_AT_A_TIME = 100_000  # Python objects, until they are in a frame


def read_csv(text: Text, form: Csv, columns: Sequence[str], limits: Limits, arrival_id: int) -> Iterator[Batch]:
    """Read CSV with a header line.

    Blank lines are not records and have no number, except in a file with one column, where they are empty cells. A
    record with broken quotes is only the physical line that it begins with: reading continues at the next line, so an
    open quote never swallows the rest of the file.

    Raises:
        ArrivalRejected: the columns are not the schema's, or a line is too long.

    """
    # The csv module's limit applies to the whole process, and is 131,072 characters by default.
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_record_bytes))
    table: _Table | None = None
    row = 1
    held = Block(b"")
    enough = 0
    for lines, final in text.lines(limits, limits.lines(len(columns))):
        several = bool(held.data)  # several lines make one record, so the block cannot be read line by line
        block = held + lines if several else lines
        if len(block.data) < enough and not final:
            held = block
            continue
        held, enough = Block(b""), 0
        if table is None and block.data.strip(b"\r\n"):
            header, block = _header(block, text, form, columns)
            table = _Table(text, form, columns, arrival_id, header)
        if table is None:
            continue
        frame = None if several else table.plain(block.data)
        if frame is not None:
            part = _Part(table, block, row, None)
            yield Batch(number_rows(frame, arrival_id, row), NO_LETTERS, part.original, held=len(block.data))
            row += frame.height
        elif block.data:
            most = 0 if final else limits.max_record_bytes
            reading = Records(block.data, text, form.delimiter, most=most, blank=len(table.names) == 1)
            for batch in table.exact(block, reading, row):
                row += batch.rows_in
                yield batch
            held = block.cut(reading.rest)[1]
            enough = 2 * len(held.data)  # or a long record is read again after every few lines, in quadratic time
    if table is None:
        raise ArrivalRejected(Reason.EMPTY, "blank lines alone; the first line of CSV names the columns.")


@dataclass(frozen=True)
class _Header:
    line: bytes  # as in the file, with its line end
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Table:
    """A reader of the records below one header."""

    text: Text
    form: Csv
    columns: Sequence[str]  # the schema's
    arrival_id: int
    header: _Header

    @cached_property
    def preamble(self) -> bytes:
        return self.text.mark + self.header.line

    @cached_property
    def names(self) -> list[str]:
        """The file's columns with unique names, even if dropped columns have the same name."""
        return [name if name in self.columns else f"_{at}" for at, name in enumerate(self.header.names)]

    @cached_property
    def places(self) -> list[int]:
        """The positions of the schema's columns among the file's."""
        return [self.names.index(name) for name in self.columns]

    @cached_property
    def shape(self) -> str:
        """The pattern of a line that is one complete record, quoted or not."""
        delimiter = re.escape(self.form.delimiter)
        cell = rf'(?:"(?:[^"]|"")*"|[^"{delimiter}]*)'
        return rf"^{cell}(?:{delimiter}{cell}){{{len(self.names) - 1}}}\r?$"

    def plain(self, data: bytes) -> pl.DataFrame | None:
        """Parse a block at once; return None if there is any doubt that each line is one record with all its cells.

        polars fills the missing cells of a short line with nulls, raises on a long one, and reads past line ends in
        quotes. So without quotes the delimiters are counted, and with quotes each line is matched against a pattern.
        """
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        quoted = b'"' in data
        blank = data.startswith((b"\n", b"\r")) or b"\n\n" in data or b"\n\r\n" in data
        if blank or data.startswith(codecs.BOM_UTF8) or data.count(b"\r") != data.count(b"\r\n"):
            return None
        if len(self.names) > MOST_COLUMNS:
            return None
        if not quoted and data.count(self.form.delimiter.encode()) != lines * (len(self.names) - 1):
            return None
        try:
            utf8 = data if data.isascii() else self.text.decode(data).encode()
            if quoted and not pl.read_lines(utf8)["line"].str.contains(self.shape).all():
                return None
            frame = pl.read_csv(
                utf8,
                has_header=False,
                separator=self.form.delimiter,
                quote_char='"' if quoted else None,
                schema=dict.fromkeys(self.names, pl.String),
                null_values=["", *self.form.nulls],
            )
        except (UnicodeError, pl.exceptions.PolarsError):
            return None
        return frame[self.columns] if frame.height == lines else None

    def exact(self, block: Block, records: Records, first: int) -> Iterator[Batch]:
        """Parse a block record by record, in portions: each record is many objects until it is in a frame."""
        most = max(1, CELLS_AT_A_TIME // (len(self.names) + 8))
        number = first
        while found := list(islice(records, most)):
            rows: list[list[str]] = []
            numbers: list[int] = []
            dead: list[DeadLetter] = []
            part = _Part(self, block, number, array("Q", (place for each in found for place in each.span)))
            for each in found:
                fault = self._fault(each)
                if fault is None and isinstance(each.cells, list):
                    rows.append([each.cells[at] for at in self.places])
                    numbers.append(number)
                elif fault is not None:
                    refusal = Refusal(self.arrival_id, number, fault[0], (fault[1],))
                    dead.append(refusal.dead_letter(Stage.PARSE, part.original(number)))
                number += 1
            frame = pl.DataFrame(rows, schema=dict.fromkeys(self.columns, pl.String), orient="row")
            frame = frame.with_columns(_nulls(frame, self.form.nulls))
            numbered = number_rows(frame, self.arrival_id, pl.Series(numbers, dtype=pl.Int64))
            held = sum(each.span[1] - each.span[0] for each in found) if rows else 0
            yield Batch(numbered, letter_frame(dead), part.original, held=held)

    def _fault(self, record: Record) -> tuple[Reason, Fault] | None:
        if record.bad is not None:
            return Reason.ENCODING, Fault("encoding", None, cut(repr(record.bad)[2:-1]))
        if isinstance(record.cells, str):
            return Reason.MALFORMED, Fault(explained(record.cells), self._column(record), cut(record.cells))
        if len(record.cells) != len(self.names):
            return Reason.MALFORMED, Fault("number of cells", None, f"{len(record.cells)}, not {len(self.names)}")
        return None

    def _column(self, record: Record) -> str | None:
        """Return the column of the cell at which a broken record fails."""
        text, at, place = record.line, 0, 0
        while (cell := self._cell.match(text, place)) is not None:
            at, place = at + 1, cell.end()
        return self.header.names[at] if at < len(self.header.names) else None

    @cached_property
    def _cell(self) -> re.Pattern[str]:
        delimiter = re.escape(self.form.delimiter)
        return re.compile(rf'(?:"(?:[^"]|"")*"|[^"{delimiter}\r][^{delimiter}\r]*|){delimiter}')


class _Part:
    """The bytes of a block's records; lines are cut only when one is requested."""

    def __init__(self, table: _Table, block: Block, first: int, spans: Sequence[int] | None) -> None:
        self._table = table
        self._block = block
        self._first = first  # number of the part's first record
        self._spans = spans  # where each record begins and ends; None if each line is one record

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(map(len, io.BytesIO(self._block.data).readlines()), initial=0))

    def original(self, row: int) -> Original:
        at = row - self._first
        start, end = self._ends[at : at + 2] if self._spans is None else self._spans[2 * at : 2 * at + 2]
        return Original(self._block.original(start, end), "csv", self._table.preamble)


def _header(block: Block, text: Text, form: Csv, columns: Sequence[str]) -> tuple[_Header, Block]:
    """Split the header, and any blank lines before it, off the first block."""
    _, block = block.cut(len(block.data) - len(block.data.lstrip(b"\r\n")))
    record = next(Records(block.data, text, form.delimiter, most=0))
    head, rest = block.cut(record.span[1])
    if record.bad is not None:
        raise ArrivalRejected(
            Reason.UNDECODABLE,
            f"the header is not text in {form.encoding} ({cut(repr(record.bad)[2:-1])}); "
            "declare the file's encoding, such as Csv(encoding='cp1252').",
        )
    if b"\0" in head.data:
        raise ArrivalRejected(
            Reason.UNDECODABLE, "the header holds NUL characters; the file is binary, or in an encoding not declared."
        )
    _check_delimiter(record, columns, form)
    if isinstance(record.cells, str):
        raise ArrivalRejected(Reason.COLUMNS, f"the header cannot be read: {explained(record.cells)}.")
    names = tuple(cell.strip() for cell in record.cells)
    check_columns(names, columns, form.on_extra)
    size, most = len(head.data), SHORT_HEADER + LONG_NAME * len(names)
    if size > most:
        raise ArrivalRejected(
            Reason.TOO_LARGE,
            f"the header has {size:,} bytes for {count(len(names), 'column')}, and at most {most:,} are allowed, "
            "because each dead letter keeps a copy of it; shorten the names, and remove blanks.",
        )
    return _Header(head.original(0, len(head.data)), names), rest


def _check_delimiter(header: Record, columns: Sequence[str], form: Csv) -> None:
    """Refuse a file whose header has the schema's columns if split at another delimiter, and name that delimiter."""
    if set(columns) <= set(header.cells):
        return
    line = header.line or form.delimiter.join(header.cells)
    for other in DELIMITERS:
        if other != form.delimiter and set(columns) <= {cell.strip(' "\r\n') for cell in line.split(other)}:
            raise ArrivalRejected(
                Reason.COLUMNS,
                f"the columns are separated by {other!r}, and not by {form.delimiter!r}; "
                f"declare formats=[Csv(delimiter={other!r})].",
            )


def explained(why: str) -> str:
    """Return the csv module's message in the terms of the file's author, with what to write instead."""
    return next((text for mark, text in EXPLAINED.items() if mark in why), f"CSV: {why}")


def _nulls(frame: pl.DataFrame, nulls: Sequence[str]) -> list[pl.Expr]:
    return [pl.when(~pl.col(name).is_in(["", *nulls])).then(pl.col(name)).alias(name) for name in frame.columns]

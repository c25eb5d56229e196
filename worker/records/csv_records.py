"""CSV into text records: whole blocks by polars where they are plain, record by record where they are not."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from worker.errors import ArrivalRejected
from worker.model import DeadLetter, Fault, Reason, Stage
from worker.pipeline import Csv
from worker.records.batch import Batch, Limits, Original, Refusal, cut, number_rows
from worker.records.columns import check_columns
from worker.records.text import Text, whole_lines

UNFINISHED = "unexpected end of data"  # what the csv module says of a quote that is still open


def read_csv(text: Text, form: Csv, columns: Sequence[str], limits: Limits, arrival_id: int) -> Iterator[Batch]:
    """Read CSV with a header line.

    Blank lines are no records and have no number. A record whose quotes are broken is the one physical line that it
    begins with: reading goes on at the next line, so an open quote never swallows the rest of the file.

    Raises:
        ArrivalRejected: the columns are not the schema's, or a line is too long.

    """
    # The module's limit is one for the process, and 131,072 characters by default.
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_record_bytes))
    table: _Table | None = None
    row = 1
    held = b""
    for block, final in whole_lines(text.blocks, limits):
        data = held + block if held else block
        held = b""
        if table is None and data.strip(b"\r\n"):
            header, data = _header(data, text, form)
            check_columns(header.names, columns, form.on_extra)
            table = _Table(text, form, columns, arrival_id, header)
        if table is None:
            continue
        frame = table.plain(data)
        if frame is not None:
            part = _Part(table, data, row, None)
            yield Batch(number_rows(frame, arrival_id, row), (), part.original)
            row += frame.height
        elif data:
            batch, held = table.exact(data, row, most=0 if final else limits.max_record_bytes)
            row += batch.rows_in
            yield batch
    if table is None:
        raise ArrivalRejected(Reason.EMPTY, "blank lines alone; the first line of CSV names the columns.")


@dataclass(frozen=True)
class _Header:
    line: bytes  # as it is in the block, with its line end
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Table:
    """How the records below one header are read."""

    text: Text
    form: Csv
    columns: Sequence[str]  # the schema's
    arrival_id: int
    header: _Header

    @cached_property
    def preamble(self) -> bytes:
        return self.text.mark + self.text.original(self.header.line)

    @cached_property
    def names(self) -> list[str]:
        """The file's columns, with names that differ even where dropped ones are named alike."""
        return [name if name in self.columns else f"_{at}" for at, name in enumerate(self.header.names)]

    @cached_property
    def shape(self) -> str:
        """The pattern of a line that is one whole record, quoted or not."""
        delimiter = re.escape(self.form.delimiter)
        cell = rf'(?:"(?:[^"]|"")*"|[^"{delimiter}]*)'
        return rf"^{cell}(?:{delimiter}{cell}){{{len(self.names) - 1}}}\r?$"

    def plain(self, data: bytes) -> pl.DataFrame | None:
        """Parse a block at once; None if there is any doubt that each line is one record with all its cells.

        polars fills the missing cells of a short line with nulls, raises on a long one, and reads on over line ends in
        quotes. So without quotes the delimiters are counted, and with quotes each line is held against a pattern.
        """
        lines = data.count(b"\n") + (not data.endswith(b"\n"))
        quoted = b'"' in data
        blank = data.startswith((b"\n", b"\r")) or b"\n\n" in data or b"\n\r\n" in data
        if blank or data.startswith(codecs.BOM_UTF8) or data.count(b"\r") != data.count(b"\r\n"):
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
        return frame.select(self.columns) if frame.height == lines else None

    def exact(self, data: bytes, first: int, *, most: int) -> tuple[Batch, bytes]:
        """Parse a block record by record; gives also the bytes, `most` at the most, of one that may go on after it."""
        lines = io.BytesIO(data).readlines()
        decoded, undecodable = self._decode(lines)
        rows: list[list[str]] = []
        numbers: list[int] = []
        spans: list[tuple[int, int]] = []
        dead: list[DeadLetter] = []
        part = _Part(self, data, first, spans)
        rest = len(lines)
        for start, end, cells in _records(decoded, self.form.delimiter):
            if cells == UNFINISHED and sum(map(len, lines[start:])) <= most:
                rest = start
                break
            spans.append((start, end))
            number = first + len(spans) - 1
            fault = self._fault(cells, [line for line in range(start, end) if line in undecodable], lines)
            if fault is None and isinstance(cells, list):
                rows.append(cells)
                numbers.append(number)
            elif fault is not None:
                refusal = Refusal(self.arrival_id, number, fault[0], (fault[1],))
                dead.append(refusal.dead_letter(Stage.PARSE, part.original(number)))
        frame = pl.DataFrame(rows, schema=dict.fromkeys(self.names, pl.String), orient="row").select(self.columns)
        frame = frame.with_columns(_nulls(frame, self.form.nulls))
        numbered = number_rows(frame, self.arrival_id, pl.Series(numbers, dtype=pl.Int64))
        return Batch(numbered, tuple(dead), part.original), b"".join(lines[rest:])

    def _decode(self, lines: list[bytes]) -> tuple[list[str], set[int]]:
        """Decode each line; those that cannot be decoded are read with replacements, and named."""
        decoded: list[str] = []
        undecodable: set[int] = set()
        for at, line in enumerate(lines):
            try:
                decoded.append(self.text.decode(line))
            except UnicodeDecodeError:
                undecodable.add(at)
                decoded.append(line.decode(self.text.codec, "replace"))
        return decoded, undecodable

    def _fault(self, cells: list[str] | str, bad: list[int], lines: list[bytes]) -> tuple[Reason, Fault] | None:
        if bad:
            return Reason.ENCODING, Fault("encoding", None, cut(repr(lines[bad[0]])[2:-1]))
        if isinstance(cells, str):
            return Reason.MALFORMED, Fault("csv", None, cut(cells))
        if len(cells) != len(self.names):
            return Reason.MALFORMED, Fault("number of cells", None, f"{len(cells)}, not {len(self.names)}")
        return None


class _Part:
    """The bytes of a block's records; lines are cut only when one is asked for."""

    def __init__(self, table: _Table, data: bytes, first: int, spans: list[tuple[int, int]] | None) -> None:
        self._table = table
        self._data = data
        self._first = first  # number of the block's first record
        self._spans = spans  # first line and line after the last, per record; None if each line is one record

    @cached_property
    def _lines(self) -> list[bytes]:
        return io.BytesIO(self._data).readlines()

    def original(self, row: int) -> Original:
        at = row - self._first
        start, end = (at, at + 1) if self._spans is None else self._spans[at]
        data = self._table.text.original(b"".join(self._lines[start:end]))
        return Original(data, "csv", self._table.preamble)


def _header(data: bytes, text: Text, form: Csv) -> tuple[_Header, bytes]:
    """Take the header off the first block, and the blank lines before it."""
    lines = io.BytesIO(data.lstrip(b"\r\n")).readlines()
    start, end, cells = next(_records([line.decode(text.codec, "replace") for line in lines], form.delimiter))
    raw = b"".join(lines[start:end])
    try:
        text.decode(raw)
    except UnicodeDecodeError as error:
        raise ArrivalRejected(
            Reason.UNDECODABLE, f"the header is not text in {form.encoding} ({error}); declare the file's encoding."
        ) from error
    if b"\0" in raw:
        raise ArrivalRejected(
            Reason.UNDECODABLE, "the header holds NUL characters; the file is binary, or in an encoding not declared."
        )
    if isinstance(cells, str):
        raise ArrivalRejected(Reason.COLUMNS, f"the header cannot be read ({cells}); correct its quotes.")
    return _Header(raw, tuple(cell.strip() for cell in cells)), b"".join(lines[end:])


def _records(lines: list[str], delimiter: str) -> Iterator[tuple[int, int, list[str] | str]]:
    """Find the records in lines: first line, line after the last, and the cells or what is wrong."""
    start = 0
    while start < len(lines):
        reader = csv.reader(map(lines.__getitem__, range(start, len(lines))), delimiter=delimiter, strict=True)
        first = start
        try:
            for cells in reader:
                after = start + reader.line_num
                if cells:
                    yield first, after, cells
                first = after
        except csv.Error as error:
            yield first, first + 1, str(error)
            start = first + 1
        else:
            return


def _nulls(frame: pl.DataFrame, nulls: Sequence[str]) -> list[pl.Expr]:
    return [pl.when(~pl.col(name).is_in(["", *nulls])).then(pl.col(name)).alias(name) for name in frame.columns]

"""The records of a block of CSV, one after another, as the csv module reads them."""

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from headgate.records.text import Text

UNFINISHED = "unexpected end of data"  # the csv module's message for a quote that is still open
LONG = 1024**2  # bytes; after a longer record, the csv module would keep eight times as much memory


class Record(NamedTuple):
    """A record in a block."""

    span: tuple[int, int]  # its start and end in the block
    cells: list[str] | str  # text: what is wrong with it
    bad: bytes | None  # the first of its lines that cannot be decoded
    line: str = ""  # if it is not a record: its single line


class Records:
    """The records of a block, one after another.

    If the csv module refuses a record, only the record's first line is refused. If it fails on a later line, each
    record that begins in between and is open at a line's end fails there too, because the parser is in the same state.
    So these are not read to their end: a line is read once in the failing record and once by itself, not once for each
    line before it.
    """

    def __init__(self, data: bytes, text: Text, delimiter: str, *, most: int, blank: bool = False) -> None:
        """Read a block; leave unread a record that may continue after it and is at most `most` bytes long: see `rest`.

        A blank line is a record with one empty cell if `blank` is true; otherwise it is skipped.
        """
        self._file = io.BytesIO(data)
        self._size = len(data)
        self._text = text
        self._delimiter = delimiter
        self._most = most
        self._blank = blank
        self._last = 0  # where the last line read begins
        self._bad: bytes | None = None
        self._doomed = 0  # a record that is open at a line's end before this position fails
        self._why = ""
        self._over = False
        self._shown = ""
        self._reader = self._new_reader()
        self.rest = 0  # where the unread part begins

    def __iter__(self) -> "Records":
        return self

    def __next__(self) -> Record:
        while True:
            cells: list[str] | str
            start = self._file.tell()
            self._bad = None
            if self._over or start >= self._size:
                raise StopIteration
            if start < self._doomed:
                cells = self._line()
            else:
                try:
                    cells = next(self._reader)
                except csv.Error as error:
                    if str(error) == UNFINISHED and self._size - start <= self._most:
                        self._over = True
                        raise StopIteration from None
                    cells = self._failed(start, str(error))
            self.rest = self._file.tell()
            if self.rest - start > LONG:
                self._reader = self._new_reader()
            if cells or self._blank:
                line = self._shown if isinstance(cells, str) else ""
                return Record((start, self.rest), cells or [""], self._bad, line)

    def _line(self) -> list[str] | str:
        """Read a line that cannot continue after its end."""
        line = self._read()
        try:
            return next(csv.reader([line], delimiter=self._delimiter, strict=True), [])
        except csv.Error as error:
            return self._why if str(error) == UNFINISHED else str(error)

    def _failed(self, start: int, why: str) -> str:
        """Go back to the end of the first line of a failed record."""
        self._doomed = self._size if why == UNFINISHED else self._last
        self._why = why
        self._bad = None
        self._file.seek(start)
        self._read()
        self._reader = self._new_reader()
        return why

    def _new_reader(self) -> Iterator[list[str]]:
        return csv.reader(iter(self._read_next, None), delimiter=self._delimiter, strict=True)

    def _read_next(self) -> str | None:
        return self._read() or None

    def _read(self) -> str:
        self._last = self._file.tell()
        line = self._file.readline()
        try:
            self._shown = self._text.decode(line)
        except UnicodeDecodeError:
            self._bad = self._bad or line
            self._shown = line.decode(self._text.codec, "replace")
        return self._shown

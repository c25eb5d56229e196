"""A Parquet file's own statement, read before any value: its rows, and the size of its pages after expansion.

polars returns only the footer's key-value metadata, and trusts the size that a page claims: 4 KB can ask for 4 GB.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from headgate.errors import ArrivalRejected
from headgate.model import Reason

MAGIC = b"PAR1"  # at both ends of a file
TAIL = 8  # bytes: the footer's length, and the magic
LONGEST_FOOTER = 16 * 1024**2
PAGE_HEADERS = (256, 64 * 1024, 4 * 1024**2)  # bytes to try for a page header: statistics may make it long

# The wanted fields of Thrift structures, by number; all others are skipped.
Wanted: TypeAlias = Mapping[int, "Wanted | None"]
Found: TypeAlias = "int | list[Found] | dict[int, Found] | None"

FOOTER: Wanted = {3: None, 4: {1: {3: {5: None, 7: None, 9: None, 11: None}}, 3: None}}
PAGE: Wanted = {2: None, 3: None, 5: {1: None}, 8: {1: None}}


@dataclass(frozen=True, slots=True)
class Column:
    """One leaf of the schema in one group of rows."""

    values: int  # including those of nested lists, and nulls
    pages: tuple[int, ...]  # bytes of each page after expansion


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A group of rows, as Parquet defines it."""

    rows: int
    columns: tuple[Column, ...]

    @property
    def expanded(self) -> int:
        """Bytes of its pages after expansion; repeated values count once."""
        return sum(sum(column.pages) for column in self.columns)

    @property
    def values(self) -> int:
        """How many values it has."""
        return sum(column.values for column in self.columns)


def read_footer(path: Path) -> Sequence[RowGroup]:
    """Read what a file says about its row groups.

    Raises:
        ArrivalRejected: the file is not Parquet, is truncated, or is damaged.

    """
    with path.open("rb") as file:
        footer = _footer(file, path.stat().st_size)
        try:
            found = _Compact(footer).struct(FOOTER)
            rows = _int(found.get(3))
            groups = [_group(file, _dict(group)) for group in _list(found.get(4))]
        except (IndexError, TypeError, ValueError, RecursionError, OSError, struct.error) as error:
            raise ArrivalRejected(
                Reason.UNDECODABLE, f"damaged Parquet (its footer or a page header: {error}); write the file again."
            ) from error
    in_groups = sum(group.rows for group in groups)
    if rows != in_groups:
        raise ArrivalRejected(
            Reason.UNDECODABLE,
            f"the Parquet file says it has {rows} rows, but its row groups have {in_groups}; "
            "write it again with another tool.",
        )
    return groups


def _group(file: BinaryIO, group: dict[int, Found]) -> RowGroup:
    columns = tuple(_column(file, _dict(_dict(each).get(3))) for each in _list(group.get(1)))
    return RowGroup(_int(group.get(3)), columns)


def _footer(file: BinaryIO, size: int) -> bytes:
    head = file.read(len(MAGIC))
    if not head:
        raise ArrivalRejected(Reason.EMPTY, "no bytes; there is nothing to read.")
    if head != MAGIC:
        raise ArrivalRejected(Reason.UNDECODABLE, "no Parquet; give the file the ending of what it is.")
    file.seek(-min(size, TAIL), 2)
    tail = file.read()
    if tail[-len(MAGIC) :] != MAGIC or size < len(MAGIC) + TAIL:
        raise ArrivalRejected(Reason.TRUNCATED, "the Parquet file has no end; send it again.")
    (length,) = struct.unpack("<I", tail[:4])
    if length > size - len(MAGIC) - TAIL:
        raise ArrivalRejected(Reason.UNDECODABLE, "damaged Parquet: its footer is longer than the file.")
    if length > LONGEST_FOOTER:
        raise ArrivalRejected(
            Reason.TOO_LARGE, f"a Parquet footer of {length} bytes; write fewer columns, or larger groups of rows."
        )
    file.seek(-TAIL - length, 2)
    return file.read(length)


def _column(file: BinaryIO, meta: dict[int, Found]) -> Column:
    values, place = _int(meta.get(5)), _int(meta.get(9))
    end = _int(meta.get(7))
    if meta.get(11) is not None and 0 < _int(meta[11]) < place:
        place = _int(meta[11])
    end += place
    pages = []
    left = values
    while left > 0 and place < end:
        size, header = _page_header(file, place)
        data = header.get(5) if header.get(5) is not None else header.get(8)
        if data is not None:
            left -= _int(_dict(data).get(1))
        pages.append(_int(header.get(2)))
        place += size + _int(header.get(3))
    return Column(values, tuple(pages))


def _page_header(file: BinaryIO, place: int) -> tuple[int, dict[int, Found]]:
    for most in PAGE_HEADERS:
        file.seek(place)
        compact = _Compact(file.read(most))
        try:
            header = compact.struct(PAGE)
        except IndexError:
            continue
        return compact.place, header
    raise ValueError("a page header is too long")


def _int(found: Found) -> int:
    if not isinstance(found, int) or found < 0:
        raise ValueError("a size is missing or negative")
    return found


def _list(found: Found) -> list[Found]:
    return found if isinstance(found, list) else []


def _dict(found: Found) -> dict[int, Found]:
    return found if isinstance(found, dict) else {}


class _Compact:
    """A reader of Thrift's compact protocol; each read past the end raises IndexError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def struct(self, wanted: Wanted) -> dict[int, Found]:
        """Read a structure's wanted fields."""
        found: dict[int, Found] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else _int(self._value(5, {}))
            value = self._value(kind, wanted.get(number, {}), in_struct=True)
            if number in wanted:
                found[number] = value
        return found

    def _value(self, kind: int, wanted: Wanted | None, *, in_struct: bool = False) -> Found:
        match kind:
            case 1 | 2:  # a boolean: in a structure, the type is the value
                self._skip(0 if in_struct else 1)
            case 3:
                self._skip(1)
            case 4 | 5 | 6:
                value = self._varint()
                return (value >> 1) ^ -(value & 1)
            case 7:
                self._skip(8)
            case 8:
                self._skip(self._varint())
            case 9 | 10:
                return self._elements(wanted)
            case 11:
                self._map()
            case 12:
                return self.struct(wanted or {})
            case _:
                raise ValueError(f"no kind {kind} of field")
        return None

    def _elements(self, wanted: Wanted | None) -> Found:
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._varint()  # noqa: PLR2004 - 15: the count follows
        found = []
        for _ in range(count):
            value = self._value(head & 15, wanted)
            if wanted:
                found.append(value)
        return found

    def _map(self) -> None:
        count = self._varint()
        kinds = self._byte() if count else 0
        for _ in range(count):
            self._value(kinds >> 4, {})
            self._value(kinds & 15, {})

    def _byte(self) -> int:
        value = self._data[self.place]
        self.place += 1
        return value

    def _skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self._data):
            raise IndexError("the end is missing")

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:  # noqa: PLR2004 - the last byte
                return value
            shift += 7
            if shift > 63:  # noqa: PLR2004 - longer than any number
                raise ValueError("a number is too long")

"""What the soak makes: rows in files of every format and in messages, each with the checksum that it must keep."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import polars as pl

COLUMNS = ("origin", "number", "amount", "label")
LABELS = ("plain", "a, b", 'say "hi"', "näïve ☃", "two\nlines")  # what CSV has to quote, and what it must not break
FORMATS = ("csv", "csv", "jsonl", "parquet", "csv.gz", "jsonl.gz")

# The same sum in SQL, of a row of a table.
CHECKSUM = "('x' || left(md5(origin || '|' || number || '|' || amount || '|' || label), 16))::bit(64)::bigint"

Values = tuple[str, int, int, str]


@dataclass(slots=True)
class Expected:
    """What has to become of the rows of one file, or of the messages of one batch, by their place from 0."""

    sums: array[int] = field(default_factory=lambda: array("q"))  # of the values; 0 for what must not be in a table
    keys: array[int] = field(default_factory=lambda: array("q"))  # the column `number`
    bad: dict[int, str] = field(default_factory=dict)  # sha256 of the bytes of those that have to be dead letters
    gone: list[int] = field(default_factory=list)  # those that are tombstones

    def __len__(self) -> int:
        return len(self.sums)

    def good(self, values: Values) -> None:
        """Add a row that belongs in the table."""
        self.sums.append(checksum(values))
        self.keys.append(values[1])

    def refused(self, key: int, original: bytes) -> None:
        """Add a row that belongs among the dead letters, with these bytes."""
        self.bad[len(self.sums)] = hashlib.sha256(original).hexdigest()
        self.sums.append(0)
        self.keys.append(key)

    def tombstone(self, key: int) -> None:
        """Add a message without a value."""
        self.gone.append(len(self.sums))
        self.sums.append(0)
        self.keys.append(key)

    def to_json(self) -> dict[str, object]:
        """Write it down, small."""
        return {"sums": packed(self.sums), "keys": packed(self.keys), "bad": self.bad, "gone": self.gone}

    @classmethod
    def from_json(cls, entry: dict[str, object]) -> Expected:
        """Read what was written down."""
        bad, gone = entry["bad"], entry["gone"]
        if not isinstance(bad, dict) or not isinstance(gone, list):
            raise TypeError(entry)
        return cls(unpacked(entry["sums"]), unpacked(entry["keys"]), {int(at): sha for at, sha in bad.items()}, gone)


def checksum(values: Values) -> int:
    """Tell a row's values apart from any others, in 64 bits."""
    text = "|".join(map(str, values)).encode()
    return int.from_bytes(hashlib.md5(text, usedforsecurity=False).digest()[:8], "big", signed=True)


def packed(numbers: array[int]) -> str:
    """Write numbers as text."""
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def unpacked(text: object) -> array[int]:
    """Read numbers from text."""
    numbers = array("q")
    numbers.frombytes(base64.b64decode(str(text)))
    return numbers


def make_file(kind: str, rows: Sequence[Values], random: Random, bad_every: int) -> tuple[bytes, Expected]:
    """Make a file of a format, and what has to become of its rows.

    Args:
        kind: one of `FORMATS`.
        rows: good ones.
        random: says how bad rows are bad.
        bad_every: each row at a place that this divides is made bad; 0: none is.

    """
    expected = Expected()
    if kind == "parquet":
        return _parquet(rows, expected, bad_every), expected
    line, spoilt = (_csv_line, _bad_csv) if kind.startswith("csv") else (_json_line, _bad_json)
    lines = [",".join(COLUMNS).encode() + b"\n"] if kind.startswith("csv") else []
    for place, values in enumerate(rows, 1):
        if bad_every and place % bad_every == 0:
            lines.append(random.choice(spoilt)(values))
            expected.refused(values[1], lines[-1])
        else:
            lines.append(line(values))
            expected.good(values)
    data = b"".join(lines)
    return (gzip.compress(data, 1, mtime=0) if kind.endswith(".gz") else data), expected


def make_message(values: Values) -> bytes:
    """Make a message of a row."""
    return json.dumps(dict(zip(COLUMNS, values, strict=True)), ensure_ascii=False).encode()


def spoil_message(values: Values, random: Random) -> bytes:
    """Make a message that has to become a dead letter."""
    return random.choice(_bad_json)(values).rstrip(b"\n")


def _csv_line(values: Sequence[object]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _json_line(values: Values) -> bytes:
    return make_message(values) + b"\n"


_bad_csv: tuple[Callable[[Values], bytes], ...] = (
    lambda row: _csv_line((*row[:2], -1 - row[2], row[3])),
    lambda row: _csv_line((*row[:2], "many", row[3])),
    lambda row: _csv_line((*row, "too much")),
)
_bad_json: tuple[Callable[[Values], bytes], ...] = (
    lambda row: _json_line((*row[:2], -1 - row[2], row[3])),
    lambda row: _json_line(row)[:-3] + b"\n",
)


def _parquet(rows: Sequence[Values], expected: Expected, bad_every: int) -> bytes:
    written: list[Values] = []
    for place, values in enumerate(rows, 1):
        if bad_every and place % bad_every == 0:
            written.append((*values[:2], -1 - values[2], values[3]))
            texts = {name: str(value) for name, value in zip(COLUMNS, written[-1], strict=True)}
            original = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
            expected.refused(values[1], original.encode() + b"\n")
        else:
            written.append(values)
            expected.good(values)
    data = io.BytesIO()
    pl.DataFrame(written, schema=list(COLUMNS), orient="row").write_parquet(data)
    return data.getvalue()

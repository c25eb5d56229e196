"""The generator: makes files, and writes down what is in them before they are dropped. It knows nothing of Headgate."""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HEADER = b"file,item,amount,label\n"
LABELS = ("plain", "a, b", 'say "hi"', "näïve ☃", "two\nlines")  # what CSV has to quote, and what it must not break


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a dropped file."""

    number: int  # in its file, from 1
    good: bool  # whether it belongs in the table; otherwise it belongs among the dead letters
    checksum: str  # of its values if it is good, of its bytes if it is not


@dataclass(frozen=True, slots=True)
class Dropped:
    """One file as it was dropped."""

    pipeline: str
    name: str
    sha256: str  # of its bytes
    rows: tuple[Row, ...]


@dataclass(slots=True)
class Manifest:
    """What was dropped, file by file, on disk before each drop.

    Args:
        path: the manifest's own file.

    """

    path: Path
    _next: int = field(default=0, init=False)

    def drop(self, folder: Path, pipeline: str, *, rows: int = 20, bad_every: int = 7, poison: bool = False) -> str:
        """Write a file down and drop it.

        Args:
            folder: the watched folder.
            pipeline: whose folder that is.
            rows: how many there are.
            bad_every: each row with a number that this divides breaks the schema; 0: none does.
            poison: the label of the last row is "poison".

        Returns:
            The file's name.

        """
        self._next += 1
        name = f"{pipeline}-{self._next:04}.csv"
        written, content = [], [HEADER]
        for number in range(1, rows + 1):
            good = not (bad_every and number % bad_every == 0)
            label = "poison" if poison and number == rows else LABELS[number % len(LABELS)]
            amount = number * 10 if good else -number
            line = _line(name, number, amount, label)
            content.append(line)
            checksum = checksum_of(name, number, amount, label) if good else hashlib.sha256(line).hexdigest()
            written.append({"number": number, "good": good, "checksum": checksum})
        data = b"".join(content)
        entry = {"pipeline": pipeline, "name": name, "sha256": hashlib.sha256(data).hexdigest(), "rows": written}
        with self.path.open("a", encoding="utf-8") as manifest:
            manifest.write(json.dumps(entry) + "\n")
            manifest.flush()
            os.fsync(manifest.fileno())
        (folder / name).write_bytes(data)
        return name

    def read(self) -> Iterator[Dropped]:
        """What was dropped, in order."""
        for line in self.path.read_text(encoding="utf-8").splitlines():
            entry: dict[str, Any] = json.loads(line)
            yield Dropped(**{**entry, "rows": tuple(Row(**row) for row in entry["rows"])})


def checksum_of(file: str, item: int, amount: int, label: str) -> str:
    """Tell a row's values apart from any others."""
    return hashlib.sha256(json.dumps([file, item, amount, label]).encode()).hexdigest()


def _line(*values: object) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()

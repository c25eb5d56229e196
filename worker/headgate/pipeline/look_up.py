"""An enricher that needs no code: columns from a reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headgate.pipeline.checks import require
from headgate.pipeline.table import TABLE


@dataclass(frozen=True, slots=True)
class Lookup:
    """An enricher that adds columns from a reference. Made by `lookup()`."""

    reference: str | Path
    on: str
    key: str
    add: Mapping[str, str]
    required: bool

    @property
    def name(self) -> str:
        """The name that people see: the reference without folders and ending."""
        return self.reference.stem if isinstance(self.reference, Path) else self.reference


def lookup(
    reference: str | Path,
    *,
    on: str,
    add: Mapping[str, str],
    key: str | None = None,
    required: bool = False,
) -> Lookup:
    """Add columns to each record from a reference: a table of the sink's database, or a CSV or Parquet file.

    Args:
        reference: a table's name ("airlines", "ref.airlines"), or a Path to a file.
        on: the record's column to look up by.
        add: the columns to add, as {column of the record: column of the reference}.
        key: the reference's column that `on` is compared with; by default, the same name. Its values are unique.
        required: a record that finds nothing becomes a dead letter; otherwise the added columns are null.

    """
    call = f"lookup({str(reference)!r})"
    require(isinstance(reference, str | Path), f"{call}: name a table, or give a Path to a file.")
    if isinstance(reference, str):
        require(
            TABLE.fullmatch(reference),
            f"{call}: not a table's name; for a file write lookup(Path({reference!r}), ...).",
        )
    else:
        require(reference.suffix in {".csv", ".parquet"}, f"{call}: a reference file ends in .csv or .parquet.")
    require(add, f"{call}: add nothing? Write add={{'new_column': 'column_of_the_reference'}}.")
    return Lookup(reference=reference, on=on, key=key or on, add=dict(add), required=required)

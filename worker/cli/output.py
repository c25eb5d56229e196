"""What commands print: tables for people, JSON for scripts."""

import json
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_json(value: object) -> None:
    """Print a value as JSON: one document, stable keys."""
    json.dump(value, sys.stdout, indent=2, default=str, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(rows: Sequence[Mapping[str, object]], *, empty: str = "Nothing.") -> None:
    """Print rows that have the same keys as a table."""
    console = Console()
    if not rows:
        console.print(empty)
        return
    console.print(table(rows))


def print_record(record: Mapping[str, object]) -> None:
    """Print one thing, a line a field; fields that are empty are left out."""
    console = Console()
    width = max(len(name) for name in record)
    for name, value in record.items():
        if value not in (None, "", []):
            console.print(
                Text(f"{name.replace('_', ' '):<{width}}  ", style="bold") + Text(_shown(value), style="not bold")
            )


def table(rows: Sequence[Mapping[str, object]], title: str | None = None) -> Table:
    """Make a table of rows that have the same keys; numbers stand to the right."""
    made = Table(title=title, header_style="bold", title_justify="left")
    for name, value in rows[0].items():
        made.add_column(name.replace("_", " "), justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        # Text, not markup: a file may be called "[red].csv".
        made.add_row(*(Text(_shown(value)) for value in row.values()))
    return made


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)

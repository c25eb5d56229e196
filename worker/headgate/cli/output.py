"""What commands print: tables for people, JSON for scripts."""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headgate.words import count

WHOLE = 100_000  # columns: piped output is not cut
FLEXIBLE = 11  # characters: longer texts may be folded or cut where the terminal is too narrow


def console() -> Console:
    """Make a console on standard output: as wide as the terminal, or as wide as needed if there is none."""
    return Console() if sys.stdout.isatty() else Console(width=WHOLE)


def print_json(value: object, *, ours: bool = True) -> None:
    """Print a value as JSON: one document, stable keys without spaces.

    Args:
        value: what to print; numbers that JSON has not, such as NaN, become text.
        ours: whether the keys are ours; those of a user's data are kept as they are.

    """
    json.dump(_plain(value, ours=ours), sys.stdout, indent=2, default=str, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_table(
    rows: Sequence[Mapping[str, object]],
    *,
    empty: str = "Nothing.",
    cut: bool = False,
    on: Console | None = None,
) -> None:
    """Print rows that have the same keys as a table; columns with nothing in them are left out.

    Args:
        rows: what to print.
        empty: the text to print if there are none.
        cut: keep a row on one line: on a terminal that is too narrow, long texts are cut instead of folded.
        on: the console; standard output if left out.

    """
    to = on or console()
    if not rows:
        to.print(empty)
        return
    to.print(table(rows, cut=cut))


def print_record(record: Mapping[str, object]) -> None:
    """Print one record, a line per field; empty fields are left out."""
    to = console()
    width = max(len(name) for name in record)
    for name, value in record.items():
        if value not in (None, "", []):
            to.print(
                Text(f"{name.replace('_', ' '):<{width}}  ", style="bold") + Text(shown(value), style="not bold"),
                soft_wrap=True,
            )


def table(rows: Sequence[Mapping[str, object]], *, cut: bool = False) -> Table:
    """Make a table of rows that have the same keys, narrow enough for 80 columns; numbers are right-aligned."""
    names = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)] or list(rows[0])[:1]
    made = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in names:
        longest = max(len(_cell(row[name], cut=False)) for row in rows)
        number = all(row[name] is None or _is_number(row[name]) for row in rows)
        made.add_column(
            name.replace("_", " "),
            justify="right" if number else "left",
            # Short texts, numbers and the words of the header stay whole; only long texts are folded or cut.
            min_width=max(longest if number or longest <= FLEXIBLE else 0, *map(len, re.split("[ _]", name))),
            overflow="ellipsis" if cut else "fold",
        )
    for row in rows:
        # Text, not markup: a file may be called "[red].csv".
        made.add_row(*(_cell(row[name], cut=cut) for name in names))
    return made


def shown(value: object) -> str:
    """Format a value for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="milliseconds")
    return str(value)


def some_of(shown_: int, total: int, one: str) -> str:
    """Say how many of all are listed: "50 of 1,461 dead letters"."""
    return f"{shown_:,} of {count(total, one)}; --limit {total} lists all." if shown_ < total else count(total, one)


def clock(at: datetime, now: datetime | None = None) -> str:
    """Format a time in local time: the time of day if it was today, the date alone if it was in another year."""
    local, today = at.astimezone(), (now or datetime.now(UTC)).astimezone().date()
    if local.date() == today:
        return f"{local:%H:%M:%S}"
    return f"{local:%m-%d %H:%M}" if local.year == today.year else f"{local:%Y-%m-%d}"


def _cell(value: object, *, cut: bool) -> Text:
    text = value if isinstance(value, Text) else Text(shown(value))
    if cut:
        text.no_wrap = True
        text.overflow = "ellipsis"
    return text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: object, *, ours: bool) -> object:
    match value:
        case Mapping():
            return {
                str(name).replace(" ", "_") if ours else str(name): _plain(each, ours=ours)
                for name, each in value.items()
            }
        case list() | tuple():
            return [_plain(each, ours=ours) for each in value]
        case float() if not math.isfinite(value):
            return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")  # as PostgreSQL says it
        case _:
            return value

"""Broken rules in words: one sentence on what is wrong with a record; JSON output keeps the rule itself."""

import re
from collections.abc import Mapping

import polars as pl

from headgate.imports import dy

# What people call the content of a column.
KINDS: tuple[tuple[tuple[type[pl.DataType], ...], str], ...] = (
    ((pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128), "an integer"),
    ((pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64), "an integer of 0 or more"),
    ((pl.Float32, pl.Float64), "a number"),
    ((pl.Decimal,), "a decimal"),
    ((pl.Boolean,), "true or false"),
    ((pl.Date,), "a date (2024-12-31)"),
    ((pl.Time,), "a time of day (23:59:59)"),
    ((pl.Datetime,), "a date and time (2024-12-31T23:59:59Z)"),
    ((pl.List, pl.Array), "a list as the schema says"),
    ((pl.Struct,), "an object as the schema says"),
    ((pl.Binary,), "bytes"),
)
# The rules that compare with a limit of the column; the column's attribute has the rule's name.
LIMITS = {
    "min": "is less than {limit}",
    "max": "is more than {limit}",
    "min_exclusive": "is not more than {limit}",
    "max_exclusive": "is not less than {limit}",
    "min_length": "is shorter than {limit}",
    "max_length": "is longer than {limit}",
    "regex": "does not match {limit}",
    "is_in": "is not one of {limit}",
}
PLAIN = {
    "nullability": "is empty, and has to have a value",
    "nul": "has a NUL character, which PostgreSQL cannot store",
    "unknown key": "is a key that the schema does not have",
    "key given twice": "is a key that stands there twice",
    "encoding": "is not text in the declared encoding",
    "inf": "is infinite",
    "nan": "is not a number",
}
LONGEST = 60  # characters of a value in a sentence


def say(fault: Mapping[str, str | None], schema: type[dy.Schema] | None) -> str:  # noqa: PLR0911 - one a kind of rule
    """Return a sentence on what is wrong.

    Args:
        fault: the rule, the column (None if the rule is not about a single column) and the offending value.
        schema: the schema of the pipeline as declared now; None if the pipeline is no longer declared.

    """
    rule, column, value = fault.get("rule") or "", fault.get("column"), fault.get("value")
    kind = rule.rpartition("|")[2]
    known = schema.columns() if schema is not None else {}
    if column is None:
        text = rule.replace("_", " ") if re.fullmatch(r"\w+", rule) else rule
        return text if value is None else f"{text}: {_cut(value)}"
    shown = "it" if value is None else _quoted(value, known.get(column))
    if kind == "dtype":
        return f"{column}: {_quoted(value or '', None)} is not {_kind(known.get(column))}"
    if kind in {"unknown key", "key given twice"}:
        return f"{value}: {PLAIN[kind]}"
    if kind in PLAIN:
        return f"{column}: {PLAIN[kind]}" if kind == "nullability" else f"{column}: {shown} {PLAIN[kind]}"
    limit = getattr(known.get(column), kind, None)
    if kind in LIMITS and limit is not None:
        return f"{column}: {shown} {LIMITS[kind].format(limit=_limit(limit))}"
    if rule.startswith("lookup "):
        return f"{column}: {shown} is not in {rule.removeprefix('lookup ')}"
    return f"{column}: {shown} breaks the rule {kind}" if "|" in rule else f"{column}: {shown}: {rule}"


def _kind(column: dy.Column | None) -> str:
    dtype = None if column is None else column.dtype
    if isinstance(dtype, pl.Enum):
        return f"one of {', '.join(dtype.categories)}"
    return next((text for types, text in KINDS if isinstance(dtype, types)), "of the column's type")


def _quoted(value: str, column: dy.Column | None) -> str:
    """Return a number as it is, and text in quotes, so that blanks are visible."""
    if column is not None and column.dtype.is_numeric():
        return _cut(value)
    return f"'{_cut(value)}'"


def _limit(limit: object) -> str:
    return ", ".join(map(str, limit)) if isinstance(limit, list | tuple | set) else str(limit)


def _cut(value: str) -> str:
    line = " ".join(value.split()) or value
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."

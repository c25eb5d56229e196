"""Which types of an existing column would change values without an error, as PostgreSQL converts them in silence."""

import re

import polars as pl

_TYPE = re.compile(r"(?P<name>[^(]+?)(?:\((?P<first>\d+)(?:,(?P<scale>-?\d+))?\))?(?P<zone> with(?:out)? time zone)?")
_MICROSECONDS = 6  # digits that PostgreSQL keeps of a second unless the type says fewer
_CLOCKS = ("time without time zone", "time with time zone")
_EXACT_BITS = {"real": 24, "double precision": 53}  # integers up to 2 to the power of these are kept
_CENTS = 2  # digits of `money`, in most locales


def changes(dtype: pl.DataType, there: str) -> bool:
    """Return whether a column would round, cut or shift some value of a polars type, and raise no error.

    A type that may raise an error is fine, because such a record becomes a dead letter; so is one that parses text,
    such as uuid, an enum or jsonb. Blanks at the end of a text do not count: `char(n)` adds them, `varchar(n)` cuts
    them.

    Args:
        dtype: of the values.
        there: the column's type as PostgreSQL's `format_type` shows it; of a domain, the type below it.

    """
    found = _TYPE.fullmatch(there)
    if found is None:
        return False
    name, first, scale = found["name"] + (found["zone"] or ""), found["first"], found["scale"]
    if dtype.is_integer():
        return _bits(dtype) > _EXACT_BITS.get(name, 128) or int(scale or 0) < 0
    if dtype.is_float():
        return (name == "numeric" and first is not None) or name == "money" or (name, dtype) == ("real", pl.Float64())
    if isinstance(dtype, pl.Decimal):
        return name in _EXACT_BITS or dtype.scale > _digits(name, first, scale)
    if isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)):
        return name in {"date", "real", "name", '"char"', "money"} or (name == "numeric" and first is not None)
    return _changes_time(dtype, name, first)


def _changes_time(dtype: pl.DataType, name: str, digits: str | None) -> bool:
    if digits is not None and int(digits) < _MICROSECONDS and not isinstance(dtype, pl.Date):
        return name.startswith(("time", "interval"))
    match dtype:
        case pl.Date():
            lossy = {"timestamp with time zone"}  # midnight in whatever zone the session has
        case pl.Datetime():
            other = "without" if dtype.time_zone else "with"
            lossy = {"date", f"timestamp {other} time zone", *_CLOCKS}
        case pl.Time():
            lossy = {"time with time zone"}
        case _:
            return isinstance(dtype, pl.Duration) and name.startswith("interval ")  # of some fields only
    return name in lossy


def _bits(dtype: pl.DataType) -> int:
    return int(re.sub(r"\D", "", str(dtype))) - (1 if dtype.is_signed_integer() else 0)


def _digits(name: str, first: str | None, scale: str | None) -> float:
    """Return how many decimal places a column keeps."""
    match name:
        case "numeric" if first is not None:
            return int(scale or 0)
        case "money":
            return _CENTS
        case _:
            return float("inf")

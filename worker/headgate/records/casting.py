"""Text into the types of a schema: one reader for each type, strict where a lenient one would change a value.

Blanks around numbers, dates, times and booleans are ignored. An integer has no point and no exponent. A decimal has no
more digits after the point than its column, and a time no finer fraction than its column or PostgreSQL, which keeps
microseconds: those would be rounded silently. A float is the nearest value of its type, but a finite number never
becomes infinite or zero. Dates and times are ISO 8601. A datetime without an offset is taken to be in its column's time
zone, and a date alone to be midnight; a column without a zone refuses a datetime with an offset. Booleans are true,
false, 1 and 0, case-insensitive.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl

from headgate.errors import BadPipeline, Miscounted
from headgate.records.leaves import NESTED
from headgate.records.nested import read_nested

Reader = Callable[[pl.Series], pl.Series]

DIGITS = {"ms": 3, "us": 6, "ns": 6}  # in a second's fraction; PostgreSQL keeps at most six
FAR = datetime(2100, 1, 1)  # noqa: DTZ001 - local; from here on polars ignores daylight saving time
ZONED = "%Y-%m-%dT%H:%M:%S%.f%#z"
LOCAL = "%Y-%m-%dT%H:%M:%S%.f"
DAY = r"\d{4}-\d{2}-\d{2}"
CLOCK = r"\d{2}:\d{2}(?::[0-5]\d(?:\.\d{1,%d}0*)?)?"
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def cast(text: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Read text as a type. A cell that cannot be read becomes null.

    Args:
        text: String, null where there is no value.
        dtype: the type to read it as.

    Raises:
        BadPipeline: no text can be read as this type.
        Miscounted: a reader returned more or fewer cells than it was given.

    """
    read = _cast(text, dtype)
    if len(read) != len(text):
        raise Miscounted(f"Column {text.name!r}: {len(text)} cells became {len(read)} when they were read as {dtype}.")
    return read


def _cast(text: pl.Series, dtype: pl.DataType) -> pl.Series:
    match dtype:
        case pl.String():
            return text
        case pl.Enum() | pl.Categorical() | pl.Binary():
            return text.cast(dtype, strict=False)
        case _ if isinstance(dtype, NESTED):
            return read_nested(text, dtype, cast)
        case _:
            return _tried(text, _readers(dtype, text.name))


def _readers(dtype: pl.DataType, name: str) -> list[Reader]:
    """Return the readers for a type, the usual one first: each is tried on what those before it could not read."""
    match dtype:
        case pl.Boolean():
            return [_read_boolean]
        case pl.Decimal():
            fraction = rf"\d{{1,{dtype.scale}}}0*" if dtype.scale else "0+"
            shape = rf"^[-+]?(?:\d+(?:\.(?:{fraction})?)?|\.{fraction})$"
            return [lambda text: _shaped(text, shape).cast(dtype, strict=False)]
        case pl.Date():
            return [lambda text: _shaped(text, f"^{DAY}$").str.to_date("%Y-%m-%d", strict=False)]
        case pl.Time():
            return [_read_time]
        case pl.Datetime():
            return _datetime_readers(dtype)
        case _ if dtype.is_numeric():
            return [lambda text: _read_number(text, dtype)]
        case _:
            raise BadPipeline(f"Column {name!r}: {dtype} cannot be read from text; write another type in the schema.")


def _tried(text: pl.Series, readers: list[Reader]) -> pl.Series:
    read = readers[0](text)
    for reader in [*readers[1:], *readers]:
        if read.null_count() == text.null_count():
            break
        text = text.str.strip_chars()
        read = read.zip_with(read.is_not_null(), reader(text))
    return read


def _shaped(text: pl.Series, shape: str) -> pl.Series:
    """Make cells without this shape null: the parsers of polars accept too much as a date or a decimal."""
    fits = text.str.contains(shape)
    return text if fits.all() else text.set(~fits.fill_null(value=True), None)


def _read_boolean(text: pl.Series) -> pl.Series:
    return text.str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Boolean)


def _read_number(text: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Read integers and floats; refuse floats too large or too small for their type: 1e999 is not infinite."""
    read = text.cast(dtype, strict=False)
    if not dtype.is_float():
        return read
    for lost, written in ((read.is_infinite(), "[0-9]"), (read == 0, "^[^eE]*[1-9]")):
        if lost.any():
            read = read.set((lost & text.str.contains(written)).fill_null(value=False), None)
    return read


def _read_time(text: pl.Series) -> pl.Series:
    shaped = _shaped(text, f"^{CLOCK % DIGITS['ns']}$")
    return shaped.str.replace(r"^(.{5})$", "$1:00").str.to_time("%H:%M:%S%.f", strict=False)


def _datetime_readers(dtype: pl.Datetime) -> list[Reader]:
    unit, zone = dtype.time_unit, dtype.time_zone
    read_as: Literal["ms", "us"] = (
        "us" if unit == "ns" else unit
    )  # as nanoseconds, years before 1678 and after 2261 wrap
    clock = CLOCK % DIGITS[unit]
    offset = r"(?:Z|[-+]\d{2}(?::?\d{2})?)"

    def zoned(text: pl.Series) -> pl.Series:
        shaped = _shaped(text, f"^{DAY}[T ]{clock}{offset}$")
        read = shaped.str.to_datetime(ZONED, time_unit=read_as, time_zone="UTC", strict=False)
        return read.cast(pl.Datetime(unit, "UTC"), strict=False).dt.convert_time_zone(zone or "UTC")

    def local(text: pl.Series) -> pl.Series:
        shaped = _shaped(text, f"^{DAY}[T ]{clock}$")
        read = shaped.str.to_datetime(LOCAL, time_unit=read_as, strict=False)
        return (_in_zone(read, zone, read_as) if zone else read).cast(dtype, strict=False)

    ways: list[Reader] = [zoned, local] if zone else [local]
    return [*ways, *(lambda text, way=way: way(_in_full(text)) for way in ways)]


def _in_full(text: pl.Series) -> pl.Series:
    """Write datetimes with a T and with seconds; a date alone is midnight."""
    timed = text.str.replace(rf"^({DAY})$", "${1}T00:00:00")
    return timed.str.replace(rf"^({DAY})[T ](\d\d:\d\d)(Z|[-+].*)?$", "${1}T${2}:00${3}").str.replace(
        rf"^({DAY}) ", "${1}T"
    )


def _in_zone(local: pl.Series, zone: str, unit: Literal["ms", "us"]) -> pl.Series:
    """Interpret local times in a zone; a time that occurs twice there, or not at all, becomes null."""
    read = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    if zone == "UTC" or not (far := (local >= FAR).fill_null(value=False)).any():
        return read
    rules = ZoneInfo(zone)
    offsets = pl.Series([_offset(moment, rules) for moment in local.filter(far)], dtype=pl.Duration(unit))
    instants = (local.filter(far) - offsets).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    return read.scatter(far.arg_true(), instants)


def _offset(local: datetime, rules: ZoneInfo) -> timedelta | None:
    """Return a local time's offset from UTC, or None if its zone has it twice or not at all: then offsets differ."""
    first, second = (local.replace(tzinfo=rules, fold=fold).utcoffset() for fold in (0, 1))
    return first if first == second else None

"""Text into the types of a schema: one reader for each type, strict where a lenient one would change a value.

Blanks around numbers, dates, times and booleans are ignored. An integer has no point and no exponent, a decimal has no
more digits behind the point than its column, a datetime no finer fraction than its column: those would be rounded
silently. Dates and times are ISO 8601. A datetime without an offset is taken to be in its column's time zone; one with
an offset is refused by a column without a zone. Booleans are true, false, 1 and 0 in any case of letters.
"""

from collections.abc import Callable

import polars as pl

from worker.errors import BadPipeline

Reader = Callable[[pl.Series], pl.Series]

DIGITS = {"ms": 3, "us": 6, "ns": 9}  # of a second's fraction
ZONED = "%Y-%m-%dT%H:%M:%S%.f%#z"
LOCAL = "%Y-%m-%dT%H:%M:%S%.f"
DAY = r"\d{4}-\d{2}-\d{2}"
CLOCK = r"\d{2}:\d{2}(?::[0-5]\d(?:\.\d{1,%d}0*)?)?"
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def cast(text: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Read text as a type. A cell that cannot be read is null.

    Args:
        text: String, null where there is no value.
        dtype: what to make of it.

    Raises:
        BadPipeline: text cannot be read as this type, whatever it says.

    """
    match dtype:
        case pl.String():
            return text
        case pl.Enum() | pl.Categorical() | pl.Binary():
            return text.cast(dtype, strict=False)
        case pl.List() | pl.Array() | pl.Struct():
            return _nested(text, dtype)
        case _:
            return _tried(text, _readers(dtype, text.name))


def _readers(dtype: pl.DataType, name: str) -> list[Reader]:
    """Give the ways to read a type, the usual one first: each is tried on what those before could not read."""
    match dtype:
        case pl.Boolean():
            return [_read_boolean]
        case pl.Decimal():
            shape = rf"^[-+]?(?:\d+(?:\.\d{{0,{dtype.scale}}}0*)?|\.\d{{1,{max(dtype.scale, 1)}}}0*)$"
            return [lambda text: _shaped(text, shape).cast(dtype, strict=False)]
        case pl.Date():
            return [lambda text: _shaped(text, f"^{DAY}$").str.to_date("%Y-%m-%d", strict=False)]
        case pl.Time():
            return [_read_time]
        case pl.Datetime():
            return _datetime_readers(dtype)
        case _ if dtype.is_numeric():
            return [lambda text: text.cast(dtype, strict=False)]
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
    """Blank out what has not this shape: the parsers of polars take too much for a date or a decimal."""
    fits = text.str.contains(shape)
    return text if fits.all() else text.set(~fits.fill_null(value=True), None)


def _read_boolean(text: pl.Series) -> pl.Series:
    return text.str.to_lowercase().replace_strict(BOOLEANS, default=None, return_dtype=pl.Boolean)


def _read_time(text: pl.Series) -> pl.Series:
    shaped = _shaped(text, f"^{CLOCK % DIGITS['ns']}$")
    return shaped.str.replace(r"^(.{5})$", "$1:00").str.to_time("%H:%M:%S%.f", strict=False)


def _datetime_readers(dtype: pl.Datetime) -> list[Reader]:
    unit, zone = dtype.time_unit, dtype.time_zone
    clock = CLOCK % DIGITS[unit]
    offset = r"(?:Z|[-+]\d{2}(?::?\d{2})?)"

    def zoned(text: pl.Series) -> pl.Series:
        shaped = _shaped(text, f"^{DAY}[T ]{clock}{offset}$")
        read = shaped.str.to_datetime(ZONED, time_unit=unit, time_zone="UTC", strict=False)
        return read.dt.convert_time_zone(zone or "UTC")

    def local(text: pl.Series) -> pl.Series:
        shaped = _shaped(text, f"^{DAY}[T ]{clock}$")
        read = shaped.str.to_datetime(LOCAL, time_unit=unit, strict=False)
        return read.dt.replace_time_zone(zone, ambiguous="null", non_existent="null") if zone else read

    ways: list[Reader] = [zoned, local] if zone else [local]
    return [*ways, *(lambda text, way=way: way(_in_full(text)) for way in ways)]


def _in_full(text: pl.Series) -> pl.Series:
    """Write datetimes with a T and with seconds."""
    return text.str.replace(rf"^({DAY})[T ](\d\d:\d\d)(Z|[-+].*)?$", "${1}T${2}:00${3}").str.replace(
        rf"^({DAY}) ", "${1}T"
    )


def _nested(text: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Read JSON text; if one cell is wrong, each is read by itself."""
    try:
        return text.str.json_decode(dtype)
    except pl.exceptions.PolarsError:
        if len(text) <= 1:
            return pl.Series(text.name, [None] * len(text), dtype=dtype)
        half = len(text) // 2
        return _nested(text[:half], dtype).append(_nested(text[half:], dtype))

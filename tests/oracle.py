"""What a text says, by Python's own means: an independent reading to hold what the table has against."""

import json
import re
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from zoneinfo import ZoneInfo

import polars as pl

CLOCK = r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?"
MOMENT = re.compile(rf"(\d{{4}})-(\d\d)-(\d\d)(?:[T ]{CLOCK}(Z|[-+]\d\d(?::?\d\d)?)?)?", re.ASCII)
TIME = re.compile(CLOCK, re.ASCII)
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Token(str):
    """A number of JSON, as it is written."""

    __slots__ = ()


class Object(list[tuple[str, object]]):
    """An object of JSON."""


def loads(text: str) -> object:
    """Read JSON and change nothing."""
    return json.loads(text, parse_int=Token, parse_float=Token, object_pairs_hook=Object)


def text_of(value: object) -> object:
    """What a scalar of JSON is as text; lists and objects stay as they are."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def same(came: object, stored: object, dtype: pl.DataType) -> bool:
    """Tell whether what a column of PostgreSQL holds is what came.

    Args:
        came: text, or bytes, or what `loads` gave.
        stored: what psycopg gave, or for lists and structures the text of the jsonb.
        dtype: the column's.

    """
    if came is None or stored is None:
        return came is stored
    try:
        if isinstance(dtype, pl.List | pl.Array | pl.Struct):
            if not isinstance(stored, str):
                return False
            return _same_nested(loads(came) if isinstance(came, str) else came, loads(stored), dtype)
        return _same_scalar(came, stored, dtype)
    except (ValueError, InvalidOperation, OverflowError, struct.error):
        return False


def _same_nested(came: object, stored: object, dtype: pl.DataType) -> bool:
    if came is None or stored is None:
        return came is stored
    match dtype:
        case pl.List() | pl.Array():
            lists = type(came) is list and type(stored) is list and len(came) == len(stored)
            return lists and all(_same_nested(a, b, _type(dtype.inner)) for a, b in zip(came, stored, strict=True))  # type: ignore[call-overload]
        case pl.Struct():
            if not isinstance(came, Object) or not isinstance(stored, Object):
                return False
            mine, theirs, types = dict(came), dict(stored), {each.name: _type(each.dtype) for each in dtype.fields}
            whole = len(mine) == len(came) and mine.keys() <= types.keys() == theirs.keys()
            return whole and all(_same_nested(mine.get(name), theirs[name], types[name]) for name in types)
        case _:
            return _same_scalar(text_of(came), _leaf(stored, dtype), dtype)


def _leaf(stored: object, dtype: pl.DataType) -> object:
    """What a leaf of jsonb is, as a column of its own would give it."""
    if not isinstance(stored, str) or dtype == pl.String:
        return stored
    match dtype:
        case pl.Decimal():
            return Decimal(stored)
        case pl.Binary():
            return bytes.fromhex(stored.removeprefix("\\x")) if stored.startswith("\\x") else None
        case pl.Datetime() | pl.Date() | pl.Time():
            kind: Mapping[type, object] = {pl.Datetime: datetime, pl.Date: date, pl.Time: time}
            return kind[type(dtype)].fromisoformat(stored)  # type: ignore[attr-defined]
        case _ if dtype.is_float():
            return float(stored)
        case _:
            return int(stored)


def _same_scalar(  # noqa: C901, PLR0911, PLR0912 - a type each
    came: object, stored: object, dtype: pl.DataType
) -> bool:
    if came is None or stored is None:
        return came is stored
    if isinstance(came, bytes):
        if dtype == pl.Binary:
            return came == stored
        came = came.decode()
    if not isinstance(came, str):
        return False
    text = came.strip()
    match dtype:
        case pl.String() | pl.Enum():
            return came == stored
        case pl.Binary():
            return came.encode() == stored
        case pl.Boolean():
            return BOOLEANS.get(text.lower()) is stored
        case pl.Decimal():
            return Decimal(text) == stored
        case pl.Date():
            return len(text) == len("2020-01-01") and date.fromisoformat(text) == stored
        case pl.Time():
            return isinstance(stored, time) and _clock(TIME.fullmatch(text), 0) == _clock_of(stored)
        case pl.Datetime():
            return isinstance(stored, datetime) and _moment(text, dtype.time_zone) == _moment_of(stored)
        case _ if dtype.is_float():
            return isinstance(stored, float) and _same_float(text, stored, "f" if dtype == pl.Float32 else "d")
        case _:
            return re.fullmatch(r"[-+]?\d+", text, re.ASCII) is not None and int(text) == stored


def _same_float(text: str, stored: float, width: str) -> bool:
    told = float(text)
    if any(digit in text for digit in "0123456789"):
        exact = Decimal(text)
        if stored in {float("inf"), float("-inf")} or (stored == 0) != (exact == 0):
            return False
    return struct.pack(width, told) == struct.pack(width, stored) or (told != told and stored != stored)  # noqa: PLR0124


def _clock(found: "re.Match[str] | None", at: int) -> Fraction:
    """Seconds since midnight, exactly."""
    if found is None:
        raise ValueError
    hours, minutes, seconds, fraction = found.groups()[at : at + 4]
    whole = time(int(hours), int(minutes), int(seconds or 0))
    return _clock_of(whole) + Fraction(int(fraction or 0), 10 ** len(fraction or ""))


def _clock_of(stored: time) -> Fraction:
    return Fraction(stored.hour * 3600 + stored.minute * 60 + stored.second) + Fraction(stored.microsecond, 10**6)


def _moment(text: str, zone: str | None) -> Fraction:
    """Seconds since 1970, exactly."""
    found = MOMENT.fullmatch(text)
    if found is None:
        raise ValueError
    day = datetime(*map(int, found.groups()[:3]))  # type: ignore[arg-type]  # noqa: DTZ001 - its zone comes later
    clock = _clock(found, 3) if found[4] else Fraction(0)
    local = day + timedelta(seconds=int(clock))
    offset = timedelta(0)
    if found[8] and found[8] != "Z":
        digits = found[8][1:].replace(":", "")
        offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0)) * (-1 if found[8][0] == "-" else 1)
    elif not found[8] and zone:
        first, second = (local.replace(tzinfo=ZoneInfo(zone), fold=fold).utcoffset() for fold in (0, 1))
        if first != second or first is None:
            raise ValueError
        offset = first
    if found[8] and not zone:
        raise ValueError
    return Fraction((local.replace(tzinfo=UTC) - EPOCH) // timedelta(seconds=1)) - _seconds(offset) + clock % 1


def _seconds(offset: timedelta) -> Fraction:
    return Fraction(offset // timedelta(microseconds=1), 10**6)


def _moment_of(stored: datetime) -> Fraction:
    return _seconds((stored if stored.tzinfo else stored.replace(tzinfo=UTC)) - EPOCH)


def _type(dtype: object) -> pl.DataType:
    return dtype() if isinstance(dtype, type) else dtype  # type: ignore[return-value]

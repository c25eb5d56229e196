"""Durations and sizes as people write them: "90s", "2m30s", "6h", "1d"; "1KB", "1.5MiB"."""

import re
from datetime import timedelta

from pydantic import ByteSize, TypeAdapter, ValidationError

from headgate.errors import BadPipeline

Duration = str | timedelta
Size = str | int

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(d|h|ms|m|s)\s*")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_LONGEST = timedelta(days=3650)
_NAMES = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
_SIZE = TypeAdapter(ByteSize)


def duration(where: str, value: Duration, *, at_least: timedelta = timedelta(milliseconds=1)) -> timedelta:
    """Parse a duration.

    Args:
        where: the declaration that it occurs in, such as `Every("6 h")`.
        value: a text such as "2m30s", or a timedelta.
        at_least: the shortest one that is allowed.

    Raises:
        BadPipeline: the value is not a duration, or is too short, or is longer than ten years.

    """
    found = value if isinstance(value, timedelta) else _parsed(value)
    if found is None:
        raise BadPipeline(f"{where}: write a duration such as '90s', '2m30s', '6h' or '1d', or a timedelta.")
    if not at_least <= found <= _LONGEST:
        raise BadPipeline(f"{where}: write a duration from {words(at_least)} to ten years.")
    return found


def _parsed(text: object) -> timedelta | None:
    if not isinstance(text, str) or not _WHOLE.fullmatch(text.strip()):
        return None
    parts = _PART.findall(text)
    units = [unit for _, unit in parts]
    if units != sorted(set(units), key=list(_UNITS).index):  # each unit once, larger units first
        return None
    try:
        return timedelta(**{_UNITS[unit]: float(amount) for amount, unit in parts})
    except OverflowError:
        return _LONGEST * 2


def words(given: timedelta) -> str:
    """Write a duration for people: "6 hours", "2 minutes 30 seconds", "0.5 seconds"."""
    left, parts = given.total_seconds(), []
    for seconds, name in _NAMES:
        count = left / seconds if seconds == 1 else left // seconds
        if count:
            parts.append(f"{round(count, 3):g} {name}{'' if count == 1 else 's'}")
            left -= count * seconds
    return " ".join(parts) or "0 seconds"


def size(where: str, value: Size) -> int:
    """Parse a number of bytes: KB and MB count in thousands, KiB and MiB in 1024.

    Args:
        where: the declaration that it occurs in.
        value: a number of bytes, or a text such as "1KB".

    Raises:
        BadPipeline: the value is not a size.

    """
    try:
        found = None if isinstance(value, bool) else int(_SIZE.validate_python(value))
    except (ValidationError, OverflowError):
        found = None
    if found is None or found < 0:
        raise BadPipeline(f"{where}: write a size such as 1000, '1KB' or '1.5MiB'.")
    return found

"""Spans of time as people write them: "15m", "25h", "7d"."""

import re
from datetime import timedelta

SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def duration(text: str) -> timedelta | None:
    """Read a span of time; return None if the text is not one."""
    found = SPAN.fullmatch(text)
    if found is None:
        return None
    try:
        return float(found[1]) * UNITS[found[2]]
    except OverflowError:  # more than 2.7 million years
        return None

"""Wording that all rooms share, for messages to people."""

from collections.abc import Iterable
from difflib import get_close_matches

MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: "1 dead letter", "2 dead letters"."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean X?" for the nearest known name, with the prefix before it, or "" if none is near."""
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def duration(seconds: float | None) -> str:
    """Return a duration as text, in the unit that people would choose."""
    if seconds is None:
        return ""
    if seconds < 2 * MINUTE:
        return f"{max(0, seconds):.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} d"

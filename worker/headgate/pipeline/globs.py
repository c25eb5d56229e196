"""Shell globs of file names: whether two of them can match the same name."""

import re
from collections.abc import Iterable
from functools import cache

ANY, ONE = "*", "?"


def overlap(these: Iterable[str], those: Iterable[str]) -> str | None:
    """Return the first of `these` globs that can match a name that one of `those` matches too, or None."""
    others = [_parts(each) for each in those]
    return next((glob for glob in these if any(_meet(_parts(glob), other) for other in others)), None)


def _parts(glob: str) -> tuple[str, ...]:
    """Split a glob into single characters, "?" and "*"; a class such as [abc] counts as any character."""
    return tuple(
        ONE if each.startswith("[") and len(each) > 1 else each
        for each in re.findall(r"\[!?\]?[^]]*\]|.", glob.lower())
    )


@cache
def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Return whether some text matches both."""
    if not one or not other:
        return all(each == ANY for each in one or other)
    if one[0] == ANY:
        return _meet(one[1:], other) or _meet(one, other[1:])
    if other[0] == ANY:
        return _meet(one, other[1:]) or _meet(one[1:], other)
    return (ONE in (one[0], other[0]) or one[0] == other[0]) and _meet(one[1:], other[1:])

"""When an alert tells: once when it breaks, once when it heals. Pure functions of what was known and what is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which alert."""

    pipeline: str  # empty: of the installation
    alert: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What is the case now."""

    broken: bool | None  # None: nobody can tell now, and it stays as it was
    detail: str  # one sentence: what is the case, or what is in order again


def broken(detail: str) -> Reading:
    """It is not in order."""
    return Reading(broken=True, detail=detail)


def fine(detail: str) -> Reading:
    """It is in order."""
    return Reading(broken=False, detail=detail)


def unknown(detail: str) -> Reading:
    """Nobody can tell now."""
    return Reading(broken=None, detail=detail)


@dataclass(frozen=True, slots=True)
class Transition:
    """A change that is told."""

    key: Key
    became: Literal["broken", "healed"]
    detail: str
    since: datetime | None  # of a healed one: when it broke


def decide(broken_since: Mapping[Key, datetime | None], readings: Mapping[Key, Reading]) -> list[Transition]:
    """Say what changed.

    Args:
        broken_since: of each alert that is known, when it broke; None: it is in order.
        readings: of some of them, what is the case now.

    """
    changed = []
    for key, reading in sorted(readings.items()):
        before = broken_since.get(key)
        if reading.broken is True and before is None:
            changed.append(Transition(key, "broken", reading.detail, None))
        elif reading.broken is False and before is not None:
            changed.append(Transition(key, "healed", reading.detail, before))
    return changed

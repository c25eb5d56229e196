"""When an alert notifies: once when it breaks, once when it heals. Pure functions of the known state and readings."""

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
    """The state of an alert now."""

    broken: bool | None  # None: unknown now, and it stays as it was
    detail: str  # one sentence: what is wrong or unknown, or what is in order again


def broken(detail: str) -> Reading:
    """Make the reading of what is broken."""
    return Reading(broken=True, detail=detail)


def fine(detail: str) -> Reading:
    """Make the reading of what is in order."""
    return Reading(broken=False, detail=detail)


def unknown(detail: str) -> Reading:
    """Make the reading of what is unknown now."""
    return Reading(broken=None, detail=detail)


@dataclass(frozen=True, slots=True)
class Transition:
    """A change that the alert notifies of."""

    key: Key
    became: Literal["broken", "healed"]
    detail: str
    since: datetime | None  # of a healed one: when it broke


def decide(broken_since: Mapping[Key, datetime | None], readings: Mapping[Key, Reading]) -> list[Transition]:
    """Say what changed.

    Args:
        broken_since: when each known alert broke; None: it is in order.
        readings: the state of some of them now.

    """
    changed = []
    for key, reading in sorted(readings.items()):
        before = broken_since.get(key)
        if reading.broken is True and before is None:
            changed.append(Transition(key, "broken", reading.detail, None))
        elif reading.broken is False and before is not None:
            changed.append(Transition(key, "healed", reading.detail, before))
    return changed

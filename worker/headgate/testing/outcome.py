"""The outcome of one arrival: its rows, its dead letters, its events, and what these made fire."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from headgate.errors import ArrivalRejected
from headgate.events.catalog import Event
from headgate.model import DeadLetter
from headgate.records.batch import ARRIVAL, ROW
from headgate.rules.firings import Firing


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one arrival.

    Args:
        arrival: its number.
        frame: the rows as they go to the table, with `_arrival_id` and `_row`.
        deletes: the keys of rows that are deleted, likewise.
        dead_letters: the records that were set aside, by row.
        skipped: how many messages are not records, according to their topic's policy.
        rejected: why the arrival was given up as a whole; None if it was not.
        skipped_because: why the arrival does not meet the condition of its pipeline; None if it does.
        events: the events that Headgate emits, in order.
        fired: the firings of rules on these events.

    """

    arrival: int
    frame: pl.DataFrame
    deletes: pl.DataFrame
    dead_letters: tuple[DeadLetter, ...]
    skipped: int
    rejected: ArrivalRejected | None
    events: tuple[Event, ...]
    fired: tuple[Firing, ...]
    skipped_because: str | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as they go to the table."""
        return self.frame.drop(ARRIVAL, ROW, strict=False).to_dicts()

    def fired_by(self, automation: str) -> Firing:
        """The one firing of an automation.

        Raises:
            AssertionError: it never fired, or several times; the text says what did.

        """
        return only(self.fired, automation)


def only(fired: Sequence[Firing], automation: str) -> Firing:
    """The one firing of an automation among several."""
    found = [each for each in fired if each.automation == automation]
    if len(found) != 1:
        others = "; ".join(map(str, fired)) or "nothing"
        raise AssertionError(f"{automation!r} fired {len(found)} times; what fired: {others}")
    return found[0]

"""What may start now, and when to decide again: a pure function of the ledger's content."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from headgate.pipeline.parked import Parked
from headgate.pipeline.rate import Rate
from headgate.pipeline.start import Start


@dataclass(frozen=True, slots=True)
class Decision:
    """How much of what waits may start now."""

    take: int | None = 0  # this many arrivals, the oldest first; None: all that wait
    cost: int = 0  # this many starts, as the rate counts them
    due_at: datetime | None = None  # when the start was due, if it may happen now
    look_at: datetime | None = None  # when to decide again, if nothing else happens before


def decide(start: Start, rate: Rate | None, waiting: Parked, *, patience: timedelta = timedelta(0)) -> Decision:
    """Decide how much may start now.

    Args:
        start: when the pipeline runs.
        rate: how often it may start.
        waiting: the parked arrivals, and what else the decision depends on.
        patience: for this long, a scheduled start is left to the schedule on the Prefect server.

    """
    due, wait = start.due_at(waiting), patience if start.scheduled else timedelta(0)
    if waiting.asked_at is not None and (due is None or waiting.asked_at < due + wait):
        due, wait = waiting.asked_at, timedelta(0)
    if due is None:
        return Decision()
    if due + wait > waiting.now:
        return Decision(look_at=due + wait)
    wanted = 1 if start.parks else waiting.count
    free, next_free = _free(rate, waiting) if rate is not None else (wanted, None)
    cost = min(wanted, free)
    if not cost:
        return Decision(look_at=next_free)
    return Decision(None if start.parks else cost, cost, due, next_free if cost < wanted else None)


def _free(rate: Rate, waiting: Parked) -> tuple[int, datetime | None]:
    """Return how many starts the rate allows now, and when it allows one more."""
    inside = [(at, cost) for at, cost in waiting.recent if at + rate.period > waiting.now]
    free = max(0, rate.count - sum(cost for _, cost in inside))
    return free, inside[0][0] + rate.period if inside else waiting.now + rate.period

"""What a doorbell is owed, and how long a ring waits for its answer: pure functions of what the ledger says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from headgate.ledger.homes import HomeRecord
from headgate.ledger.rings import Outstanding
from headgate.pipeline import Pipeline

LONGEST_WAIT = timedelta(minutes=15)
SHORTEST_ANSWER = timedelta(seconds=1)  # the least that the first ring waits, however soon rings are answered
PATIENCE = 4  # times as long as answers usually take, and nobody will answer any more


@dataclass(frozen=True, slots=True)
class Ladder:
    """How long rings wait for an answer, and what follows.

    Args:
        answer_within: the longest wait of the first ring; it doubles with each rung.
        again: how often an unanswered ring is rung again; after that, runs are dispatched directly.

    """

    answer_within: timedelta
    again: int

    def after(self, usual: timedelta | None) -> "Ladder":
        """Shorten the first wait to what answers usually take, and some more; never lengthen it."""
        if usual is None:
            return self
        return replace(self, answer_within=min(self.answer_within, max(SHORTEST_ANSWER, PATIENCE * usual)))

    def wait(self, rung: int) -> timedelta:
        """How long a ring of this rung may stay unanswered."""
        full: timedelta = self.answer_within * 2.0 ** min(rung, 20)
        return min(full, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Due:
    """What a pipeline is owed now."""

    rings: int = 0  # so many new rings
    rung: int | None = None  # climb to this rung, in place of the unanswered rings
    settle: bool = False  # the unanswered rings need no answer any more


def due(found: Outstanding, *, most_arrivals: int, parallelism: int, ladder: Ladder) -> Due:
    """Decide what a pipeline is owed: a pure function of what the ledger says.

    Args:
        found: from the ledger.
        most_arrivals: how many arrivals one claim may hold.
        parallelism: how many runs may work at the same time.
        ladder: the waits.

    """
    overdue = (
        found.rung is not None
        and found.oldest_ring_age is not None
        and found.oldest_ring_age >= ladder.wait(found.rung)
    )
    if not found.claimable:
        return Due(settle=overdue)
    if overdue and found.rung is not None:
        return Due(rung=found.rung + 1)
    wanted = min(parallelism, math.ceil(found.claimable / most_arrivals))
    return Due(rings=max(0, wanted - found.busy - found.unanswered))


def most_claimable(pipelines: Sequence[Pipeline]) -> dict[str, int]:
    """Say of each pipeline how many arrivals all its runs can claim at once: more are not worth counting."""
    return {pipeline.name: pipeline.parallelism * pipeline.max_arrivals for pipeline in pipelines}


def shares(ranges: int, homes: Sequence[HomeRecord], *, most_arrivals: int, parallelism: int) -> list[int]:
    """Divide ranges, which any home may work on, among those that answer, one run after another.

    Args:
        ranges: how many are due.
        homes: all; one without a listener, or that leaves rings unanswered, gets none while there is another.
        most_arrivals: how many arrivals one claim may hold.
        parallelism: how many runs may work on them at the same time.

    Returns:
        Of each home, how many it is rung for.

    """
    alive = [number for number, home in enumerate(homes) if home.alive] or list(range(len(homes)))
    able = [number for number in alive if homes[number].deaf_since is None] or alive
    runs = min(parallelism, math.ceil(ranges / most_arrivals))
    found = [0] * len(homes)
    for run in range(runs):
        found[able[run % len(able)]] += ranges // runs + (run < ranges % runs)
    return found

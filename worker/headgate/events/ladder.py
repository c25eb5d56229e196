"""Which rings are due, and how long a ring waits for its answer: pure functions of the ledger's state."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from headgate.ledger.homes import HomeRecord
from headgate.ledger.rings import Outstanding
from headgate.pipeline import Pipeline

LONGEST_WAIT = timedelta(minutes=15)
SHORTEST_ANSWER = timedelta(seconds=1)  # the minimum wait of the first ring, however fast the usual answers
PATIENCE = 4  # after this many times the usual wait, nobody will answer any more


@dataclass(frozen=True, slots=True)
class Ladder:
    """How long rings wait for an answer, and what happens then.

    Args:
        answer_within: the longest wait of the first ring; it doubles with each rung.
        again: how often an unanswered ring is repeated; after that, runs are dispatched directly.

    """

    answer_within: timedelta
    again: int

    def after(self, usual: timedelta | None, *, heard: bool = True) -> "Ladder":
        """Return a ladder whose first wait is shortened to a multiple of the usual one, never lengthened.

        Args:
            usual: how long rings usually wait for an answer; None if that is not known.
            heard: whether an automation brought the latest answer. If it came only after a run was dispatched directly,
                the next ring is not repeated either: the server's automations may be out of order for long.

        """
        again = self.again if heard else 0
        if usual is None and heard:
            return self
        first = max(SHORTEST_ANSWER, PATIENCE * (usual or timedelta(0)))
        return replace(self, answer_within=min(self.answer_within, first), again=again)

    def wait(self, rung: int) -> timedelta:
        """Return how long a ring of this rung may stay unanswered."""
        full: timedelta = self.answer_within * 2.0 ** min(rung, 20)
        return min(full, LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Due:
    """What to do now for a pipeline in a home."""

    rings: int = 0  # how many new rings to ring
    rung: int | None = None  # the rung to climb to, with a ring that replaces the unanswered ones
    settle: bool = False  # close the unanswered rings, which no longer need an answer


def due(found: Outstanding, *, most_arrivals: int, parallelism: int, ladder: Ladder) -> Due:
    """Decide what to do for a pipeline in a home: a pure function of the ledger's state.

    Args:
        found: the outstanding work, as the ledger has it.
        most_arrivals: how many arrivals one claim may hold.
        parallelism: how many runs may work at the same time.
        ladder: how long rings wait for an answer.

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
    """Return how many arrivals all runs of each pipeline can claim at once: more are not worth counting."""
    return {pipeline.name: pipeline.parallelism * pipeline.max_arrivals for pipeline in pipelines}


def shares(ranges: int, homes: Sequence[HomeRecord], *, most_arrivals: int, parallelism: int) -> list[int]:
    """Divide due ranges, which any home may work on, among the homes that answer, run by run in turn.

    Args:
        ranges: how many are due.
        homes: all homes; one that has no listener, or leaves rings unanswered, gets none while a better one exists.
        most_arrivals: how many arrivals one claim may hold.
        parallelism: how many runs may work on them at the same time.

    Returns:
        For each home, how many ranges it is rung for.

    """
    alive = [number for number, home in enumerate(homes) if home.alive] or list(range(len(homes)))
    able = [number for number in alive if homes[number].deaf_since is None] or alive
    runs = min(parallelism, math.ceil(ranges / most_arrivals))
    found = [0] * len(homes)
    for run in range(runs):
        found[able[run % len(able)]] += ranges // runs + (run < ranges % runs)
    return found

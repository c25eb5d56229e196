"""Parse: turn a portion of a claim's files and ranges into validated chunks."""

from collections.abc import Sequence
from functools import partial

from headgate.crashpoint import crashpoint
from headgate.flows.workbench import Workbench
from headgate.model import ClaimedArrival, Stage
from headgate.records.chunk import Chunk
from headgate.records.parsing import parse

PORTION = 8 * 1024 * 1024  # bytes; a smaller portion costs more than it saves


def parse_portion(bench: Workbench, number: int, arrivals: Sequence[ClaimedArrival]) -> list[Chunk]:
    """Parse some of a claim's arrivals into chunks; an arrival's chunks are in the order of its rows."""
    folder = bench.folder / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    readable = {arrival.arrival_id: partial(bench.readable, arrival) for arrival in arrivals}
    parsed = parse(readable, bench.pipeline, bench.app.limits, folder)
    bench.rejected |= parsed.rejected
    bench.unread |= parsed.unread
    bench.reach(Stage.PARSE)
    bench.say(
        "parsed",
        action="parse",
        portion=number,
        arrivals=len(arrivals),
        chunks=len(parsed.chunks),
        rejected=len(parsed.rejected),
        unread=len(parsed.unread),
    )
    crashpoint("parse.after-portion")
    return parsed.chunks


def portions_of(size: int, at_once: int) -> int:
    """Return how many portions a claim of `size` bytes is cut into: at most `at_once`."""
    return min(at_once, 1 + size // PORTION)


def split(arrivals: Sequence[ClaimedArrival], portions: int) -> list[tuple[ClaimedArrival, ...]]:
    """Cut arrivals, in order, into portions of about equal size in bytes; no portion is empty."""
    share = sum(arrival.size for arrival in arrivals) / portions
    cut: list[tuple[ClaimedArrival, ...]] = []
    taken, weight = [], 0
    for arrival in arrivals:
        taken.append(arrival)
        weight += arrival.size
        if weight >= share:
            cut.append(tuple(taken))
            taken, weight = [], 0
    return [*cut, tuple(taken)] if taken else cut

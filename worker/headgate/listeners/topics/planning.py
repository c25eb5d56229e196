"""Where a partition is cut into ranges: a pure function of what is there."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeVar

from headgate.pipeline import Topic

GROWTH = 5  # how many times `max_age` a range may grow behind one of its partition that waits for a run

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Uncut:
    """The messages of one partition that are in no range yet."""

    first: int  # offset
    end: int  # offset, exclusive
    since: float  # seconds; when the first of them was seen
    message_bytes: float  # of one message on average, estimated


def plan(  # noqa: PLR0913 - what there is, its limits, and what keeps runs busy
    uncut: Mapping[K, Uncut], topic: Topic, *, now: float, idle: bool, waiting: AbstractSet[K] = frozenset(), room: int
) -> dict[K, list[int]]:
    """Decide which ranges to cut of one topic.

    While nothing waits for a run, whatever came is cut at once: one message alone is on its way without a delay. While
    runs are busy, a range waits until it is full or its first message is old enough, so a stream becomes few ranges.
    While one of its partition waits that no run has claimed, it may grow for longer: cut now, it would only be one more
    small one behind that.

    Args:
        uncut: of each partition, what is in no range yet.
        topic: the limits of a range.
        now: seconds, on the clock of `since`.
        idle: nothing of this topic waits to be claimed.
        waiting: partitions of which a range waits to be claimed.
        room: how many ranges may be cut at the most; those that wait longest come first.

    Returns:
        Of each partition of which something is cut, where its ranges end, in order; the first begins at `first`, each
        other one where the one before it ends.

    """
    cut: dict[K, list[int]] = {}
    left = room
    open_ = dict(sorted(uncut.items(), key=lambda item: item[1].since))
    # In turns, one range a partition: one with a long backlog must not take all the room.
    while open_ and left > 0:
        for key, part in list(open_.items()):
            ends = cut.get(key, [])
            first = ends[-1] if ends else part.first
            end = min(part.end, first + largest(topic, part.message_bytes))
            full = end - first == largest(topic, part.message_bytes)
            old = now - part.since >= topic.max_age * (GROWTH if key in waiting else 1)
            if first >= part.end or not (full or idle or old):
                del open_[key]
                continue
            if left <= 0:
                break
            cut[key] = [*ends, end]
            left -= 1
    return cut


def largest(topic: Topic, message_bytes: float) -> int:
    """How many messages a range may hold."""
    return max(1, min(topic.max_messages, int(topic.max_bytes / max(message_bytes, 1.0))))

"""Where partitions are cut into ranges: a pure function of the messages not in a range yet."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TypeVar

from headgate.pipeline import Topic

GROWTH = 5  # times `max_age` that a range may grow while an earlier one of its partition waits for a run

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Uncut:
    """The messages of one partition that are not in a range yet."""

    first: int  # offset
    end: int  # offset, exclusive
    since: float  # seconds; when the first of them was seen
    message_bytes: float  # of one message on average, estimated


def plan(  # noqa: PLR0913 - the messages, their limits, and the state of the runs
    uncut: Mapping[K, Uncut], topic: Topic, *, now: float, idle: bool, waiting: AbstractSet[K] = frozenset(), room: int
) -> dict[K, list[int]]:
    """Decide which ranges of one topic to cut.

    While nothing waits for a run, all messages are cut at once, so that a single message is not delayed. While runs are
    busy, a range is cut only when it is full or its first message is old enough, so that a stream becomes few ranges.
    While an earlier range of the same partition waits to be claimed, it may grow for longer: cut now, it would only be
    one more small range in the queue.

    Args:
        uncut: the messages of each partition that are not in a range yet.
        topic: the topic, which sets the limits of a range.
        now: seconds, on the clock of `since`.
        idle: whether nothing of this topic waits to be claimed.
        waiting: the partitions with a range that waits to be claimed.
        room: the most ranges to cut; partitions that have waited longest come first.

    Returns:
        For each partition to cut, the ends of its ranges, in order; the first range begins at `first`, each other one
        at the end of the previous one.

    """
    cut: dict[K, list[int]] = {}
    left = room
    open_ = dict(sorted(uncut.items(), key=lambda item: item[1].since))
    # One range per partition in turn, so that a partition with a long backlog cannot take all the room.
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
    """Return how many messages a range may hold."""
    return max(1, min(topic.max_messages, int(topic.max_bytes / max(message_bytes, 1.0))))

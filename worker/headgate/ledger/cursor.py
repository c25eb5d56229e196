"""A cursor, and the range cut at it: plain values, without a database."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from headgate.model import NewArrival, RangePosition

RECREATED = "recreated"  # the reason of a cursor whose topic was deleted and recreated


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of a topic, as one pipeline takes it in."""

    pipeline: str
    source: str
    cluster: str  # the Kafka cluster's id
    topic: str
    topic_id: str  # the broker's; a recreated topic has another one
    partition: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position up to which a partition is cut into ranges."""

    pipeline: str
    source: str
    cluster: str
    topic: str
    topic_id: str
    partition: int
    next_offset: int  # the first offset that is in no range yet
    generation: int  # raised when a person moves it back
    halted: str | None  # why no more ranges are cut; None: it is not halted
    detail: str | None  # the same as a sentence
    halted_at: datetime | None
    resume_at: int | None  # of a halted one: the offset to resume from
    end_offset: int | None  # where the partition ended at the last look
    owner: str | None  # the listener that looked
    seen_at: datetime | None
    begun_at: datetime
    moved_at: datetime | None
    leader_epoch: int | None  # the partition's leader epoch then; None: unknown

    @property
    def place(self) -> Partition:
        """The partition."""
        return Partition(self.pipeline, self.source, self.cluster, self.topic, self.topic_id, self.partition)

    @property
    def lag(self) -> int | None:
        """The number of offsets that are not cut yet; None if no listener has looked."""
        return None if self.end_offset is None else max(0, self.end_offset - self.next_offset)


@dataclass(frozen=True, slots=True)
class Cut:
    """A range to cut: the offsets from the cursor up to `end`, exclusive."""

    cursor: Cursor
    end: int  # exclusive
    size: int  # bytes, estimated
    ordered: bool
    noticed_at: datetime | None = None  # when the first of these messages was noticed
    leader_epoch: int | None = None  # the partition's leader epoch


def identity(cursor: Cursor) -> bytes:
    """Return the identity of the range that begins at a cursor."""
    parts: Iterable[object] = (
        cursor.cluster,
        cursor.topic_id,
        cursor.partition,
        cursor.next_offset,
        cursor.pipeline,
        cursor.source,
        *((cursor.generation,) if cursor.generation else ()),
    )
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).digest()


def arrival(cut: Cut) -> NewArrival:
    """Return the arrival for a range."""
    cursor = cut.cursor
    return NewArrival(
        pipeline=cursor.pipeline,
        source=cursor.source,
        identity=identity(cursor),
        name=f"{cursor.topic}[{cursor.partition}] {cursor.next_offset}-{cut.end - 1}",
        position=RangePosition(
            cluster=cursor.cluster,
            topic=cursor.topic,
            topic_id=cursor.topic_id,
            partition=cursor.partition,
            first=cursor.next_offset,
            end=cut.end,
            size=cut.size,
        ),
        content_key=None,
        spool=None,
        ordered=cut.ordered,
        noticed_at=cut.noticed_at,
    )

"""Reading a range by a client that seeks: one way for all clients, which differ in how they fetch.

It begins at a range's first offset, checks each offset it is given, goes around what nobody can read, and ends at
the range's end, whether a message stands there or not: compaction and aborted transactions leave gaps.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import polars as pl

from worker.crashpoint import crashpoint
from worker.errors import ArrivalRejected, KafkaUnavailable
from worker.kafka.ahead import ahead
from worker.model import RangePosition, Reason
from worker.records.messages import Unreadable

# Longer than any wait inside a client: past it the client itself hangs, and is left behind.
PATIENCE = 60.0  # seconds


class BadBatch(Exception):
    """The client cannot read what stands at the place it has come to; the client is of no more use."""


class OffsetGone(Exception):
    """The broker has no message at this offset any more, nor has it one before."""


class Fetched(NamedTuple):
    """What one call of a client gave."""

    messages: pl.DataFrame  # as `worker.records.messages.SCHEMA` says; maybe none
    next: int  # the offset that is read next: behind gaps that were passed


class Client(Protocol):
    """A connection to a cluster that reads one partition at a time. After any error it is closed and not used again.

    Each method raises KafkaUnavailable when the broker does not answer in time.
    """

    def topic_id(self, topic: str) -> str | None:
        """The id of a topic, None if there is no such topic."""

    def earliest(self, position: RangePosition) -> int:
        """The first offset that the broker still has of a partition."""

    def seek(self, position: RangePosition, offset: int) -> None:
        """Read this partition from this offset on."""

    def fetch(self) -> Fetched:
        """Wait a moment for messages, only those of committed transactions.

        Raises:
            BadBatch: what stands next cannot be read.
            OffsetGone: the broker has deleted what stands next.

        """

    def close(self) -> None:
        """Close the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekingReader:
    """Reads ranges by way of clients; they are kept for the next range, unless they have met an error."""

    connect: Callable[[], Client]
    patience: float = PATIENCE  # seconds that may pass without progress
    idle: list[Client] = field(default_factory=list)

    def read(self, position: RangePosition, *, after: int) -> Iterator[pl.DataFrame | Unreadable]:
        """Read a range of messages, in the order of their offsets."""
        yield from ahead(self._read(position, after), self.patience * 2)

    def _read(self, position: RangePosition, after: int) -> Generator[pl.DataFrame | Unreadable, None, None]:
        at = position.first + after
        self._check_topic(position)
        while at < position.end:
            try:
                for fetched in self._fetched(position, at):
                    at = fetched.next
                    if fetched.messages.height:
                        yield fetched.messages
                        crashpoint("range.mid-read")
            except BadBatch as error:
                end = self._readable_from(position, at)
                detail = f"{position.topic} partition {position.partition} from offset {at}: {error}"
                yield Unreadable(at, end, Reason.CORRUPT, detail)
                at = end
            except OffsetGone as error:
                lost = self._lost(position, at)
                if at == position.first and lost.end == position.end:
                    raise ArrivalRejected(Reason.LOST, lost.detail) from error
                yield lost
                at = lost.end

    def _fetched(self, position: RangePosition, at: int) -> Iterator[Fetched]:
        """Fetch to the range's end, each offset checked, nothing given from behind the end."""
        with _Lent(self) as client:
            client.seek(position, at)
            moved = time.monotonic()
            while at < position.end:
                messages, after = client.fetch()
                if messages.height:
                    offsets = messages["offset"]
                    if offsets[0] < at or not offsets.is_sorted() or offsets.n_unique() != len(offsets):
                        raise KafkaUnavailable(
                            f"{position.topic} partition {position.partition}: the client gave offset {offsets[0]} "
                            f"where {at} was next; the range is read again."
                        )
                    if offsets[-1] >= position.end:
                        messages = messages.filter(offsets < position.end)
                        after = position.end
                now = time.monotonic()
                moved = now if after > at else moved
                if now - moved > self.patience:
                    raise KafkaUnavailable(
                        f"{position.topic} partition {position.partition}: nothing came from offset {at} on for "
                        f"{self.patience:.0f} s; is its broker up?"
                    )
                at = max(at, after)
                yield Fetched(messages, at)

    def _check_topic(self, position: RangePosition) -> None:
        with _Lent(self) as client:
            found = client.topic_id(position.topic)
        if found != position.topic_id:
            became = "deleted" if found is None else "deleted and made again"
            raise ArrivalRejected(
                Reason.LOST,
                f"topic {position.topic} was {became}: offsets {position.first} to {position.end - 1} of its partition "
                f"{position.partition} are gone; publish those messages again.",
            )

    def _lost(self, position: RangePosition, at: int) -> Unreadable:
        with _Lent(self) as client:
            earliest = client.earliest(position)
        end = min(max(earliest, at + 1), position.end)
        return Unreadable(
            at,
            end,
            Reason.LOST,
            f"{position.topic} partition {position.partition}: offsets {at} to {end - 1} are deleted, the broker keeps "
            f"messages from {earliest} on; raise the topic's retention, and publish those messages again.",
        )

    def _readable_from(self, position: RangePosition, bad: int) -> int:
        """Find where reading can go on behind an offset that cannot be read.

        Nobody tells where a bad batch ends, so further offsets are tried, twice as far each time, and then between. If
        there are two bad batches close to each other, what stands between them may be counted among the bad.
        """
        step = 1
        while bad + step < position.end and not self._is_readable(position, bad + step):
            step *= 2
        low, high = bad + step // 2, min(bad + step, position.end)
        while high - low > 1:
            middle = (low + high) // 2
            if self._is_readable(position, middle):
                high = middle
            else:
                low = middle
        return high

    def _is_readable(self, position: RangePosition, offset: int) -> bool:
        with suppress(BadBatch):
            return any(fetched.next > offset for fetched in self._fetched(position, offset))
        return False

    def close(self) -> None:
        """Close all connections."""
        while self.idle:
            self.idle.pop().close()


class _Lent:
    """A client for the time of a `with`; it is kept afterwards if nothing went wrong."""

    def __init__(self, reader: SeekingReader) -> None:
        self._reader = reader
        try:
            self._client = reader.idle.pop()
        except IndexError:
            self._client = reader.connect()

    def __enter__(self) -> Client:
        return self._client

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A generator that is not read to its end leaves the client with messages in hand, but seeking drops them.
        if kind is None or kind is GeneratorExit:
            self._reader.idle.append(self._client)
        else:
            with suppress(Exception):
                self._client.close()

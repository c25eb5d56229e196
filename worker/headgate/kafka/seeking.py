"""Reading a range with a client that seeks: one way for all clients, which differ only in how they fetch.

Reading begins at the range's first offset, checks each offset received, skips what cannot be read, and ends at the
range's end, whether that offset has a message or not: compaction and aborted transactions leave gaps.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import polars as pl

from headgate.crashpoint import crashpoint
from headgate.errors import ArrivalRejected, KafkaUnavailable, RangeUnreadable
from headgate.kafka.ahead import Hangs, ahead
from headgate.model import RangePosition, Reason
from headgate.records.messages import Unreadable

# Longer than any wait inside a client: after this time the client itself hangs, and is abandoned.
PATIENCE = 60.0  # seconds


class BadBatch(Exception):
    """The client cannot read what is at its current offset, and cannot be used any more."""


class Stalled(Exception):
    """A client makes no progress with a range."""


class OffsetGone(Exception):
    """The broker no longer has a message at this offset or before it."""


class Fetched(NamedTuple):
    """The result of one fetch by a client."""

    messages: pl.DataFrame  # with the columns of `headgate.records.messages.SCHEMA`; may be empty
    next: int  # the offset to read next, after any gaps


class Client(Protocol):
    """A connection to a cluster that reads one partition at a time. After any error it is closed and never used again.

    Each method raises KafkaUnavailable when the broker does not answer in time.
    """

    def topic_id(self, topic: str) -> str | None:
        """Return the id of a topic, or None if it does not exist."""

    def earliest(self, position: RangePosition) -> int:
        """Return the first offset of a partition that the broker still has."""

    def seek(self, position: RangePosition, offset: int) -> None:
        """Read this partition from this offset on."""

    def fetch(self) -> Fetched:
        """Wait a moment for messages, only those of committed transactions.

        Raises:
            BadBatch: what comes next cannot be read.
            OffsetGone: the broker has deleted what comes next.

        """

    def rest(self) -> None:
        """Fetch nothing until the next `seek`."""

    def close(self) -> None:
        """Close the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeekingReader:
    """A reader of ranges that keeps its clients for the next range, unless they have met an error."""

    connect: Callable[[], Client]
    patience: float = PATIENCE  # seconds that may pass without progress
    idle: list[Client] = field(default_factory=list)

    def read(self, position: RangePosition, *, after: int) -> Iterator[pl.DataFrame | Unreadable]:
        """Read a range of messages, in the order of their offsets."""
        try:
            yield from ahead(self._read(position, after), self.patience * 2)
        except (Stalled, Hangs) as error:
            where = f"{position.topic} partition {position.partition}"
            self._ask_broker(position, f"{where}: {error}")
            raise RangeUnreadable(
                f"{where}: its broker answers, and offsets {position.first} to {position.end - 1} cannot be read "
                f"({error}); look at the partition with Kafka's own tools."
            ) from error

    def _ask_broker(self, position: RangePosition, said: str) -> None:
        """Tell an outage from a range that cannot be read.

        Raises:
            KafkaUnavailable: this is an outage.

        """

        def ask() -> Generator[int, None, None]:
            with _Lent(self, fresh=True) as client:
                yield client.earliest(position)

        try:
            next(ahead(ask(), self.patience))
        except Hangs as error:
            raise KafkaUnavailable(f"{said}, nor does its broker answer.") from error

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
        """Fetch up to the range's end; check each offset, and yield nothing from after the end."""
        with _Lent(self) as client:
            client.seek(position, at)
            moved = time.monotonic()
            while at < position.end:
                messages, after = client.fetch()
                if messages.height:
                    offsets = messages["offset"]
                    if offsets[0] < at or not offsets.is_sorted() or offsets.n_unique() != len(offsets):
                        raise Stalled(f"the client gave offset {offsets[0]} where {at} was next")
                    if offsets[-1] >= position.end:
                        messages = messages.filter(offsets < position.end)
                        after = position.end
                moving = after > at
                if not moving and time.monotonic() - moved > self.patience:
                    raise Stalled(f"nothing came from offset {at} on for {self.patience:.0f} s")
                at = max(at, after)
                yield Fetched(messages, at)
                if moving:
                    moved = (
                        time.monotonic()
                    )  # after the yield: the time that the messages took to be used does not count

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
        """Find where reading can continue after an offset that cannot be read.

        Nothing tells where a bad batch ends, so further offsets are tried, twice as far each time, and then in between.
        If two bad batches are close to each other, the messages between them may count as bad too.
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
    """A client lent for the time of a `with`; it is kept afterwards if nothing went wrong."""

    def __init__(self, reader: SeekingReader, *, fresh: bool = False) -> None:
        self._reader = reader
        try:
            self._client = reader.connect() if fresh else reader.idle.pop()
        except IndexError:
            self._client = reader.connect()

    def __enter__(self) -> Client:
        return self._client

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A generator that is not read to its end leaves fetched messages in the client, but seeking drops them.
        if kind is None or kind is GeneratorExit:
            with suppress(KafkaUnavailable):
                self._client.rest()
                self._reader.idle.append(self._client)
                return
        with suppress(Exception):
            self._client.close()

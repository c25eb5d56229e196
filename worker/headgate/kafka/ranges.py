"""Ranges of a partition, read without a consumer group: the interface that hides which Kafka client is used."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import polars as pl

from headgate.errors import ArrivalRejected, BadSettings
from headgate.kafka.connection import librdkafka_options
from headgate.kafka.seeking import Client, SeekingReader
from headgate.model import RangePosition, Reason
from headgate.records.batch import ROW, Batch, Original
from headgate.records.decoding import Decoder
from headgate.records.messages import ENDING, Unreadable
from headgate.setting_groups import KafkaSettings


class RangeReader(Protocol):
    """Reads ranges; safe to use from several threads at once."""

    def read(self, position: RangePosition, *, after: int) -> Iterator[pl.DataFrame | Unreadable]:
        """Read a range of messages, in the order of their offsets.

        Args:
            position: the range.
            after: how many rows of it to leave out: reading begins at offset `first + after`.

        Yields:
            Blocks of some thousand messages, and the parts of the range that cannot be read.

        Raises:
            ArrivalRejected: the topic was deleted or created again, or all of the range is gone.
            KafkaUnavailable: the broker does not answer.
            RangeUnreadable: the broker answers, but the range cannot be read.

        """

    def close(self) -> None:
        """Close all connections."""


def open_reader(settings: KafkaSettings) -> RangeReader:
    """Return a reader by confluent-kafka if that is installed, otherwise by kafka-python. Nothing is connected yet."""

    def kafka_python() -> Client:
        from headgate.kafka.kafka_python_reader import KafkaPythonClient  # noqa: PLC0415 - the client that is chosen

        return KafkaPythonClient(settings)

    def confluent() -> Client:
        if find_spec("confluent_kafka") is None:
            raise BadSettings("HEADGATE_KAFKA_READER=confluent-kafka: run pip install 'headgate[fast-kafka]'.")
        from headgate.kafka.confluent_reader import ConfluentClient  # noqa: PLC0415 - as above

        return ConfluentClient(librdkafka_options(settings))

    chosen = settings.reader or ("confluent-kafka" if find_spec("confluent_kafka") else "kafka-python")
    return SeekingReader(connect=confluent if chosen == "confluent-kafka" else kafka_python)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A range to parse, as `headgate.records.parsing.Readable` requires.

    Args:
        arrival_id: the arrival that the messages belong to.
        position: the range.
        after: rows up to this one are committed already.
        reader: reads the messages.
        decoder: turns them into records.
        kept: a folder that holds their raw bytes until the run is over, for messages that fail after they were read: by
            then, the broker may have deleted them.

    """

    arrival_id: int
    position: RangePosition
    after: int
    reader: RangeReader
    decoder: Decoder
    kept: Path

    def batches(self) -> Iterator[Batch]:
        """Read the range from where earlier attempts have committed up to."""
        return self.decoder.batches(self._blocks(), first=self.position.first)

    def _blocks(self) -> Iterator[pl.DataFrame | Unreadable]:
        for block in self.reader.read(self.position, after=self.after):
            if isinstance(block, pl.DataFrame):
                block.write_ipc(self.kept / f"{self.arrival_id}-{block.item(0, ROW):020}{ENDING}")
            yield block

    def originals(self, rows: AbstractSet[int]) -> dict[int, Original]:
        """Return the bytes of messages that failed after they were read."""
        found: dict[int, Original] = {}
        for path in sorted(self.kept.glob(f"{self.arrival_id}-*{ENDING}")):
            block = pl.read_ipc(path)
            mine = block.filter(block[ROW].is_in(list(rows)))
            originals = self.decoder.decode(mine).original if mine.height else None
            found |= {row: originals(row) for row in mine[ROW] if originals is not None}
        if len(found) < len(rows):
            raise ArrivalRejected(Reason.LOST, "messages that were read are no longer kept; replay the arrival.")
        return found

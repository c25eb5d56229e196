"""Ranges of a partition, read without a group: the seam behind which a Kafka client stands."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import polars as pl

from worker.errors import ArrivalRejected, BadSettings
from worker.kafka.connection import librdkafka_options
from worker.kafka.seeking import Client, SeekingReader
from worker.model import RangePosition, Reason
from worker.records.batch import ROW, Batch, Original
from worker.records.decoding import Decoder
from worker.records.messages import ENDING, Unreadable
from worker.settings import KafkaSettings


class RangeReader(Protocol):
    """Reads ranges; from several threads at once."""

    def read(self, position: RangePosition, *, after: int) -> Iterator[pl.DataFrame | Unreadable]:
        """Read a range of messages, in the order of their offsets.

        Args:
            position: the range.
            after: rows of it that are not wanted: reading begins at offset `first + after`.

        Yields:
            Blocks of some thousand messages, and what of the range nobody can read.

        Raises:
            ArrivalRejected: the topic was deleted or made again, or all of the range is gone.
            KafkaUnavailable: the broker does not answer.

        """

    def close(self) -> None:
        """Close all connections."""


def open_reader(settings: KafkaSettings) -> RangeReader:
    """Choose what reads ranges: confluent-kafka where it is installed, else kafka-python. Nothing is connected yet."""

    def kafka_python() -> Client:
        from worker.kafka.kafka_python_reader import KafkaPythonClient  # noqa: PLC0415 - the client that is chosen

        return KafkaPythonClient(settings)

    def confluent() -> Client:
        if find_spec("confluent_kafka") is None:
            raise BadSettings("HEADGATE_KAFKA_READER=confluent-kafka: run pip install 'headgate[fast-kafka]'.")
        from worker.kafka.confluent_reader import ConfluentClient  # noqa: PLC0415 - as above

        return ConfluentClient(librdkafka_options(settings))

    chosen = settings.reader or ("confluent-kafka" if find_spec("confluent_kafka") else "kafka-python")
    return SeekingReader(connect=confluent if chosen == "confluent-kafka" else kafka_python)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A range to be parsed, as `worker.records.parsing.Readable` asks.

    Args:
        arrival_id: whose messages these are.
        position: which.
        after: rows up to this one are committed already.
        reader: reads them.
        decoder: makes records of them.
        kept: a folder where their raw bytes stay until the run is over, for those that fail after they were read: the
            broker may have deleted them by then.

    """

    arrival_id: int
    position: RangePosition
    after: int
    reader: RangeReader
    decoder: Decoder
    kept: Path

    def batches(self) -> Iterator[Batch]:
        """Read the range from where earlier attempts have committed it to."""
        return self.decoder.batches(self._blocks(), first=self.position.first)

    def _blocks(self) -> Iterator[pl.DataFrame | Unreadable]:
        for block in self.reader.read(self.position, after=self.after):
            if isinstance(block, pl.DataFrame):
                block.write_ipc(self.kept / f"{self.arrival_id}-{block.item(0, ROW):020}{ENDING}")
            yield block

    def originals(self, rows: AbstractSet[int]) -> dict[int, Original]:
        """Give the bytes of messages that failed after they were read."""
        found: dict[int, Original] = {}
        for path in sorted(self.kept.glob(f"{self.arrival_id}-*{ENDING}")):
            block = pl.read_ipc(path)
            mine = block.filter(block[ROW].is_in(list(rows)))
            originals = self.decoder.decode(mine).original if mine.height else None
            found |= {row: originals(row) for row in mine[ROW] if originals is not None}
        if len(found) < len(rows):
            raise ArrivalRejected(Reason.LOST, "messages that were read are no longer kept; replay the arrival.")
        return found

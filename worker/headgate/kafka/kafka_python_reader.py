"""Reading with kafka-python: pure Python, works wherever Python does."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import kafka
from kafka import errors

from headgate.errors import KafkaUnavailable
from headgate.kafka import codecs
from headgate.kafka.clients import open_admin, open_consumer
from headgate.kafka.seeking import BadBatch, Fetched, OffsetGone
from headgate.model import RangePosition
from headgate.records.messages import block
from headgate.setting_groups import KafkaSettings

AT_ONCE = 10_000  # messages
WAIT_MS = 1000
# Messages fetched ahead of those polled are held in memory; a single larger batch is fetched all the same.
OPTIONS = {
    "check_crcs": True,
    "fetch_max_bytes": 8 * 1024**2,
    "max_partition_fetch_bytes": 4 * 1024**2,
    "fetch_max_wait_ms": 20,  # a range is complete before it is read; a longer wait only delays the next range
}


class KafkaPythonClient:
    """A consumer of kafka-python, and its admin client for what a consumer cannot ask."""

    def __init__(self, settings: KafkaSettings) -> None:
        codecs.bound()
        with ExitStack() as stack:
            self._consumer = stack.enter_context(open_consumer(settings, **OPTIONS))
            self._admin = stack.enter_context(open_admin(settings))
            self._open = stack.pop_all()
        self._partition = kafka.TopicPartition("", 0)
        self._first = 0

    def topic_id(self, topic: str) -> str | None:
        """Return the id of a topic, or None if it does not exist."""
        with _named():
            (found,) = self._admin.describe_topics([topic])
            error = errors.for_code(found["error_code"])
            if error is errors.UnknownTopicOrPartitionError:
                return None
            # A topic that we may not see for the moment, or that has no leader, was not deleted.
            if error is not errors.NoError:
                raise error(topic)
        return str(found["topic_id"])

    def earliest(self, position: RangePosition) -> int:
        """Return the first offset of a partition that the broker still has."""
        partition = kafka.TopicPartition(position.topic, position.partition)
        with _named():
            try:
                return int(self._consumer.beginning_offsets([partition])[partition])
            except KeyError as error:  # kafka-python leaves out a partition without a leader, and trips over that
                raise errors.LeaderNotAvailableError(f"{position.topic}[{position.partition}]") from error

    def seek(self, position: RangePosition, offset: int) -> None:
        """Read this partition from this offset on."""
        self._partition = kafka.TopicPartition(position.topic, position.partition)
        self._first = position.first
        with _named():
            self._consumer.assign([self._partition])
            self._consumer.seek(self._partition, offset)

    def fetch(self) -> Fetched:
        """Wait a moment for messages."""
        with _named():
            records = self._consumer.poll(timeout_ms=WAIT_MS, max_records=AT_ONCE).get(self._partition, [])
            after = int(self._consumer.position(self._partition))
        offsets, timestamps, keys, values, headers = (), (), (), (), ()
        if records:
            _, _, _, offsets, timestamps, _, keys, values, headers, *_ = zip(*records, strict=True)
        messages = block(
            first=self._first,
            partition=self._partition.partition,
            offsets=offsets,
            timestamps=timestamps,
            keys=keys,
            headers=headers,
            values=values,
        )
        return Fetched(messages, after)

    def rest(self) -> None:
        """Do nothing: kafka-python fetches only while it is polled."""

    def close(self) -> None:
        """Close the connections."""
        self._open.close()


@contextmanager
def _named() -> Iterator[None]:
    """Turn kafka-python's errors into ours."""
    try:
        yield
    except errors.OffsetOutOfRangeError as error:
        raise OffsetGone from error
    except (errors.CorruptRecordError, errors.UnsupportedCodecError) as error:
        raise BadBatch(str(error)) from error
    except (errors.KafkaError, ConnectionError, TimeoutError) as error:
        raise KafkaUnavailable(f"Kafka does not answer as it should: {error}"[:500]) from error
    except Exception as error:  # what a codec raises for bytes in another format
        raise BadBatch(f"{type(error).__name__}: {error}"[:500]) from error

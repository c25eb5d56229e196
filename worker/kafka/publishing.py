"""Copies of dead letters to a topic, with the cause in their headers, as Spring Kafka writes it."""

from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaProducer
from kafka.errors import KafkaError

from worker.errors import KafkaUnavailable
from worker.kafka.connection import client_options
from worker.model import Envelope
from worker.records.messages import Header
from worker.settings import KafkaSettings

WITHIN = 15  # seconds until a topic that does not answer is given up for now
# The names and the way values are written are those of Spring Kafka's DeadLetterPublishingRecoverer, so that tools made
# for it understand ours.
PREFIX = "kafka_dlt-"


class Publisher:
    """Publishes copies; to be made by `open_publisher`."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer
        self._failed: BaseException | None = None

    def publish(self, topic: str, value: bytes, envelope: Envelope, cause: list[Header]) -> None:
        """Publish a message as it came, with more headers. It is there for certain only after `flush`.

        kafka-python cannot write a header without a value, nor a message with neither key nor value: there the copy has
        a value, or a key, of no bytes.
        """
        bare = envelope.tombstone and envelope.key is None
        self._producer.send(
            topic,
            value=None if envelope.tombstone else value,
            key=b"" if bare else envelope.key,
            headers=[(name, header or b"") for name, header in (*envelope.headers, *cause)],
        ).add_errback(self._note)

    def _note(self, error: BaseException) -> None:
        self._failed = error

    def flush(self) -> None:
        """Wait until all is on its topic, on every replica that has to have it.

        Raises:
            KafkaUnavailable: something could not be published.

        """
        self._producer.flush(timeout=WITHIN)
        if self._failed is not None:
            raise KafkaUnavailable(f"Kafka does not take the copies of dead letters: {self._failed}")


@contextmanager
def open_publisher(settings: KafkaSettings) -> Iterator[Publisher]:
    """Connect a producer.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers, or a topic is not there.

    """
    try:
        producer = KafkaProducer(**client_options(settings), acks="all", max_block_ms=WITHIN * 1000)
        try:
            yield Publisher(producer)
        finally:
            producer.close(timeout=WITHIN)
    except KafkaError as error:
        raise KafkaUnavailable(f"Kafka does not take the copies of dead letters: {error}") from error


def cause(envelope: Envelope, *, topic: str, reason: str, message: str) -> list[Header]:
    """Write down where a message came from and what was wrong with it.

    Args:
        envelope: of the message.
        topic: that it came in by.
        reason: a stable word.
        message: one sentence.

    """
    facts = {
        "original-topic": topic.encode(),
        "original-partition": envelope.partition.to_bytes(4, "big", signed=True),
        "original-offset": envelope.offset.to_bytes(8, "big", signed=True),
        "exception-fqcn": f"headgate.{reason}".encode(),
        "exception-message": message.encode(),
    }
    if envelope.timestamp_ms is not None:
        facts["original-timestamp"] = envelope.timestamp_ms.to_bytes(8, "big", signed=True)
    return [(PREFIX + name, value) for name, value in facts.items()]

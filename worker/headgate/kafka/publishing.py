"""Copies of dead letters in a topic, with the cause in their headers, as Spring Kafka writes it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from kafka import KafkaProducer
from kafka.errors import (
    InvalidRecordError,
    InvalidTimestampError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
)
from kafka.future import Future

from headgate.errors import CopyRefused, KafkaUnavailable
from headgate.kafka.connection import client_options
from headgate.model import Envelope
from headgate.records.messages import Header
from headgate.setting_groups import KafkaSettings

# For these errors, another attempt gets the same answer. A missing permission is not one of them: it may be granted.
REFUSED = (
    InvalidRecordError,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    UnsupportedForMessageFormatError,
    ValueError,
)
LARGEST = 100 * 1024**2  # bytes; the largest request that a broker reads
WITHIN = 15  # seconds until we give up for now on a topic that does not answer
# The names and formats are those of Spring Kafka's DeadLetterPublishingRecoverer, so that tools made for it understand
# ours.
PREFIX = "kafka_dlt-"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it came, with additional headers."""

    topic: str
    value: bytes
    envelope: Envelope
    cause: list[Header]


class CopyPublisher:
    """Publishes copies; made by `open_publisher`."""

    def __init__(self, producer: KafkaProducer) -> None:
        self._producer = producer

    def publish(self, messages: Sequence[Message]) -> list[Exception | None]:
        """Publish messages, and wait until each is on all in-sync replicas or has failed.

        kafka-python cannot write a header without a value, nor a message with neither key nor value: there the copy has
        an empty value, or an empty key.

        Returns:
            For each message: None if it is published, CopyRefused if Kafka will never accept it, KafkaUnavailable if it
            may do so later.

        """
        outcomes = self._publish(messages)
        refused = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, CopyRefused)]
        if len(messages) > 1:
            # Messages are sent and refused in batches: sent alone, each gets its own answer.
            for place in refused:
                (outcomes[place],) = self._publish([messages[place]])
        return outcomes

    def _publish(self, messages: Sequence[Message]) -> list[Exception | None]:
        sent = [self._send(message) for message in messages]
        with suppress(KafkaTimeoutError):
            self._producer.flush(timeout=WITHIN)
        return [each if isinstance(each, Exception) else _outcome(each) for each in sent]

    def _send(self, message: Message) -> Future | Exception:
        envelope = message.envelope
        bare = envelope.tombstone and envelope.key is None
        try:
            return self._producer.send(
                message.topic,
                value=None if envelope.tombstone else message.value,
                key=b"" if bare else envelope.key,
                headers=[(name, header or b"") for name, header in (*envelope.headers, *message.cause)],
            )
        except (KafkaError, ValueError) as error:  # a header's name may not be UTF-8
            return _told(error)


def _outcome(future: Future) -> Exception | None:
    if not future.is_done:
        return _told(KafkaTimeoutError(f"not acknowledged within {WITHIN} s"))
    return _told(future.exception) if future.failed() else None


def _told(error: BaseException) -> Exception:
    if isinstance(error, REFUSED):
        return CopyRefused(f"Kafka refuses the copy of this dead letter: {error}")
    return KafkaUnavailable(f"Kafka does not take the copies of dead letters: {error}")


@contextmanager
def open_publisher(settings: KafkaSettings) -> Iterator[CopyPublisher]:
    """Connect a producer.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.

    """
    options = {
        "acks": "all",
        "max_block_ms": WITHIN * 1000,
        "max_request_size": LARGEST,  # the topic decides how large a message may be
        "enable_idempotence": False,  # an idempotent producer sends nothing more after one refused message
    }
    try:
        producer = KafkaProducer(**client_options(settings), **options)
        try:
            yield CopyPublisher(producer)
        finally:
            producer.close(timeout=WITHIN)
    except KafkaError as error:
        raise KafkaUnavailable(f"Kafka does not take the copies of dead letters: {error}") from error


def cause(envelope: Envelope, *, topic: str, reason: str, message: str) -> list[Header]:
    """Return headers that say where a message came from and what was wrong with it.

    Args:
        envelope: the message's envelope.
        topic: the topic it came from.
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

"""Publishing to a topic: many messages in flight at a time, each acknowledged or reported as failed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError, TopicAlreadyExistsError

from headgate.errors import KafkaUnavailable, NotFound, SinkRefused
from headgate.kafka.clients import kafka_errors, open_admin, open_producer
from headgate.setting_groups import KafkaSettings

UNDER_WAY = 16 * 1024**2  # bytes that may wait for their acknowledgment; kafka-python itself sets no limit
BATCH = 256 * 1024  # bytes
LINGER = 20  # ms to wait for a batch to fill
LARGEST = 64 * 1024**2  # bytes of one message; the broker decides how much is too much
GIVE_UP = 30_000  # ms until a message without an acknowledgment counts as failed


class Sender:
    """Publishes messages to one topic.

    Args:
        producer: stays open for as long as this is used.
        topic: the topic's name.
        settings: the producer's settings.

    """

    def __init__(self, *, producer: KafkaProducer, topic: str, settings: KafkaSettings) -> None:
        self._producer = producer
        self._topic = topic
        self._settings = settings
        self._changed = threading.Condition()
        self._waiting = 0  # bytes without an acknowledgment
        self._failed: tuple[int, BaseException] | None = None
        self.sent = 0
        self.acknowledged = 0

    def send(self, value: bytes, *, key: bytes | None = None) -> None:
        """Publish a message; return before it is acknowledged, but wait while too much is unacknowledged.

        Raises:
            KafkaUnavailable: this message, or one before it, was not accepted.
            SinkRefused: this message, or one before it, will never be accepted: it is too large.

        """
        size = len(value) + len(key or b"")
        with self._changed:
            self._changed.wait_for(lambda: self._failed or not self._waiting or self._waiting + size <= UNDER_WAY)
            self._raise_failure()
            self._waiting += size
        self.sent += 1
        number = self.sent
        try:
            future = self._producer.send(self._topic, value, key=key)
        except (KafkaError, ValueError) as error:
            self._ended(size, (number, error))
            self._raise_failure()
        else:
            future.add_callback(lambda _: self._ended(size))
            future.add_errback(lambda error: self._ended(size, (number, error)))

    def finish(self) -> None:
        """Wait until all messages are acknowledged.

        Raises:
            KafkaUnavailable: a message was not accepted.
            SinkRefused: a message will never be accepted.

        """
        with kafka_errors(self._settings, "waiting for acknowledgements"):
            self._producer.flush(GIVE_UP / 1000)
        with self._changed:
            self._changed.wait_for(lambda: self._failed or not self._waiting, GIVE_UP / 1000)
        self._raise_failure()

    def _ended(self, size: int, failed: tuple[int, BaseException] | None = None) -> None:
        """Count a message as acknowledged or failed; called by the producer's thread."""
        with self._changed:
            self._waiting -= size
            self._failed = self._failed or failed
            self.acknowledged += failed is None
            self._changed.notify()

    def _raise_failure(self) -> None:
        if self._failed is None:
            return
        number, error = self._failed
        told = f"{self.acknowledged:,} messages were acknowledged by {self._topic}, message {number:,} was not"
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            message = f"{told}: it is larger than the broker takes; raise the topic's max.message.bytes."
            raise SinkRefused(message) from error
        message = f"{told} ({type(error).__name__}: {error}); see to the broker at {self._settings.bootstrap}."
        raise KafkaUnavailable(message) from error


@contextmanager
def open_sender(settings: KafkaSettings, topic: str) -> Iterator[Sender]:
    """Open a sender to a topic that exists.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.

    """
    options = {"linger_ms": LINGER, "batch_size": BATCH, "max_request_size": LARGEST, "delivery_timeout_ms": GIVE_UP}
    with open_producer(settings, **options, request_timeout_ms=GIVE_UP // 2) as producer:
        yield Sender(producer=producer, topic=topic, settings=settings)


def require_topic(settings: KafkaSettings, topic: str, *, create: int | None = None) -> None:
    """Make sure that a topic exists.

    Args:
        settings: how Kafka is reached.
        topic: its name.
        create: create the topic with this many partitions if it does not exist; None: do not.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.
        NotFound: the topic does not exist, and is not to be created; the text names the existing ones.

    """
    with open_admin(settings) as admin, kafka_errors(settings, "asking for topics"):
        names = {name for name in admin.list_topics() if not name.startswith("__")}
        if topic in names:
            return
        if create is None:
            known = f"there are: {', '.join(sorted(names))}" if names else "there is none yet"
            raise NotFound(f"There is no topic {topic!r} at {settings.bootstrap}; {known}. Add --create to make it.")
        try:
            admin.create_topics([NewTopic(topic, create, -1)])  # -1: the broker's default replication
        except TopicAlreadyExistsError:
            return  # somebody else created it first
        admin.wait_for_topics([topic])

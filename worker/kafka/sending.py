"""Publishing to a topic: many messages under way at a time, each acknowledged or told of."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError, TopicAlreadyExistsError

from worker.errors import KafkaUnavailable, NotFound, SinkRefused
from worker.kafka.clients import kafka_errors, open_admin, open_producer
from worker.settings import KafkaSettings

UNDER_WAY = 16 * 1024**2  # bytes that may wait for their acknowledgement; kafka-python itself sets no limit
BATCH = 256 * 1024  # bytes
LINGER = 20  # ms that a batch is waited for to fill
LARGEST = 64 * 1024**2  # bytes of one message; how much is too much is the broker's to say
GIVE_UP = 30_000  # ms until a message that nobody acknowledged has failed


class Sender:
    """Publishes messages to one topic.

    Args:
        producer: open as long as this is used.
        topic: its name.
        settings: the producer's.

    """

    def __init__(self, *, producer: KafkaProducer, topic: str, settings: KafkaSettings) -> None:
        self._producer = producer
        self._topic = topic
        self._settings = settings
        self._changed = threading.Condition()
        self._waiting = 0  # bytes without an acknowledgement
        self._failed: tuple[int, BaseException] | None = None
        self.sent = 0
        self.acknowledged = 0

    def send(self, value: bytes, *, key: bytes | None = None) -> None:
        """Publish a message; returns before it is acknowledged, and waits while too many are not.

        Raises:
            KafkaUnavailable: this one or one before it was not taken.
            SinkRefused: the same, and never will be: it is too large.

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
        """Return once all is acknowledged.

        Raises:
            KafkaUnavailable: something was not.
            SinkRefused: the same, and never will be.

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
    """Open what publishes to a topic that is there.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.

    """
    options = {"linger_ms": LINGER, "batch_size": BATCH, "max_request_size": LARGEST, "delivery_timeout_ms": GIVE_UP}
    with open_producer(settings, **options, request_timeout_ms=GIVE_UP // 2) as producer:
        yield Sender(producer=producer, topic=topic, settings=settings)


def require_topic(settings: KafkaSettings, topic: str, *, create: int | None = None) -> None:
    """See to it that a topic is there.

    Args:
        settings: how Kafka is reached.
        topic: its name.
        create: make it with so many partitions if it is not.

    Raises:
        BadSettings: the settings cannot work.
        KafkaUnavailable: no broker answers.
        NotFound: there is none, and it is not to be made; the text names what there is instead.

    """
    with open_admin(settings) as admin, kafka_errors(settings, "asking for topics"):
        names = {name for name in admin.list_topics() if not name.startswith("__")}
        if topic in names:
            return
        if create is None:
            known = f"there are: {', '.join(sorted(names))}" if names else "there is none yet"
            raise NotFound(f"There is no topic {topic!r} at {settings.bootstrap}; {known}. Add --create to make it.")
        try:
            admin.create_topics([NewTopic(topic, create, -1)])  # -1: replicated as the broker has it
        except TopicAlreadyExistsError:
            return  # somebody else was faster
        admin.wait_for_topics([topic])

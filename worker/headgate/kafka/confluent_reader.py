"""Reading with confluent-kafka (librdkafka), several times as fast; it comes with the extra `fast-kafka`."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from operator import methodcaller
from typing import Any, Protocol, TypeVar, cast
from uuid import UUID

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from headgate.errors import KafkaUnavailable
from headgate.kafka.seeking import BadBatch, Fetched, OffsetGone
from headgate.model import RangePosition
from headgate.records.messages import Header, block

T = TypeVar("T")

AT_ONCE = 10_000  # messages
WAIT = 0.2  # seconds to wait for all the messages asked for, even if some have come
WITHIN = 15.0  # seconds, for a question to the broker
OPTIONS: dict[str, str | int | bool] = {
    "group.id": "headgate-reader",  # required by librdkafka; no group is ever joined
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "check.crcs": True,
    "enable.partition.eof": True,
    # A range is complete before it is read. librdkafka has one fetch at a time on its way to a broker: one that waits
    # for more messages, for half a second by default, delays the next range.
    "fetch.wait.max.ms": 20,
    "fetch.max.bytes": 8 * 1024**2,
    "max.partition.fetch.bytes": 4 * 1024**2,
    "queued.max.messages.kbytes": 16 * 1024,
    "log_level": 0,  # librdkafka would write to our output; what matters also comes as errors
}
# Errors that may pass if the broker is available; if a fetch brings no message, they are raised at once.
AWAY = {KafkaError._ALL_BROKERS_DOWN, KafkaError._AUTHENTICATION}  # noqa: SLF001 - librdkafka's own codes
TURNED_AWAY = {KafkaError._SSL, KafkaError._AUTHENTICATION}  # noqa: SLF001 - as above; no waiting helps
ALERT = "SSL alert"  # in an error's text: the broker itself refuses, for example a client without a certificate
BAD = {
    KafkaError._BAD_MSG,  # noqa: SLF001 - as above
    KafkaError._BAD_COMPRESSION,  # noqa: SLF001 - as above
    KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001 - a codec that librdkafka was built without
    KafkaError.INVALID_MSG,
    KafkaError.MSG_SIZE_TOO_LARGE,
}

# If a name of a header is not UTF-8, the client's C code returns with an error set. Python 3.11 and newer do not look
# for one after a direct call that is made often: the error would be raised by some later line.
headers_of = methodcaller("headers")


class _Message(Protocol):
    """A fetched message, with all its parts: the stubs of confluent-kafka allow each part to be absent."""

    def error(self) -> KafkaError | None: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def headers(self) -> list[Header] | None: ...


class ConfluentClient:
    """A consumer of confluent-kafka, and its admin client for what a consumer cannot ask."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)
        self._away: str | None = None
        self._turned_away: str | None = None
        with _named():
            self._consumer = confluent_kafka.Consumer({**options, **OPTIONS, "error_cb": self._noticed})
        self._admin: AdminClient | None = None
        self._position: RangePosition | None = None
        self._at = 0
        self._bad: tuple[int, BadBatch] | None = None  # from this offset on, nothing can be read

    def topic_id(self, topic: str) -> str | None:
        """Return the id of a topic, or None if it does not exist."""
        with _named():
            if self._admin is None:
                options: dict[str, Any] = {**self._options, "log_level": 0, "error_cb": self._noticed}
                self._admin = AdminClient(options)
            asked = confluent_kafka.TopicCollection([topic])
            answer = self._admin.describe_topics(asked, request_timeout=WITHIN)[topic]
            try:
                described = self._answered(self._admin, answer)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return None
                raise
        found = described.topic_id
        bits = (found.get_most_significant_bits() % 2**64) << 64 | found.get_least_significant_bits() % 2**64
        return str(UUID(int=bits))

    def earliest(self, position: RangePosition) -> int:
        """Return the first offset of a partition that the broker still has."""
        partition = confluent_kafka.TopicPartition(position.topic, position.partition)
        with _named():
            low, _ = self._consumer.get_watermark_offsets(partition, timeout=WITHIN)
        return int(low)

    def seek(self, position: RangePosition, offset: int) -> None:
        """Read this partition from this offset on."""
        self._position, self._at, self._bad = position, offset, None
        with _named():
            self._consumer.assign([confluent_kafka.TopicPartition(position.topic, position.partition, offset)])

    def fetch(self) -> Fetched:
        """Wait a moment for messages."""
        if self._position is None:
            raise RuntimeError("nothing to read: seek first")
        self._away = None
        known = self._bad
        end = self._position.end if known is None else known[0]
        wanted = min(AT_ONCE, max(end - self._at, 1))
        with _named():
            given = cast("list[_Message]", self._consumer.consume(num_messages=wanted, timeout=WAIT))
        messages = [message for message in given if message.error() is None]
        if len(messages) < len(given):
            for message in given:
                error = message.error()
                if error is not None:
                    self._meet(error, message.offset())
        messages, headers = self._with_headers(messages)
        if self._bad is not None:
            # librdkafka gives a response's error first, and the messages before it afterwards.
            messages = [message for message in messages if message.offset() < self._bad[0]]
            headers = headers[: len(messages)]
            if not messages and (known is not None or self._at >= self._bad[0]):
                raise self._bad[1]
        if messages:
            # The partition's end, told once, may have come with these messages and be behind a gap.
            self._at = max(self._at, messages[-1].offset() + 1)
            if self._bad is not None:
                self._at = min(self._at, self._bad[0])  # what cannot be read is still to be told
        elif self._away is not None:
            raise KafkaUnavailable(f"Kafka does not answer as it should: {self._away}")
        return Fetched(
            block(
                first=self._position.first,
                partition=self._position.partition,
                offsets=[message.offset() for message in messages],
                timestamps=[message.timestamp()[1] for message in messages],
                keys=[message.key() for message in messages],
                headers=headers,
                values=[message.value() for message in messages],
            ),
            self._at,
        )

    def rest(self) -> None:
        """Let go of the partition: librdkafka would go on to ask for what comes after the range."""
        if self._position is not None:
            self._position = None
            with _named():
                self._consumer.unassign()

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def _with_headers(self, messages: list[_Message]) -> tuple[list[_Message], list[list[Header] | None]]:
        """Return the messages before the first whose headers cannot be read, with their headers."""
        headers = []
        for message in messages:
            try:
                headers.append(headers_of(message))
            except (UnicodeDecodeError, SystemError):
                if self._bad is None or message.offset() < self._bad[0]:
                    self._bad = (message.offset(), BadBatch("the name of a header is not UTF-8"))
                break
        return messages[: len(headers)], headers

    def _meet(self, error: KafkaError, offset: int) -> None:
        code = error.code()
        if self._bad is not None:
            return  # after a batch that it cannot read, librdkafka mistakes the following bytes for the next batch
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - as above
            self._at = max(self._at, offset)
        elif code in BAD:
            self._bad = (offset, BadBatch(error.str()))
        elif code in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001 - as above
            raise OffsetGone
        else:
            raise KafkaUnavailable(f"Kafka does not answer as it should: {error.str()}")

    def _answered(self, admin: AdminClient, answer: "Future[T]") -> T:
        """Wait for an answer; raise at once if the broker rejects us, because then no answer comes."""
        deadline = time.monotonic() + WITHIN
        while True:
            try:
                return answer.result(WAIT)
            except TimeoutError:
                admin.poll(0)
                if self._turned_away is not None or time.monotonic() > deadline:
                    said = self._turned_away or f"no answer within {WITHIN:.0f} s"
                    raise KafkaUnavailable(f"Kafka does not answer as it should: {said}") from None

    def _noticed(self, error: KafkaError) -> None:
        if error.code() in AWAY:
            self._away = error.str()
        if error.code() in TURNED_AWAY or ALERT in error.str():
            self._turned_away = error.str()


@contextmanager
def _named() -> Iterator[None]:
    """Turn librdkafka's errors into ours."""
    try:
        yield
    except (KafkaException, TimeoutError) as error:
        raise KafkaUnavailable(f"Kafka does not answer as it should: {error}"[:500]) from error

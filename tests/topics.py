"""What tests publish, and the ranges they read of it."""

import uuid
from collections.abc import Sequence
from functools import partial

from broker import Broker
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicCollection, TopicPartition
from headgate.model import RangePosition

Header = tuple[str, bytes | None]


def publish(  # noqa: PLR0913 - a keyword each of what a message may have
    kafka: Broker,
    topic: str,
    values: Sequence[bytes | None],
    *,
    partition: int = 0,
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[Sequence[Header]] | None = None,
    **config: str | int,
) -> list[int]:
    """Publish messages in their order; settings of the producer as `compression_type="gzip"`. Gives their offsets."""
    settings = {name.replace("_", "."): value for name, value in config.items()}
    offsets = [-1] * len(values)

    def acknowledged(place: int, error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        offsets[place] = message.offset() or 0

    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 20, "acks": "all", **settings})
    for place, value in enumerate(values):
        producer.produce(
            topic,
            value,
            keys[place] if keys else None,
            partition,
            headers=list(headers[place]) if headers else None,
            on_delivery=partial(acknowledged, place),
        )
        producer.poll(0)
    assert producer.flush(30) == 0
    return offsets


def topic_id(kafka: Broker, topic: str) -> str:
    """The broker's id of a topic."""
    admin = kafka.admin()  # held: with it goes what it was asked
    found = admin.describe_topics(TopicCollection([topic]))[topic].result(30).topic_id
    bits = (found.get_most_significant_bits() % 2**64) << 64 | found.get_least_significant_bits() % 2**64
    return str(uuid.UUID(int=bits))


def position(kafka: Broker, topic: str, first: int, end: int, *, partition: int = 0) -> RangePosition:
    """A range as the listener would plan it."""
    return RangePosition("cluster", topic, topic_id(kafka, topic), partition, first, end, 100 * (end - first))


def offsets_there(kafka: Broker, topic: str, end: int) -> list[int]:
    """At which offsets before `end` there are messages of a topic's first partition, by a client of its own."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "offsets", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[int] = []
    try:
        while not found or found[-1] < end - 1:
            message = consumer.poll(10)
            if message is None or message.error() is not None:
                break
            found.append(message.offset() or 0)
        return found
    finally:
        consumer.close()

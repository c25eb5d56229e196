"""Whatever a log holds, its messages are rows or dead letters, each once: from listener to table, by both readers.

What was published is held against the table row by row.
"""

import re
import time

import pytest
from confluent_kafka import KafkaError, Message, Producer
from harness import wait_until
from message_manifest import Letter, Place, items, unread
from message_road import MessageRoad
from segments import batches, flip, rename_codec
from topics import offsets_there, topic_id


def test_every_codec_comes_to_the_table(messages: MessageRoad) -> None:
    codecs = ("none", "gzip", "lz4", "snappy", "zstd")
    topics = [messages.kafka.topic() for _ in codecs]
    messages.declare(*topics)
    for number, (topic, codec) in enumerate(zip(topics, codecs, strict=True)):
        messages.publish(topic, items(2000, first=number * 10_000), codec=codec)
    messages.listen()
    messages.finish()
    messages.check()


def test_a_poison_message_is_a_dead_letter_and_those_around_it_are_rows(messages: MessageRoad) -> None:
    topic = messages.kafka.topic(partitions=2)
    messages.declare(topic)
    messages.publish(topic, items(300), partition=1)
    poison = [b'{"item": \xff\x00', b"", b'{"item":"many"}', b"[" * 5000, b'{"item":']
    places = messages.publish(topic, [value for bad in poison for value in (*items(10), bad)], codec="zstd")
    messages.listen()
    messages.finish()
    reasons = ("encoding", "malformed", "schema", "malformed", "malformed")
    messages.check(*(Letter(*each) for each in zip(reasons, places[10::11], poison, strict=True)))


def test_batches_with_a_flipped_byte_are_dead_letters_and_those_around_them_are_rows(messages: MessageRoad) -> None:
    """One partition has such a batch that is compressed, one has one that is not, one is whole."""
    topic = messages.kafka.topic(partitions=3)
    messages.declare(topic)
    messages.publish(topic, items(50), partition=2)
    letters = []
    for partition, codec in enumerate(["none", "gzip"]):
        bad = surrounded(messages, topic, partition, codec)
        flip(messages.kafka, topic, batches(messages.kafka, topic, partition)[1], partition=partition)
        letters.append(set_aside(bad))
    messages.listen()
    messages.finish()
    messages.check(*letters)


def test_batches_in_codecs_that_nobody_knows_are_dead_letters_and_those_around_them_are_rows(
    messages: MessageRoad,
) -> None:
    topic = messages.kafka.topic(partitions=3)
    messages.declare(topic)
    messages.publish(topic, items(50), partition=2)
    letters = []
    for partition, codec in enumerate([5, 7]):
        bad = surrounded(messages, topic, partition)
        rename_codec(messages.kafka, topic, batches(messages.kafka, topic, partition)[1], codec, partition=partition)
        letters.append(set_aside(bad))
    messages.listen()
    messages.finish()
    messages.check(*letters)
    for row in messages.stand.sql("select faults from headgate.dead_letter"):
        assert re.search(r"offset 20: .*(compression type: |codec 0x)[567]", row["faults"][0]["value"])


@pytest.mark.parametrize(
    ("reader", "reasons"),
    [
        ("kafka-python", {"gzip": "corrupt", "lz4": "corrupt", "snappy": "corrupt", "zstd": "corrupt"}),
        ("confluent-kafka", {"gzip": "too-large", "lz4": "too-large", "snappy": "too-large", "zstd": "corrupt"}),
    ],
    ids=["kafka-python", "confluent-kafka"],
)
def test_bombs_are_dead_letters_and_those_around_them_are_rows(
    messages: MessageRoad, reader: str, reasons: dict[str, str]
) -> None:
    """Ninety megabytes came as some kilobytes: librdkafka expands most such batches, kafka-python none."""
    topic = messages.kafka.topic(partitions=4, max_message_bytes=str(8 * 1024**2))
    messages.declare(topic, pipelines=[reader])
    letters = []
    for partition, (codec, reason) in enumerate(reasons.items()):
        messages.publish(topic, items(5), partition=partition)
        (place,) = messages.publish(topic, [bytes(90 * 1024**2)], partition=partition, codec=codec)
        messages.publish(topic, items(5, first=5), partition=partition)
        letters.append(Letter(reason, place, unread(place, place.offset + 1)))
    messages.listen()
    messages.finish()
    messages.check(*letters)


def surrounded(messages: MessageRoad, topic: str, partition: int, codec: str = "none") -> list[Place]:
    """Publish three batches; where the messages of the middle one stand."""
    each = [messages.publish(topic, items(20, first=turn * 20), partition=partition, codec=codec) for turn in range(3)]
    return each[1]


def set_aside(bad: list[Place]) -> Letter:
    """Give the dead letter of a batch that nobody can read."""
    return Letter("corrupt", bad[0], unread(bad[0], bad[-1].offset + 1))


def test_only_what_was_committed_comes_to_the_table(messages: MessageRoad) -> None:
    """Aborted messages are none, and the markers at the ends of transactions are gaps."""
    topic = messages.kafka.topic()
    messages.declare(topic, max_messages=50)
    producer = Producer({"bootstrap.servers": messages.kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    name = topic_id(messages.kafka, topic)
    messages.listen()
    for turn in range(10):
        acknowledged: dict[Place, bytes] = {}

        def keep(error: KafkaError | None, message: Message, kept: dict[Place, bytes] = acknowledged) -> None:
            assert error is None, error
            kept[Place(name, 0, message.offset() or 0)] = message.value() or b""

        producer.begin_transaction()
        for value in items(20, first=turn * 20):
            producer.produce(topic, value, on_delivery=keep)
        producer.flush(30)
        if turn % 3:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
            messages.published |= acknowledged
    assert len(messages.published) == 80
    messages.finish()
    messages.check()


def test_what_compaction_left_comes_to_the_table(messages: MessageRoad) -> None:
    topic = messages.kafka.topic(
        cleanup_policy="compact",
        min_cleanable_dirty_ratio="0.01",
        segment_ms="100",
        max_compaction_lag_ms="100",
        min_compaction_lag_ms="0",
    )
    messages.declare(topic)
    keys = [b"k%d" % number for number in range(10)]
    for turn in range(4):
        messages.publish(topic, items(10, first=turn * 10), keys=keys)
        time.sleep(0.15)  # a segment is rolled by its age, at the next message
    messages.publish(topic, items(1, first=40), keys=[b"last"])
    wait_until(lambda: offsets_there(messages.kafka, topic, 41) == list(range(30, 41)), within=60)
    messages.published = {place: value for place, value in messages.published.items() if place.offset >= 30}
    messages.listen()
    messages.finish()
    messages.check()
    assert {row["rows_in"] for row in messages.stand.arrivals()} == {11}

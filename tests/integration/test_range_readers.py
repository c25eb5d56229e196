"""What every reader of ranges does, whichever client it reads by: on a real broker."""

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from broker import Broker
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Place
from harness import wait_until
from headgate.errors import ArrivalRejected, KafkaUnavailable, RangeUnreadable
from headgate.kafka.clients import open_producer
from headgate.kafka.ranges import RangeReader, open_reader
from headgate.kafka.seeking import SeekingReader
from headgate.model import RangePosition, Reason
from headgate.records.batch import ROW
from headgate.records.messages import Header, Unreadable, envelope
from headgate.setting_groups import KafkaSettings
from topics import position, publish, topic_id


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def reader(request: pytest.FixtureRequest, kafka: Broker) -> Iterator[RangeReader]:
    opened = open_reader(KafkaSettings(bootstrap=kafka.bootstrap, reader=request.param))
    yield opened
    opened.close()


def read(reader: RangeReader, where: RangePosition, *, after: int = 0) -> tuple[pl.DataFrame, list[Unreadable]]:
    """All messages of a range, and what of it could not be read."""
    found = list(reader.read(where, after=after))
    blocks = [each for each in found if isinstance(each, pl.DataFrame)]
    return pl.concat(blocks) if blocks else pl.DataFrame(), [each for each in found if isinstance(each, Unreadable)]


def as_user(kafka: Broker, name: str) -> KafkaSettings:
    """Read as a user whom topics may be hidden from."""
    given = {"bootstrap": kafka.login, "reader": name, "security": "SASL_PLAINTEXT"}
    return KafkaSettings.model_validate(
        {**given, "sasl_mechanism": "PLAIN", "username": kafka.user, "password": kafka.password}
    )


def offsets(messages: pl.DataFrame) -> list[int]:
    return [] if messages.is_empty() else messages["offset"].to_list()


def flip(kafka: Broker, topic: str, marked: bytes) -> None:
    """Change one byte of a message in the broker's log."""
    (segment,) = [path for path in Path(kafka.data, f"{topic}-0").glob("*.log") if marked in path.read_bytes()]
    with segment.open("r+b") as file:
        file.seek(segment.read_bytes().index(marked))
        file.write(bytes([marked[0] ^ 1]))


def batches(kafka: Broker, topic: str, *each: list[bytes], codec: str = "none") -> None:
    """Publish lists of messages, each in a batch of its own."""
    for values in each:
        publish(kafka, topic, list(values), linger_ms=200, compression_type=codec)


def test_a_message_comes_with_all_that_it_has(reader: RangeReader, kafka: Broker) -> None:
    """No key, an empty key, no value, an empty value, a header that stands twice, one without a value."""
    topic = kafka.topic(message_timestamp_type="CreateTime")
    headers: list[list[Header]] = [[("h", b"1"), ("h", b"\x00\xff"), ("none", None)], [], [("x", b"")], []]
    began = int(time.time() * 1000)
    publish(kafka, topic, [b"\x00\xff", b"", None, b"v"], keys=[None, b"", b"k", b"\xfe"], headers=headers)
    messages, bad = read(reader, position(kafka, topic, 0, 4))
    assert bad == []
    assert messages.schema[ROW] == pl.Int64
    assert messages.select(ROW, "offset", "partition", "key", "value").rows() == [
        (1, 0, 0, None, b"\x00\xff"),
        (2, 1, 0, b"", b""),
        (3, 2, 0, b"k", None),
        (4, 3, 0, b"\xfe", b"v"),
    ]
    assert [envelope(messages, place).headers for place in range(4)] == [tuple(each) for each in headers]
    assert [envelope(messages, place).tombstone for place in range(4)] == [False, False, True, False]
    assert all(began <= stamp <= time.time() * 1000 for stamp in messages["timestamp_ms"])


def test_a_range_is_read_from_where_it_was_committed_to_and_not_beyond_its_end(
    reader: RangeReader, kafka: Broker
) -> None:
    """Rows are counted from the range's first offset, whatever was read before."""
    topic = kafka.topic()
    publish(kafka, topic, [b"%d" % number for number in range(3000)])
    where = position(kafka, topic, 500, 2500)
    for after in (0, 1200, 1999):  # a reader serves many ranges
        messages, bad = read(reader, where, after=after)
        assert bad == []
        assert offsets(messages) == list(range(500 + after, 2500))
        assert messages[ROW].to_list() == list(range(after + 1, 2001))
        assert messages["value"].to_list() == [b"%d" % number for number in range(500 + after, 2500)]


class Latin(str):
    """The name of a header in another encoding than Kafka's clients agreed on."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:  # noqa: ARG002 - as kafka-python asks
        """Give the bytes of another encoding than was asked for."""
        return super().encode("latin-1", errors)


def test_a_header_whose_name_is_not_utf_8_costs_its_message_and_no_other(reader: RangeReader, kafka: Broker) -> None:
    topic = kafka.topic()
    with open_producer(KafkaSettings(bootstrap=kafka.bootstrap)) as producer:
        for number in range(5):
            name = Latin("gr\u00f6\u00dfe") if number == 2 else "size"
            producer.send(topic, b"%d" % number, headers=[(name, b"1")]).get(30)
    messages, bad = read(reader, position(kafka, topic, 0, 5))
    assert offsets(messages) == [0, 1, 3, 4]
    assert [(each.first, each.end, each.reason) for each in bad] == [(2, 3, Reason.CORRUPT)]


def test_a_header_that_is_not_utf_8_is_told_even_if_the_range_ends_with_a_gap(
    reader: RangeReader, kafka: Broker
) -> None:
    """The end of the partition, behind the marker of a transaction, comes with the messages before it."""
    topic = kafka.topic()
    with open_producer(KafkaSettings(bootstrap=kafka.bootstrap), transactional_id=topic) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        for number in range(4):
            name = Latin("gr\u00f6\u00dfe") if number == 1 else "size"
            producer.send(topic, b"%d" % number, headers=[(name, b"1")])
        producer.commit_transaction()
    messages, bad = read(reader, position(kafka, topic, 0, 5))
    told = {*offsets(messages), *(place for each in bad for place in range(each.first, each.end))}
    assert told >= {0, 1, 2, 3}, "each is a message, or told to be unreadable"
    assert all(each.reason is Reason.CORRUPT for each in bad)
    assert 0 in offsets(messages) or isinstance(reader, SeekingReader)


def test_what_takes_long_with_its_messages_does_not_make_the_broker_look_stalled(
    reader: RangeReader, kafka: Broker
) -> None:
    topic = kafka.topic()
    publish(kafka, topic, [b"v"] * 3)
    assert isinstance(reader, SeekingReader)
    with closing(replace(reader, patience=2.0, idle=[])) as hasty:
        fetching = hasty._fetched(position(kafka, topic, 0, 6), 0)  # noqa: SLF001 - the clock is in here
        assert next(fetched.next for fetched in fetching if fetched.messages.height) == 3
        before = time.monotonic()
        wait_until(lambda: time.monotonic() - before > 2.5)
        assert next(fetching).next == 3, "it was asked again, and had its time"


def test_aborted_messages_are_left_out_and_markers_are_gaps(reader: RangeReader, kafka: Broker) -> None:
    """The range ends with a marker, behind which nothing stands: the reader comes to its end all the same."""
    topic = kafka.topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for number, committed in enumerate([True, False, True, False]):
        producer.begin_transaction()
        for each in range(3):
            producer.produce(topic, b"%d.%d" % (number, each))
        producer.flush(30)
        producer.commit_transaction(30) if committed else producer.abort_transaction(30)
    messages, bad = read(reader, position(kafka, topic, 0, 16))
    assert bad == []
    assert list(zip(offsets(messages), messages["value"].to_list(), strict=True)) == [
        (0, b"0.0"),
        (1, b"0.1"),
        (2, b"0.2"),
        (8, b"2.0"),
        (9, b"2.1"),
        (10, b"2.2"),
    ]
    assert offsets(read(reader, position(kafka, topic, 11, 16))[0]) == []  # a range of gaps alone


def test_compaction_leaves_gaps_that_are_no_error(reader: RangeReader, kafka: Broker) -> None:
    topic = kafka.topic(
        cleanup_policy="compact",
        min_cleanable_dirty_ratio="0.01",
        segment_ms="100",
        max_compaction_lag_ms="100",
        min_compaction_lag_ms="0",
    )
    for turn in range(4):
        publish(kafka, topic, [b"%d" % turn] * 10, keys=[b"k%d" % each for each in range(10)])
        time.sleep(0.15)  # a segment is rolled by age, at the next message
    publish(kafka, topic, [b"last"], keys=[b"last"])

    def compacted() -> bool:
        return len(offsets(read(reader, position(kafka, topic, 0, 41))[0])) < 41

    wait_until(compacted, within=30)
    messages, bad = read(reader, position(kafka, topic, 0, 41))
    assert bad == []
    assert offsets(messages)[-11:] == list(range(30, 41))
    assert messages[ROW].to_list() == [offset + 1 for offset in offsets(messages)]
    assert messages["value"].to_list()[-11:] == [b"3"] * 10 + [b"last"]


def test_a_bad_batch_at_the_end_is_no_endless_loop(reader: RangeReader, kafka: Broker) -> None:
    topic = kafka.topic()
    batches(kafka, topic, [b"good"], [b"marked bytes"] * 3)
    flip(kafka, topic, b"marked bytes")
    messages, bad = read(reader, position(kafka, topic, 0, 4))
    assert messages["value"].to_list() == [b"good"]
    assert [(each.first, each.end) for each in bad] == [(1, 4)]


def test_a_topic_that_was_made_again_gives_nothing(reader: RangeReader, kafka: Broker) -> None:
    """Its messages are others, though their offsets are the same."""
    topic = kafka.topic()
    publish(kafka, topic, [b"old"])
    where = position(kafka, topic, 0, 1)
    admin = kafka.admin()
    admin.delete_topics([topic])[topic].result(30)

    def rejected() -> str:
        with pytest.raises(ArrivalRejected, match="lost") as caught:
            read(reader, where)
        return str(caught.value)

    wait_until(lambda: "deleted:" in rejected(), within=20)

    def again() -> bool:
        try:
            kafka.topic(name=topic)
        except Exception:  # noqa: BLE001 - it is not gone yet
            return False
        return True

    wait_until(again, within=20)
    assert topic_id(kafka, topic) != where.topic_id
    publish(kafka, topic, [b"new"])
    assert "deleted and made again" in rejected()


def delete_before(kafka: Broker, topic: str, offset: int) -> None:
    """Do what retention does."""
    admin = kafka.admin()
    for future in admin.delete_records([Place(topic, 0, offset)]).values():
        future.result(30)


def test_messages_that_retention_took_are_named_and_the_rest_is_read(reader: RangeReader, kafka: Broker) -> None:
    topic = kafka.topic()
    publish(kafka, topic, [b"%d" % number for number in range(30)])
    where = position(kafka, topic, 5, 20)
    delete_before(kafka, topic, 12)
    messages, bad = read(reader, where)
    assert offsets(messages) == list(range(12, 20))
    assert [(each.first, each.end, each.reason) for each in bad] == [(5, 12, Reason.LOST)]
    delete_before(kafka, topic, 25)
    with pytest.raises(ArrivalRejected, match="offsets 5 to 19 are deleted"):
        read(reader, where)


def test_a_bomb_of_snappy_in_frames_does_not_take_the_memory(kafka: Broker) -> None:
    """Java's clients and kafka-python write snappy in frames, librdkafka does not."""
    topic = kafka.topic(max_message_bytes=str(8 * 1024**2))
    publish(kafka, topic, [b"before"])
    most = {"max_request_size": 100 * 1024**2, "compression_type": "snappy"}
    with open_producer(KafkaSettings(bootstrap=kafka.bootstrap), **most) as producer:
        producer.send(topic, bytes(90 * 1024**2)).get(30)
    publish(kafka, topic, [b"after"])
    reader = open_reader(KafkaSettings(bootstrap=kafka.bootstrap, reader="kafka-python"))
    messages, bad = read(reader, position(kafka, topic, 0, 3))
    reader.close()
    assert messages["value"].to_list() == [b"before", b"after"]
    assert [(each.first, each.end) for each in bad] == [(1, 2)]
    assert "expands to more than" in bad[0].detail


def test_nobody_there_is_told_in_time_and_may_be_tried_again(kafka: Broker) -> None:
    topic = kafka.topic()
    where = position(kafka, topic, 0, 1)
    for name in ("kafka-python", "confluent-kafka"):
        reader = open_reader(KafkaSettings.model_validate({"bootstrap": "127.0.0.1:9", "reader": name}))
        began = time.monotonic()
        with pytest.raises(KafkaUnavailable):
            read(reader, where)
        assert time.monotonic() - began < 40
        reader.close()


@pytest.mark.parametrize("name", ["kafka-python", "confluent-kafka"])
def test_a_range_that_cannot_be_read_is_told_from_an_outage(kafka: Broker, name: str) -> None:
    """Its broker answers and nothing comes, as of a log that was cut short: that counts, or it would go on for ever."""
    topic = kafka.topic()
    publish(kafka, topic, [b"one", b"two"])
    reader = open_reader(KafkaSettings.model_validate({"bootstrap": kafka.bootstrap, "reader": name}))
    assert isinstance(reader, SeekingReader)
    with pytest.raises(RangeUnreadable, match="its broker answers, and offsets 0 to 4 cannot be read"):
        read(replace(reader, patience=2), position(kafka, topic, 0, 5))
    reader.close()


@pytest.mark.parametrize("name", ["kafka-python", "confluent-kafka"])
def test_a_topic_that_we_may_not_see_is_not_a_deleted_topic(kafka: Broker, name: str) -> None:
    """An access rule that is missing for a minute must cost no range."""
    topic = kafka.topic()
    publish(kafka, topic, [b"one"])
    where = position(kafka, topic, 0, 1)
    reader = open_reader(as_user(kafka, name))
    kafka.forbid(topic)

    def readable() -> bool:
        with suppress(KafkaUnavailable):
            return offsets(read(reader, where)[0]) == [0]
        return False

    try:
        wait_until(lambda: not readable(), within=20)
        kafka.allow(topic)
        wait_until(readable, within=20)
    finally:
        reader.close()

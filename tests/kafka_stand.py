"""What tests of the Kafka listener share: messages published, pipelines of topics, and a checker in plain SQL."""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

import dataframely as dy
from broker import Broker
from confluent_kafka import Consumer, Producer, TopicPartition
from harness import wait_until
from headgate.ledger import Cursors, Database
from headgate.listeners.topics.listener import KafkaListener
from headgate.pipeline import Pipeline, Table, Topic
from headgate.setting_groups import KafkaSettings


class Row(dy.Schema):
    """What `publish` publishes."""

    id = dy.Int64(primary_key=True)


def publish(kafka: Broker, topic: str, count: int, *, partition: int | None = 0) -> None:
    """Publish numbered messages, acknowledged by the broker; to any partition if None is given."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all"})
    for number in range(count):
        value = b'{"id": %d}' % number
        if partition is None:
            producer.produce(topic, value, key=b"%d" % number)
        else:
            producer.produce(topic, value, partition=partition)
        producer.poll(0)
    assert producer.flush(60) == 0


def of_topics(*topics: Topic, name: str = "weather", max_waiting: int = 1000, max_arrivals: int = 1000) -> Pipeline:
    """Declare a pipeline of topics."""
    return Pipeline(
        name=name,
        sources=topics,
        schema=Row,
        sink=Table(name, mode="upsert"),
        max_waiting=max_waiting,
        max_arrivals=max_arrivals,
    )


def reach(kafka: Broker, *, group: str) -> KafkaSettings:
    """Settings that lead to the broker, with a group and a short session."""
    return KafkaSettings(bootstrap=kafka.bootstrap, group=group, session_seconds=3)


@contextmanager
def listening(
    settings: KafkaSettings,
    cursors: Cursors,
    pipelines: Iterable[Pipeline],
    paused: Callable[[], Collection[tuple[str, str]]] = frozenset,
) -> Iterator[threading.Thread]:
    """Run a listener in a thread."""
    stop = threading.Event()
    listener = KafkaListener(pipelines=tuple(pipelines), settings=settings, cursors=cursors, stop=stop, paused=paused)
    thread = threading.Thread(target=listener.run, name="kafka")
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def ranges(database: Database, topic: str) -> list[tuple[int, int, int]]:
    """All ranges of a topic: partition, first offset, end; in the order of offsets."""
    with database.transaction() as connection:
        rows = connection.execute(
            "select partition, first_offset, end_offset from headgate.arrival where topic = %s"
            " order by pipeline, topic_id, partition, first_offset",
            (topic,),
        ).fetchall()
    return [(row["partition"], row["first_offset"], row["end_offset"]) for row in rows]


def covered(database: Database, topic: str) -> int:
    """How many offsets of a topic are in ranges."""
    return sum(end - first for _, first, end in ranges(database, topic))


def check_each_once(database: Database) -> None:
    """Each partition's ranges follow one another without gap or overlap, up to its cursor."""
    with database.transaction() as connection:
        wrong = connection.execute(
            """
            select * from (
                select arrival_id, pipeline, topic, partition, first_offset, end_offset,
                       lag(end_offset) over one as before, lead(first_offset) over one as behind,
                       (select next_offset from headgate.cursor as c
                        where (c.pipeline, c.source, c.cluster, c.topic_id, c.partition)
                            = (a.pipeline, a.source, a.cluster, a.topic_id, a.partition)) as cursor
                from headgate.arrival as a where kind = 'range'
                window one as (partition by pipeline, source, cluster, topic_id, partition order by first_offset)
            ) as placed
            where first_offset <> coalesce(before, first_offset) or (behind is null and end_offset <> cursor)
            """
        ).fetchall()
    assert wrong == []


def delete_records(kafka: Broker, topic: str, before: int, *, partition: int = 0) -> None:
    """Delete the messages before an offset, as retention does."""
    admin = kafka.admin()
    for future in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        future.result(30)


def delete_topic(kafka: Broker, topic: str) -> None:
    """Delete a topic, and return when its name is free."""
    admin = kafka.admin()
    admin.delete_topics([topic])[topic].result(30)
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics)


def group_offset(kafka: Broker, group: str, topic: str, *, partition: int = 0) -> int:
    """What the group committed; negative if nothing."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    try:
        (place,) = consumer.committed([TopicPartition(topic, partition)], timeout=30)
        return place.offset
    finally:
        consumer.close()

"""The Kafka listener against a real broker and a real ledger: each offset is in exactly one range."""

from broker import Broker
from harness import wait_until
from kafka_stand import check_each_once, covered, listening, of_topics, publish, ranges, reach

from worker.ledger import Arrivals, Cursors, Database
from worker.pipeline import Topic


def test_messages_of_all_partitions_become_ranges(kafka: Broker, database: Database, ledger: Arrivals) -> None:
    topic = kafka.topic(partitions=3)
    for partition in range(3):
        publish(kafka, topic, 5, partition=partition)
    with listening(reach(kafka, group=topic), Cursors(database, ledger), [of_topics(Topic(topic))]):
        wait_until(lambda: covered(database, topic) == 15, within=20)
        publish(kafka, topic, 1)
        wait_until(lambda: covered(database, topic) == 16, within=20)
    assert ranges(database, topic)[0] == (0, 0, 5)
    assert {arrival.name for arrival in ledger.find()} >= {f"{topic}[1] 0-4"}
    check_each_once(database)
